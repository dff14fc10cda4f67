/* SPDX-License-Identifier: MIT
 * Inverses of positive definite matrices. The same bits on every machine and for any number of threads. */
#ifndef ORGAN_CHOLESKY_H
#define ORGAN_CHOLESKY_H

#include "orchestrator/stream/pass.h"

/* U of H^-1 = U^T U, upper triangular, in the place of H: n x n row by row, FP32, whole. What is below the diagonal
 * afterwards is of no use. By all workers. *definite becomes false where H is not positive definite, or has a NaN.
 * false without memory. */
bool organ_inverse_factor(const organ_engine *engine, float *h, size_t n, bool *definite);

/* Bytes that this takes for n columns, at most; what a worker has for itself comes on top. */
uint64_t organ_inverse_factor_memory(uint64_t n);

/* Replaces H by H^-1: both triangles, symmetric to the last bit. Memory, *definite and the result are those of
 * organ_inverse_factor. */
bool organ_inverse(const organ_engine *engine, float *h, size_t n, bool *definite);

/* The diagonal of A^-1 to `diagonal`, in FP64: of A (n x n row by row) what is on and below the diagonal is read, and
 * destroyed; `room` is as large. One thread's work. false where A is not positive definite. */
bool organ_inverse_diagonal(const organ_kernels *kernels, double *a, size_t n, double *room, double *diagonal);

#endif
