/* SPDX-License-Identifier: MIT
 * Adds the members of config.json that transformers 5 leaves out and other programs need. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/owned.h"
#include "formats/config/model_config.h"

#include <string.h>

enum { NAMES = 5 };
static const char *const names[NAMES] = {"rope_theta", "max_window_layers", "conv_dim", "block_dim", "num_experts"};

static bool is_type(const json_t *root, const char *type)
{
    const char *const own = json_string_value(json_object_get(root, "model_type"));
    return own && strcmp(own, type) == 0;
}

/* Layers from max_window_layers on have a window. A model without windows gets the number of its layers, as published
 * ones have it. vLLM 0.32 and mlx-lm read widths of lfm2 that are hidden_size in transformers. */
static const json_t *value_of(const json_t *root, size_t k)
{
    if (k == 0)
        return json_object_get(json_object_get(root, "rope_parameters"), "rope_theta");
    if (k == 1)
        return is_type(root, "qwen3_moe") && !json_is_true(json_object_get(root, "use_sliding_window"))
                   ? json_object_get(root, "num_hidden_layers")
                   : NULL;
    if (k == NAMES - 1)
        return is_type(root, "qwen3_moe") ? json_object_get(root, "num_local_experts") : NULL;
    return is_type(root, "lfm2") ? json_object_get(root, "hidden_size") : NULL;
}

/* Returns the value of member k of `names` if config.json lacks it; NULL: it has it, or needs none. */
static const json_t *missing(const json_t *root, size_t k)
{
    const json_t *const value = value_of(root, k);
    return json_is_number(value) && !json_object_get(root, names[k]) ? value : NULL;
}

bool organ_readers_lack_names(const json_t *root)
{
    bool lacks = false;
    for (size_t k = 0; k < NAMES && !lacks; k++)
        lacks = missing(root, k) != NULL;
    return lacks;
}

organ_status organ_readers_add_names(organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    organ_config_parse(config->label, config->bytes, config->length, &root, error);
    for (size_t k = 0; k < NAMES && !error->status; k++)
        if (missing(root, k))
            organ_json_edit_set(config, NULL, names[k], missing(root, k), error);
    return error->status;
}

bool organ_readers_put_names(json_t *config)
{
    bool sound = true;
    for (size_t k = 0; k < NAMES && sound; k++)
        sound = !missing(config, k) || json_object_set(config, names[k], (json_t *)missing(config, k)) == 0;
    return sound;
}
