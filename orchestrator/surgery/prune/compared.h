/* SPDX-License-Identifier: MIT
 * Pairs equal-shaped tensors of two models for a pass that compares them. Large tensors are cut into row ranges, which
 * are divided among ranks. */
#ifndef ORGAN_COMPARED_H
#define ORGAN_COMPARED_H

#include "orchestrator/ranks/ranks.h"
#include <organ/stream.h>
#include "orchestrator/surgery/output/output.h"

/* The row ranges of paired tensors, for organ_pass_run. */
typedef struct organ_compared {
    organ_cuts cuts;             /* row ranges of the tensors of the first model */
    organ_tensor *others;        /* the same row ranges in the second model, each as a tensor */
    organ_pass_item *items;      /* items of a pass, one for each row range; `elsewhere` is set if another rank compares
                                  * it */
    organ_assignment assignment; /* assignment of row ranges to ranks */
} organ_compared;

/* Pairs tensors[k] of the first model with others[k] of the second, for k < count. Both must have the same shape and
 * type, and outlive *pairs. Call organ_compared_release even after an error. Returns ORGAN_IO if out of memory. */
organ_status organ_compared_make(const organ_tensor *const *tensors, const organ_tensor *const *others, size_t count,
                                 organ_ranks *ranks, organ_compared *pairs, organ_error *error);
void organ_compared_release(organ_compared *pairs); /* all zero is allowed */

#endif
