/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of GPTQ share:
 *
 *   gptq_inputs.c   the second moments of the inputs and their factor
 *   gptq.c          runs GPTQ on a matrix
 *   gptq_first.c    scales with which it begins
 *   gptq_sweep.c    chooses codes
 *   gptq_scales.c   refits scales that GGUF blocks store as codes
 *   gptq_refine.c   rounds them to these codes */
#ifndef ORGAN_GPTQ_JOB_H
#define ORGAN_GPTQ_JOB_H

#include "orchestrator/surgery/precision/gptq.h"

#define ORGAN_GPTQ_STRIP  ((size_t)128) /* a matrix is divided among ranks at multiples of this number of rows */
#define ORGAN_GPTQ_ROWS   ((size_t)256) /* greatest number of rows that a worker processes together */
#define ORGAN_GPTQ_WIDEST ((size_t)256) /* greatest number of columns that are processed together */

/* State of GPTQ on the rows of this rank. */
typedef struct organ_gptq_job {
    const organ_gptq_inputs *inputs;
    organ_gptq *whole;  /* the matrix with the rows of all ranks */
    organ_gptq *matrix; /* rows first .. first + rows - 1 of `whole`, those of this rank, as a matrix */
    size_t first;
    size_t rows, cols;    /* of `matrix` */
    size_t strip_rows;    /* rows that a worker processes together */
    size_t columns;       /* columns that a pass after GPTQ processes together */
    unsigned passes;      /* number of these passes */
    bool refits;          /* groups are within these columns, and their scales belong to one row */
    size_t group, groups; /* columns of a group; groups of a row */
    size_t terms;         /* 2 if a group has a scale and a minimum; 1: a scale only */
    size_t supers;        /* GGUF blocks of a row that store group scales as codes times d: organ_grid_supers */
    size_t numbers;       /* scales, minima, d and dmin of a row: organ_grid_numbers */
    size_t padded;        /* `rows`, rounded up to a multiple of ORGAN_GPTQ_STRIP */
    /* W - values, [rows][cols]; during the sweep of GPTQ with columns in its order. */
    float *errors;
    /* Products of the errors of the columns before or after each block of columns with H, [rows][cols]: those of the
     * side from which the last pass came. */
    float *sides;
    double *energies, *gptq_losses, *losses; /* of each row of `matrix` */
    /* [numbers][padded]: number k of row i is scales[k * padded + i], in the order of organ_grid_numbers. Padded rows
     * have scale 1, other numbers 0. */
    float *scales;
    unsigned char *scratch; /* scratch_bytes for each worker */
    size_t scratch_bytes;
} organ_gptq_job;

/* Sets the scales with which GPTQ codes the columns. Overwrites job->errors. Returns false if memory cannot be
 * allocated. */
bool organ_gptq_first_scales(organ_gptq_job *job);

/* Returns the scratch bytes of a worker for organ_gptq_quantise_rows. */
size_t organ_gptq_sweep_room(void);
/* Quantises the rows: sets values, scales and losses. Returns ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_gptq_quantise_rows(organ_gptq_job *job, organ_error *error);

/* Returns the scratch bytes of a worker for organ_gptq_scales, which follow those of organ_gptq_sweep_room. */
size_t organ_gptq_scales_room(const organ_gptq_job *job);
/* Refits the scales and minima of `rows` rows from row `row` on in n columns from column `first` on, one GGUF block
 * that stores them as codes. Sets `values` and `field`, [rows][ORGAN_GPTQ_WIDEST], (W - values) H for these columns,
 * accordingly. `scratch`: ORGAN_PRODUCT_SCRATCH and organ_gptq_scales_room bytes. */
void organ_gptq_scales(const organ_gptq_job *job, size_t first, size_t n, size_t row, size_t rows, float *field,
                       void *scratch);

/* Refits the scales and minima of `groups` groups of row `row` from group `first` on, a GGUF block that stores them as
 * codes times d or dmin. Minimises the loss over the values that such blocks can store. M x = b are the normal
 * equations of organ_gptq_scales, with groups x terms unknowns; the unknowns x are changes of the current scales and
 * minima. `m`: M, of which only the part below the diagonal is read; `diagonal`: the diagonal of M; `right`: b,
 * overwritten; `target`: the exact solution x. */
void organ_gptq_refine(const organ_gptq_job *job, size_t first, size_t groups, size_t row, const float *m,
                       const float *diagonal, float *right, const float *target);

#endif
