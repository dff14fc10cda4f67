/* SPDX-License-Identifier: MIT
 * Classifies how a weight differs from its counterpart in the original: by rounding, by pruning, by an adapter, by
 * further training, or by none of these. */
#ifndef ORGAN_AUTOPSY_CHANGE_H
#define ORGAN_AUTOPSY_CHANGE_H

#include "orchestrator/surgery/health/autopsy_job.h"

/* Classes of the difference. */
typedef enum organ_change_kind {
    ORGAN_CHANGE_NONE,       /* the difference is not larger than usual for the two types, or was not computed */
    ORGAN_CHANGE_ORDER,      /* the same values in another order, or with other signs */
    ORGAN_CHANGE_LINES,      /* only some rows or columns differ */
    ORGAN_CHANGE_SHIFT,      /* nearly the same number was added to all values */
    ORGAN_CHANGE_ROUNDED,    /* the values of a coarser type, which may be stored in a finer one */
    ORGAN_CHANGE_PRUNED,     /* zeros that the original does not have; the other values may be refitted */
    ORGAN_CHANGE_PART,       /* a part of the original was removed: a filter, or an approximation of low rank */
    ORGAN_CHANGE_LOW_RANK,   /* a matrix of low rank was added */
    ORGAN_CHANGE_STRUCTURED, /* some directions of the difference are much stronger than in noise */
    ORGAN_CHANGE_NOISE,      /* all directions of the difference are as strong as in noise */
    ORGAN_CHANGE_OTHER       /* none of these: a vector, a small matrix, or directions between STRUCTURED and NOISE */
} organ_change_kind;

/* The class of the difference of one weight, and the numbers by which it was found. */
struct organ_change {
    organ_change_kind kind;
    double relative; /* relative error of the whole weight: ||a - b|| / ||b|| */
    /* largest squared singular value of the difference, divided by that of noise of the same shape; 0: not computed */
    double top;
    /* number of directions that contain the share ORGAN_CHANGE_MOST of the squared norm; 0: not computed */
    size_t rank;
    /* LINES: differing rows or columns among the `line_count` sampled ones; 0: they are outside the sample */
    size_t lines;
    size_t line_count;
    bool rows; /* LINES: the lines are rows; else columns */
};

/* Share of the squared norm of a difference that counts as "most of it". */
#define ORGAN_CHANGE_MOST 0.95
/* A relative error above this multiple of the largest usual error is unusual. */
#define ORGAN_CHANGE_UNUSUAL 1.5

/* Sets *change to the class of the difference of v->weight from its counterpart v->other. If the relative error exceeds
 * ORGAN_CHANGE_UNUSUAL times the usual one, reads at most 256 rows of both weights and allocates about 5 MB. Returns
 * ORGAN_IO or ORGAN_BAD_INPUT if a weight cannot be read. */
organ_status organ_change_read(const organ_autopsy_job *job, const organ_weight_stats *v, organ_change *change,
                               organ_error *error);

#endif
