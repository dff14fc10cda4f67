/* SPDX-License-Identifier: MIT */
#include "formats/tokenizer/stop_ids.h"

#include "formats/base/json_text.h"

#include <stdlib.h>

static const char eos_member[] = "eos_token_id";

static organ_status add_stop(const char *label, organ_stop_ids *stops, int64_t id, organ_error *error)
{
    for (unsigned k = 0; k < stops->count; k++)
        if (stops->ids[k] == id)
            return ORGAN_OK;
    if (id < 0 || stops->count == ORGAN_STOP_LIMIT)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s has %s", label, eos_member,
                          id < 0 ? "an id below 0" : "too many ids");
    stops->ids[stops->count++] = id;
    return ORGAN_OK;
}

static organ_status add_stops(const char *label, organ_stop_ids *stops, const json_t *value, organ_error *error)
{
    if (!value || json_is_null(value))
        return ORGAN_OK;
    for (size_t k = 0; k < (json_is_array(value) ? json_array_size(value) : 1) && !error->status; k++) {
        const json_t *const one = json_is_array(value) ? json_array_get(value, k) : value;
        if (!json_is_integer(one))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is neither a whole number nor a list of them", label,
                              eos_member);
        add_stop(label, stops, json_integer_value(one), error);
    }
    return error->status;
}

static organ_status add_from_file(const organ_model *model, const char *name, organ_stop_ids *stops, organ_error *error)
{
    organ_json_source text = {.label = name};
    char *bytes = NULL;
    json_t *root = NULL;
    if (organ_model_load(model, name, ORGAN_CONFIG_LIMIT, &bytes, &text.length, error) || !bytes)
        return error->status;
    organ_hf_config_tidy(bytes, text.length);
    text.bytes = bytes;
    if (organ_json_parse_object(&text, &root, error) == ORGAN_OK &&
        add_stops(name, stops, json_object_get(root, eos_member), error) == ORGAN_OK && stops->count == 0)
        add_stops(name, stops, json_object_get(json_object_get(root, "text_config"), eos_member), error);
    json_decref(root);
    free(bytes);
    return error->status;
}

organ_status organ_stop_ids_read(const organ_model *model, const organ_tokenizer *tokenizer, organ_stop_ids *stops,
                                 organ_error *error)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const int64_t eos = organ_tokenizer_describe(tokenizer)->eos;
    *stops = (organ_stop_ids){0};
    for (size_t k = 0; model->gguf && k < sizeof keys / sizeof *keys && !error->status; k++) {
        const int64_t id = organ_gguf_integer(model->gguf, keys[k], -1);
        if (id >= 0 && id < organ_tokenizer_describe(tokenizer)->vocabulary)
            add_stop(model->path, stops, id, error);
    }
    if (!model->gguf && add_from_file(model, "generation_config.json", stops, error) == ORGAN_OK && stops->count == 0)
        add_from_file(model, "config.json", stops, error);
    return error->status || stops->count || eos < 0 ? error->status : add_stop(model->path, stops, eos, error);
}
