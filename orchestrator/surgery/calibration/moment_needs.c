/* SPDX-License-Identifier: MIT
 * Computes the memory that the second moments of a layer's matrices need: of all together, and of those that one of
 * several runs of the layer gathers. */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "formats/base/owned.h"
#include "formats/base/rows.h"

#include <stdlib.h>
#include <string.h>

uint64_t organ_calibration_moments_bytes(const organ_calibration_run *calib, uint64_t cols, uint64_t rows, bool expert,
                                         bool blocks)
{
    const bool whole = !blocks || (calib->work->mixtures && expert);
    const uint64_t counts = calib->options->magnitudes ? ORGAN_MAGNITUDES * sizeof(uint64_t) : 0;
    const bool both = calib->options->streams == ORGAN_INPUTS_BOTH && !expert;
    return counts + (calib->options->ranges_only ? 0 : organ_calibration_memory(cols, rows, both, whole));
}

bool organ_calibration_runs_on_copies(const organ_calibration_run_options *o, const organ_forward *forward)
{
    return o->streams != ORGAN_INPUTS_DONOR || (o->reruns && organ_forward_describe(forward)->experts > 0);
}

bool organ_calibration_may_rerun(const organ_calibration_run *calib)
{
    return calib->work->forget && organ_calibration_runs_on_copies(calib->options, calib->facts.forward);
}

/* Adds the moments of the tensor's matrices to those of its expert, sums[expert], or to *others. Numbers of experts
 * that the model does not have wrap around, because a name may have any number and `sums` has experts + 1 entries. */
static void add_moments(const organ_calibration_run *calib, const organ_tensor *tensor, bool blocks, uint64_t *sums,
                        uint64_t *others)
{
    const unsigned experts = organ_forward_describe(calib->facts.forward)->experts;
    const organ_matrices m = organ_calibration_matrices(calib, tensor);
    const int32_t own = tensor->anatomy.expert;
    const bool expert = m.count > 1 || own >= 0;
    const uint64_t each = organ_calibration_moments_bytes(calib, m.cols, m.rows, expert, blocks);
    if (!expert)
        *others += each;
    for (uint64_t e = 0; e < m.count && expert; e++)
        sums[own >= 0 ? (uint32_t)own % (experts + 1) : e % (experts + 1)] += each;
}

/* A layer that runs several times has a second copy of its weights (assign_experts of captures.c). With work->mixtures
 * it has none, and work->memory includes the moments of one expert. */
static void raise_needs(const organ_calibration_run *calib, const uint64_t *sums, uint64_t others,
                        organ_calibration_needs *needs)
{
    const unsigned experts = organ_forward_describe(calib->facts.forward)->experts;
    uint64_t all = others, max = 0;
    for (unsigned e = 0; e <= experts; e++) {
        all += sums[e];
        max = sums[e] > max ? sums[e] : max;
    }
    uint64_t least = all;
    if (calib->work->mixtures)
        least = others;
    else if (organ_calibration_may_rerun(calib) && max > 0)
        least = organ_forward_layer_bytes(calib->facts.forward) + others + max;
    needs->all = all > needs->all ? all : needs->all;
    least = least < all ? least : all;
    needs->least = least > needs->least ? least : needs->least;
}

organ_status organ_calibration_find_needs(organ_calibration_run *calib, organ_error *error)
{
    const organ_targets *const targets = calib->targets;
    const size_t experts = organ_forward_describe(calib->facts.forward)->experts;
    ORGAN_OWNED uint64_t *const sums = calloc(experts + 1, sizeof *sums);
    if (!sums)
        return organ_fail_memory(error, calib->options->calibration.text);
    for (unsigned blocks = 0; blocks < 2 && calib->work->change; blocks++)
        for (size_t k = 0; k < targets->count;) {
            const int32_t layer = targets->tensors[k]->anatomy.layer;
            uint64_t others = 0;
            memset(sums, 0, (experts + 1) * sizeof *sums);
            for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++)
                add_moments(calib, targets->tensors[k], blocks, sums, &others);
            raise_needs(calib, sums, others, &calib->needs[blocks]);
            organ_rows_passed();
        }
    return error->status;
}
