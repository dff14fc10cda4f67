/* SPDX-License-Identifier: MIT
 * The rules about members of config.json and about tensors, for models of some types. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <stdio.h>
#include <string.h>

typedef enum member_is {
    IS_TRUE,     /* the member of config.json is true */
    IS_NUMBER,   /* a positive number */
    IS_OTHER,    /* another word than "silu" */
    IS_LIST,     /* a list with entries */
    IS_MISSING,  /* null or missing */
    IS_UNNAMED,  /* missing, and not added to the output (organ_readers_add_names) */
    IS_PART,     /* the member of the settings of RoPE is below 1 */
    IS_FALSE,    /* ... is false */
    IS_TWO,      /* ... is a list other than long_factor */
    NO_LIST,     /* ... is no list */
    IS_NOT_7,    /* a number other than 7 */
    IS_SMALLER,  /* the embedding is the head, and the number is another than hidden_size */
    IS_UNEVEN,   /* layer_types, here or in text_config, are not every n-th full_attention */
    PER_CHANNEL, /* a tensor whose name ends with the key has more rows than heads */
    HAS_TENSOR,  /* a tensor's name ends with the key */
    /* of GGUF files: a key of the architecture has another number */
    KEY_NOT_256,
    KEY_NOT_768,
} member_is;

/* `types`: values of model_type, or of general.architecture in GGUF files; NULL: all. */
/* clang-format off */
static const struct {
    organ_reader reader;
    const char *types, *key;
    member_is when;
    organ_reader_verdict verdict;
    const char *why;
} rules[] = {
    {ORGAN_READER_VLLM, NULL, "intermediate_size", IS_LIST, ORGAN_REFUSED, "it reads one size for all layers"},

    {ORGAN_READER_TRANSFORMERS, "gemma3", "attention.key_length", KEY_NOT_256, ORGAN_OPENS_OTHERWISE,
     "it divides attention scores by the root of 256 in each GGUF file of this architecture"},
    {ORGAN_READER_TRANSFORMERS, "qwen3moe", "expert_feed_forward_length", KEY_NOT_768, ORGAN_REFUSED,
     "it expects experts with 768 channels in each GGUF file of this architecture"},

    {ORGAN_READER_VLLM, "lfm2", "conv_dim", IS_UNNAMED, ORGAN_REFUSED, "it needs conv_dim in config.json"},
    {ORGAN_READER_VLLM, "lfm2", "block_dim", IS_UNNAMED, ORGAN_REFUSED, "it needs block_dim in config.json"},

    {ORGAN_READER_MISTRALRS, NULL, "rope_theta", IS_UNNAMED, ORGAN_REFUSED,
     "it needs rope_theta at the top level of config.json"},
    {ORGAN_READER_MISTRALRS, "qwen3_moe", "num_experts", IS_UNNAMED, ORGAN_REFUSED,
     "it needs num_experts in config.json, which transformers 5 writes as num_local_experts"},
    {ORGAN_READER_MISTRALRS, "qwen3_moe", "max_window_layers", IS_UNNAMED, ORGAN_REFUSED,
     "it needs max_window_layers in config.json"},

    {ORGAN_READER_MLX, "afmoe apertus", "attention_bias", IS_TRUE, ORGAN_REFUSED,
     "it has no biases of attention in models of this type"},
    {ORGAN_READER_MLX, "phi", "qk_layernorm", IS_TRUE, ORGAN_REFUSED,
     "it has no norms of queries and keys in models of this type"},
    {ORGAN_READER_MLX, "ernie4_5_moe", "lm_head.bias", HAS_TENSOR, ORGAN_REFUSED,
     "it has no bias of the output head in models of this type"},
    {ORGAN_READER_MLX, "mixtral olmoe phimoe", "experts.gate_up_proj", HAS_TENSOR, ORGAN_REFUSED,
     "it reads experts one by one, not as the stacks of transformers 5"},
    {ORGAN_READER_MLX, "qwen2_moe", "mlp_only_layers", IS_LIST, ORGAN_REFUSED,
     "it has experts in each layer of models of this type"},
    {ORGAN_READER_MLX, "ernie4_5_moe", "e_score_correction_bias", HAS_TENSOR, ORGAN_OPENS_OTHERWISE,
     "it leaves out the correction of the router"},
    {ORGAN_READER_MLX, "gemma2 mixtral phi3 phimoe qwen2 starcoder2", "sliding_window", IS_NUMBER,
     ORGAN_OPENS_OTHERWISE, "its attention has no sliding window: texts longer than the window differ"},
    {ORGAN_READER_MLX, "llama", "hidden_act", IS_OTHER, ORGAN_OPENS_OTHERWISE, "its activation is silu"},
    {ORGAN_READER_MLX, "glm", "partial_rotary_factor", IS_PART, ORGAN_OPENS_OTHERWISE,
     "it rotates all channels of a head in models of this type"},
    {ORGAN_READER_MLX, "gpt_oss", "swiglu_limit", IS_NOT_7, ORGAN_OPENS_OTHERWISE, "its limit is 7"},
    {ORGAN_READER_MLX, "gpt_oss", "truncate", IS_FALSE, ORGAN_OPENS_OTHERWISE,
     "it rounds the bounds of YaRN's ramp to whole dimensions"},
    {ORGAN_READER_MLX, "minicpm3", "dim_model_base", IS_SMALLER, ORGAN_OPENS_OTHERWISE,
     "it does not divide the logits of a head that is the embedding"},
    {ORGAN_READER_MLX, "minicpm3", "short_factor", IS_TWO, ORGAN_OPENS_OTHERWISE,
     "it takes long_factor for short texts, too"},
    {ORGAN_READER_MLX, "minicpm3", "long_factor", NO_LIST, ORGAN_REFUSED,
     "it reads no model of this type without longrope"},
    {ORGAN_READER_MLX, "minicpm3", "q_lora_rank", IS_MISSING, ORGAN_REFUSED,
     "it reads no model of this type without this rank"},
    {ORGAN_READER_MLX, "deepseek_v2", "mlp.down_proj.bias", HAS_TENSOR, ORGAN_REFUSED,
     "it has no biases of feed-forwards in models of this type"},
    {ORGAN_READER_MLX, "laguna", "self_attn.g_proj.weight", PER_CHANNEL, ORGAN_REFUSED,
     "its attention has one gate for each head"},
    {ORGAN_READER_MLX, "qwen3_next qwen3_5 qwen3_5_moe", "layer_types", IS_UNEVEN, ORGAN_REFUSED,
     "it reads only models in which every n-th layer has full attention"},
};
/* clang-format on */

const json_t *organ_rope_of_full_attention(const json_t *root)
{
    const json_t *const rope = json_object_get(root, "rope_parameters"), *const full =
                                                                             json_object_get(rope, "full_attention");
    return json_is_object(full) ? full : rope;
}

bool organ_layer_is_full_attention(const json_t *kinds, size_t k)
{
    const char *const kind = json_string_value(json_array_get(kinds, k));
    return kind && strcmp(kind, "full_attention") == 0;
}

size_t organ_interval_of_full_attention(const json_t *root)
{
    const json_t *const kinds = json_object_get(root, "layer_types");
    for (size_t k = 0; k < json_array_size(kinds); k++)
        if (organ_layer_is_full_attention(kinds, k))
            return k + 1;
    return 0;
}

static bool has_tensor(const organ_model *model, const char *end)
{
    bool found = false;
    for (size_t k = 0; k < model->tensor_count && !found; k++)
        found = organ_ends_with(model->tensors[k].name, end);
    return found;
}

static bool is_smaller(const json_t *root, const json_t *value)
{
    return json_is_true(json_object_get(root, "tie_word_embeddings")) && json_is_number(value) &&
           json_number_value(value) != json_number_value(json_object_get(root, "hidden_size"));
}

static bool is_uneven(const json_t *root)
{
    const json_t *const text = json_object_get(root, "text_config"), *const own = text ? text : root,
                        *const kinds = json_object_get(own, "layer_types");
    const size_t interval = organ_interval_of_full_attention(own);
    for (size_t k = 0; k < json_array_size(kinds); k++)
        if (interval == 0 || organ_layer_is_full_attention(kinds, k) != ((k + 1) % interval == 0))
            return true;
    return false;
}

static bool has_rows(const organ_model *model, const json_t *root, const char *end)
{
    const json_int_t heads = json_integer_value(json_object_get(root, "num_attention_heads"));
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (organ_ends_with(t->name, end) && t->rank == 2 && t->shape[0] > (uint64_t)heads)
            return true;
    }
    return false;
}

/* Returns whether settings of RoPE are as the rule says. */
static bool rope_holds(const json_t *root, const char *key, member_is when)
{
    const json_t *const scaling = json_object_get(root, "rope_scaling"), *const rope =
                                                                             json_is_object(scaling)
                                                                                 ? scaling
                                                                                 : organ_rope_of_full_attention(root);
    const json_t *const own = json_object_get(rope, key), *const value = own ? own : json_object_get(root, key);
    switch (when) {
    case IS_PART:
        return json_is_number(value) && json_number_value(value) < 1;
    case IS_FALSE:
        return json_is_false(value);
    case NO_LIST:
        return !json_is_array(value);
    default:
        return json_is_array(value) && !json_equal(value, json_object_get(rope, "long_factor"));
    }
}

static bool is_number(const json_t *root, const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) > 0 &&
           !json_is_false(json_object_get(root, "use_sliding_window"));
}

/* Returns whether the GGUF file has another number than `expected`. */
static bool key_differs(const organ_model *model, const char *key, int64_t expected)
{
    char name[160];
    snprintf(name, sizeof name, "%s.%s", model->config.architecture, key);
    return model->gguf && organ_gguf_integer(model->gguf, name, expected) != expected;
}

static bool holds(const organ_opened *opened, const char *key, member_is when)
{
    const json_t *const root = opened->config, *const value = json_object_get(root, key);
    switch (when) {
    case IS_TRUE:
        return json_is_true(value);
    case IS_NUMBER:
        return is_number(root, value);
    case IS_OTHER:
        return json_is_string(value) && strcmp(json_string_value(value), "silu") != 0;
    case IS_LIST:
        return json_array_size(value) > 0;
    case IS_MISSING:
        return !value || json_is_null(value);
    case IS_UNNAMED:
        return !value && !opened->named && !json_object_get(root, "text_config");
    case IS_NOT_7:
        return json_is_number(value) && json_number_value(value) != 7;
    case IS_SMALLER:
        return is_smaller(root, value);
    case IS_UNEVEN:
        return is_uneven(root);
    case PER_CHANNEL:
        return has_rows(opened->model, root, key);
    case HAS_TENSOR:
        return has_tensor(opened->model, key);
    case KEY_NOT_256:
        return key_differs(opened->model, key, 256);
    case KEY_NOT_768:
        return key_differs(opened->model, key, 768);
    default:
        return rope_holds(root, key, when);
    }
}

void organ_reader_members(organ_reader reader, const organ_opened *opened, organ_reader_note *note, void *context)
{
    const char *const type = opened->model->config.model_type;
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++)
        if (rules[k].reader == reader &&
            (rules[k].when < KEY_NOT_256 ? opened->config != NULL : opened->model->gguf != NULL) &&
            (!rules[k].types || organ_lists_word(rules[k].types, ' ', type, strlen(type))) &&
            holds(opened, rules[k].key, rules[k].when))
            note(context, &(organ_opening){.verdict = rules[k].verdict, .why = rules[k].why, .member = rules[k].key});
}
