/* SPDX-License-Identifier: MIT
 * Loads JSON files of a model that Python wrote. */
#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/base/results.h"

#include <organ/models.h>

organ_status organ_model_load_json(const organ_model *model, const char *name, const char *label, json_t **root,
                                   organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_json_source text = {.label = label};
    ORGAN_OWNED char *bytes = NULL;
    *root = NULL;
    if (organ_model_load(model, name, ORGAN_CONFIG_LIMIT, &bytes, &text.length, error) || !bytes)
        return error->status;
    organ_hf_config_tidy(bytes, text.length);
    text.bytes = bytes;
    return organ_json_parse_object(&text, root, error);
}
