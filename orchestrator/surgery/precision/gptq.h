/* SPDX-License-Identifier: MIT
 * GPTQ (Frantar et al., arXiv 2210.17323): chooses the codes of a matrix so that its output on calibration inputs
 * changes least. Then refits scales and improves codes one by one by coordinate descent. Results are bit-identical on
 * every machine and for any number of threads. */
#ifndef ORGAN_GPTQ_H
#define ORGAN_GPTQ_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/precision/grid.h"

/* Number added to the diagonal of H, as a share of the mean of its diagonal: at least ORGAN_GPTQ_DAMPING, and at least
 * ORGAN_GPTQ_FEW_TOKENS times the inputs per token, which counts the columns of a block if H has diagonal blocks. */
#define ORGAN_GPTQ_DAMPING    0.01
#define ORGAN_GPTQ_FEW_TOKENS 0.25

/* Second moments of the inputs X of a matrix, prepared for GPTQ: H = X^T X / tokens + damping I, and its factor
 * (organ_block_factor), for columns sorted by falling diagonal of H. Both are in FP32, whole or as diagonal blocks.
 * Matrices with the same inputs share them. */
typedef struct organ_gptq_inputs {
    const organ_engine *engine;
    const organ_calibration *of; /* calibration with the moments of these inputs; NULL: not open */
    size_t features, block;      /* number of inputs; columns of a diagonal block of H, `features` if H is whole */
    uint64_t tokens;             /* number of tokens of X */
    float *h, *factor; /* blocks of H and of the factor, row-major, block k from k * block * block on; the last may be
                          smaller */
    uint32_t *order;   /* order[j]: the column that GPTQ codes in step j; each block is sorted separately */
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
    float *values; /* output, [rows][cols]: the FP32 value of each code, as a decoder computes it */
    /* Output, [bands][scales and minima of a row (organ_grid_numbers)], rounded to the type in which they are stored. A
     * band is the rows that share their scales: organ_grid_band. */
    float *scales;
    /* Output, over the rows of all ranks: tr(E H E^T) with E = W (energy), with E the error of GPTQ's values
     * (gptq_loss), and with E the error of `values` (loss). */
    double energy, gptq_loss, loss;
    uint64_t rows_kept; /* output: rows of this rank whose loss the refit did not lower */
} organ_gptq;

/* Quantises the matrix. Returns ORGAN_INTERRUPTED if a stop was requested, ORGAN_IO if memory cannot be allocated. */
organ_status organ_gptq_run(const organ_gptq_inputs *inputs, organ_gptq *matrix, organ_error *error);

/* Returns the bytes that organ_gptq_run and organ_gptq_inputs_open need for a matrix, including organ_gptq.values. Does
 * not count organ_gptq.weights and scales, H and its factor, and the scratch of workers. */
uint64_t organ_gptq_memory(const organ_grid *grid, uint64_t rows, uint64_t cols);

/* Work of GPTQ on a matrix, with the refit of scales and the descent, for the plan of a dry run; members as in
 * organ_plan_solve. */
#define ORGAN_GPTQ_SOLVE ((organ_plan_solve){.squares = 2, .weights = 400, .matrices = 1e8})

#endif
