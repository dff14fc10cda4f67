/* SPDX-License-Identifier: MIT
 * Mixed widths, for the sources that choose and report them: the units of choice and the chosen widths. */
#ifndef ORGAN_QUANTIZE_WIDTHS_H
#define ORGAN_QUANTIZE_WIDTHS_H

#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/allocate/exchanges.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#define ORGAN_WIDTH_CHOICES (ORGAN_WIDTH_LEVELS + 1) /* the last choice: leave the tensor unchanged */

/* The unit of choice that gets one width: a tensor, or with --one-width the matrices that servers fuse into one. */
typedef struct organ_quantize_joined {
    const organ_anatomy *first; /* the first of its tensors */
    size_t curve;               /* index of its curve */
    size_t group;               /* columns of the widest groups that fit all its tensors */
    double stored;              /* bits if it stays unchanged */
} organ_quantize_joined;

struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets targets;    /* the targets that the scheme can represent */
    organ_allocation curves;  /* the curve of each tensor */
    organ_allocation choices; /* the curve of each unit of choice: the sum of its tensors' curves */
    organ_quantize_joined *joined;
    size_t *choice_of;       /* the unit of choice of each target */
    size_t *curve_of;        /* the curve of each target */
    size_t *choice_of_curve; /* the unit of choice of each curve */
    size_t *chosen;          /* the chosen level of each unit */
    double *sizes;           /* bits of each unit of choice at each level */
    double budget, spent;
    size_t uniform;
    json_t *identity;
    organ_curves_work work;
    organ_curves *walk; /* NULL: the curves were read from a file */
    organ_exchanges_work exchange_work;
    organ_exchanges_report exchanged;
    organ_gptq_inputs inputs;
    const organ_calibration *inputs_of;
    int32_t layer; /* layer that `inputs` belong to */
    size_t tokens, windows;
};

/* Returns the cost of a choice on the curve, in nats per token; 0 for an unchanged tensor. */
static inline double organ_quantize_width_cost(const organ_allocation_tensor *tensor, size_t choice)
{
    return choice < ORGAN_WIDTH_LEVELS ? tensor->cost[choice] : 0;
}

#endif
