/* SPDX-License-Identifier: MIT
 * The part of organ.inspect/1 that describes the quantisation of a model. */
#ifndef ORGAN_INSPECT_WEIGHTS_H
#define ORGAN_INSPECT_WEIGHTS_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/health/inspect_lists.h"

/* Returns the object "quantization": null for a plain model, and only the method if `weights` is NULL because the
 * weights could not be found. Lists the weights if lists->tensors is set. Without memory omits parts, which
 * formats/base/memory_watch.h counts. */
json_t *organ_inspect_weights(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights);

#endif
