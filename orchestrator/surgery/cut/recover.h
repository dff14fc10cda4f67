/* SPDX-License-Identifier: MIT
 * Inside of the room surgery/cut: what was cut out of a model, found again in the bytes of both. */
#ifndef ORGAN_CUT_RECOVER_H
#define ORGAN_CUT_RECOVER_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/cut/cut_job.h"
#include "orchestrator/surgery/output/problems.h"

typedef struct organ_cut_recovery {
    const organ_model *donor, *copy;
    const organ_weights *donor_weights, *copy_weights;
    const organ_engine *engine;
    organ_problems *problems;
    organ_cut_layer *layers; /* of the donor */
    size_t layer_count, copy_layers;
    organ_arena arena;
} organ_cut_recovery;

/* Whether a tensor of both is smaller in the copy, or blocks are missing, as after a cut. */
bool organ_cut_is_smaller(const organ_model *donor, const organ_model *copy);

/* Finds the kept blocks by the bytes of what is in each, kept experts by rows of routers (and by their matrices where
 * rows are alike), kept channels and heads by rows of matrices. What has no counterpart is a problem. To be released
 * whatever it returns. */
organ_status organ_cut_recover(organ_cut_recovery *recovery, organ_error *error);
void organ_cut_recovery_release(organ_cut_recovery *recovery);

#endif
