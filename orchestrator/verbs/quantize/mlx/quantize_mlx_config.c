/* SPDX-License-Identifier: MIT
 * Adds the members of config.json that mlx-lm 0.32 needs, and notes on models that mlx-lm refuses or computes with
 * other values than transformers. */
#include "orchestrator/verbs/quantize/mlx/quantize_mlx.h"

#include "formats/base/text.h"
#include "formats/base/word_lists.h"
#include "orchestrator/surgery/readers/readers.h"

#include <stdlib.h>
#include <string.h>

/* ---- members ---- */

/* mlx-lm's configurations have no default for these members, which transformers leaves out or has under other names. */
typedef enum member_value { HEAD_DIM, EXPERT, ROTATED, INTERVAL, PATTERN, ZERO, ONE, NOTHING } member_value;

static const struct {
    const char *types, *key;
    member_value value;
    const char *inside; /* the object of config.json, or NULL */
} members[] = {{"qwen3_moe exaone4 glm4_moe solar_open", "head_dim", HEAD_DIM, NULL},
               {"exaone4 glm4_moe solar_open", "rope_scaling", NOTHING, NULL},
               {"minimax_m2", "shared_intermediate_size", ZERO, NULL},
               {"minimax_m2", "rotary_dim", ROTATED, NULL},
               {"solar_open", "partial_rotary_factor", ONE, NULL},
               {"solar_open", "first_k_dense_replace", ZERO, NULL},
               {"solar_open", "intermediate_size", EXPERT, NULL}, /* of dense layers, which it lacks */
               {"exaone4", "sliding_window_pattern", PATTERN, NULL},
               {"qwen3_next", "full_attention_interval", INTERVAL, NULL},
               {"qwen3_5 qwen3_5_moe", "full_attention_interval", INTERVAL, "text_config"}};

/* A letter for each layer, L with a window and G without; null if no layer has a window. transformers has the period
 * as a number. */
static json_t *pattern_of(const json_t *root)
{
    const json_t *const kinds = json_object_get(root, "layer_types");
    const size_t count = json_array_size(kinds);
    ORGAN_OWNED char *const letters = calloc(count + 1, 1);
    bool windows = false;
    for (size_t k = 0; letters && k < count; k++) {
        letters[k] = organ_layer_is_full_attention(kinds, k) ? 'G' : 'L';
        windows = windows || letters[k] == 'L';
    }
    return letters && windows ? json_string(letters) : json_null();
}

static json_t *value_of(const json_t *root, const organ_forward_config *known, member_value value)
{
    switch (value) {
    case HEAD_DIM:
        return json_integer(known->head_dim);
    case EXPERT:
        return json_incref(json_object_get(root, "moe_intermediate_size"));
    case ROTATED:
        return json_integer(known->rope.dimensions);
    case INTERVAL:
        return json_integer((json_int_t)organ_interval_of_full_attention(root));
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

/* mlx-lm reads names of transformers 4, which files that transformers 5 wrote lack. */
organ_status organ_quantize_mlx_members(const organ_quantize_job *job, organ_json_edit *config, const json_t *root,
                                        organ_error *error)
{
    const json_t *const rope = organ_rope_of_full_attention(root), *const kind = json_object_get(rope, "rope_type");
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

static void note_member(void *context, const organ_opening *row)
{
    const organ_progress *const *const progress = context;
    organ_progress_note(*progress, "%s %s (%s): %s", organ_reader_program(ORGAN_READER_MLX),
                        row->verdict == ORGAN_REFUSED ? "refuses this model, also unquantised"
                                                      : "computes other values than transformers",
                        row->member, row->why);
}

void organ_quantize_mlx_note(const organ_quantize_job *job)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    const organ_progress *progress = job->progress;
    if (organ_model_load_json(job->model, "config.json", "config.json", &root, &(organ_error){0}) == ORGAN_OK)
        organ_reader_members(ORGAN_READER_MLX, &(organ_opened){.model = job->model, .config = root}, note_member,
                             &progress);
}
