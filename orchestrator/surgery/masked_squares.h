/* SPDX-License-Identifier: MIT
 * Least squares over the weights that a mask keeps: V H = T on the kept weights of each row, all others zero, by conjugate gradients.
 * Stands on BLAS: the same bits for any number of threads, on one kind of CPU. */
#ifndef ORGAN_MASKED_SQUARES_H
#define ORGAN_MASKED_SQUARES_H

#include "orchestrator/stream/pass.h"

/* A symmetric matrix as blocks along the diagonal, each row by row and whole, one behind the other: block k begins at k * block * block. */
typedef struct organ_block_matrix {
    size_t size, block;
    const float *values;
} organ_block_matrix;

/* product = matrix * H, all rows x H.size row by row; FP32. `product` overlaps nothing. */
void organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix, size_t rows, float *product);

typedef struct organ_masked_squares {
    size_t rows;
    organ_block_matrix h; /* positive definite */
    const float *target;  /* T, rows x h.size */
    const uint8_t *keep;  /* 1: kept, 0: zero; rows x h.size */
} organ_masked_squares;

/* So many iterations, preconditioned with the diagonal of H, from v (zero where the mask is), which becomes the solution as far as they
 * reach; each is one product with H. Products and vectors are FP32, dot products FP64. ORGAN_IO without memory for 3 x rows x h.size
 * numbers; ORGAN_INTERRUPTED if the engine is stopped: then v is of an earlier iteration. `name` is for messages. */
organ_status organ_masked_squares_solve(const organ_engine *engine, const organ_masked_squares *problem, unsigned iterations, float *v,
                                        const char *name, organ_error *error);

#endif
