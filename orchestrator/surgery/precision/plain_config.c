/* SPDX-License-Identifier: MIT
 * Edits config.json for a model that is no longer quantised. */
#include "orchestrator/surgery/precision/plain_config.h"

/* `dtype` is the name of torch_dtype since transformers 5; those that are there are set. `inside`: the member of
 * config.json that contains them, such as "text_config"; NULL: the top level. `add`: adds torch_dtype if neither is
 * there. */
static organ_status set_type(organ_json_edit *config, const char *inside, const char *name, bool add,
                             organ_error *error)
{
    static const char *const types[] = {"torch_dtype", "dtype"};
    json_t *const value = json_string(name);
    bool found = false;
    for (size_t k = 0; k < 2 && !error->status; k++)
        if (organ_json_edit_has(config, inside, types[k])) {
            found = true;
            organ_json_edit_set(config, inside, types[k], value, error);
        }
    if (!found && add && !error->status)
        organ_json_edit_set(config, inside, types[0], value, error);
    json_decref(value);
    return error->status;
}

organ_status organ_config_make_plain(organ_json_edit *config, organ_dtype dtype, bool packed, organ_error *error)
{
    const char *name = "bfloat16";
    if (dtype == ORGAN_F32)
        name = "float32";
    else if (dtype == ORGAN_F16)
        name = "float16";
    if (organ_json_edit_remove(config, "quantization_config", NULL, error) ||
        organ_json_edit_remove(config, "compression_config", NULL, error) ||
        organ_json_edit_remove(config, "quantization", NULL, error) || !packed)
        return error->status;
    if (set_type(config, "text_config", name, false, error))
        return error->status;
    return set_type(config, NULL, name, true, error);
}
