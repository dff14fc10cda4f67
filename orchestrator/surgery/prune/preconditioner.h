/* SPDX-License-Identifier: MIT
 * Preconditioner for least squares over masked weights: approximate inverses of the masked parts of one matrix H, with
 * a different mask for each row of weights. H is approximated by D (mu I + U (Lambda - mu) U^T) D. D is sqrt(diag H);
 * the k columns of U (the directions) are the eigenvectors of D^-1 H D^-1 with the largest eigenvalues, Lambda these
 * eigenvalues; mu stands for all other eigenvalues. The part of this approximation that belongs to the kept columns of
 * a row is inverted exactly by Woodbury's identity, with a k x k matrix for each row. For activations a few large
 * eigenvalues slow conjugate gradients down; the directions remove their effect. */
#ifndef ORGAN_PRECONDITIONER_H
#define ORGAN_PRECONDITIONER_H

#include "orchestrator/surgery/algebra/algebra.h"

typedef struct organ_preconditioner organ_preconditioner;

/* Finds k directions by subspace iteration, which computes four products of k + 16 rows with H. k is 64 for a whole H,
 * 16 for each block of a block-diagonal H, but at most a quarter of the width. The masks of `rows` rows keep all
 * columns at first. h must outlive *made; `name` is for messages. Needs 4 k (k + 1) bytes per row and block, and 512
 * bytes per column. The caller destroys *made. Returns ORGAN_IO if memory cannot be allocated, ORGAN_BAD_INPUT if H is
 * not finite; *made is NULL then. */
organ_status organ_preconditioner_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_preconditioner **made, organ_error *error);
void organ_preconditioner_destroy(organ_preconditioner *preconditioner); /* NULL is allowed */

/* Returns the number of floats of `scratch` that the functions below need for `rows` rows: a multiple of 16. The caller
 * aligns `scratch` to 64 bytes. */
size_t organ_preconditioner_scratch(const organ_preconditioner *preconditioner, size_t rows);

/* Updates the k x k matrices of one row after its mask has lost columns. `before` is the old mask and `keep` the new
 * one, h.size values each; a lost column has `before` 1 and `keep` 0. Threads may call it for different rows at the
 * same time. */
void organ_preconditioner_remove(organ_preconditioner *preconditioner, size_t row, const uint8_t *before,
                                 const uint8_t *keep, float *scratch);

/* Computes product = matrix * H with the approximate H; both are `rows` x h.size and may be the same array. */
void organ_preconditioner_multiply(const organ_preconditioner *preconditioner, size_t rows, const float *matrix,
                                   float *product, float *scratch);

/* Computes result = residual * (masked H)^-1 approximately for rows [first, first + rows) of the matrix. `residual`,
 * `keep` and `result` begin at row `first`. `keep` is the current mask of these rows (1: kept). `result` is zero for
 * removed columns and may be the same array as `residual`, whose values must be finite. */
void organ_preconditioner_solve(const organ_preconditioner *preconditioner, size_t first, size_t rows,
                                const float *residual, const uint8_t *keep, float *result, float *scratch);

#endif
