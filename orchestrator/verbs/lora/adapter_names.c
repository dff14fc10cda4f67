/* SPDX-License-Identifier: MIT
 * Names and configuration of adapters that organ writes. */
#include "orchestrator/verbs/lora/adapter_write.h"

#include "formats/adapter/adapter_config.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

char *organ_adapter_pattern(const char *name)
{
    char *const out = malloc(2 * strlen(name) + 1), *to = out;
    if (!out)
        organ_memory_count_refusal();
    for (; to && *name; *to++ = *name++)
        if (strchr(".^$*+?{}[]()|\\", *name))
            *to++ = '\\';
    if (to)
        *to = '\0';
    return out;
}

json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets)
{
    return ORGAN_OBJECT(SET_NULL("auto_mapping"),
                        SET("base_model_name_or_path", base ? json_string(base) : json_null()),
                        SET_TEXT("bias", "none"), SET_FLAG("fan_in_fan_out", 0), SET_FLAG("inference_mode", 1),
                        SET_FLAG("init_lora_weights", 1), SET_NULL("layers_pattern"), SET_NULL("layers_to_transform"),
                        SET_COUNT("lora_alpha", r), SET_REAL("lora_dropout", 0.0), SET_NULL("modules_to_save"),
                        SET_TEXT("peft_type", "LORA"), SET_COUNT("r", r), SET("rank_pattern", json_object()),
                        SET_NULL("revision"), SET("target_modules", targets), SET("alpha_pattern", json_object()),
                        SET_TEXT("task_type", "CAUSAL_LM"), SET_FLAG("use_dora", 0), SET_FLAG("use_rslora", 0));
}

json_t *organ_adapter_targets(const char *const *modules, size_t count)
{
    const char **words = malloc((count + 1) * sizeof *words);
    json_t *list = words ? json_array() : NULL;
    if (!words)
        organ_memory_count_refusal();
    if (list) {
        for (size_t k = 0; k < count; k++) {
            const char *const dot = strrchr(modules[k], '.');
            words[k] = dot ? dot + 1 : modules[k];
        }
        qsort(words, count, sizeof *words, organ_order_texts);
    }
    for (size_t k = 0; list && k < count; k++)
        if ((k == 0 || strcmp(words[k], words[k - 1]) != 0) && json_array_append_new(list, json_string(words[k]))) {
            json_decref(list);
            list = NULL;
        }
    free(words);
    return list;
}

organ_model organ_adapter_whole(const organ_adapter *adapter)
{
    organ_model whole = *adapter->model;
    if (strcmp(adapter->path, whole.path) == 0)
        return whole; /* the user named the file */
    whole.path = whole.directory = adapter->path;
    whole.whole_directory = true;
    return whole;
}

organ_status organ_output_check_not_adapter(const char *path, const organ_adapter *adapter, organ_error *error)
{
    const organ_model whole = organ_adapter_whole(adapter);
    return organ_output_check_not_input(path, &whole, error);
}

char *organ_adapter_key(const organ_adapter_pair *pair, bool gguf, char factor)
{
    organ_adapter_name stored = {.module = pair->module, .length = strlen(pair->module)};
    if (gguf)
        return organ_format("%s.weight.lora_%c", pair->module, factor == 'A' ? 'a' : 'b');
    /* Factors of a parameter (ORGAN_FACTORS_PARAMETER) keep the module name of the stored A, the name of peft's
     * ParamWrapper, because `module` has the name of the parameter instead. */
    if (pair->layout == ORGAN_FACTORS_PARAMETER && !pair->origin)
        organ_adapter_name_read(pair->a->name, false, &stored);
    return organ_format("base_model.model.%.*s.lora_%s%c%s", (int)stored.length, stored.module,
                        pair->embedding ? "embedding_" : "", factor, pair->embedding ? "" : ".weight");
}
