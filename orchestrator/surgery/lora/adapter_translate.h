/* SPDX-License-Identifier: MIT
 * Translates an adapter for a base that names, orders or stacks its weights differently from the adapter. */
#ifndef ORGAN_ADAPTER_TRANSLATE_H
#define ORGAN_ADAPTER_TRANSLATE_H

#include <organ/weights.h>
#include "orchestrator/surgery/lora/base_names.h"

/* Sets *made to an adapter whose pairs have the names of the base's weights. organ_lora_factors_read reads the factors
 * of these pairs from `adapter`, which must stay open until *made is freed. The function translates between peft's
 * names and those of llama.cpp, between numbered experts and stacks of experts, and from fused gate and up projections
 * to separate ones. If the architecture requires it, it also reorders the rows of Q and K. A pair for which the base
 * has no weight keeps its name. Sets *made to NULL if every pair already has the name of a weight, or the architecture
 * is unknown. Returns ORGAN_BAD_INPUT if the adapter uses DoRA, two pairs change the same weight, or numbered experts
 * do not fit their stack; ORGAN_IO if memory runs out; and errors of organ_forward_config_read. */
organ_status organ_adapter_translate(const organ_adapter *adapter, const organ_model *base,
                                     const organ_lora_names *names, organ_adapter **made, organ_error *error);
void organ_adapter_translated_free(organ_adapter *made); /* NULL is allowed */

#endif
