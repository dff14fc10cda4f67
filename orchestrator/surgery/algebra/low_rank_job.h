/* SPDX-License-Identifier: MIT
 * What the parts of low_rank.h share. Matrices are vectors one behind the other: columns, as a decomposition sees them.
 */
#ifndef ORGAN_LOW_RANK_JOB_H
#define ORGAN_LOW_RANK_JOB_H

#include "orchestrator/surgery/algebra/low_rank.h"

/* Takes the memory of a decomposition. false if there is none; what was taken is freed by organ_svd_free. */
bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank);

/* Bytes that organ_krylov allocates in addition to the strips and *svd. */
uint64_t organ_krylov_bytes(uint64_t rows, uint64_t cols, size_t rank, size_t oversampling, const organ_engine *engine);

/* The iteration of organ_low_rank, for matrices with at least 2 l rows and columns, l = rank + oversampling. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd,
                          organ_error *error);

#endif
