/* SPDX-License-Identifier: MIT
 * Names of factors in adapters of peft and of llama.cpp. */
#ifndef ORGAN_ADAPTER_NAMES_H
#define ORGAN_ADAPTER_NAMES_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The parts of a name: "base_model.model.[module].lora_A.default.weight", or "[module].weight.lora_a" in GGUF. */
typedef struct organ_adapter_name {
    const char *module;
    size_t length;
    bool is_b, embedding;
} organ_adapter_name;

/* Splits a name into its parts. Returns whether the tensor is a factor. */
bool organ_adapter_name_read(const char *name, bool gguf, organ_adapter_name *parts);

/* Returns the name of the parameter that factors of `module` change: "mlp.experts.down_proj" for "mlp.experts" if
 * target_parameters of the config names it. peft wraps a module once for each of its parameters, and adds ".base_layer"
 * to the names of all but the last wrapper. Sets *is_parameter, and returns `module` if target_parameters names no
 * parameter of it. ORGAN_BAD_INPUT if the order of the wrappers is unknown. */
const char *organ_adapter_parameter(const json_t *config, const char *module, organ_arena *arena, bool *is_parameter,
                                    organ_error *error);

#endif
