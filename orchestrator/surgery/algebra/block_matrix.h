/* SPDX-License-Identifier: MIT
 * Symmetric matrices as blocks along the diagonal, and products with them: the same bits on every machine and for any
 * number of threads. */
#ifndef ORGAN_BLOCK_MATRIX_H
#define ORGAN_BLOCK_MATRIX_H

#include "orchestrator/stream/pass.h"

/* Each block row by row and whole, one behind the other: block k begins at k * block * block. */
typedef struct organ_block_matrix {
    size_t size, block;
    const float *values;
} organ_block_matrix;

/* product = matrix * H, all rows x H.size row by row; FP32. `product` overlaps nothing. ORGAN_IO without memory. */
organ_status organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix,
                                  size_t rows, float *product, organ_error *error);

/* H(j, j) */
float organ_block_diagonal(const organ_block_matrix *h, size_t j);

#endif
