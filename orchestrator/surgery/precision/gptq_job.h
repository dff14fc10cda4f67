/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of GPTQ share:
 *
 *   gptq.c          runs GPTQ on a matrix
 *   gptq_sweep.c    chooses codes, column by column
 *   gptq_scales.c   refits the scales for fixed codes
 *   gptq_refine.c   the same for scales that GGUF blocks store as codes */
#ifndef ORGAN_GPTQ_JOB_H
#define ORGAN_GPTQ_JOB_H

#include "orchestrator/surgery/precision/gptq.h"

#define ORGAN_GPTQ_STRIP ((size_t)128) /* rows that a worker processes together */
/* Columns that are coded before one matrix product applies their errors to all later columns. */
#define ORGAN_GPTQ_COLUMNS ((size_t)128)

/* State of GPTQ on the rows of this rank. */
typedef struct organ_gptq_job {
    const organ_gptq_inputs *inputs;
    organ_gptq *whole;  /* the matrix with the rows of all ranks */
    organ_gptq *matrix; /* rows first .. first + rows - 1 of `whole`, those of this rank, as a matrix */
    size_t first;
    size_t rows, cols;    /* of `matrix` */
    size_t group, groups; /* columns of a group; groups of a row */
    size_t terms;         /* 2 if a group has a scale and a minimum; 1: a scale only */
    size_t supers;        /* GGUF blocks of a row that store group scales as codes times d: organ_grid_supers */
    size_t numbers;       /* scales, minima, d and dmin of a row: organ_grid_numbers */
    size_t padded;        /* `rows`, rounded up to whole strips */
    /* [rows][cols]. During the sweep of GPTQ: the compensated weights, columns in the order of the sweep. Afterwards:
     * (W - values) H, columns in the order of the matrix. */
    float *field;
    /* [numbers][padded]: number k of row i is scales[k * padded + i], in the order of organ_grid_numbers. Padded rows
     * have scale 1, other numbers 0. */
    float *scales;
    unsigned char *scratch; /* scratch_bytes for each worker */
    size_t scratch_bytes;
} organ_gptq_job;

/* Returns the scratch bytes of a worker for organ_gptq_sweep. */
size_t organ_gptq_sweep_room(void);
/* Passes once over all columns of `matrix`. Without `descent` (GPTQ) it codes each column and sets `values`; job->field
 * has W in the order of the sweep on entry and is undefined afterwards. With `descent` it replaces each value by the
 * best one for the current values of all other columns; job->field has (W - values) H on entry, and the caller must
 * compute it again. Returns ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_gptq_sweep(organ_gptq_job *job, bool descent, organ_error *error);

/* Returns the scratch bytes of a worker for organ_gptq_scales. */
size_t organ_gptq_scales_room(const organ_gptq_job *job);
/* Refits the scales (and minima) of each row: those with the least loss for fixed codes, rounded to the stored type.
 * Sets `values` accordingly. job->field has (W - values) H on entry; the caller must compute it again afterwards. */
void organ_gptq_scales(organ_gptq_job *job);

/* Refits the scales and minima of a row that GGUF blocks store as codes times d or dmin. Minimises the loss over the
 * values that such blocks can store. M x = b are the normal equations of organ_gptq_scales, with groups x terms
 * unknowns; the unknowns x are changes of the current scales and minima. `m`: M, of which only the part below the
 * diagonal is read; `diagonal`: the diagonal of M; `right`: b, overwritten; `target`: the exact solution x. */
void organ_gptq_refine(organ_gptq_job *job, size_t row, const float *m, const float *diagonal, float *right,
                       const float *target);

#endif
