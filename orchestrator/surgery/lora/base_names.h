/* SPDX-License-Identifier: MIT
 * Finds the weights of a base by the names that an adapter has for them: names of its files or of transformers. */
#ifndef ORGAN_LORA_BASE_NAMES_H
#define ORGAN_LORA_BASE_NAMES_H

#include "formats/tensor/module_names.h"
#include <organ/weights.h>

/* The weights of a base by their names in transformers. */
typedef struct organ_lora_names {
    const organ_weights *weights;
    const char *model_type;   /* of the base; "" for GGUF, whose names are its own */
    organ_module_index index; /* numbers of weights */
} organ_lora_names;

/* Fills *names. Returns ORGAN_IO if memory runs out; the caller calls organ_lora_names_release in any case. */
organ_status organ_lora_names_build(const organ_model *base, const organ_weights *weights, organ_lora_names *names,
                                    organ_error *error);
void organ_lora_names_release(organ_lora_names *names);

/* Returns the weight that organ_lora_weight finds, else the one that has the same name in transformers; NULL if there
 * is none. */
const organ_weight *organ_lora_names_find(const organ_lora_names *names, const char *name);

#endif
