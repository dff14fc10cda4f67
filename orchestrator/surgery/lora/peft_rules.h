/* SPDX-License-Identifier: MIT
 * Lists model types whose modules peft 0.21 with transformers 5 does not find by their names, or refuses. */
#ifndef ORGAN_LORA_PEFT_RULES_H
#define ORGAN_LORA_PEFT_RULES_H

#include <stdbool.h>

/* Returns whether an entry of target_modules that ends with this word does not reach the module of this name: peft
 * takes it for the routed experts of the model type, and targets their stacked parameters instead. The weight of a
 * dense module or of a shared expert can only be reached as a parameter, "MODULE.weight" in target_parameters. */
bool organ_peft_converts(const char *model_type, const char *word);

/* Returns whether peft renames tensors of an adapter of this model type that have the names of transformers, so that
 * they must have those of the files. */
bool organ_peft_renames(const char *model_type);

/* Returns whether peft ignores the factors of numbered experts of this model type. */
bool organ_peft_ignores_experts(const char *model_type);

/* Returns whether factors of modules with this last word have no effect in peft: it refuses an adapter that targets
 * them, or transformers reads the weight of the module instead of calling it. */
bool organ_peft_refuses(const char *model_type, const char *word);

#endif
