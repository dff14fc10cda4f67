/* SPDX-License-Identifier: MIT
 * What peft 0.21 with transformers 5 does with the modules of some model types when it loads an adapter. */
#ifndef ORGAN_LORA_PEFT_RULES_H
#define ORGAN_LORA_PEFT_RULES_H

#include <stdbool.h>

/* Returns whether an entry of target_modules that ends with this word does not reach the module of this name: peft
 * takes it for the routed experts of the model type, and targets their stacked parameters instead. The weight of a
 * dense module or of a shared expert can only be reached as a parameter, "MODULE.weight" in target_parameters. */
bool organ_peft_converts(const char *model_type, const char *word);

/* Returns whether peft refuses an adapter of this model type that targets modules with this last word. */
bool organ_peft_refuses(const char *model_type, const char *word);

#endif
