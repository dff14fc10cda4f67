/* SPDX-License-Identifier: MIT
 * Least squares over the weights that a shrinking mask keeps: V H = T on the kept weights of each row, all others zero,
 * by preconditioned conjugate gradients. Results are bit-identical on every machine and for any number of threads. */
#ifndef ORGAN_MASKED_SQUARES_H
#define ORGAN_MASKED_SQUARES_H

#include "orchestrator/surgery/algebra/algebra.h"

typedef struct organ_masked_squares organ_masked_squares;

/* Creates a solver for matrices of rows x h->size with masks that keep all weights. h is positive definite; h and
 * `name` (for messages) must outlive *squares. Returns ORGAN_IO if memory cannot be allocated, ORGAN_BAD_INPUT if H is
 * not finite. */
organ_status organ_masked_squares_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_masked_squares **squares, organ_error *error);
void organ_masked_squares_destroy(organ_masked_squares *squares); /* NULL is allowed */

/* Returns the residual T - V H, rows x h.size. The caller fills it for the V of the first solve. Each solve updates it;
 * it belongs to the V at the last product with H. */
float *organ_masked_squares_residual(organ_masked_squares *squares);

/* Sets the weights of v with keep 0 to zero and moves the others towards the solution, with `products` products with H.
 *
 * v is the result of the last solve, or the V that the residual was filled for. `keep` (1 or 0, rows x h.size) may only
 * remove weights from the last mask. First the preconditioner compensates the removal approximately. The first product
 * updates the residual for this change, and each further product is one iteration. At last v moves by a part of another
 * preconditioned step, whose effect on the residual the next solve computes.
 *
 * Products and vectors are FP32, dot products FP64. Each rank of the engine solves some of the rows, and all ranks get
 * all of v; the residual is updated for a rank's own rows. Returns ORGAN_INTERRUPTED if the engine is stopped; then v
 * is undefined. */
organ_status organ_masked_squares_solve(organ_masked_squares *squares, const uint8_t *keep, unsigned products, float *v,
                                        organ_error *error);

/* Returns an upper bound of the bytes for a matrix of rows x cols, without H and the buffers of workers. */
uint64_t organ_masked_squares_memory(uint64_t rows, uint64_t cols);

#endif
