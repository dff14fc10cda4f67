/* SPDX-License-Identifier: MIT
 * Least squares over kept weights: finds V with V H = T at the kept weights of each row and zeros elsewhere, by
 * preconditioned conjugate gradients. The mask of kept weights shrinks from one solve to the next. Results are
 * bit-identical on every machine and for any number of threads. */
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

/* Returns the residual T - V H, rows x h.size, which belongs to *squares. The caller fills it in before the first
 * solve, for the V that it will pass to that solve. Each solve updates it: afterwards it is the residual of V as of the
 * last product with H, before the final step. */
float *organ_masked_squares_residual(organ_masked_squares *squares);

/* Sets the removed weights of v (rows x h.size; `keep` is 0) to zero and moves the kept ones towards the solution.
 * Computes `products` products with H for this.
 *
 * v is the result of the last solve, or in the first solve the V that the residual was filled in for. `keep` (1 or 0,
 * rows x h.size) may only remove weights from the mask of the last solve. First the preconditioner compensates the
 * removal approximately. The first product updates the residual for this change; each further product is one iteration
 * of conjugate gradients. Finally v moves by 0.7 of one more preconditioned step; the first product of the next solve
 * includes its effect on the residual.
 *
 * Products and vectors are FP32, dot products FP64. Each rank of the engine solves some of the rows, and all ranks get
 * all of v; the residual is updated for a rank's own rows. Returns ORGAN_INTERRUPTED if the engine is stopped; then v
 * is undefined. */
organ_status organ_masked_squares_solve(organ_masked_squares *squares, const uint8_t *keep, unsigned products, float *v,
                                        organ_error *error);

/* Returns an upper bound of the bytes for a matrix of rows x cols, without H and the buffers of workers. The bound is
 * valid for a whole H, and for a block-diagonal H with blocks of 256. */
uint64_t organ_masked_squares_memory(uint64_t rows, uint64_t cols);

#endif
