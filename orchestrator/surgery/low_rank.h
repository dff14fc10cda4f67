/* SPDX-License-Identifier: MIT
 * The best approximation of a matrix by one of low rank: truncated singular value decomposition, of a matrix that is read row by row and
 * never held beyond the memory, or of a product of two factors. Stands on BLAS and LAPACK: the same bits for any number of threads and any
 * memory, on one kind of CPU. */
#ifndef ORGAN_LOW_RANK_H
#define ORGAN_LOW_RANK_H

#include "orchestrator/stream/pass.h"

/* W ~ U diag(sigma) V^T. Singular values descend and are not negative; vectors are orthonormal. */
typedef struct organ_svd {
    size_t rows, cols, rank;
    float *sigma; /* rank */
    float *u;     /* rank vectors of `rows` values, one behind the other: u[k * rows + i] is U(i, k) */
    float *vt;    /* rank vectors of `cols` values: vt[k * cols + j] is V(j, k) */
    /* Set by organ_low_rank. */
    double energy;   /* ||W||^2, summed in FP64 */
    double captured; /* of it in the `rank` kept: the sum of sigma^2 */
    unsigned passes; /* over the matrix; 0: decomposed whole */
} organ_svd;

void organ_svd_free(organ_svd *svd); /* leaves an empty one; allowed on a zeroed structure */

/* The whole decomposition of B A, with B out x inner and A inner x in, both row by row: from QR decompositions of both, so that the product
 * is never formed. svd->rank is min(out, inner, in); its energy, captured and passes are zero. Any thread, one thread's work. Values must
 * be finite. ORGAN_USAGE for an empty factor, ORGAN_IO without memory; then *svd is empty. */
organ_status organ_factored_svd(const float *b, const float *a, size_t out, size_t inner, size_t in, organ_svd *svd, organ_error *error);

#endif
