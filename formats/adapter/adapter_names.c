/* SPDX-License-Identifier: MIT
 * Splits the names of an adapter's factors, the tensors A and B, and finds the parameters of a module that peft's
 * wrappers of the module change. */
#include "formats/adapter/adapter_names.h"
#include "formats/base/path.h"

#include <stdio.h>
#include <string.h>

/* llama.cpp names the tensors of an adapter MODULE.weight.lora_a and MODULE.weight.lora_b. */
static bool name_read_gguf(const char *name, organ_adapter_name *out)
{
    *out = (organ_adapter_name){.module = name, .length = strlen(name)};
    out->is_b = organ_cut_end(name, &out->length, ".lora_b");
    return (out->is_b || organ_cut_end(name, &out->length, ".lora_a")) && organ_cut_end(name, &out->length, ".weight");
}

/* Names of peft are like base_model.model.MODULE.lora_A.default.weight; names of factors of embeddings
 * (lora_embedding_A, _B) have no ".weight" at the end. *out has no meaning if the result is false. */
bool organ_adapter_name_read(const char *name, bool gguf, organ_adapter_name *out)
{
    static const char prefix[] = "base_model.model.";
    if (gguf)
        return name_read_gguf(name, out);
    *out = (organ_adapter_name){.module = name};
    if (strncmp(name, prefix, sizeof prefix - 1) == 0)
        out->module += sizeof prefix - 1;
    size_t length = strlen(out->module);
    const bool weight = organ_cut_end(out->module, &length, ".weight");
    organ_cut_end(out->module, &length, ".default");
    static const char *const kinds[] = {".lora_A", ".lora_B", ".lora_embedding_A", ".lora_embedding_B"};
    for (unsigned k = 0; k < 4; k++)
        if (weight == (k < 2) && organ_cut_end(out->module, &length, kinds[k])) {
            *out = (organ_adapter_name){out->module, length, k % 2 == 1, k >= 2};
            return true;
        }
    return false;
}

/* ---- parameters ---- */

/* The order is that in which transformers' classes define these parameters of modules of experts, and in which peft
 * wraps them. */
static const char *const expert_parameters[] = {"gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias",
                                                NULL};

/* `target`, an entry of target_parameters, is "MODULE.WORD", or the end of this text after one of its dots. A target
 * without a dot only selects parameters of modules whose names end with "experts", because an adapter does not state
 * which other modules have such a parameter. */
static bool target_selects_parameter(const char *target, const char *module, size_t length, const char *word)
{
    char name[512];
    const int size = snprintf(name, sizeof name, ".%.*s.%s", (int)length, module, word);
    if (!strchr(target, '.') && !(length >= 7 && strncmp(module + length - 7, "experts", 7) == 0))
        return false;
    return size > 0 && (size_t)size < sizeof name && organ_ends_in_words(name, target);
}

/* peft wraps a module once for each of its parameters in target_parameters (`targets`); wrapper 0 is the innermost.
 * Parameters in expert_parameters are wrapped in the order of that list. If none of them is a target, the module may
 * have one target of another name, which is returned for any index. Returns NULL if there is no such wrapper.
 * Returns "" and a *count of 0 if several targets of other names match, because their order is unknown. */
static const char *find_wrapped_parameter(const json_t *targets, const char *module, size_t length, size_t index,
                                          size_t *count)
{
    const char *found = NULL, *other = NULL;
    *count = 0;
    for (size_t k = 0; expert_parameters[k]; k++)
        for (size_t t = 0; t < json_array_size(targets); t++)
            if (target_selects_parameter(json_string_value(json_array_get(targets, t)), module, length,
                                         expert_parameters[k])) {
                found = (*count)++ == index ? expert_parameters[k] : found;
                break;
            }
    for (size_t t = 0; t < json_array_size(targets) && *count == 0; t++) { /* a single parameter of another name */
        const char *const target = json_string_value(json_array_get(targets, t)), *const dot = strrchr(target, '.');
        const char *const word = dot ? dot + 1 : target;
        if (target_selects_parameter(target, module, length, word))
            other = other ? "" : word;
    }
    *count += other && *other;
    return found ? found : other;
}

/* The number of ".base_layer" at the end of `module` is the number of the wrapper, 0 for the outermost one. */
const char *organ_adapter_parameter(const json_t *config, const char *module, organ_arena *arena, bool *is_parameter,
                                    organ_error *error)
{
    const json_t *const targets = json_object_get(config, "target_parameters");
    size_t length = strlen(module), depth = 0, count;
    *is_parameter = false;
    if (json_array_size(targets) == 0)
        return module;
    while (organ_cut_end(module, &length, ".base_layer"))
        depth++;
    const char *word = find_wrapped_parameter(targets, module, length, 0, &count);
    if (!word)
        return module;
    if (depth < count)
        word = find_wrapped_parameter(targets, module, length, count - 1 - depth, &count);
    if (depth >= count || !word) {
        organ_fail(error, ORGAN_BAD_INPUT,
                   "adapter_config.json: target_parameters: which parameter the factors of '%s' change is unknown",
                   module);
        return NULL;
    }
    char *const name = organ_arena_take(arena, length + strlen(word) + 2);
    if (!name) {
        organ_fail_memory(error, module);
        return NULL;
    }
    sprintf(name, "%.*s.%s", (int)length, module, word);
    *is_parameter = true;
    return name;
}
