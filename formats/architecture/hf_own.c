/* SPDX-License-Identifier: MIT
 * Reads members of config.json that only one architecture has: heads that differ between layers (Laguna) or between k
 * and v (MiMo-V2), and the members of some early architectures (forward_early).
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_check.h"
#include "formats/architecture/hf.h"

#include "formats/base/json_text.h"

#include <string.h>

static unsigned number_at(const config_hf_source *s, const json_t *list, const char *key, size_t layer)
{
    const json_t *const value = json_array_get(list, layer);
    const json_int_t number = json_integer_value(value);
    if (json_is_integer(value) && number >= 0 && number <= UINT32_MAX)
        return (unsigned)number;
    organ_config_refuse(s, key, value, "a whole number from 0");
    return 0;
}

static void read_laguna(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const key = "num_attention_heads_per_layer";
    const json_t *const gating = organ_config_member(s->root, "gating");
    const json_t *const list =
        organ_config_member(s->root, key) ? organ_config_list(s, key, "a number", c->layers) : NULL;
    const char *const word = gating && json_is_string(gating) ? organ_json_plain(gating) : "";
    c->gate_heads = !gating || json_is_true(gating) || strcmp(word, "per-head") == 0;
    if (!c->gate_heads && strcmp(word, "per-element"))
        organ_config_refuse(s, "gating", gating, "true, per-head or per-element");
    for (unsigned l = 0; list && l < c->layers; l++)
        c->kinds[l].heads = number_at(s, list, key, l);
}

/* transformers always computes with `value`. */
static void require_same(const config_hf_source *s, const char *key, unsigned value)
{
    if (organ_config_size(s, key, value) != value)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is not %u, the value that transformers always uses", s->label,
                   key, value);
}

/* Layers with a window have twice as many heads of k and v as the others. Published files have 1 for these layers in
 * hybrid_layer_pattern, and their sliding_window_size does not count the query's own token: hence size + 1. */
static void read_mimo(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const key = "hybrid_layer_pattern";
    const unsigned value_dim = organ_config_needed(s, "v_head_dim"),
                   size = organ_config_size(s, "sliding_window_size", 0);
    const json_t *const list =
        organ_config_member(s->root, "layer_types") ? NULL : organ_config_list(s, key, "a number", c->layers);
    /* kv: k and v heads of layers with a window; 0, which the check of sizes rejects, instead of an overflow */
    const unsigned window = size ? size + 1 : c->window, kv = c->kv_heads > 1 << 16 ? 0 : 2 * c->kv_heads;
    require_same(s, "swa_num_key_value_heads", kv);
    require_same(s, "swa_num_attention_heads", c->heads);
    require_same(s, "swa_head_dim", c->head_dim);
    require_same(s, "swa_v_head_dim", value_dim);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        const bool windowed = list ? number_at(s, list, key, l) == 1 : kind->window != 0;
        kind->window = windowed ? window : 0;
        kind->kv_heads = windowed ? kv : c->kv_heads;
        kind->value_dim = value_dim;
        if (windowed && window == 0)
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: the sliding window of some layers is 0 tokens", s->label);
    }
    c->window = window;
}

void organ_config_heads(const config_hf_source *s, organ_forward_config *c)
{
    if (s->family->heads == HEADS_LAGUNA)
        read_laguna(s, c);
    else if (s->family->heads == HEADS_MIMO)
        read_mimo(s, c);
}

/* ---- GPTBigCode ---- */

/* The rows are those of GPTBigCodeAttention of transformers: with multi_query all heads of q, then the only head of
 * k and that of v; else q, k and v of each head. */
static void read_bigcode(const config_hf_source *s, organ_forward_config *c)
{
    const bool one = organ_config_flag(s, "multi_query", true);
    c->fused = one ? ORGAN_FUSED_THIRDS : ORGAN_FUSED_HEADS;
    c->kv_heads = one ? 1 : c->heads;
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].kv_heads = c->kv_heads;
}

/* ---- GPT-Neo ---- */

/* In GPTNeoSelfAttention of transformers, "local" attends to the last window_size keys, the query's own included;
 * "global" has no window. */
static void set_neo(const config_hf_source *s, organ_forward_config *c, unsigned layer, const json_t *kind)
{
    const char *const word = json_is_string(kind) ? organ_json_plain(kind) : NULL;
    const bool local = word && strcmp(word, "local") == 0;
    if (layer >= c->layers || (!local && (!word || strcmp(word, "global"))))
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: attention_layers and attention_types are not global or local for each of %u layers", s->label,
                   c->layers);
    else
        c->kinds[layer].window = local ? c->window : 0;
}

/* attention_layers has a word for each layer; attention_types, which is all that older files have, has pairs of a
 * list of words and the number of its repetitions. */
static void read_neo(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const types = organ_config_member(s->root, "attention_types"), *item, *kind;
    const bool listed = organ_config_member(s->root, "attention_layers") != NULL;
    const json_t *const layers = listed ? organ_config_list(s, "attention_layers", "a string", c->layers) : NULL;
    unsigned layer = 0;
    size_t k, n;
    c->window = organ_config_size(s, "window_size", 256);
    if (c->window == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: window_size is 0", s->label);
    json_array_foreach(layers, k, kind) set_neo(s, c, layer++, kind);
    for (k = 0; !listed && k < json_array_size(types) && !s->error->status; k++) {
        item = json_array_get(types, k);
        const json_int_t times = json_integer_value(json_array_get(item, 1));
        if (!json_is_integer(json_array_get(item, 1)))
            organ_config_refuse(s, "attention_types", types, "pairs of a list of words and a whole number");
        for (json_int_t t = 0; t < times && !s->error->status && json_array_size(json_array_get(item, 0)); t++)
            json_array_foreach(json_array_get(item, 0), n, kind) set_neo(s, c, layer++, kind);
    }
    if (layer != c->layers) /* too few words or too many: set_neo reports the error */
        set_neo(s, c, c->layers, NULL);
}

/* ---- OPT ---- */

/* The norms are before attention and feed-forward, or on the sums after them. */
static void read_opt(const config_hf_source *s, organ_forward_config *c)
{
    const bool before = organ_config_flag(s, "do_layer_norm_before", true);
    c->norm_unweighted = !organ_config_flag(s, "layer_norm_elementwise_affine", true);
    c->norm_biased = !c->norm_unweighted;
    c->norms = before ? ORGAN_NORMS_BEFORE : ORGAN_NORMS_ON_SUM;
    c->last_norm_missing = !before || organ_config_flag(s, "_remove_final_layer_norm", false);
    if (organ_config_size(s, "word_embed_proj_dim", (unsigned)c->hidden) != c->hidden)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: word_embed_proj_dim is not hidden_size, which is not supported",
                   s->label);
    if (!before && c->norm_unweighted)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: layer_norm_elementwise_affine without do_layer_norm_before is not supported", s->label);
}

/* ---- MPT ---- */

/* transformers ignores the members in `fixed` and always computes with these values. */
static void read_mpt(const config_hf_source *s, organ_forward_config *c)
{
    static const forward_fixed fixed[] = {{"alibi", "true"},
                                          {"alibi_bias_max", "8"},
                                          {"qk_ln", "false"},
                                          {"prefix_lm", "false"},
                                          {"attn_type", "\"multihead_attention\""},
                                          {0}};
    const json_t *const object = organ_config_member(s->root, "attn_config");
    const char *const norm = organ_config_word(s, s->root, "norm_type", "layernorm");
    organ_config_require_object(s, s->root, "attn_config");
    if (strcmp(norm, "layernorm") && strcmp(norm, "low_precision_layernorm"))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: norm_type '%s' is not supported", s->label, norm);
    organ_config_require(s, object, fixed);
    c->clip_qkv = organ_config_real(s, object, "clip_qkv", 0);
    c->attention_scale = organ_config_real(s, object, "softmax_scale", c->attention_scale);
}

/* ---- DBRX ---- */

/* moe_normalize_expert_weights is the p of the p-norm by which the factors of a token's experts are divided: 1 by
 * default, null for no division. */
static void read_dbrx(const config_hf_source *s, organ_forward_config *c)
{
    static const char key[] = "ffn_config.moe_normalize_expert_weights";
    const json_t *const object = organ_config_member(s->root, "ffn_config");
    organ_config_require_object(s, s->root, "attn_config");
    organ_config_require_object(s, s->root, "ffn_config");
    const double p = organ_config_real(s, s->root, key, json_object_get(object, strchr(key, '.') + 1) ? 0 : 1);
    c->normalise_experts = p == 1;
    if (p != 0 && p != 1)
        organ_config_refuse(s, key, organ_config_member(s->root, key), "1 or null");
}

/* ---- XGLM ---- */

/* The row of sinusoidal positions of the padding position, pad_token_id, is zeros. A null means a position that no
 * window reaches. */
static void read_xglm(const config_hf_source *s, organ_forward_config *c)
{
    const bool missing = !json_object_get(s->root, "pad_token_id");
    c->position_padding = organ_config_size(s, "pad_token_id", missing ? 1 : UINT32_MAX);
    if (c->hidden < 4)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: sinusoidal positions need a hidden_size of at least 4", s->label);
}

/* ---- the table of readers ---- */

void organ_config_early(const config_hf_source *s, organ_forward_config *c)
{
    static void (*const readers[])(const config_hf_source *, organ_forward_config *) = {
        [EARLY_BIGCODE] = read_bigcode, [EARLY_NEO] = read_neo,   [EARLY_OPT] = read_opt,
        [EARLY_MPT] = read_mpt,         [EARLY_DBRX] = read_dbrx, [EARLY_XGLM] = read_xglm};
    if (s->error->status == ORGAN_OK && s->family->early != EARLY_NONE)
        readers[s->family->early](s, c);
    if (c->fused == ORGAN_FUSED_QUARTERS && c->heads % 4)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: num_attention_heads is %u, not a multiple of 4", s->label, c->heads);
    organ_forward_config_place(c);
}
