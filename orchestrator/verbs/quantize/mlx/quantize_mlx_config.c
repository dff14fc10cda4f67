/* SPDX-License-Identifier: MIT
 * Adds the members of config.json that mlx-lm 0.32 needs, and notes on models that mlx-lm refuses or computes with
 * other values than transformers. */
#include "orchestrator/verbs/quantize/mlx/quantize_mlx.h"

#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <stdlib.h>
#include <string.h>

/* ---- members ---- */

/* mlx-lm's configurations have no default for these members, which transformers leaves out or has under other names. */
typedef enum member_value { HEAD_DIM, HIDDEN, EXPERT, ROTATED, INTERVAL, PATTERN, ZERO, ONE, NOTHING } member_value;

static const struct {
    const char *types, *key;
    member_value value;
    const char *inside; /* the object of config.json, or NULL */
} members[] = {{"qwen3_moe exaone4 glm4_moe solar_open", "head_dim", HEAD_DIM, NULL},
               {"exaone4 glm4_moe solar_open", "rope_scaling", NOTHING, NULL},
               {"lfm2", "block_dim", HIDDEN, NULL},
               {"minimax_m2", "shared_intermediate_size", ZERO, NULL},
               {"minimax_m2", "rotary_dim", ROTATED, NULL},
               {"solar_open", "partial_rotary_factor", ONE, NULL},
               {"solar_open", "first_k_dense_replace", ZERO, NULL},
               {"solar_open", "intermediate_size", EXPERT, NULL}, /* of dense layers, which it lacks */
               {"exaone4", "sliding_window_pattern", PATTERN, NULL},
               {"qwen3_next", "full_attention_interval", INTERVAL, NULL},
               {"qwen3_5 qwen3_5_moe", "full_attention_interval", INTERVAL, "text_config"}};

static bool is_full(const json_t *kinds, size_t k)
{
    const char *const kind = json_string_value(json_array_get(kinds, k));
    return kind && strcmp(kind, "full_attention") == 0;
}

/* Returns the place of the first layer with full attention, from 1: the others repeat this period. 0: unknown. */
static json_int_t interval_of(const json_t *root)
{
    const json_t *const kinds = json_object_get(root, "layer_types");
    for (size_t k = 0; k < json_array_size(kinds); k++)
        if (is_full(kinds, k))
            return (json_int_t)k + 1;
    return 0;
}

/* A letter for each layer, L with a window and G without; null if no layer has a window. transformers has the period
 * as a number. */
static json_t *pattern_of(const json_t *root)
{
    const json_t *const kinds = json_object_get(root, "layer_types");
    const size_t count = json_array_size(kinds);
    ORGAN_OWNED char *const letters = calloc(count + 1, 1);
    bool windows = false;
    for (size_t k = 0; letters && k < count; k++) {
        letters[k] = is_full(kinds, k) ? 'G' : 'L';
        windows = windows || letters[k] == 'L';
    }
    return letters && windows ? json_string(letters) : json_null();
}

static json_t *value_of(const json_t *root, const organ_forward_config *known, member_value value)
{
    switch (value) {
    case HEAD_DIM:
        return json_integer(known->head_dim);
    case HIDDEN:
        return json_incref(json_object_get(root, "hidden_size"));
    case EXPERT:
        return json_incref(json_object_get(root, "moe_intermediate_size"));
    case ROTATED:
        return json_integer(known->rope.dimensions);
    case INTERVAL:
        return json_integer(interval_of(root));
    case PATTERN:
        return pattern_of(root);
    case ZERO:
        return json_integer(0);
    case ONE:
        return json_real(1);
    default:
        return json_null();
    }
}

static organ_status add_members(const organ_quantize_job *job, organ_json_edit *config, const json_t *root,
                                organ_error *error)
{
    const char *const type = job->model->config.model_type;
    organ_forward_config known = {0};
    if (organ_forward_config_read(job->model, &known, &(organ_error){0}) != ORGAN_OK)
        return ORGAN_OK; /* an architecture that organ does not compute has no row */
    for (size_t k = 0; k < sizeof members / sizeof *members && !error->status; k++) {
        const char *const inside = members[k].inside, *const key = members[k].key;
        const json_t *const object = inside ? json_object_get(root, inside) : root;
        if (!organ_lists_word(members[k].types, ' ', type, strlen(type)) ||
            (organ_json_edit_has(config, inside, key) && !json_is_integer(json_object_get(object, key))))
            continue;
        ORGAN_OWNED_JSON json_t *const value = value_of(object, &known, members[k].value);
        if (value && (members[k].value == PATTERN || !organ_json_edit_has(config, inside, key)))
            organ_json_edit_set(config, inside, key, value, error);
    }
    organ_forward_config_release(&known);
    return error->status;
}

/* transformers 5 has the settings of each kind of layer apart; mlx-lm reads those of full attention. */
static const json_t *rope_of(const json_t *root)
{
    const json_t *const rope = json_object_get(root, "rope_parameters"), *const full =
                                                                             json_object_get(rope, "full_attention");
    return json_is_object(full) ? full : rope;
}

/* mlx-lm reads names of transformers 4, which files that transformers 5 wrote lack. */
organ_status organ_quantize_mlx_members(const organ_quantize_job *job, organ_json_edit *config, const json_t *root,
                                        organ_error *error)
{
    const json_t *const rope = rope_of(root), *const kind = json_object_get(rope, "rope_type");
    ORGAN_OWNED_JSON json_t *const scaling = json_object_get(rope, "factor") ? json_copy((json_t *)rope) : NULL;
    if (scaling && kind && !json_object_get(scaling, "type") && json_object_set(scaling, "type", (json_t *)kind) != 0)
        return organ_fail_memory(error, job->options->model);
    const struct {
        const char *name;
        const json_t *value;
    } rows[] = {{"rope_theta", json_object_get(rope, "rope_theta")},
                {"partial_rotary_factor", json_object_get(rope, "partial_rotary_factor")},
                {"rope_scaling", scaling},
                {"num_experts", json_object_get(root, "num_local_experts")}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows && !error->status; k++)
        if (rows[k].value && !organ_json_edit_has(config, NULL, rows[k].name))
            organ_json_edit_set(config, NULL, rows[k].name, rows[k].value, error);
    return error->status ? error->status : add_members(job, config, root, error);
}

/* ---- notes ---- */

typedef enum mlx_when {
    IS_TRUE,     /* the member of config.json is true */
    IS_NUMBER,   /* a positive number */
    IS_OTHER,    /* another word than "silu" */
    IS_LIST,     /* a list with entries */
    IS_MISSING,  /* null or missing */
    IS_PART,     /* the member of the settings of RoPE is below 1 */
    IS_FALSE,    /* ... is false */
    IS_TWO,      /* ... is a list other than long_factor */
    NO_LIST,     /* ... is no list */
    IS_NOT_7,    /* a number other than 7 */
    IS_SMALLER,  /* the embedding is the head, and the number is another than hidden_size */
    IS_UNEVEN,   /* layer_types, here or in text_config, are not every n-th full_attention */
    PER_CHANNEL, /* a tensor whose name ends with the key has more rows than heads */
    HAS_TENSOR,  /* a tensor's name ends with the key */
} mlx_when;

static const struct {
    const char *types, *key;
    mlx_when when;
    bool refused; /* else mlx-lm computes other values */
    const char *why;
} differences[] = {
    {"afmoe apertus", "attention_bias", IS_TRUE, true, "it has no biases of attention in models of this type"},
    {"phi", "qk_layernorm", IS_TRUE, true, "it has no norms of queries and keys in models of this type"},
    {"ernie4_5_moe", "lm_head.bias", HAS_TENSOR, true, "it has no bias of the output head in models of this type"},
    {"mixtral olmoe phimoe", "experts.gate_up_proj", HAS_TENSOR, true,
     "it reads experts one by one, not as the stacks of transformers 5"},
    {"qwen2_moe", "mlp_only_layers", IS_LIST, true, "it has experts in each layer of models of this type"},
    {"ernie4_5_moe", "e_score_correction_bias", HAS_TENSOR, false, "it leaves out the correction of the router"},
    {"gemma2 mixtral phi3 phimoe qwen2 starcoder2", "sliding_window", IS_NUMBER, false,
     "its attention has no sliding window: texts longer than the window differ"},
    {"llama", "hidden_act", IS_OTHER, false, "its activation is silu"},
    {"glm", "partial_rotary_factor", IS_PART, false, "it rotates all channels of a head in models of this type"},
    {"gpt_oss", "swiglu_limit", IS_NOT_7, false, "its limit is 7"},
    {"gpt_oss", "truncate", IS_FALSE, false, "it rounds the bounds of YaRN's ramp to whole dimensions"},
    {"minicpm3", "dim_model_base", IS_SMALLER, false, "it does not divide the logits of a head that is the embedding"},
    {"minicpm3", "short_factor", IS_TWO, false, "it takes long_factor for short texts, too"},
    {"minicpm3", "long_factor", NO_LIST, true, "it reads no model of this type without longrope"},
    {"minicpm3", "q_lora_rank", IS_MISSING, true, "it reads no model of this type without this rank"},
    {"deepseek_v2", "mlp.down_proj.bias", HAS_TENSOR, true, "it has no biases of feed-forwards in models of this type"},
    {"laguna", "self_attn.g_proj.weight", PER_CHANNEL, true, "its attention has one gate for each head"},
    {"qwen3_next qwen3_5 qwen3_5_moe", "layer_types", IS_UNEVEN, true,
     "it reads only models in which every n-th layer has full attention"}};

static bool has_tensor(const organ_model *model, const char *end)
{
    bool found = false;
    for (size_t k = 0; k < model->tensor_count && !found; k++)
        found = organ_ends_with(model->tensors[k].name, end) || strcmp(model->tensors[k].name, end) == 0;
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
    const json_int_t interval = interval_of(own);
    for (size_t k = 0; k < json_array_size(kinds); k++)
        if (interval == 0 || is_full(kinds, k) != (((json_int_t)k + 1) % interval == 0))
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

/* Returns whether settings of RoPE are as the row says. */
static bool rope_holds(const json_t *root, const char *key, mlx_when when)
{
    const json_t *const scaling = json_object_get(root, "rope_scaling"), *const rope = json_is_object(scaling)
                                                                                           ? scaling
                                                                                           : rope_of(root);
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

static bool holds(const organ_model *model, const json_t *root, const char *key, mlx_when when)
{
    const json_t *const value = json_object_get(root, key);
    switch (when) {
    case IS_TRUE:
        return json_is_true(value);
    case IS_NUMBER:
        return json_is_integer(value) && json_integer_value(value) > 0 &&
               !json_is_false(json_object_get(root, "use_sliding_window"));
    case IS_OTHER:
        return json_is_string(value) && strcmp(json_string_value(value), "silu") != 0;
    case IS_LIST:
        return json_array_size(value) > 0;
    case IS_MISSING:
        return !value || json_is_null(value);
    case IS_PART:
    case IS_FALSE:
    case IS_TWO:
    case NO_LIST:
        return rope_holds(root, key, when);
    case IS_NOT_7:
        return json_is_number(value) && json_number_value(value) != 7;
    case IS_SMALLER:
        return is_smaller(root, value);
    case IS_UNEVEN:
        return is_uneven(root);
    case PER_CHANNEL:
        return has_rows(model, root, key);
    default:
        return has_tensor(model, key);
    }
}

void organ_quantize_mlx_note(const organ_quantize_job *job)
{
    const char *const type = job->model->config.model_type;
    ORGAN_OWNED_JSON json_t *root = NULL;
    if (organ_model_load_json(job->model, "config.json", "config.json", &root, &(organ_error){0}) != ORGAN_OK || !root)
        return;
    for (size_t k = 0; k < sizeof differences / sizeof *differences; k++)
        if (organ_lists_word(differences[k].types, ' ', type, strlen(type)) &&
            holds(job->model, root, differences[k].key, differences[k].when))
            organ_progress_note(job->progress, "mlx-lm 0.32 %s (%s): %s",
                                differences[k].refused ? "refuses this model, also unquantised"
                                                       : "computes other values than transformers",
                                differences[k].key, differences[k].why);
}
