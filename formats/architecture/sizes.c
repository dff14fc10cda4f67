/* SPDX-License-Identifier: MIT */
#include "formats/architecture/sizes.h"

#include "formats/architecture/pairing.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
#define SIZE(member) #member, .at = offsetof(organ_hf_config, member)
const organ_size organ_sizes[ORGAN_SIZES] = {
    {SIZE(num_hidden_layers), .group = ORGAN_GROUP_OTHER},
    {SIZE(hidden_size), .what = "width (hidden size)", .group = ORGAN_GROUP_OTHER},
    {SIZE(intermediate_size), .what = "feed-forward width", .group = ORGAN_GROUP_ORGAN},
    {SIZE(num_attention_heads), .what = "attention heads", .group = ORGAN_GROUP_SKELETON},
    {SIZE(num_key_value_heads), .what = "KV heads", .group = ORGAN_GROUP_SKELETON},
    {SIZE(head_dim), .what = "head width", .group = ORGAN_GROUP_SKELETON},
    {SIZE(num_experts), .what = "experts", .group = ORGAN_GROUP_ORGAN,
     .others = "num_local_experts n_routed_experts"},
    {SIZE(vocab_size), .what = "vocabulary", .group = ORGAN_GROUP_EMBED},
};
#undef SIZE
/* clang-format on */

const organ_hf_config organ_hf_config_unknown = {.hidden_size = -1,
                                                 .intermediate_size = -1,
                                                 .num_hidden_layers = -1,
                                                 .num_attention_heads = -1,
                                                 .num_key_value_heads = -1,
                                                 .head_dim = -1,
                                                 .vocab_size = -1,
                                                 .num_experts = -1};

int64_t organ_size_value(const organ_size *size, const organ_hf_config *config)
{
    return *(const int64_t *)(const void *)((const char *)config + size->at);
}

uint64_t organ_kv_heads(const organ_hf_config *config)
{
    const int64_t kv = config->num_key_value_heads, heads = kv > 0 ? kv : config->num_attention_heads;
    return heads > 0 ? (uint64_t)heads : 0;
}

/* ---- the key-values of a GGUF file ---- */

static organ_status read_architecture(const char *label, const organ_gguf *gguf, organ_hf_config *config,
                                      organ_error *error)
{
    const organ_gguf_kv *kv = organ_gguf_find(gguf, "general.architecture");
    size_t length = 0;
    const char *text = organ_gguf_string(gguf, "general.architecture", &length);
    if (!kv)
        return ORGAN_OK;
    if (!text)
        return organ_refuse(error, label, "key 'general.architecture' is of type %s, not a string",
                            organ_gguf_type_name(kv->type));
    if (length >= sizeof config->model_type)
        return organ_refuse(error, label, "key 'general.architecture' has %zu bytes, more than %zu", length,
                            sizeof config->model_type - 1);
    memcpy(config->model_type, text, length);
    if (strlen(config->model_type) != length || !organ_utf8_valid(config->model_type))
        return organ_refuse(error, label, "key 'general.architecture' is '%s', not valid UTF-8 without NUL",
                            config->model_type);
    strcpy(config->architecture, config->model_type);
    return ORGAN_OK;
}

static organ_status read_size(const char *label, const organ_gguf *gguf, const organ_size *size,
                              organ_hf_config *config, organ_error *error)
{
    char name[ORGAN_MEMBER_ROOM], key[sizeof config->model_type + sizeof name];
    if (!organ_pairing_key_of(size->member, name))
        return ORGAN_OK;
    snprintf(key, sizeof key, "%s.%s", config->model_type, name);
    const organ_gguf_kv *kv = organ_gguf_find(gguf, key);
    if (!kv || kv->type == ORGAN_GGUF_ARRAY)
        return ORGAN_OK;
    int64_t *const value = (int64_t *)(void *)((char *)config + size->at);
    if (!organ_gguf_integer_at(kv, 0, value))
        return organ_refuse(error, label, "key '%s' is of type %s, not a whole number", key,
                            organ_gguf_type_name(kv->type));
    if (*value < 0)
        return organ_refuse(error, label, "key '%s' is %" PRId64 ", below 0", key, *value);
    return ORGAN_OK;
}

/* The number of tokens in tokenizer.ggml.tokens gives the vocabulary size if no key does. Embeddings count as tied
 * if the model has token_embd.weight but no output.weight. */
organ_status organ_gguf_config_read(const char *label, const organ_gguf *gguf, const organ_tensor_list *list,
                                    organ_hf_config *config, organ_error *error)
{
    *config = organ_hf_config_unknown;
    config->present = true;
    read_architecture(label, gguf, config, error);
    for (size_t k = 0; !error->status && k < ORGAN_SIZES; k++)
        read_size(label, gguf, &organ_sizes[k], config, error);
    const organ_gguf_kv *tokens = organ_gguf_find(gguf, "tokenizer.ggml.tokens");
    if (config->vocab_size < 0 && tokens && tokens->type == ORGAN_GGUF_ARRAY)
        config->vocab_size = (int64_t)tokens->count;
    if (config->num_experts == 0)
        config->num_experts = -1; /* no mixture: as for a config.json without the field */
    config->tie_word_embeddings = organ_name_table_find(&list->names, "token_embd.weight") &&
                                  !organ_name_table_find(&list->names, "output.weight");
    return error->status;
}

json_t *organ_sizes_stated(const organ_forward_config *c)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:I, s:b, s:s}", "num_key_value_heads", (json_int_t)c->kv_heads, "head_dim",
                     (json_int_t)c->head_dim, "rms_norm_eps", c->rms_eps, "rope_theta", c->rope.theta,
                     "max_position_embeddings", (json_int_t)c->context, "tie_word_embeddings", (int)c->tied_output,
                     "hidden_act", "silu");
}
