/* SPDX-License-Identifier: MIT
 * Finds targets without inputs: matrices whose inputs the forward pass does not pass to a tap (organ_tap). */
#include "orchestrator/surgery/calibration/calibration_job.h"

#include <stdio.h>
#include <stdlib.h>

/* A target has no inputs if it is not a linear layer of the forward pass, or if it is in a block that the forward
 * pass does not run (multi-token prediction). In the second case the message names a command that removes the block. */
static organ_status refuse_target(const organ_calibration_run *calib, const organ_tensor *tensor, organ_error *error)
{
    const organ_calibration_run_options *const o = calib->options;
    const organ_forward_config *const config = organ_forward_describe(calib->facts.forward);
    const unsigned layers = config->layers / (config->shortcut ? 2 : 1);
    const int32_t layer = tensor->anatomy.layer;
    char way[80] = "";
    if (layer >= 0 && (unsigned)layer < layers)
        return organ_fail(error, ORGAN_USAGE,
                          "tensor '%s' is not a linear layer of the forward pass: '%s' cannot %s it", tensor->name,
                          o->method, o->verb);
    if (layer >= 0)
        snprintf(way, sizeof way, "; 'organ layers --drop %d,' drops its block", (int)layer);
    return organ_fail(error, ORGAN_USAGE,
                      "tensor '%s' is in none of the %u layers of the forward pass: '%s' cannot %s it%s", tensor->name,
                      layers, o->method, o->verb, way);
}

organ_status organ_calibration_check_targets(const organ_calibration_run *calib, organ_error *error)
{
    for (size_t k = 0; calib->targets && k < calib->targets->count; k++)
        if (!organ_forward_is_tapped(calib->facts.forward, calib->targets->tensors[k]))
            return refuse_target(calib, calib->targets->tensors[k], error);
    return ORGAN_OK;
}

organ_status organ_calibration_find_untapped(const organ_model *model, const organ_engine *engine,
                                             const organ_targets *targets, bool **untapped, organ_error *error)
{
    organ_forward *forward = NULL;
    *untapped = calloc(model->tensor_count + 1, sizeof **untapped);
    if (!*untapped)
        return organ_fail_memory(error, model->path);
    if (organ_forward_open(model, engine, &forward, error) == ORGAN_OK)
        for (size_t k = 0; k < targets->count; k++)
            (*untapped)[targets->tensors[k] - model->tensors] = !organ_forward_is_tapped(forward, targets->tensors[k]);
    organ_forward_close(forward);
    return error->status;
}
