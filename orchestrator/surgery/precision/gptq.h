/* SPDX-License-Identifier: MIT
 * Codes of one matrix by what its inputs are like: GPTQ (Frantar et al., arXiv 2210.17323), then its scales solved anew
 * and its codes improved one by one. The same bits on every machine and for any number of threads. */
#ifndef ORGAN_GPTQ_H
#define ORGAN_GPTQ_H

#include "orchestrator/surgery/along_text/calibration.h"
#include "orchestrator/surgery/precision/grid.h"

#define ORGAN_GPTQ_DAMPING 0.01 /* of the mean of the diagonal */

/* The second moments of a calibration made ready: H = X^T X / tokens + damping I in FP32, its columns by falling
 * diagonal, and U with H^-1 = U^T U of these. For all matrices that see these inputs. */
typedef struct organ_gptq_inputs {
    const organ_engine *engine;
    const organ_calibration *of;
    size_t features, block; /* blocks along the diagonal as in organ_input_moments */
    uint64_t tokens;
    float *h, *factor;
    uint32_t *order; /* the column that is visited k-th; each block for itself */
} organ_gptq_inputs;

/* ORGAN_BAD_INPUT where H cannot be inverted, ORGAN_IO without memory. To be closed whatever it returns. */
organ_status organ_gptq_inputs_open(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *inputs, organ_error *error);
void organ_gptq_inputs_close(organ_gptq_inputs *inputs);
/* Those of a calibration where they are not yet: matrices that see the same inputs follow one another. */
organ_status organ_gptq_inputs_take(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *inputs, organ_error *error);

/* A matrix and what becomes of it. The caller sets all but the figures. Ranks that share it each make some of its rows,
 * unless all rows have one scale, and then have all. */
typedef struct organ_gptq {
    const char *name; /* for messages */
    organ_grid grid;
    bool no_resolve; /* scales and codes as GPTQ has them */
    size_t rows, cols;
    struct organ_ranks *ranks; /* NULL: this one makes it alone */
    const float *weights;      /* rows x cols, finite */
    const uint8_t *keep;       /* rows x cols: 0 where the weight is zero and stays it; NULL: all may have a code */
    const float *weighing;     /* of GGUF's blocks: what columns weigh as their scales are chosen (organ_fit); NULL: the
                                  diagonal of H */
    float *values; /* rows x cols: code x scale in FP32, and of GGUF's blocks what dequantize makes of them */
    /* As they are stored, bands x groups: a band is 128 rows of blocks, all rows of a tensor, else a row. Of GGUF's
     * blocks rows x organ_grid_numbers. */
    float *scales;
    /* tr(E H E^T): of E = W, of GPTQ's error, of the error in the end; of this rank's rows those that kept what GPTQ
     * gave them */
    double energy, gptq_loss, loss;
    uint64_t rows_kept;
} organ_gptq;

/* ORGAN_INTERRUPTED, ORGAN_IO without memory. */
organ_status organ_gptq_run(const organ_gptq_inputs *inputs, organ_gptq *matrix, organ_error *error);

/* Bytes that this takes beside weights and H; what a worker has for itself comes on top. */
uint64_t organ_gptq_memory(const organ_grid *grid, uint64_t rows, uint64_t cols);

/* The work of GPTQ on a matrix, with the scales and the solutions after it, for the plan of a dry run. */
#define ORGAN_GPTQ_SOLVE ((organ_plan_solve){.squares = 19, .weights = 3000})

#endif
