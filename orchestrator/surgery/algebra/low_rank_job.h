/* SPDX-License-Identifier: MIT
 * What the parts of low_rank.h share. Matrices are as LAPACK has them: columns one behind the other. */
#ifndef ORGAN_LOW_RANK_JOB_H
#define ORGAN_LOW_RANK_JOB_H

#include "orchestrator/surgery/algebra/low_rank.h"

/* Takes the memory of a decomposition. false if there is none; what was taken is freed by organ_svd_free. */
bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank);

/* By LAPACK, destroying `matrix`: u is rows x k, vt is k x cols, k the lesser of both. false without memory or where it does not converge
 * (values that are not finite). Between organ_blas_begin and organ_blas_end. */
bool organ_dense_svd(float *matrix, size_t rows, size_t cols, float *u, float *sigma, float *vt);

/* The iteration of organ_low_rank, for matrices with at least 2 l rows and columns, l = rank + oversampling. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd, organ_error *error);

/* Q of Q R, in place: rows >= cols. `r`, where it is not NULL, becomes R (cols x cols). false without memory. As organ_dense_svd. */
bool organ_orthonormal(float *matrix, size_t rows, size_t cols, float *r);

#endif
