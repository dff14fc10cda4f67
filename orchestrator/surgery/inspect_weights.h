/* SPDX-License-Identifier: MIT
 * The part of organ.inspect/1 that tells how a model is quantised. */
#ifndef ORGAN_INSPECT_WEIGHTS_H
#define ORGAN_INSPECT_WEIGHTS_H

#include "formats/weights.h"
#include "orchestrator/surgery/inspect.h"

/* The object "quantization": null for a plain model; only the method where `weights` is NULL because they could not be found. Weights are
 * listed if the options ask for tensors. NULL, or *whole false, where memory ran out. */
json_t *organ_inspect_weights(const organ_inspect_options *options, const organ_model *model, const organ_weights *weights, json_t *cut,
                              bool *whole);

/* Whether a list of `rows` rows may take one more. Where it may not, its name is added to `cut`, once. */
bool organ_inspect_has_room(const organ_inspect_options *options, json_t *cut, const char *list, size_t rows);

#endif
