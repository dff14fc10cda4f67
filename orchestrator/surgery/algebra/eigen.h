/* SPDX-License-Identifier: MIT
 * Dense decompositions in FP64, for what is left of a large problem: eigenvectors of a symmetric matrix, the singular
 * value decomposition of a small one, the inverse of a positive definite one. One thread's work; + - x / and square
 * roots in a fixed order, so that the bits are the same on every machine. Vectors lie one behind the other. */
#ifndef ORGAN_EIGEN_H
#define ORGAN_EIGEN_H

#include "kernels/kernels.h"

/* Eigenvalues of the symmetric n x n matrix `a`, descending, to values[0 .. n), and eigenvectors of the first `wanted`
 * of them, orthonormal, to vectors (wanted x n; NULL where none is). Row by row, what is on and below the diagonal is
 * read; `a` is destroyed. `room`: ORGAN_EIGEN_ROOM numbers a row. false where a value is not finite. Each is exact to
 * about n 2^-53 of the greatest. */
#define ORGAN_EIGEN_ROOM 8
bool organ_symmetric_eigen(const organ_kernels *kernels, double *a, size_t n, size_t wanted, double *values,
                           double *vectors, double *room);

/* A ~ U diag(sigma) V^T for the greatest `wanted` (at most min(rows, cols)) singular values of A, whose columns lie one
 * behind the other: u is wanted x rows, v wanted x cols. Orthonormal, and sigma descends. false without memory, or
 * where a value is not finite. */
bool organ_dense_svd(const organ_kernels *kernels, const float *a, size_t rows, size_t cols, size_t wanted, float *u,
                     float *sigma, float *v);

/* Bytes that organ_dense_svd allocates. */
uint64_t organ_dense_svd_bytes(size_t rows, size_t cols, size_t wanted);

#endif
