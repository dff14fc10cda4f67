/* SPDX-License-Identifier: MIT
 * Functions that the sources of low_rank.h share. Matrices are stored as consecutive columns ("vectors"). */
#ifndef ORGAN_LOW_RANK_JOB_H
#define ORGAN_LOW_RANK_JOB_H

#include "orchestrator/surgery/algebra/low_rank.h"

/* Allocates a decomposition. Returns false if memory cannot be allocated; the caller then also calls organ_svd_free. */
bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank);

/* Returns the bytes that organ_krylov allocates in addition to the strips and *svd. */
uint64_t organ_krylov_bytes(uint64_t rows, uint64_t cols, size_t rank, size_t oversampling, const organ_engine *engine);

/* Decomposes a matrix with at least 2 l rows and columns, l = rank + oversampling, by block Krylov iteration. Returns
 * ORGAN_IO if memory cannot be allocated, or the error of reading a strip. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd,
                          organ_error *error);

#endif
