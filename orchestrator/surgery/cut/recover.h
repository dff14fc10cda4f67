/* SPDX-License-Identifier: MIT
 * Finds the kept parts of a cut model by comparing its bytes with the donor's; private to surgery/cut. */
#ifndef ORGAN_CUT_RECOVER_H
#define ORGAN_CUT_RECOVER_H

#include <organ/weights.h>
#include "orchestrator/surgery/cut/cut_job.h"
#include "orchestrator/surgery/facts/facts.h"

/* The search for the parts of the donor that a cut copy has kept. */
typedef struct organ_cut_recovery {
    const organ_model *donor, *copy;
    const organ_weights *donor_weights, *copy_weights;
    const organ_engine *engine;
    organ_problems *problems;
    organ_cut_layer *layers;         /* the result: for each layer of the donor, the parts that the copy has kept */
    size_t layer_count, copy_layers; /* layers of the donor, and of the copy */
    organ_arena arena;               /* memory of the lists of kept parts */
} organ_cut_recovery;

/* Returns whether the copy may be a cut of the donor: it has fewer blocks, or one of its blocks has a tensor that is
 * shorter along an axis, and longer along none, than the donor's tensor of this name. */
bool organ_cut_is_smaller(const organ_model *donor, const organ_model *copy);

/* Fills `recovery->layers` with the kept parts: finds blocks by the bytes of norms and of K and V; experts by the rows
 * of routers, and by the experts' matrices if rows are equal; channels and heads by rows of matrices. Each part of the
 * copy without counterpart in the donor is a problem. Call organ_cut_recovery_release even after an error. */
organ_status organ_cut_recover(organ_cut_recovery *recovery, organ_error *error);
void organ_cut_recovery_release(organ_cut_recovery *recovery);

#endif
