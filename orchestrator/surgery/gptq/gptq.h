/* SPDX-License-Identifier: MIT
 * GPTQ (Frantar et al., arXiv 2210.17323): chooses the codes of a matrix so that its output on calibration inputs
 * changes least. Then refits scales and improves codes one by one by coordinate descent. Results are bit-identical on
 * every machine and for any number of threads. */
#ifndef ORGAN_SURGERY_GPTQ_GPTQ_H
#define ORGAN_SURGERY_GPTQ_GPTQ_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/encoding/encoding.h"

/* Adjacent columns whose codes are chosen together, if the type has a codebook: as in organ_kernels.code_columns. */
#define ORGAN_GPTQ_RUN ((size_t)8)

/* A column, or a run of columns with the sum of their weights. */
typedef struct organ_column_weight {
    float weight;
    uint32_t column; /* the first one of a run */
} organ_column_weight;

/* Second moments of the inputs X of a matrix, prepared for GPTQ: H = X^T X / tokens + damping I, and its factor
 * (organ_block_factor), for columns sorted by falling diagonal of H. Both are in FP32, whole or as diagonal blocks.
 * Matrices with the same inputs share them. */
typedef struct organ_gptq_inputs {
    organ_buffers buffers;
    const organ_engine *engine;
    const organ_calibration *of; /* calibration with the moments of these inputs; NULL: not open */
    size_t features, block;      /* number of inputs; columns of a diagonal block of H, `features` if H is whole */
    uint64_t tokens;             /* number of tokens of X */
    /* with a correction of low rank, H before its strongest directions were flattened; else NULL */
    float *whole;
    float *h, *factor; /* blocks of H and of the factor, row-major, block k from k * block * block on; the last may be
                          smaller */
    size_t run; /* adjacent columns that stay together in `order`: 1, or ORGAN_GPTQ_RUN for types with codebooks */
    organ_column_weight *weights; /* scratch for sorting the columns of a block */
    uint32_t *order;              /* order[j]: the column that GPTQ codes in step j; each block is sorted separately */
} organ_gptq_inputs;

/* Computes H and its factor from the finished calibration. `name` names the matrix in messages. Returns ORGAN_BAD_INPUT
 * if H is not positive definite, ORGAN_IO if memory cannot be allocated. The caller closes `inputs` in any case. */
organ_status organ_gptq_inputs_open(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *inputs, organ_error *error);
void organ_gptq_inputs_close(organ_gptq_inputs *inputs); /* allowed on a zeroed structure */
/* Does nothing if `inputs` are already those of `calibration`; else closes them and calls organ_gptq_inputs_open. So H
 * is factorised once for consecutive matrices with the same inputs. */
organ_status organ_gptq_inputs_reopen(const organ_engine *engine, const organ_calibration *calibration,
                                      const char *name, organ_gptq_inputs *inputs, organ_error *error);
/* Does the same for a matrix that gets a correction of rank `rank`: H is flattened (organ_flatten_moments), so that
 * GPTQ leaves to the correction what that gives back at once; inputs->whole has H before that. */
organ_status organ_gptq_inputs_reopen_flat(const organ_engine *engine, const organ_calibration *calibration,
                                           const char *name, size_t rank, organ_gptq_inputs *inputs,
                                           organ_error *error);

/* A matrix and its quantised form. The caller sets the members up to `scales` and owns all arrays. Several ranks divide
 * the rows (one rank quantises all of them if they share one scale); afterwards every rank has the output of all rows.
 */
typedef struct organ_gptq {
    const char *name; /* for messages */
    organ_grid grid;  /* the values that codes can represent */
    bool no_refit;    /* keep the scales and codes of GPTQ: no refit of scales, no descent on codes */
    size_t rows, cols;
    struct organ_ranks *ranks; /* ranks that share the matrix; NULL: this process computes all rows */
    const float *weights;      /* [rows][cols], finite */
    const uint8_t *keep;       /* [rows][cols], 0: the weight is pruned and its code is 0; NULL: none is pruned */
    /* GGUF: weight of each column's squared errors in the search for scales; NULL: the diagonal of H. */
    const float *weighing;
    float whole_scale; /* a grid with one scale for the tensor: that scale; 0: the one with the least error */
    float *values;     /* output, [rows][cols]: the FP32 value of each code, as a decoder computes it */
    /* Output, [bands][scales and minima of a row (organ_grid_numbers)], rounded to the type in which they are stored. A
     * band is the rows that share their scales: organ_grid_band. */
    float *scales;
    /* Output, over the rows of all ranks: tr(E H E^T) with E = W (energy), with E the error of GPTQ's values
     * (gptq_loss), and with E the error of `values` (loss). */
    double energy, gptq_loss, loss;
    uint64_t rows_kept; /* output: rows of this rank whose loss the refit did not lower */
} organ_gptq;

/* Quantises the matrix. Changes order and factor of the inputs if the grid needs another `run`. Returns
 * ORGAN_INTERRUPTED if a stop was requested, ORGAN_IO if memory cannot be allocated. */
organ_status organ_gptq_run(organ_gptq_inputs *inputs, organ_gptq *matrix, organ_error *error);

/* Returns the bytes that organ_gptq_run and organ_gptq_inputs_open need for a matrix, including organ_gptq.values. Does
 * not count organ_gptq.weights and scales, H and its factor. */
uint64_t organ_gptq_memory(const organ_engine *engine, const organ_grid *grid, uint64_t rows, uint64_t cols);

/* Returns the work of GPTQ on a matrix, with the refit of scales and the descent, for the plan of a dry run; members as
 * in organ_plan_solve. */
organ_plan_solve organ_gptq_solve(const organ_grid *grid);

/* ---- what the sources of GPTQ share ---- */

/* Data and functions that the sources of GPTQ share: gptq.c runs it on a matrix, gptq_sweep.c chooses codes,
 * gptq_scales.c refits scales. */

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
    organ_runs runs;      /* points of a codebook; length 0: none */
    float *points;        /* of `runs` */
    uint8_t *shared;
    float *tries;   /* for a scale of the whole matrix: errors of all tries, [rows][tries] */
    size_t supers;  /* GGUF blocks of a row that store group scales as codes times d: organ_grid_supers */
    size_t numbers; /* scales, minima, d and dmin of a row: organ_grid_numbers */
    size_t padded;  /* `rows`, rounded up to a multiple of ORGAN_GPTQ_STRIP */
    /* W - values, [rows][cols]; during the sweep of GPTQ with columns in its order. */
    float *errors;
    /* Products of the errors of the columns before or after each block of columns with H, [rows][cols]: those of the
     * side from which the last pass came. */
    float *sides;
    double *energies, *gptq_losses, *losses; /* of each row of `matrix` */
    double *all_losses;                      /* `energies` of all rows of `whole`, then gptq_losses, then losses */
    /* [numbers][padded]: number k of row i is scales[k * padded + i], in the order of organ_grid_numbers. Padded rows
     * have scale 1, other numbers 0. */
    float *scales;
    unsigned char *scratch; /* scratch_bytes for each worker */
    size_t scratch_bytes;
} organ_gptq_job;

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

#endif
