/* SPDX-License-Identifier: MIT
 * The models and adapters that are compared. */
#ifndef ORGAN_ORTHOGONALITY_INPUTS_H
#define ORGAN_ORTHOGONALITY_INPUTS_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "orchestrator/stream/progress.h"

/* How all inputs of a run are opened. */
typedef struct organ_compared_inputs {
    const organ_model_access *access;
    const char *output; /* that must not be one of them; NULL: none */
    const organ_progress *progress;
} organ_compared_inputs;

/* Opens a model, and says what is to be noted of its weights. The caller closes both also after an error. */
organ_status organ_compared_model_open(const organ_compared_inputs *in, const char *path, organ_model **model,
                                       organ_weights **weights, organ_error *error);

/* Opens an adapter whose change is a product of factors: ORGAN_BAD_INPUT for one of DoRA. The caller closes it also
 * after an error. */
organ_status organ_compared_adapter_open(const organ_compared_inputs *in, const char *path, organ_adapter **adapter,
                                         organ_error *error);

#endif
