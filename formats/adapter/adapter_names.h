/* SPDX-License-Identifier: MIT
 * Splits the names of factors in adapters of peft and of llama.cpp. */
#ifndef ORGAN_ADAPTER_NAMES_H
#define ORGAN_ADAPTER_NAMES_H

#include "formats/base/arena.h"
#include <organ/base.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The parts of a name: "base_model.model.[module].lora_A.default.weight", or "[module].weight.lora_a" in GGUF. */
typedef struct organ_adapter_name {
    const char *module; /* points into the name; `length` bytes, no NUL */
    size_t length;
    bool is_b;      /* factor B, else A */
    bool embedding; /* lora_embedding_A or _B */
} organ_adapter_name;

/* Splits a tensor's name into `parts`; the name is that of a GGUF file if `gguf` is true, else of peft. Returns false
 * if the tensor is no factor. */
bool organ_adapter_name_read(const char *name, bool gguf, organ_adapter_name *parts);

/* Returns the name of the parameter that the factors of `module` change; `config` is adapter_config.json. If its
 * target_parameters name a parameter of the module, such as "mlp.experts.down_proj" of "mlp.experts", returns the
 * parameter's name, in the arena and without ".base_layer", and sets *is_parameter to true. Otherwise returns `module`,
 * whose weight the factors change, and sets *is_parameter to false. peft wraps a module once for each of its parameters
 * in target_parameters; the number of ".base_layer" at the end of `module` selects the wrapper (0: the outermost) and
 * so the parameter. Returns NULL, with an error, if it is unknown which parameter this wrapper changes, or if memory
 * runs out. */
const char *organ_adapter_parameter(const json_t *config, const char *module, organ_arena *arena, bool *is_parameter,
                                    organ_error *error);

#endif
