/* SPDX-License-Identifier: MIT
 * Mixed widths: state shared by the sources that choose widths and report them.
 *
 *   level    index of organ_width_levels: a number of bits, with wide groups (even) or groups of 32 columns (odd)
 *   curve    cost of a tensor at each level, in nats per token; all routed experts of a layer and role share a curve
 *   choice   a set of targets that get the same level; its cost is the sum of the curves of its tensors */
#ifndef ORGAN_QUANTIZE_WIDTHS_H
#define ORGAN_QUANTIZE_WIDTHS_H

#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/allocate/exchanges.h"
#include "orchestrator/surgery/precision/quantize_job.h"

/* Number of levels of a choice: those of organ_width_levels, and a last one that leaves its tensors unchanged. */
#define ORGAN_WIDTH_CHOICES (ORGAN_WIDTH_LEVELS + 1)

/* A choice: one tensor, or the experts of a layer and role; all routed experts are one choice. With --one-width also q,
 * k and v of a layer, or gate and up. */
typedef struct organ_quantize_choice {
    const organ_anatomy *first; /* layer, role and experts of its first tensor */
    size_t curve;               /* index in organ_quantize_widths.curves of the curve of its first tensor */
    size_t group; /* columns of a wide group: the largest of 128, 64 and 32 that divides the rows of all its tensors */
    double unchanged_bits; /* bits of its tensors in the source model */
} organ_quantize_choice;

/* State of the division of a budget of bits. */
struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets targets;          /* the targets that the scheme can represent */
    organ_allocation curves;        /* one curve per tensor; the experts of a layer and role share one */
    organ_allocation choices;       /* costs of the choices; `sparsity` of a choice is a level while exchanges run */
    organ_quantize_choice *details; /* details[c] describes choice c */
    size_t *choice_of;              /* choice_of[k]: index of the choice of targets.tensors[k] */
    size_t *curve_of;               /* curve_of[k]: index of the curve of targets.tensors[k] */
    size_t *choice_of_curve;        /* choice_of_curve[t]: index of the choice of curve t */
    size_t *chosen;                 /* chosen[c]: level of choice c; ORGAN_WIDTH_LEVELS: unchanged */
    double *sizes; /* bits of the tensors of each choice at each level, [choices][ORGAN_WIDTH_CHOICES] */
    /* Bits that the targets may occupy, including scales; bits that they occupy at the chosen levels. */
    double budget, spent;
    size_t uniform;                     /* highest level that is within the budget if all choices have it */
    json_t *identity;                   /* model, text and options on which the curves depend */
    organ_curves_work work;             /* callbacks of `walk` */
    organ_curves *walk;                 /* the run that measures curves; NULL: not open */
    organ_exchanges_work exchange_work; /* callbacks of the exchanges between pairs of choices */
    organ_exchanges_report exchanged;   /* results of the exchanges; zero if there were none */
    organ_gptq_inputs inputs;           /* second moments prepared for the last matrix */
    const organ_calibration *inputs_of; /* the calibration that `inputs` are prepared from; NULL: they are closed */
    int32_t layer;                      /* layer to which `inputs` belong */
    size_t tokens, windows;             /* of the text on which costs are measured */
};

/* Returns the cost of a curve or a choice at a level, in nats per token; 0 at level ORGAN_WIDTH_LEVELS (unchanged). */
static inline double organ_quantize_width_cost(const organ_allocation_tensor *tensor, size_t level)
{
    return level < ORGAN_WIDTH_LEVELS ? tensor->cost[level] : 0;
}

#endif
