/* SPDX-License-Identifier: MIT
 * Mixed widths, for their parts: what is divided, and what came of it. */
#ifndef ORGAN_QUANTIZE_WIDTHS_H
#define ORGAN_QUANTIZE_WIDTHS_H

#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/allocate/exchanges.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#define ORGAN_WIDTH_CHOICES (ORGAN_WIDTH_LEVELS + 1) /* the last: as it is */

/* What has one width: a tensor, or with --one-width what servers hold as one matrix. */
typedef struct organ_quantize_joined {
    const organ_anatomy *first; /* of what is in it, */
    size_t curve;               /* and which of the curves is its */
    size_t group;               /* columns of the widest groups that all in it have */
    double stored;              /* bits, as it is */
} organ_quantize_joined;

struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets held;       /* the targets that the scheme can hold */
    organ_allocation curves;  /* of each tensor */
    organ_allocation choices; /* their sums, of each that is joined */
    organ_quantize_joined *joined;
    size_t *choice_of; /* to what is joined each target belongs */
    size_t *of, *in,
        *chosen;   /* to which of the curves each target belongs, to what is joined each curve; levels of these */
    double *sizes; /* bits of each that is joined, at each choice */
    double budget, spent;
    size_t uniform;
    json_t *identity;
    organ_curves_work work;
    organ_curves *walk; /* NULL: curves are known */
    organ_exchanges_work exchange_work;
    organ_exchanges_report exchanged;
    organ_gptq_inputs inputs;
    const organ_calibration *inputs_of;
    int32_t layer; /* whose inputs they are */
    size_t tokens, windows;
};

/* Nats a token by the curve; nothing of what stays as it is. */
static inline double organ_quantize_width_cost(const organ_allocation_tensor *tensor, size_t choice)
{
    return choice < ORGAN_WIDTH_LEVELS ? tensor->cost[choice] : 0;
}

#endif
