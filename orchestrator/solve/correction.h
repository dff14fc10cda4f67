/* SPDX-License-Identifier: MIT
 * Corrections of low rank for a changed matrix, measured by the change of its outputs: E is the change of a matrix, m x
 * n, and H the second moments of its n inputs, X^T X / tokens, so that tr(E H E^T) is the mean squared change of the
 * outputs. Results have the same bits on every machine and for any number of threads. */
#ifndef ORGAN_SOLVE_CORRECTION_H
#define ORGAN_SOLVE_CORRECTION_H

#include "orchestrator/solve/algebra.h"

/* B A, a correction of E. The columns of B and the rows of A have equal norms in pairs, and descend in their share of
 * the corrected outputs. */
typedef struct organ_correction {
    size_t rows, cols, rank;
    float *b; /* [rows][rank] */
    float *a; /* [rank][cols] */
    /* tr(E H E^T), and tr((E - B A) H (E - B A)^T), without the rounding of B A to FP32. */
    double before, after;
    unsigned passes; /* products of the iteration with E H E^T */
    organ_buffers buffers;
} organ_correction;

/* Computes the B A of rank min(rank, rows, cols) with the least tr((E - B A) H (E - B A)^T). `errors` is E, row-major;
 * it and H are finite, H is positive definite.
 *
 * B A = U U^T E, where U has the leading eigenvectors of E H E^T (Zhang et al. 2024, arXiv 2410.06040, equation 9,
 * where the root of H cancels). U comes from subspace iteration with max(16, rank / 4) more vectors than `rank`, which
 * begins with Philox numbers of `seed` and ends when an iteration raises the sum of the leading eigenvalues by less
 * than 1e-5 of it, or after 60.
 *
 * Returns ORGAN_BAD_INPUT if a value is not finite, with `name` in the message; ORGAN_IO if memory cannot be allocated.
 * `correction` is then empty. The caller releases it. If E is zero the rank is 0. */
organ_status organ_correct(const organ_engine *engine, const char *name, const float *errors, size_t rows,
                           const organ_block_matrix *h, size_t rank, uint64_t seed, organ_correction *correction,
                           organ_error *error);
/* Sets *sum to tr(E H E^T). Returns ORGAN_IO if memory cannot be allocated. */
organ_status organ_outputs_energy(const organ_engine *engine, const char *name, const float *errors, size_t rows,
                                  const organ_block_matrix *h, double *sum, organ_error *error);
void organ_correction_release(organ_correction *correction); /* allowed on a zeroed structure */

/* Returns the bytes that organ_correct allocates, with those of B and A. */
uint64_t organ_correction_memory(const organ_engine *engine, uint64_t rows, uint64_t cols, uint64_t rank);

/* Replaces the `rank` largest eigenvalues of each diagonal block of H by the mean of its other eigenvalues: the inputs
 * without their `rank` strongest directions, which a correction of that rank can give back at once. A block of at most
 * twice as many columns keeps half of its eigenvalues. Returns ORGAN_BAD_INPUT if H is not finite, with `name` in the
 * message, ORGAN_IO if memory cannot be allocated. */
organ_status organ_flatten_moments(const organ_engine *engine, const char *name, float *h, size_t size, size_t block,
                                   size_t rank, uint64_t seed, organ_error *error);

#endif
