/* SPDX-License-Identifier: MIT
 * adapter_config.json of a rewritten adapter. */
#include "orchestrator/verbs/lora/rewrite.h"

#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <string.h>

static bool has_module(const organ_adapter *adapter, const char *name)
{
    bool has = false;
    for (size_t k = 0; k < adapter->pair_count && !has; k++)
        has = strcmp(adapter->pairs[k].module, name) == 0;
    return has;
}

/* alpha_pattern equals rank_pattern. It is empty, but for the stacks "gate_up_proj" that peft makes from numbered
 * experts: it joins their factors to twice the rank. */
static json_t *folded_pattern(const organ_adapter *adapter, uint64_t rank)
{
    const json_t *const targets = json_object_get(adapter->config, "target_parameters");
    json_t *const patterns = json_object();
    bool numbered = false; /* a pair belongs to a numbered expert */
    for (size_t k = 0; k < adapter->pair_count; k++)
        numbered = numbered || adapter->pairs[k].anatomy.expert >= 0;
    for (size_t k = 0; k < json_array_size(targets) && numbered; k++) {
        const char *const name = json_string_value(json_array_get(targets, k));
        ORGAN_OWNED char *const pattern = organ_ends_in_words(name, "gate_up_proj") && !has_module(adapter, name)
                                              ? organ_adapter_pattern(name)
                                              : NULL;
        if (pattern)
            json_object_set_new(patterns, pattern, json_integer((json_int_t)(2 * rank)));
    }
    return patterns;
}

json_t *organ_lora_folded_config(const organ_adapter *adapter, uint64_t rank)
{
    json_t *const folded = ORGAN_OBJECT(
        SET_COUNT("r", rank), SET_COUNT("lora_alpha", rank), SET_FLAG("use_rslora", false),
        SET("rank_pattern", folded_pattern(adapter, rank)), SET("alpha_pattern", folded_pattern(adapter, rank)));
    json_t *const config = organ_json_joined(json_deep_copy(adapter->config), folded);
    if (!config || adapter->gguf || json_object_get(adapter->config, "peft_type"))
        return config;
    json_t *const targets = json_array(); /* the adapter was one of GGUF or mlx-lm */
    for (size_t k = 0; k < adapter->pair_count; k++)
        json_array_append_new(targets, json_string(adapter->pairs[k].module));
    ORGAN_OWNED_JSON json_t *const whole = organ_adapter_config_make(adapter->base, (int64_t)rank, targets);
    if (json_object_update_missing(config, whole))
        organ_memory_count_refusal();
    return config;
}

uint64_t organ_lora_config_rank(const json_t *config, uint64_t r)
{
    const char *pattern;
    json_t *value;
    json_object_foreach(json_object_get(config, "rank_pattern"), pattern, value) r =
        json_integer_value(value) > (json_int_t)r ? (uint64_t)json_integer_value(value) : r;
    return r;
}

bool organ_lora_can_keep_scale(const organ_lora_rewrite *rw)
{
    const double alpha = rw->scale * (double)rw->rank;
    if (rw->adapter->gguf && (double)(float)alpha != alpha)
        return false;
    return rw->rank == 0 || alpha / (double)rw->rank == rw->scale;
}

/* mlx-lm makes factors of zeros for modules of `keys` that the file does not have. */
static json_t *mlx_keys(const organ_lora_rewrite *rw)
{
    json_t *const keys = json_array(), *const known = json_object();
    for (size_t k = 0; k < rw->count; k++) {
        const char *const module = rw->rows[k].pair->module, *const layers = strstr(module, "layers.");
        const size_t digits = layers ? strspn(layers + strlen("layers."), "0123456789") : 0;
        const char *const key = digits ? layers + strlen("layers.") + digits + 1 : module;
        if (!json_object_get(known, key))
            json_array_append_new(keys, json_string(key));
        json_object_set_new(known, key, json_true());
    }
    json_decref(known);
    return keys;
}

/* num_layers -1 stands for all layers. */
json_t *organ_lora_mlx_config(const organ_lora_rewrite *rw, const char *model)
{
    return ORGAN_OBJECT(
        SET_TEXT("fine_tune_type", "lora"), SET_TEXT("model", model), SET("num_layers", json_integer(-1)),
        SET("lora_parameters", ORGAN_OBJECT(SET_COUNT("rank", rw->rank), SET_REAL("scale", rw->keeps ? rw->scale : 1),
                                            SET_REAL("dropout", 0.0), SET("keys", mlx_keys(rw)))));
}
