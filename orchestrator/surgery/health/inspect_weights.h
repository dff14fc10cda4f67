/* SPDX-License-Identifier: MIT
 * The part of organ.inspect/1 that describes the quantisation of a model. */
#ifndef ORGAN_INSPECT_WEIGHTS_H
#define ORGAN_INSPECT_WEIGHTS_H

#include <organ/weights.h>
#include "orchestrator/surgery/health/inspect_lists.h"

/* Returns the value of the member "quantization": null for a model that has none of the following: packed weights,
 * tensors that belong to no weight, notes, a method. If `weights` is NULL, because the weights could not be found, the
 * object has only the members "method" and "found". Lists the packed weights if lists->tensors is set. If memory runs
 * out, rows are missing, and organ_memory_refusals counts the failure. */
json_t *organ_inspect_weights(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights);

#endif
