/* SPDX-License-Identifier: MIT
 * Tensors of two models side by side, for a pass that compares them: large ones in stretches, each of which one of the
 * ranks goes through.
 */
#ifndef ORGAN_COMPARED_H
#define ORGAN_COMPARED_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/band.h"
#include "orchestrator/surgery/output/cuts.h"

typedef struct organ_compared {
    organ_cuts cuts;        /* of the one side */
    organ_tensor *others;   /* the same stretches of the other */
    organ_pass_item *items; /* one per stretch; `elsewhere` where another rank has it */
    organ_deal deal;        /* of the stretches */
} organ_compared;

/* `tensors` and `others`, as long as these, of the same shapes and types; they must outlive it. To be freed whatever it
 * returns. ORGAN_IO without memory. */
organ_status organ_compared_make(const organ_tensor *const *tensors, const organ_tensor *const *others, size_t count,
                                 organ_ranks *ranks, organ_compared *pairs, organ_error *error);
void organ_compared_free(organ_compared *pairs); /* all zero is allowed */

#endif
