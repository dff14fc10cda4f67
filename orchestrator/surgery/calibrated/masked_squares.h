/* SPDX-License-Identifier: MIT
 * Least squares over the weights that a mask keeps, as the mask shrinks: V H = T on the kept weights of each row, all
 * others zero, by preconditioned conjugate gradients. The same bits on every machine and for any number of threads. */
#ifndef ORGAN_MASKED_SQUARES_H
#define ORGAN_MASKED_SQUARES_H

#include "orchestrator/surgery/algebra/algebra.h"

typedef struct organ_masked_squares organ_masked_squares;

/* For matrices of rows x h->size, none masked yet. h is positive definite and must outlive it, name (for messages) too.
 * ORGAN_IO without memory; ORGAN_BAD_INPUT where H is not finite. */
organ_status organ_masked_squares_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_masked_squares **squares, organ_error *error);
void organ_masked_squares_destroy(organ_masked_squares *squares); /* NULL is allowed */

/* T - V H, rows x h.size: to be filled for the V that the first solve begins with. From then on it is kept up, for what
 * V was at the last product. */
float *organ_masked_squares_residual(organ_masked_squares *squares);

/* Takes the weights where keep is 0 out of v and moves the others towards the solution, by so many products with H. v
 * is what the last solve left (or what the residual was filled for); keep (1 or 0, rows x h.size) is within the last
 * one. First the preconditioner takes back, as far as it knows, what leaving them out does; the first product measures
 * that, and each further one is an iteration. Then v goes a part of the preconditioner's step further, which the next
 * solve measures. Products and vectors are FP32, dot products FP64. Ranks of the engine each solve some of the rows,
 * and then have all of v: the residual is kept up for a rank's own. ORGAN_INTERRUPTED if the engine is stopped: then v
 * is of no use. */
organ_status organ_masked_squares_solve(organ_masked_squares *squares, const uint8_t *keep, unsigned products, float *v,
                                        organ_error *error);

/* Bytes that one takes for a matrix of rows x cols, at most; what a worker has for itself and H come on top. */
uint64_t organ_masked_squares_memory(uint64_t rows, uint64_t cols);

#endif
