/* SPDX-License-Identifier: MIT
 * GPTQ (Frantar et al., arXiv 2210.17323): chooses the codes of a matrix so that its output on calibration inputs
 * changes least. Then refits the scales by least squares and improves single codes by coordinate descent. Results are
 * bit-identical on every machine and for any number of threads. */
#ifndef ORGAN_GPTQ_H
#define ORGAN_GPTQ_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/precision/grid.h"

#define ORGAN_GPTQ_DAMPING 0.01 /* damping as a share of the mean of the diagonal of X^T X / tokens */

/* Second moments of the inputs X of a matrix, prepared for GPTQ: H = X^T X / tokens + damping I in FP32, and the upper
 * triangular U with H^-1 = U^T U for columns sorted by falling diagonal of H. All matrices with the same inputs share
 * them. */
typedef struct organ_gptq_inputs {
    const organ_engine *engine;
    const organ_calibration *of; /* the inputs' moments; NULL: not open */
    /* Number of inputs; H consists of diagonal blocks of `block` columns, see organ_input_moments. */
    size_t features, block;
    uint64_t tokens;
    float *h, *factor; /* the blocks of H and of U, each in row-major order; the last may be narrower */
    uint32_t *order;   /* order[j]: the column that GPTQ codes as the j-th; each block is sorted separately */
} organ_gptq_inputs;

/* Computes H and U from the calibration. `name` names the matrix in messages. Returns ORGAN_BAD_INPUT if H is not
 * positive definite, ORGAN_IO if memory cannot be allocated. The caller closes `inputs` in any case. */
organ_status organ_gptq_inputs_open(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *inputs, organ_error *error);
void organ_gptq_inputs_close(organ_gptq_inputs *inputs);
/* Opens the inputs of `calibration` unless `inputs` already has them, so that consecutive matrices with the same inputs
 * factorise H once. */
organ_status organ_gptq_inputs_reopen(const organ_engine *engine, const organ_calibration *calibration,
                                      const char *name, organ_gptq_inputs *inputs, organ_error *error);

/* A matrix and its quantised form. The caller sets all members except the losses and rows_kept. Each of several ranks
 * quantises some of the rows (one rank quantises all if they share one scale); afterwards every rank has all rows. */
typedef struct organ_gptq {
    const char *name; /* for messages */
    organ_grid grid;
    bool no_resolve; /* skip the refit of scales and the descent on codes */
    size_t rows, cols;
    struct organ_ranks *ranks; /* ranks that share the matrix; NULL: this process computes all rows */
    const float *weights;      /* rows x cols, finite */
    /* Rows x cols: 0 for a pruned weight, which is zero and stays zero; NULL: no weight is pruned. */
    const uint8_t *keep;
    /* GGUF: weights of the columns' squared errors in the search for scales; NULL: the diagonal of H. */
    const float *weighing;
    float *values; /* output, rows x cols: code x scale in FP32; for GGUF the values that dequantize computes */
    /* Output, bands x groups, rounded to the stored type. A band is the rows that share their scales: 128 rows if
     * scales cover blocks, all rows if one scale covers the tensor, else one row. For GGUF the shape is rows x
     * organ_grid_numbers. */
    float *scales;
    /* Output: tr(E H E^T), for E = W (energy), for the error E of GPTQ (gptq_loss) and for the final error (loss).
     * rows_kept counts the rows of this rank that keep GPTQ's codes and scales, because the refit did not lower their
     * loss. */
    double energy, gptq_loss, loss;
    uint64_t rows_kept;
} organ_gptq;

/* Quantises the matrix. Returns ORGAN_INTERRUPTED if a stop was requested, ORGAN_IO if memory cannot be allocated. */
organ_status organ_gptq_run(const organ_gptq_inputs *inputs, organ_gptq *matrix, organ_error *error);

/* Returns the bytes that organ_gptq_run needs for a matrix in addition to weights and H, without the workers'
 * scratch. */
uint64_t organ_gptq_memory(const organ_grid *grid, uint64_t rows, uint64_t cols);

/* Work of GPTQ on a matrix, including the refit of scales and the descent, for the plan of a dry run. */
#define ORGAN_GPTQ_SOLVE ((organ_plan_solve){.squares = 19, .weights = 3500, .matrices = 3e8})

#endif
