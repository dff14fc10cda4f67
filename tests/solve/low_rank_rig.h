/* SPDX-License-Identifier: MIT
 * Matrices for tests of decompositions, and plain measures of their accuracy. */
#ifndef LOW_RANK_RIG_H
#define LOW_RANK_RIG_H

#include "orchestrator/solve/low_rank.h"
#include "orchestrator/solve/algebra.h"

#include <check.h>

/* Makes rows x cols normal deviates, row-major, which the caller frees. */
float *noise_matrix(uint64_t seed, size_t rows, size_t cols);

/* Returns the largest difference of the vectors' Gram matrix from the identity. */
double worst_angle(const float *vectors, size_t length, size_t count);

/* Returns ||W - U diag(sigma) V^T||; W is row-major. */
double distance(const float *w, const organ_svd *svd);

double norm_of(const float *values, size_t n);

/* Returns an engine with the table `isa` (NULL: the best one), which the caller destroys. */
organ_engine *named_engine(const char *isa, size_t threads);

Suite *low_rank_random_suite(void);
Suite *low_rank_factored_suite(void);
Suite *low_rank_whole_suite(void);
Suite *decompositions_suite(void);
Suite *ridge_suite(void);
Suite *correction_suite(void);

#endif
