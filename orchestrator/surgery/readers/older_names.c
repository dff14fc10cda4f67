/* SPDX-License-Identifier: MIT
 * Adds the members of config.json that transformers 5 leaves out and other programs need. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/owned.h"
#include "formats/config/model_config.h"

#include <string.h>

/* `name` gets the number of member `from` of the document, or of its object `inside`, unless member `unless` is true.
 * `type`: value of model_type; NULL: any. Layers from max_window_layers on have a window; published models without
 * windows have the number of layers there. */
static const struct {
    const char *name, *type, *inside, *from, *unless;
} rows[] = {{"rope_theta", NULL, "rope_parameters", "rope_theta", NULL},
            {"max_window_layers", "qwen3_moe", NULL, "num_hidden_layers", "use_sliding_window"},
            {"conv_dim", "lfm2", NULL, "hidden_size", NULL},
            {"block_dim", "lfm2", NULL, "hidden_size", NULL},
            {"num_experts", "qwen3_moe", NULL, "num_local_experts", NULL}};
enum { ROWS = sizeof rows / sizeof *rows };

/* Returns the number that row k adds to config.json; NULL: none. */
static const json_t *missing(const json_t *root, size_t k)
{
    const char *const type = json_string_value(json_object_get(root, "model_type"));
    const json_t *const object = rows[k].inside ? json_object_get(root, rows[k].inside) : root, *const value =
                                                                                                    json_object_get(
                                                                                                        object,
                                                                                                        rows[k].from);
    if ((rows[k].type && (!type || strcmp(type, rows[k].type) != 0)) || json_object_get(root, rows[k].name) ||
        (rows[k].unless && json_is_true(json_object_get(root, rows[k].unless))))
        return NULL;
    return json_is_number(value) ? value : NULL;
}

bool organ_readers_lack_names(const json_t *root)
{
    bool lacks = false;
    for (size_t k = 0; k < ROWS && !lacks; k++)
        lacks = missing(root, k) != NULL;
    return lacks;
}

organ_status organ_readers_add_names(organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    organ_config_parse(config->label, config->bytes, config->length, &root, error);
    for (size_t k = 0; k < ROWS && !error->status; k++)
        if (missing(root, k))
            organ_json_edit_set(config, NULL, rows[k].name, missing(root, k), error);
    return error->status;
}

bool organ_readers_put_names(json_t *config)
{
    bool sound = true;
    for (size_t k = 0; k < ROWS && sound; k++)
        sound = !missing(config, k) || json_object_set(config, rows[k].name, (json_t *)missing(config, k)) == 0;
    return sound;
}
