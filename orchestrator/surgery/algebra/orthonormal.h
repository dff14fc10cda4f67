/* SPDX-License-Identifier: MIT
 * Q of Q R: Householder's reflections in blocks (compact WY; Schreiber & Van Loan 1989) over the product kernel. */
#ifndef ORGAN_ORTHONORMAL_H
#define ORGAN_ORTHONORMAL_H

#include "kernels/kernels.h"

/* Makes vectors (`count` of `n` values, `stride` from one to the next, one of k = min(count, n) after the other)
 * orthonormal in place: the first k become rows of Q^T, those behind them are lost. `r`, where it is not NULL, becomes
 * the count x k matrix R^T: row c says what vector c was of those up to itself. One thread's work, the same bits on
 * every machine. false without memory. Values that are not finite give some that are not. */
bool organ_orthonormal(const organ_kernels *kernels, float *vectors, size_t count, size_t n, size_t stride, float *r);

#endif
