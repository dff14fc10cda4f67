/* SPDX-License-Identifier: MIT
 * Reads adapter_config.json and names of factors of adapters of mlx-lm (mlx_lm/tuner): lora_a is [in][rank], lora_b
 * [rank][out], and the weight becomes W + scale (lora_a lora_b)^T. */
#include "formats/adapter/adapter_config.h"

#include "formats/base/files.h"
#include "formats/base/text.h"

#include <math.h>
#include <string.h>

#define PARAMETERS "lora_parameters"

bool organ_adapter_name_read_mlx(const char *name, organ_adapter_name *out)
{
    *out = (organ_adapter_name){.module = name, .length = strlen(name)};
    out->is_b = organ_cut_end(name, &out->length, ".lora_b");
    return out->is_b || organ_cut_end(name, &out->length, ".lora_a");
}

/* fine_tune_type was added to mlx-lm after "lora", which is its default. */
static organ_status check_type(const organ_json_object *from, organ_error *error)
{
    const json_t *const type = organ_json_value(from, "fine_tune_type");
    const char *const name = organ_json_plain(type);
    if (!type || (name && strcmp(name, "lora") == 0))
        return ORGAN_OK;
    if (name && strcmp(name, "full") == 0)
        return organ_json_refuse(from, "fine_tune_type", "\"lora\" (with \"full\" the file has whole weights)", error);
    if (name && strcmp(name, "dora") == 0)
        return organ_json_refuse(from, "fine_tune_type",
                                 "\"lora\" (mlx_lm.fuse merges DoRA, whose magnitudes no factor can hold)", error);
    return organ_json_refuse(from, "fine_tune_type", "\"lora\"", error);
}

static organ_status read_parameters(const organ_json_object *from, organ_adapter *adapter, double *scale,
                                    organ_error *error)
{
    const json_t *const parameters = organ_json_value(from, PARAMETERS);
    if (!json_is_object(parameters))
        return organ_json_refuse(from, PARAMETERS, "an object with rank and scale", error);
    const json_t *const rank = json_object_get(parameters, "rank"), *const value = json_object_get(parameters, "scale");
    if (!json_is_integer(rank) || json_integer_value(rank) < 1 || json_integer_value(rank) > INT32_MAX)
        return organ_refuse(error, from->text->label, PARAMETERS ".rank is missing or no whole number above 0");
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return organ_refuse(error, from->text->label, PARAMETERS ".scale is missing or not a number");
    adapter->r = json_integer_value(rank);
    *scale = json_number_value(value);
    adapter->alpha = *scale * (double)adapter->r;
    return ORGAN_OK;
}

organ_status organ_adapter_config_read_mlx(const char *path, organ_adapter *adapter, double *scale,
                                           organ_adapter_remarks *remarks, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *own = NULL;
    organ_json_source text = {.label = remarks->label};
    if (organ_input_load(path, remarks->label, ORGAN_ADAPTER_CONFIG_LIMIT, &bytes, &text.length, error) != ORGAN_OK)
        return error->status;
    text.bytes = bytes;
    if (organ_json_parse_object(&text, &own, error) != ORGAN_OK)
        return error->status;
    const organ_json_object from = {&text, {0, text.length}, own};
    if (check_type(&from, error) || read_parameters(&from, adapter, scale, error))
        return error->status;
    const char *const base = organ_json_plain(organ_json_value(&from, "model"));
    adapter->config = json_pack("{s:s}", "base_model_name_or_path", base ? base : "");
    adapter->base = organ_json_plain(json_object_get(adapter->config, "base_model_name_or_path"));
    return adapter->config && adapter->base ? ORGAN_OK : organ_fail_memory(error, path);
}
