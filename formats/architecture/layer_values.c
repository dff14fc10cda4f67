/* SPDX-License-Identifier: MIT
 * The rules are those of the configuration classes of transformers 5.24. */
#include "formats/architecture/layer_values.h"

#include "formats/architecture/config_readers.h"
#include "formats/architecture/pairing.h"
#include "formats/base/owned.h"
#include "formats/base/word_lists.h"

#include <stdlib.h>
#include <string.h>

#define FULL     "full_attention"
#define SLIDING  "sliding_attention"
#define LINEAR   "linear_attention"
#define TYPES    "layer_types"
#define HEAVILY  "heavily_compressed_attention" /* of DeepSeek-V4 */
#define SPARSELY "compressed_sparse_attention"

typedef enum rule_kind {
    RULE_PERIOD,       /* `hit` if (layer + shift) % period is 0 */
    RULE_FIRST,        /* `hit` for the first layers, as many as the member says */
    RULE_AFTER_DENSE,  /* RULE_PERIOD for the dense layers and, counted from 1 again, for the others (Cohere 2) */
    RULE_FIRST_TOO,    /* RULE_PERIOD, and `hit` for layer 0 */
    RULE_ENDS_TOO,     /* RULE_PERIOD, and `hit` for layer 0 and the last layer */
    RULE_LAST_TOO,     /* RULE_PERIOD, and `hit` for the last layer */
    RULE_ONE_AT_LEAST, /* RULE_PERIOD, and `hit` for the last layer if the period has no other hit */
    RULE_NUMBERS,      /* `hit` for the layers of a list of numbers; all layers without the list */
    RULE_KIMI,         /* the list full_attn_layers in linear_attn_config, which counts from 1 */
    RULE_WINDOW_FROM,  /* `hit` from layer max_window_layers on if the model has a window */
    RULE_WINDOW_ODD,   /* `hit` for every other layer below max_window_layers if the model has a window */
    RULE_ROPE,         /* `hit` for layers without rotation if the model has a window (SmolLM3) */
    RULE_CHUNKS,       /* `hit` for layers with rotation if the model has chunks (Llama 4) */
    RULE_SPARSE,       /* 0.95 for the first ten layers of a model with more than ten, else 0 (Gemma 3n) */
    RULE_INDEXERS,     /* letters or a period after the first layers (GLM with DSA) */
    RULE_REPEATED,     /* attention_types: kinds, and how often they repeat (GPT-Neo) */
    RULE_CYCLE         /* `miss` for the first `otherwise` layers, then the words of `hit` in turn */
} rule_kind;

struct layer_rule {
    const char *models; /* model types, separated by blanks; NULL: any model with the member `key` */
    const char *list;
    rule_kind kind;
    const char *key;        /* member with the period or number; NULL: `otherwise` */
    uint64_t otherwise;     /* the value of an absent member */
    uint64_t shift;         /* of RULE_PERIOD */
    const char *hit, *miss; /* entries; NULL: the numbers 0 and 1 */
};

static const layer_rule rules[] = {
    {"smollm3 llama4_text", "no_rope_layers", RULE_PERIOD, "no_rope_layer_interval", 4, 1, NULL, NULL},
    {"gemma2 vaultgemma gpt_oss", TYPES, RULE_PERIOD, NULL, 2, 1, FULL, SLIDING},
    {"gemma3_text", TYPES, RULE_PERIOD, "sliding_window_pattern", 6, 1, FULL, SLIDING},
    {"gemma3n_text", TYPES, RULE_PERIOD, NULL, 5, 1, FULL, SLIDING},
    {"gemma4_text gemma4_unified_text", TYPES, RULE_LAST_TOO, NULL, 6, 1, FULL, SLIDING},
    {"cohere2 exaone4 exaone_moe", TYPES, RULE_PERIOD, "sliding_window_pattern", 4, 1, FULL, SLIDING},
    {"cohere2_moe", TYPES, RULE_AFTER_DENSE, "sliding_window_pattern", 4, 1, FULL, SLIDING},
    {"afmoe", TYPES, RULE_PERIOD, "global_attn_every_n_layers", 4, 1, FULL, SLIDING},
    {"olmo3", TYPES, RULE_PERIOD, NULL, 4, 1, FULL, SLIDING},
    {"cwm granite_swa granitemoe_swa", TYPES, RULE_PERIOD, NULL, 4, 0, FULL, SLIDING},
    {"mimo_v2_flash", TYPES, RULE_FIRST_TOO, NULL, 6, 1, FULL, SLIDING},
    {"qwen3_next qwen3_5_text qwen3_5_moe_text", TYPES, RULE_PERIOD, "full_attention_interval", 4, 1, FULL, LINEAR},
    {"olmo_hybrid", TYPES, RULE_ONE_AT_LEAST, NULL, 4, 1, FULL, LINEAR},
    {"minimax", TYPES, RULE_PERIOD, NULL, 2, 1, LINEAR, FULL},
    {"lfm2", TYPES, RULE_NUMBERS, "full_attn_idxs", 0, 0, FULL, "conv"},
    {"kimi_linear", TYPES, RULE_KIMI, NULL, 4, 0, FULL, LINEAR},
    {"qwen2 qwen3", TYPES, RULE_WINDOW_FROM, "max_window_layers", 28, 0, SLIDING, FULL},
    {"qwen2_vl qwen2_vl_text qwen2_5_vl qwen2_5_vl_text", TYPES, RULE_WINDOW_FROM, "max_window_layers", 80, 0, SLIDING,
     FULL},
    {"dots1", TYPES, RULE_WINDOW_FROM, "max_window_layers", 62, 0, SLIDING, FULL},
    {"qwen2_moe", TYPES, RULE_WINDOW_ODD, "max_window_layers", 28, 0, SLIDING, FULL},
    {"smollm3", TYPES, RULE_ROPE, NULL, 0, 0, SLIDING, FULL},
    {"llama4_text", TYPES, RULE_CHUNKS, NULL, 0, 0, "chunked_attention", FULL},
    {"exaone_moe kimi_linear", "mlp_layer_types", RULE_FIRST, "first_k_dense_replace", 1, 0, "dense", "sparse"},
    {"glm_moe_dsa deepseek_v32", "mlp_layer_types", RULE_FIRST, "first_k_dense_replace", 3, 0, "dense", "sparse"},
    {"cohere2_moe", "mlp_layer_types", RULE_FIRST, "first_k_dense_replace", 0, 0, "dense", "sparse"},
    {"glm4_moe_lite hy_v3 laguna mimo_v2_flash", "mlp_layer_types", RULE_FIRST, NULL, 1, 0, "dense", "sparse"},
    {"mellum", "mlp_layer_types", RULE_FIRST, NULL, 0, 0, "dense", "sparse"},
    {"gemma3n_text", "activation_sparsity_pattern", RULE_SPARSE, NULL, 10, 0, NULL, NULL},
    {"glm_moe_dsa", "indexer_types", RULE_INDEXERS, "index_topk_freq", 1, 0, "full", "shared"},
    {"bailing_hybrid", TYPES, RULE_PERIOD, "layer_group_size", 6, 1, FULL, LINEAR},
    {"bailing_hybrid", "mlp_layer_types", RULE_FIRST, "first_k_dense_replace", 2, 0, "dense", "sparse"},
    {"axk2", "mlp_layer_types", RULE_FIRST, "first_k_dense_replace", 1, 0, "dense", "sparse"},
    {"hy_v4", "mlp_layer_types", RULE_FIRST, NULL, 1, 0, "dense", "sparse"},
    {"hy_v4", "indexer_types", RULE_FIRST_TOO, NULL, 4, 3, "full", "shared"},
    {"lara_mini", TYPES, RULE_CYCLE, NULL, 0, 0, LINEAR " " SLIDING " " LINEAR " " FULL " " SLIDING, ""},
    {"lfm3", TYPES, RULE_CYCLE, NULL, 1, 0, "conv " FULL " conv " SLIDING, "conv"},
    {"deepseek_v4", TYPES, RULE_CYCLE, NULL, 2, 0, HEAVILY " " SPARSELY, HEAVILY},
    {"kolibri1", TYPES, RULE_PERIOD, NULL, 5, 1, FULL, SLIDING},
    {"flint", TYPES, RULE_ENDS_TOO, NULL, 4, 3, FULL, SLIDING},
    {"modernbert-decoder", TYPES, RULE_PERIOD, "global_attn_every_n_layers", 3, 0, FULL, SLIDING},
    {"gpt_neo", "attention_layers", RULE_REPEATED, "attention_types", 0, 0, NULL, NULL},
    {NULL, TYPES, RULE_PERIOD, "sliding_window_pattern", 0, 1, FULL, SLIDING},
    {NULL, TYPES, RULE_PERIOD, "full_attention_interval", 0, 1, FULL, LINEAR},
    {NULL, "no_rope_layers", RULE_PERIOD, "no_rope_layer_interval", 0, 1, NULL, NULL},
};

const layer_lead organ_leading_layers[] = {
    {"first_k_dense_replace", "bailing_hybrid", 2},
    {"first_k_dense_replace", "deepseek_v3 glm_moe_dsa deepseek_v32", 3},
    {"first_k_dense_replace", "glm4_moe exaone_moe kimi_linear sarvam_mla sarvam_moe", 1},
    {"first_k_dense_replace", NULL, 0},
    {"num_dense_layers", "lfm2_moe", 2},
    {"num_dense_layers", "afmoe", 1},
    {"num_dense_layers", NULL, 0},
    {"n_dense_layers", NULL, 0},
    {"num_hash_layers", NULL, 3}, /* layers whose experts a table states, not dense ones */
    {0}};

const layer_step organ_layer_steps[] = {{.key = "moe_layer_freq", .from = "first_k_dense_replace"},
                                        {.key = "attn_layer_period",
                                         .offset = "attn_layer_offset",
                                         .model = "jamba",
                                         .otherwise = 8,
                                         .offset_otherwise = 4},
                                        {.key = "expert_layer_period",
                                         .offset = "expert_layer_offset",
                                         .model = "jamba",
                                         .otherwise = 2,
                                         .offset_otherwise = 1},
                                        {.key = "global_attn_every_n_layers"},
                                        {0}};

/* ---- members that say something of layers ---- */

/* clang-format off */
static const char *const members[LAYER_MEMBER_KINDS] = {
    [LAYER_MEMBER_ENTRIES] =
        "layer_types mlp_layer_types no_rope_layers layer_rope_theta block_types layers_block_type "
        "attn_layer_types attn_type_list moe_layer_freq hybrid_layer_pattern sliding_window_pattern "
        "block_configs intermediate_size activation_sparsity_pattern num_key_value_heads num_attention_heads "
        "attention_layers ffn_multipliers num_query_heads num_kv_heads moe_topk num_shared_expert "
        "moe_intermediate_size num_attention_heads_per_layer num_key_value_heads_per_layer indexer_types "
        "index_topk_pattern sliding_windows swiglu_limits swiglu_limits_shared rope_theta "
        "partial_rotary_factors compress_ratios",
    [LAYER_MEMBER_NUMBERS] =
        "mlp_only_layers cross_attention_layers attn_layer_indices hybrid_layer_ids full_attn_idxs",
    [LAYER_MEMBER_OTHER_LIST] =
        "architectures eos_token_id bos_token_id pad_token_id suppress_tokens begin_suppress_tokens "
        "keys_to_ignore_at_inference mtp_layers_block_type mtp_layer_types mtp_mlp_layer_types "
        "time_step_limit ssm_multipliers mlp_multipliers mup_multipliers mrope_section moe_layers "
        "attention_types",
    [LAYER_MEMBER_KNOWN] = /* and those of pairing_keys.c */
        "n_dense_layers num_hash_layers "
        "max_window_layers moe_layer_end_index moe_layer_freq decoder_sparse_step attn_layer_period "
        "attn_layer_offset expert_layer_period expert_layer_offset global_attn_every_n_layers "
        "full_attention_interval no_rope_layer_interval layer_group_size index_skip_topk_offset layer_switch "
        /* of towers, encoders, adapters, training and blocks of a sequence */
        "vision_feature_layer spatial_vision_layer encoder_layers decoder_layers num_decoder_layers "
        "num_encoder_layers vocab_size_per_layer_input block_size "
        "block_multiple_of block_ffn_dim_multiplier block_ff_dim block_dim summary_first_dropout "
        "decoder_start_token_id "
        "num_random_blocks layer_scale_init_value index_topk_blocks index_local_blocks index_block_size",
};
/* clang-format on */

bool organ_layer_member_is(const char *name, layer_member kind)
{
    char key[ORGAN_MEMBER_ROOM];
    return organ_lists_word(members[kind], ' ', name, strlen(name)) ||
           (kind == LAYER_MEMBER_KNOWN && organ_pairing_key_of(name, key));
}

/* ---- values of members ---- */

bool organ_layer_is_model(const json_t *object, const char *words)
{
    const char *const model = json_string_value(json_object_get(object, "model_type"));
    return model && organ_lists_word(words, ' ', model, strlen(model));
}

const forward_family *organ_layer_family(const json_t *object)
{
    const char *const model = json_string_value(json_object_get(object, "model_type"));
    const char *const architecture = model ? organ_class_of_type(model) : NULL;
    return architecture ? organ_forward_family_named(architecture, /*gguf=*/false) : NULL;
}

uint64_t organ_layer_number(const json_t *object, const char *key, uint64_t otherwise)
{
    const json_t *const value = key ? json_object_get(object, key) : NULL;
    return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value) : otherwise;
}

bool organ_layer_among(const json_t *list, size_t first, size_t layer)
{
    for (size_t k = 0; k < json_array_size(list); k++)
        if (json_integer_value(json_array_get(list, k)) == (json_int_t)(layer + first))
            return true;
    return false;
}

bool organ_layer_in_text(const char *text, size_t layer)
{
    for (char *end; *text; text = *end ? end + 1 : end) {
        const unsigned long number = strtoul(text, &end, 10);
        if (end > text && number == layer)
            return true;
        end += strcspn(end, ",");
    }
    return false;
}

const json_t *organ_layer_list(const json_t *object, const char *list)
{
    const json_t *const value = json_object_get(object, list);
    return json_array_size(value) ? value : NULL;
}

/* ---- rules ---- */

/* An older member of DeepSeek-V4 takes the place of its rule. */
static bool rule_is_of(const layer_rule *rule, const json_t *object)
{
    if (rule->kind == RULE_CYCLE && organ_layer_list(object, "compress_ratios"))
        return false;
    return rule->models ? organ_layer_is_model(object, rule->models) : organ_layer_number(object, rule->key, 0) > 1;
}

/* A rule of the model's class hides those for any model. */
static const layer_rule *rule_for(const json_t *object, const char *list)
{
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++)
        if (strcmp(rules[k].list, list) == 0 && rule_is_of(&rules[k], object))
            return &rules[k];
    return NULL;
}

const layer_rule *organ_layer_rule(const json_t *object, size_t k, const char **list)
{
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        if (rule_for(object, rules[r].list) == &rules[r] && k-- == 0) {
            *list = rules[r].list;
            return &rules[r];
        }
    return NULL;
}

bool organ_layer_has_rule(const json_t *object, const char *list) { return rule_for(object, list) != NULL; }

static bool is_hit(uint64_t number, uint64_t period) { return period && number % period == 0; }

static bool has_window(const json_t *object)
{
    return organ_layer_number(object, "sliding_window", 0) > 0 &&
           (organ_layer_is_model(object, "dots1") || json_is_true(json_object_get(object, "use_sliding_window")));
}

static bool is_after_dense_hit(const organ_layer_origin *o, uint64_t period)
{
    const uint64_t dense = organ_layer_number(o->object, "first_k_dense_replace", 0),
                   own = organ_layer_number(o->object, "prefix_dense_sliding_window_pattern", 1);
    return o->layer < dense ? is_hit(o->layer + 1, own) : is_hit(o->layer - dense + 1, period);
}

static bool is_rotated(const organ_layer_origin *o)
{
    ORGAN_OWNED_JSON json_t *const value = organ_layer_value(o, "no_rope_layers");
    return json_integer_value(value) != 0;
}

static bool is_kimi_hit(const organ_layer_origin *o, uint64_t period)
{
    const json_t *const list = json_object_get(json_object_get(o->object, "linear_attn_config"), "full_attn_layers");
    return list ? organ_layer_among(list, 1, o->layer) : o->layer && is_hit(o->layer, period);
}

/* The letter F in index_topk_pattern, else the first index_skip_topk_offset layers and every period-th after them. */
static bool is_indexer_hit(const organ_layer_origin *o, uint64_t period)
{
    const json_t *const pattern = json_object_get(o->object, "index_topk_pattern");
    const char *const letters = json_string_value(pattern);
    const uint64_t offset = organ_layer_number(o->object, "index_skip_topk_offset", 2);
    if (letters)
        return o->layer < strlen(letters) && letters[o->layer] == 'F';
    if (json_is_array(pattern)) {
        const char *const word = json_string_value(json_array_get(pattern, o->layer));
        return word && strcmp(word, "full") == 0;
    }
    return o->layer + 1 <= offset || (o->layer + 1 - offset) % (period ? period : 1) == 0;
}

static bool is_rule_hit(const layer_rule *rule, const organ_layer_origin *o)
{
    const uint64_t number = organ_layer_number(o->object, rule->key, rule->otherwise);
    const bool periodic = is_hit(o->layer + rule->shift, number), last = o->layer + 1 == o->layers;
    const json_t *const numbers = json_object_get(o->object, rule->key ? rule->key : "");
    switch (rule->kind) {
    case RULE_FIRST:
        return o->layer < number;
    case RULE_AFTER_DENSE:
        return is_after_dense_hit(o, number);
    case RULE_FIRST_TOO:
        return periodic || o->layer == 0;
    case RULE_ENDS_TOO:
        return periodic || last || o->layer == 0;
    case RULE_LAST_TOO:
        return periodic || last;
    case RULE_ONE_AT_LEAST:
        return periodic || (last && o->layers < number);
    case RULE_NUMBERS:
        return !json_is_array(numbers) || organ_layer_among(numbers, 0, o->layer);
    case RULE_KIMI:
        return is_kimi_hit(o, number);
    case RULE_WINDOW_FROM:
        return has_window(o->object) && o->layer >= number;
    case RULE_WINDOW_ODD:
        return has_window(o->object) && o->layer % 2 == 0 && o->layer < number;
    case RULE_ROPE:
        return has_window(o->object) && !is_rotated(o);
    case RULE_CHUNKS:
        return is_rotated(o) && !json_is_null(json_object_get(o->object, "attention_chunk_size"));
    case RULE_INDEXERS:
        return is_indexer_hit(o, number);
    default:
        return periodic;
    }
}

/* attention_types is [[[kind, ...], times], ...]. */
static json_t *repeated_entry(const organ_layer_origin *o, const char *key)
{
    size_t at = 0;
    const json_t *const types = json_object_get(o->object, key);
    for (size_t k = 0; k < json_array_size(types); k++) {
        const json_t *const kinds = json_array_get(json_array_get(types, k), 0);
        const json_int_t times = json_integer_value(json_array_get(json_array_get(types, k), 1));
        const size_t count = json_array_size(kinds) * (size_t)(times > 0 && times < 100000 ? times : 0);
        if (o->layer - at < count)
            return json_incref(json_array_get(kinds, (o->layer - at) % json_array_size(kinds)));
        at += count;
    }
    return NULL;
}

static json_t *cycle_entry(const layer_rule *rule, size_t layer)
{
    size_t words = 1;
    const char *at = rule->hit;
    if (layer < rule->otherwise)
        return json_string(rule->miss);
    for (const char *blank = at; (blank = strchr(blank, ' ')); blank++)
        words++;
    for (size_t k = (layer - rule->otherwise) % words; k > 0; k--)
        at = strchr(at, ' ') + 1;
    return json_stringn(at, strcspn(at, " "));
}

json_t *organ_layer_value(const organ_layer_origin *origin, const char *list)
{
    const json_t *const own = organ_layer_list(origin->object, list);
    const layer_rule *const rule = rule_for(origin->object, list);
    if (own)
        return json_incref(json_array_get(own, origin->layer));
    if (!rule)
        return NULL;
    if (rule->kind == RULE_REPEATED)
        return repeated_entry(origin, rule->key);
    if (rule->kind == RULE_CYCLE)
        return cycle_entry(rule, origin->layer);
    if (rule->kind == RULE_SPARSE)
        return json_real(origin->layers > rule->otherwise && origin->layer < rule->otherwise ? 0.95 : 0);
    const bool hit = is_rule_hit(rule, origin);
    /* in lists of numbers a layer that is hit has 0 */
    return rule->hit ? json_string(hit ? rule->hit : rule->miss) : json_integer(!hit);
}
