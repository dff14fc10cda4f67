/* SPDX-License-Identifier: MIT
 * Mixed widths: the state that the sources that choose and report them share. A choice is a set of targets that get the
 * same width; a level is an index of organ_width_levels. */
#ifndef ORGAN_QUANTIZE_WIDTHS_H
#define ORGAN_QUANTIZE_WIDTHS_H

#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/allocate/exchanges.h"
#include "orchestrator/surgery/precision/quantize_job.h"

/* Levels of a choice; the last one leaves its tensors unchanged. */
#define ORGAN_WIDTH_CHOICES (ORGAN_WIDTH_LEVELS + 1)

/* The targets of one choice: a tensor, all routed experts or, with --one-width, the matrices that servers fuse into
 * one. */
typedef struct organ_quantize_joined {
    const organ_anatomy *first; /* anatomy of its first tensor */
    size_t curve;               /* index of the curve of its first tensor */
    size_t group;               /* columns of a wide group: the widest that divides the rows of all its tensors */
    double stored;              /* bits of its tensors if they stay unchanged */
} organ_quantize_joined;

struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets targets;         /* the targets that the scheme can represent */
    organ_allocation curves;       /* cost of each tensor at each level; experts of a layer share a curve */
    organ_allocation choices;      /* cost of each choice at each level: the sum of its tensors' curves */
    organ_quantize_joined *joined; /* one for each choice */
    size_t *choice_of;             /* index of the choice of each target */
    size_t *curve_of;              /* index of the curve of each target */
    size_t *choice_of_curve;       /* index of the choice of each curve */
    size_t *chosen;                /* chosen level of each choice */
    double *sizes;                 /* bits of each choice at each level, choices x ORGAN_WIDTH_CHOICES */
    double budget, spent;          /* bits that codes and scales may occupy, and that the chosen levels occupy */
    size_t uniform;                /* highest level that all choices can have within the budget */
    json_t *identity;              /* model, text and options that the curves depend on */
    organ_curves_work work;
    organ_curves *walk; /* NULL: the curves were read from a file */
    organ_exchanges_work exchange_work;
    organ_exchanges_report exchanged;
    organ_gptq_inputs inputs;
    const organ_calibration *inputs_of; /* calibration of `inputs`; NULL: closed */
    int32_t layer;                      /* layer that `inputs` belong to */
    size_t tokens, windows;             /* tokens and windows of the text on which costs are measured */
};

/* Returns the cost of a tensor or choice at a level, in nats per token; 0 if it stays unchanged. */
static inline double organ_quantize_width_cost(const organ_allocation_tensor *tensor, size_t choice)
{
    return choice < ORGAN_WIDTH_LEVELS ? tensor->cost[choice] : 0;
}

#endif
