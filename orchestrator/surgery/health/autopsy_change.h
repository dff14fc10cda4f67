/* SPDX-License-Identifier: MIT
 * Classifies the difference of a weight from its counterpart in the original: by rounding, pruning, an adapter, further
 * training, or by none of these. */
#ifndef ORGAN_AUTOPSY_CHANGE_H
#define ORGAN_AUTOPSY_CHANGE_H

#include "orchestrator/surgery/health/autopsy_job.h"

typedef enum organ_change_kind {
    ORGAN_CHANGE_NONE,       /* as small as is usual for the types of both, or not compared */
    ORGAN_CHANGE_ORDER,      /* the same values in another order, or with other signs */
    ORGAN_CHANGE_LINES,      /* some rows or columns differ, and the others do not */
    ORGAN_CHANGE_SHIFT,      /* nearly the same was added to all values */
    ORGAN_CHANGE_ROUNDED,    /* the values of a coarser type, which may be stored in a finer one */
    ORGAN_CHANGE_PRUNED,     /* zeros that the original does not have; the other values may be refitted */
    ORGAN_CHANGE_PART,       /* a part of the original was removed: a filter, or an approximation of low rank */
    ORGAN_CHANGE_LOW_RANK,   /* a matrix of low rank was added */
    ORGAN_CHANGE_STRUCTURED, /* some directions of the difference are much stronger than in noise */
    ORGAN_CHANGE_NOISE,      /* all directions of the difference are as strong as in noise */
    ORGAN_CHANGE_OTHER       /* a vector, a small matrix, or a difference between the last two */
} organ_change_kind;

struct organ_change {
    organ_change_kind kind;
    double relative; /* error of the whole weight */
    double top;      /* largest squared singular value over that of noise of the same shape; 0: not computed */
    size_t rank;     /* number of directions that hold ORGAN_CHANGE_MOST of the difference; 0: not computed */
    size_t lines;    /* LINES: their number among the `line_count` that were read; 0: they were not read */
    size_t line_count;
    bool rows; /* LINES: they are rows, else columns */
};

#define ORGAN_CHANGE_MOST    0.95
#define ORGAN_CHANGE_UNUSUAL 1.5 /* times the largest usual error */

/* Sets *change to the class of the difference of a weight from its counterpart. If the relative error exceeds
 * ORGAN_CHANGE_UNUSUAL times the usual one, reads at most 256 rows of each and allocates about 5 MB. ORGAN_IO,
 * ORGAN_BAD_INPUT. */
organ_status organ_change_read(const organ_autopsy_job *job, const organ_weight_stats *v, organ_change *change,
                               organ_error *error);

#endif
