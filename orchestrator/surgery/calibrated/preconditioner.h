/* SPDX-License-Identifier: MIT
 * Approximate inverses of the masked parts of one matrix H, with a different mask for each row. H is approximated by a
 * diagonal and its dominant directions, D (mu I + U (Lambda - mu) U^T) D with D = sqrt(diag H). The masked part of this
 * approximation is inverted exactly by Woodbury's identity, with a k x k matrix for each row. These few directions are
 * what slows conjugate gradients down on activations. */
#ifndef ORGAN_PRECONDITIONER_H
#define ORGAN_PRECONDITIONER_H

#include "orchestrator/surgery/algebra/algebra.h"

typedef struct organ_preconditioner organ_preconditioner;

/* Finds the directions (64 for a whole H, 16 for each block of a block-diagonal H, fewer for narrow ones) by subspace
 * iteration, which needs four products of about as many rows with H. The masks of `rows` rows keep all columns at
 * first. h must outlive *made; `name` is for messages. Needs 4 k (k + 1) bytes per row and block and 8 k per column.
 * Returns ORGAN_IO if memory cannot be allocated, ORGAN_BAD_INPUT if H is not finite. */
organ_status organ_preconditioner_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_preconditioner **made, organ_error *error);
void organ_preconditioner_destroy(organ_preconditioner *preconditioner); /* NULL is allowed */

/* Floats of scratch that the functions below need for `rows` rows, a multiple of 16; scratch is 64-byte aligned. */
size_t organ_preconditioner_scratch(const organ_preconditioner *preconditioner, size_t rows);

/* Removes columns from the mask of one row: those with `before` 1 and `keep` 0 (h.size each). May be called for
 * different rows at the same time. */
void organ_preconditioner_remove(organ_preconditioner *preconditioner, size_t row, const uint8_t *before,
                                 const uint8_t *keep, float *scratch);

/* Computes product = matrix * H with the approximate H; both are `rows` x h.size and may be the same array. */
void organ_preconditioner_multiply(const organ_preconditioner *preconditioner, size_t rows, const float *matrix,
                                   float *product, float *scratch);

/* Computes result = residual * (masked H)^-1 approximately for rows first .. first + rows. `keep` is their current mask
 * (1: kept). `result` is zero for removed columns and may be the same array as `residual`, which is finite. */
void organ_preconditioner_solve(const organ_preconditioner *preconditioner, size_t first, size_t rows,
                                const float *residual, const uint8_t *keep, float *result, float *scratch);

#endif
