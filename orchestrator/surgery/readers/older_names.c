/* SPDX-License-Identifier: MIT
 * Adds the members of config.json that transformers 5 leaves out and other programs need. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/owned.h"
#include "formats/config/model_config.h"

#include <string.h>

enum { NAMES = 2 };
static const char *const names[NAMES] = {"rope_theta", "max_window_layers"};

/* Layers from max_window_layers on have a window. A model without windows gets the number of its layers, as published
 * ones have it. */
static const json_t *layers_without_window(const json_t *root)
{
    const char *const type = json_string_value(json_object_get(root, "model_type"));
    return type && strcmp(type, "qwen3_moe") == 0 && !json_is_true(json_object_get(root, "use_sliding_window"))
               ? json_object_get(root, "num_hidden_layers")
               : NULL;
}

/* Returns the value of member k of `names` if config.json lacks it; NULL: it has it, or needs none. */
static const json_t *missing(const json_t *root, size_t k)
{
    const json_t *const value =
        k == 0 ? json_object_get(json_object_get(root, "rope_parameters"), "rope_theta") : layers_without_window(root);
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
