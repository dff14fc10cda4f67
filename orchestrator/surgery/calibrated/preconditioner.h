/* SPDX-License-Identifier: MIT
 * Approximate inverses of the masked parts of one matrix H, a different mask for each row: H is taken as a diagonal and
 * its strongest common directions, D (mu I + U (Lambda - mu) U^T) D with D = sqrt(diag H), whose masked part is
 * inverted exactly (Woodbury's identity, an own k x k matrix for each row). What slows conjugate gradients down on
 * activations are just those few directions. */
#ifndef ORGAN_PRECONDITIONER_H
#define ORGAN_PRECONDITIONER_H

#include "orchestrator/surgery/algebra/algebra.h"

typedef struct organ_preconditioner organ_preconditioner;

/* Finds the directions (64 of a whole H, 16 of each block of a block-diagonal one, fewer of a narrow one) by subspace
 * iteration: four products of about as many rows with H. Starts with empty masks for `rows` rows. h must outlive it.
 * ORGAN_IO without memory: 4 k (k + 1) bytes a row and block, 8 k a column. ORGAN_BAD_INPUT where H is not finite;
 * `name` is for messages. */
organ_status organ_preconditioner_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_preconditioner **made, organ_error *error);
void organ_preconditioner_destroy(organ_preconditioner *preconditioner); /* NULL is allowed */

/* Numbers of scratch that the functions below take for `rows` rows, a multiple of 16; it is 64-byte aligned. */
size_t organ_preconditioner_scratch(const organ_preconditioner *preconditioner, size_t rows);

/* Takes columns out of the mask of one row: those where `before` is 1 and `keep` 0 (h.size each). Different rows at the
 * same time. */
void organ_preconditioner_remove(organ_preconditioner *preconditioner, size_t row, const uint8_t *before,
                                 const uint8_t *keep, float *scratch);

/* product = matrix * H approximately; both `rows` x h.size and may be the same. */
void organ_preconditioner_multiply(const organ_preconditioner *preconditioner, size_t rows, const float *matrix,
                                   float *product, float *scratch);

/* result = residual * (masked H)^-1 approximately, rows first .. first + rows, for keep: the mask they have by now (1:
 * kept). `result` is zero where nothing is kept and may be the residual, which is finite. */
void organ_preconditioner_solve(const organ_preconditioner *preconditioner, size_t first, size_t rows,
                                const float *residual, const uint8_t *keep, float *result, float *scratch);

#endif
