/* SPDX-License-Identifier: MIT
 * Reads members of config.json that only one architecture has: heads that differ between layers (Laguna) or between k
 * and v (MiMo-V2), and the members of some early architectures (forward_early).
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_readers.h"
#include "formats/base/word_lists.h"

#include "formats/base/json.h"
#include "formats/base/owned.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- single members ---- */

const json_t *organ_config_member(const json_t *object, const char *key)
{
    const char *dot;
    while ((dot = strchr(key, '.'))) {
        object = json_object_getn(object, key, (size_t)(dot - key));
        key = dot + 1;
    }
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

void organ_config_refuse(const config_hf_source *s, const char *key, const json_t *value, const char *expected)
{
    ORGAN_OWNED char *text = organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT);
    organ_refuse(s->error, s->label, "%s is %.120s, not %s", key, text ? text : "?", expected);
}

const char *organ_config_name(const config_hf_source *s, const char *key)
{
    for (const char *const(*alias)[2] = s->family ? s->family->aliases : NULL; alias && (*alias)[0]; alias++)
        if (strcmp((*alias)[0], key) == 0 && organ_config_member(s->root, (*alias)[1]))
            return (*alias)[1];
    return key;
}

void organ_config_require(const config_hf_source *s, const json_t *object, const forward_fixed *fixed)
{
    for (; fixed && fixed->key; fixed++) {
        const json_t *const value = organ_config_member(object, fixed->key);
        ORGAN_OWNED char *const text = value ? organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        if (value && (!text || strcmp(text, fixed->value)))
            organ_config_refuse(s, fixed->key, value, fixed->value);
    }
}

void organ_config_require_object(const config_hf_source *s, const json_t *object, const char *key)
{
    const json_t *const value = organ_config_member(object, key);
    if (value && !json_is_object(value))
        organ_config_refuse(s, key, value, "an object");
}

double organ_config_real(const config_hf_source *s, const json_t *object, const char *key, double fallback)
{
    key = object == s->root ? organ_config_name(s, key) : key;
    const json_t *value = organ_config_member(object, key);
    if (value && !json_is_number(value))
        organ_config_refuse(s, key, value, "a number");
    else if (value && !isfinite((float)json_number_value(value)))
        organ_config_refuse(s, key, value, "a finite number of 32 bits");
    return value ? json_number_value(value) : fallback;
}

unsigned organ_config_size(const config_hf_source *s, const char *key, unsigned fallback)
{
    key = organ_config_name(s, key);
    const json_t *value = organ_config_member(s->root, key);
    if (!value)
        return fallback;
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        organ_config_refuse(s, key, value, "a whole number from 0");
        return 0;
    }
    return json_integer_value(value) > UINT32_MAX ? UINT32_MAX : (unsigned)json_integer_value(value);
}

unsigned organ_config_needed(const config_hf_source *s, const char *key)
{
    if (!organ_config_member(s->root, organ_config_name(s, key)))
        organ_refuse(s->error, s->label, "%s is missing", key);
    return organ_config_size(s, key, 0);
}

bool organ_config_flag(const config_hf_source *s, const char *key, bool fallback)
{
    key = organ_config_name(s, key);
    const json_t *value = organ_config_member(s->root, key);
    if (value && !json_is_boolean(value))
        organ_config_refuse(s, key, value, "true or false");
    return value ? json_is_true(value) : fallback;
}

const char *organ_config_word(const config_hf_source *s, const json_t *object, const char *key, const char *fallback)
{
    key = object == s->root ? organ_config_name(s, key) : key;
    const json_t *value = organ_config_member(object, key);
    const char *word = value ? organ_json_plain(value) : fallback;
    if (value && !word)
        organ_config_refuse(s, key, value, "a string");
    return word ? word : fallback;
}

bool organ_config_flag_of(const config_hf_source *s, forward_flag flag)
{
    return flag.key ? organ_config_flag(s, flag.key, flag.otherwise) : flag.otherwise;
}

/* Model types of transformers 5.24 whose config.json has the language model in text_config. Its classes tie the output
 * head by the flag at the top of the file (PreTrainedModel.get_expanded_tied_weights_keys reads config, not
 * text_config). */
static const struct tie_row {
    const char *types;
    bool otherwise; /* default of the flag at the top */
    bool either;    /* a flag of text_config that is true ties, too */
} ties[] = {
    {"apertus1p5 aria blip-2 cohere_compass cosmos3_edge cosmos3_omni deepseek_ocr2 dots3_note emu3 exaone4_5 fuyu "
     "glm46v glm5_next glmga granite4_vision hy_v4_vl idefics2 idefics3 inkling2 inkling2_loop inkling_mm_model "
     "instructblip instructblipvideo llama4 llava_next minicpmv4_6 minicpmv4_7 mistral_large4 mllama molmo2 "
     "muse_glimmer muse_spark nemo_speechlm nemotron_h_omni omniasr pix2struct pp_formulanet qianfan_ocr "
     "qwen2_5_omni qwen2_5_omni_thinker qwen2_audio qwen3_5 qwen3_5_moe qwen3_omni_moe qwen3_omni_moe_thinker "
     "qwen3_vl qwen3_vl_moe qwen4_exp smolvlm step3p7 unlimited_ocr vibevoice_asr video_llava vipllava voxtral",
     false, false},
    {"aya_vision blip cohere2_vision deepseek_vl deepseek_vl_hybrid diffusion_gemma ernie4_5_vl_moe florence2 gemma3 "
     "gemma3n gemma4 gemma4_unified gemma4_unified_assistant glmasr got_ocr2 granite_docling granite_speech "
     "granite_speech_plus hyperclovax_vision_v2 internvl janus kimi_k25 kosmos-2 kosmos-2.5 lfm2_vl lfm3_vl "
     "lighton_ocr minicpm_ocr mistral3 moss_transcribe_diarize ovis2 paligemma pp_chart2table qwen3_asr "
     "voxtral_realtime",
     true, false},
    {"fast_vlm glm4v glm4v_moe glm_ocr llava llava_next_video llava_onevision minimax_m3_vl qwen2_5_vl qwen2_vl "
     "shieldgemma2 video_llama_3",
     false, true},
    {"hunyuan_vl paddleocr_vl", true, true},
};

static const struct tie_row *tie_of(const json_t *file)
{
    const char *const type = organ_json_plain(json_object_get(file, "model_type"));
    for (size_t k = 0; type && k < sizeof ties / sizeof *ties; k++)
        if (organ_lists_word(ties[k].types, ' ', type, strlen(type)))
            return &ties[k];
    return NULL;
}

bool organ_config_is_tied(const config_hf_source *s)
{
    static const char flag[] = "tie_word_embeddings";
    const config_hf_source top = {s->label, s->file, s->file, s->family, s->error};
    const struct tie_row *const row = tie_of(s->file);
    const bool usual = s->family && s->family->tied;
    if (!row)
        return organ_config_flag(&top, flag, organ_config_flag(s, flag, usual || s->root != s->file));
    /* The flag of text_config must be a flag, also if it has no effect. */
    const bool own = s->root != s->file && organ_config_flag(s, flag, usual);
    return organ_config_flag(&top, flag, row->otherwise) || (row->either && own);
}

double organ_config_number(const config_hf_source *s, forward_number number)
{
    return number.key ? organ_config_real(s, s->root, number.key, number.otherwise) : 0;
}

const json_t *organ_config_list(const config_hf_source *s, const char *key, const char *item, unsigned layers)
{
    const json_t *const list = organ_config_member(s->root, key);
    char expected[96];
    if (json_is_array(list) && json_array_size(list) == layers)
        return list;
    snprintf(expected, sizeof expected, "a list with %s for each of num_hidden_layers", item);
    if (list)
        organ_config_refuse(s, key, list, expected);
    else
        organ_refuse(s->error, s->label, "%s is not %s", key, expected);
    return NULL;
}

organ_layer_kind *organ_config_layer(const config_hf_source *s, const char *key, const json_t *item, unsigned first,
                                     organ_forward_config *c)
{
    const json_int_t number = json_integer_value(item), least = first;
    if (json_is_integer(item) && number >= least && number < least + c->layers)
        return &c->kinds[number - least];
    organ_config_refuse(s, key, item, first ? "a number of a layer from 1 on" : "a layer number");
    return NULL;
}

bool organ_config_layer_is(const config_hf_source *s, const char *key, const json_t *list, unsigned layer,
                           const char *yes, const char *no)
{
    const char *const word = organ_json_plain(json_array_get(list, layer));
    const bool is = word && strcmp(word, yes) == 0;
    if (!is && (!word || strcmp(word, no)))
        organ_refuse(s->error, s->label, "%s: '%s' is not supported", key, word ? word : "?");
    return is;
}

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
        organ_refuse(s->error, s->label, "%s is not %u, the value that transformers always uses", key, value);
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
            organ_refuse(s->error, s->label, "the sliding window of some layers is 0 tokens");
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
        organ_refuse(s->error, s->label,
                     "attention_layers and attention_types are not global or local for each of %u layers", c->layers);
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
        organ_refuse(s->error, s->label, "window_size is 0");
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
        set_neo(s, c, c->layers, /*kind=*/NULL);
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
        organ_refuse(s->error, s->label, "word_embed_proj_dim is not hidden_size, which is not supported");
    if (!before && c->norm_unweighted)
        organ_refuse(s->error, s->label, "layer_norm_elementwise_affine without do_layer_norm_before is not supported");
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
        organ_refuse(s->error, s->label, "norm_type '%s' is not supported", norm);
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
        organ_refuse(s->error, s->label, "sinusoidal positions need a hidden_size of at least 4");
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
        organ_refuse(s->error, s->label, "num_attention_heads is %u, not a multiple of 4", c->heads);
    organ_forward_config_place(c);
}

/* ---- windows, chunks, sinks and rotation of layers ---- */

/* In families with chunks, "chunked_attention" takes the place of "sliding_attention" and gives a layer chunks. Words
 * of recurrent layers are those of forward_recurrent. */
static void read_layer_types(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const types = organ_config_list(s, "layer_types", "a string", c->layers);
    for (unsigned l = 0; types && l < c->layers; l++) {
        if (c->kinds[l].mixer != ORGAN_MIXER_ATTENTION) {
            c->kinds[l].window = 0;
            continue;
        }
        const char *const local = s->family->chunk ? "chunked_attention" : "sliding_attention";
        const bool is_local = organ_config_layer_is(s, "layer_types", types, l, local, "full_attention");
        if (is_local && s->family->chunk) {
            c->kinds[l].chunk = organ_config_needed(s, s->family->chunk);
            continue;
        }
        if (is_local && c->window == 0)
            organ_refuse(s->error, s->label, "the sliding window of some layers is 0 tokens");
        c->kinds[l].window = is_local ? c->window : 0;
    }
}

/* The leading dense layers follow a pattern of their own: every n-th of them has no window, where n is the member
 * that forward_family.dense_pattern names. Every `pattern`-th of the layers from the first mixture on, counted from
 * there, has no window either. If n or `pattern` is 0, all these layers have one. */
static void set_windows_after_dense(const config_hf_source *s, unsigned pattern, organ_forward_config *c)
{
    const unsigned own = organ_config_size(s, s->family->dense_pattern, 1);
    unsigned dense = 0;
    while (dense < c->layers && !c->kinds[dense].mixture)
        dense++;
    for (unsigned l = 0; l < c->layers; l++) {
        const unsigned every = l < dense ? own : pattern, number = l < dense ? l : l - dense;
        c->kinds[l].window = every == 0 || (number + 1) % every != 0 ? c->window : 0;
    }
}

/* Files without layer_types follow rules by the layers' numbers (forward_windows). First all layers get the window
 * except every `pattern`-th (0: no exception): the last of each `pattern` layers, with first_full the first. Then
 * the layers below `border` lose it or, with `odd`, layers 1, 3, ... and those from `border` on. */
static void set_windows_by_number(const config_hf_source *s, organ_forward_config *c)
{
    const forward_windows windows = s->family->windows;
    const bool from_a_layer = windows == WINDOWS_FLAG || windows == WINDOWS_FROM, odd = windows == WINDOWS_FLAG_ODD;
    const unsigned border =
        from_a_layer || odd ? organ_config_size(s, "max_window_layers", s->family->window_border) : 0;
    const unsigned pattern =
        windows >= WINDOWS_TYPES ? organ_config_size(s, "sliding_window_pattern", s->family->window_pattern) : 0;
    if (windows == WINDOWS_PATTERN && pattern == 0)
        organ_refuse(s->error, s->label, "sliding_window_pattern is 0, not from 1");
    if (windows == WINDOWS_PATTERN && pattern != 1 && c->window == 0)
        organ_refuse(s->error, s->label, "the sliding window of some layers is 0 tokens");
    if (s->family->dense_pattern)
        set_windows_after_dense(s, pattern, c);
    else
        organ_forward_config_pattern(c, pattern);
    for (unsigned l = 0; s->family->first_full && pattern && l < c->layers; l++)
        c->kinds[l].window = l % pattern ? c->window : 0;
    for (unsigned l = 0; l < c->layers; l++)
        if (odd ? l % 2 == 1 || l >= border : l < border)
            c->kinds[l].window = 0;
}

/* Without layer_types, the layers that rotate q and k attend within chunks. */
static void read_chunks(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const types = organ_config_member(s->root, "layer_types");
    const unsigned chunk = organ_config_needed(s, s->family->chunk);
    if (chunk == 0)
        organ_refuse(s->error, s->label, "%s is 0", s->family->chunk);
    if (types)
        read_layer_types(s, c);
    for (unsigned l = 0; !types && l < c->layers; l++)
        c->kinds[l].chunk = c->kinds[l].rotated ? chunk : 0;
}

void organ_config_windows(const config_hf_source *s, organ_forward_config *c)
{
    const forward_windows windows = s->family->windows;
    const json_t *const types = windows >= WINDOWS_FLAG ? organ_config_member(s->root, "layer_types") : NULL;
    const bool has_switch = windows == WINDOWS_FLAG || windows == WINDOWS_FLAG_ALL || windows == WINDOWS_FLAG_ODD ||
                            windows == WINDOWS_UNROTATED;
    const bool given = json_object_get(s->root, organ_config_name(s, "sliding_window")) != NULL;
    if (windows == WINDOWS_NONE)
        return;
    if (windows == WINDOWS_PATTERN)
        c->window = organ_config_needed(s, "sliding_window");
    else if (!has_switch || organ_config_flag(s, "use_sliding_window", false))
        c->window = organ_config_size(s, "sliding_window", given ? 0 : s->family->window);
    if (types)
        read_layer_types(s, c);
    else if (windows != WINDOWS_UNROTATED && (c->window || windows == WINDOWS_PATTERN))
        set_windows_by_number(s, c);
}

static void read_no_rope_list(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *list = organ_config_member(s->root, "no_rope_layers");
    if (s->family->chunk && json_is_array(list) &&
        json_array_size(list) == 0) /* published files of Llama 4 have an empty list */
        list = NULL;
    const unsigned interval = organ_config_size(s, "no_rope_layer_interval", 4);
    if (list)
        organ_config_list(s, "no_rope_layers", "0 or 1", c->layers);
    if (!list && interval == 0)
        organ_refuse(s->error, s->label, "no_rope_layer_interval is 0");
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        const json_t *const rotates = list ? json_array_get(list, l) : NULL;
        if (list && !json_is_integer(rotates))
            organ_config_refuse(s, "no_rope_layers", list, "a list with 0 or 1 for each of num_hidden_layers");
        c->kinds[l].rotated = list ? json_integer_value(rotates) != 0 : (l + 1) % interval != 0;
    }
}

/* A null means that the model does not rotate q and k. */
static bool has_null_theta(const config_hf_source *s)
{
    const json_t *const rope = organ_config_member(s->root, "rope_parameters");
    return json_is_null(json_object_get(rope ? rope : s->root, "rope_theta"));
}

/* A base of 0 means that the layer does not rotate q and k. Other bases must be equal in all layers with a window,
 * and in all layers without a window. */
static void read_thetas(const config_hf_source *s, organ_forward_config *c)
{
    static const char key[] = "layer_rope_theta";
    const json_t *const list =
        organ_config_member(s->root, key) ? organ_config_list(s, key, "a number", c->layers) : NULL;
    double of_kind[2] = {0, 0}; /* base of the layers without and with a window; 0: not known yet */
    for (unsigned l = 0; list && l < c->layers; l++) {
        const json_t *const value = json_array_get(list, l);
        const double theta = json_number_value(value);
        double *const theta_of_kind = &of_kind[c->kinds[l].window != 0];
        if (!json_is_number(value) || (theta != 0 && *theta_of_kind != 0 && theta != *theta_of_kind))
            organ_config_refuse(s, key, list, "a list in which layers of the same kind have the same number, or 0");
        c->kinds[l].rotated = theta != 0;
        *theta_of_kind = theta != 0 ? theta : *theta_of_kind;
    }
    c->rope.theta = of_kind[0] != 0 ? of_kind[0] : c->rope.theta;
    c->rope_local.theta = of_kind[1] != 0 ? of_kind[1] : c->rope_local.theta;
}

/* forward_family.unrotated is the rule for the rotation; leading dense layers also rotate if the member that
 * dense_pattern names is 1. */
void organ_config_positions(const config_hf_source *s, organ_forward_config *c)
{
    organ_forward_config_sinks(c, s->family->sinks);
    if (s->family->unrotated == UNROTATED_LIST)
        read_no_rope_list(s, c);
    const bool unlisted = s->family->windows == WINDOWS_UNROTATED && !organ_config_member(s->root, "layer_types");
    for (unsigned l = 0; unlisted && l < c->layers; l++)
        c->kinds[l].window = c->kinds[l].rotated ? 0 : c->window;
    if (s->family->unrotated == UNROTATED_FULL || s->family->unrotated == UNROTATED_EVERY_FULL)
        organ_forward_config_unrotate(s->family->unrotated == UNROTATED_EVERY_FULL, c);
    for (unsigned l = 0; s->family->dense_pattern && l < c->layers; l++)
        if (!c->kinds[l].mixture && organ_config_size(s, s->family->dense_pattern, 1) == 1)
            c->kinds[l].rotated = true;
    const bool unless = s->family->unrotated == UNROTATED_UNLESS &&
                        strcmp(organ_config_word(s, s->root, "position_embedding_type", "nope"), "rope");
    const bool none = s->family->unrotated == UNROTATED_NULL && has_null_theta(s);
    for (unsigned l = 0; (unless || none || s->family->unrotated == UNROTATED_ALL) && l < c->layers; l++)
        c->kinds[l].rotated = false;
    if (s->family->unrotated == UNROTATED_THETAS)
        read_thetas(s, c);
    if (s->family->chunk && !s->error->status)
        read_chunks(s, c);
}
