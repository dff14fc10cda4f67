/* SPDX-License-Identifier: MIT
 * The classes that transformers chooses by model_type of config.json. */
#ifndef ORGAN_MODEL_TYPES_H
#define ORGAN_MODEL_TYPES_H

#include <stdbool.h>

/* Returns the class that AutoModelForCausalLM of transformers 5 loads for this model_type, or, for a model with parts
 * for images, the class that AutoModelForImageTextToText loads; NULL for a type that the table lacks. */
const char *organ_class_of_type(const char *model_type);

/* Returns whether `architecture` is the class of a model without its output head ("LlamaModel"). transformers loads
 * such a file as a causal model too, because it ignores `architectures`. */
bool organ_class_is_base(const char *architecture);

#endif
