/* SPDX-License-Identifier: MIT
 * The part of organ.inspect/1 that tells how a model is quantised. */
#ifndef ORGAN_INSPECT_WEIGHTS_H
#define ORGAN_INSPECT_WEIGHTS_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/health/inspect_lists.h"

/* The object "quantization": null for a plain model; only the method where `weights` is NULL because they could not be
 * found. Weights are listed if lists->tensors. A part that memory was too short for is missing, and counted:
 * formats/base/memory_watch.h. */
json_t *organ_inspect_weights(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights);

#endif
