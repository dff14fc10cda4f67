/* SPDX-License-Identifier: MIT
 * Functions that the sources of low_rank.h share. "Vectors" are stored one after another. */
#ifndef ORGAN_LOW_RANK_JOB_H
#define ORGAN_LOW_RANK_JOB_H

#include "orchestrator/surgery/algebra/low_rank.h"

/* Allocates a decomposition. Returns false if memory cannot be allocated. The caller calls organ_svd_release in any
 * case.
 */
bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank);

/* Returns the bytes that organ_krylov allocates in addition to the strips and *svd. */
uint64_t organ_krylov_bytes(uint64_t rows, uint64_t cols, size_t rank, size_t oversampling, const organ_engine *engine);

/* Decomposes a matrix by block Krylov iteration (organ_low_rank). With l = rank + oversampling, it needs at least 2 l
 * rows and columns. Sets *svd except energy and captured. Returns ORGAN_IO if memory cannot be allocated, or the errors
 * of organ_strips_run. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd,
                          organ_error *error);

#endif
