/* SPDX-License-Identifier: MIT
 * Translates adapters for a base whose weights have other names, orders of rows or stacks than the pairs of the
 * adapter. */
#ifndef ORGAN_ADAPTER_TRANSLATE_H
#define ORGAN_ADAPTER_TRANSLATE_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"

/* Sets *made to an adapter whose pairs have the names of the base's weights. Its pairs read the factors of `adapter`,
 * which must stay open. The function translates between peft's names and those of llama.cpp (rows of Q and K are
 * reordered if the architecture requires it), between numbered experts and stacks of experts, and from fused gates and
 * ups to separate ones. A pair without a counterpart keeps its name. *made is NULL if every pair already has the name
 * of a weight, or the architecture is unknown. Returns ORGAN_BAD_INPUT for DoRA, ORGAN_IO without memory, and errors of
 * organ_forward_config_read. */
organ_status organ_adapter_translate(const organ_adapter *adapter, const organ_model *base,
                                     const organ_weights *weights, organ_adapter **made, organ_error *error);
void organ_adapter_translated_free(organ_adapter *made); /* NULL is allowed */

#endif
