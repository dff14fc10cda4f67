/* SPDX-License-Identifier: MIT
 * The best approximation of a matrix by one of low rank: the truncated singular value decomposition of a matrix that is
 * read row by row (strips.h), or of a product of two factors. Results have the same bits on every machine, for any
 * number of threads and any memory. */
#ifndef ORGAN_SOLVE_LOW_RANK_H
#define ORGAN_SOLVE_LOW_RANK_H

#include "orchestrator/machine/buffers.h"
#include "orchestrator/solve/strips.h"

/* W ~ U diag(sigma) V^T. Singular values descend and are not negative; vectors are orthonormal. */
typedef struct organ_svd {
    size_t rows, cols, rank;
    float *sigma; /* the singular values, `rank` values */
    float *u;     /* rank consecutive vectors of `rows` values: u[k * rows + i] is U(i, k) */
    float *vt;    /* rank vectors of `cols` values: vt[k * cols + j] is V(j, k) */
    /* Set by organ_low_rank, 0 after organ_factored_svd: */
    double energy;   /* ||W||^2 (Frobenius norm), summed in FP64 */
    double captured; /* the sum of sigma^2: the part of `energy` that the approximation has */
    unsigned passes; /* passes over the matrix; 0: it was decomposed whole in memory */
    organ_buffers buffers;
} organ_svd;

/* Frees the arrays and sets all members to 0. Allowed on a zeroed structure. */
void organ_svd_release(organ_svd *svd);

typedef struct organ_low_rank_options {
    size_t rank;   /* at least 1; limited to the smaller dimension of the matrix */
    uint64_t seed; /* of the random vectors with which the iteration begins */
    bool exact;    /* decompose the whole matrix, which must fit into memory */
} organ_low_rank_options;

/* Computes the best approximation of rank options->rank by block Krylov iteration with a thick restart (Musco & Musco
 * 2015; its space contains that of the subspace iteration of Halko, Martinsson & Tropp 2011).
 *
 * Method. It seeks l = rank + max(16, rank / 4) vectors and begins with a block of l / 2 vectors of uniform Philox
 * numbers. Each pass over the matrix gives the next block: W^T W Q, where Q is the block before it, orthogonalised
 * against all earlier blocks. When the basis has 3 l vectors, it is reduced to the best l of its span and the newest
 * block. The iteration ends after a pass that raises the captured energy by less than 1e-5 ||W||^2; one more pass
 * computes U. A matrix with less than 2 l rows or columns is decomposed whole.
 *
 * svd->rank is min(rank, rows, cols), or 0 for a matrix of zeros. Allocates about 3.5 l cols + l rows values and the
 * arrays of *svd, in addition to the strips. Returns ORGAN_USAGE if `exact` is set and the matrix does not fit into
 * memory, the errors of organ_strips_run, or ORGAN_IO if memory cannot be allocated; *svd is then empty. The caller
 * frees *svd. */
organ_status organ_low_rank(organ_strips *strips, const organ_low_rank_options *options, organ_svd *svd,
                            organ_error *error);

/* Returns the bytes that organ_low_rank allocates for *svd and its buffers on `workers` threads, without the strips. */
uint64_t organ_low_rank_bytes(uint64_t rows, uint64_t cols, const organ_low_rank_options *options, size_t workers);
/* Returns the bytes that organ_residual allocates on `workers` threads, without the strips and without B and A. */
uint64_t organ_residual_bytes(size_t workers);

/* Returns ||W - U diag(sigma) V^T|| / ||W||, computed from the energies: sqrt(1 - captured / energy). Rounding of FP32
 * values dominates results below about 0.01, which organ_residual computes more exactly. 0 for a matrix of zeros. */
double organ_svd_residual(const organ_svd *svd);

/* Sets *rest to ||W - B A||^2, computed in a pass over W. B is rows x rank and A is rank x cols, both row-major.
 * Returns the errors of organ_strips_run, or ORGAN_IO if memory cannot be allocated. */
organ_status organ_residual(organ_strips *strips, const float *b, const float *a, size_t rank, double *rest,
                            organ_error *error);

/* Computes the complete decomposition of B A. B is out x inner, A is inner x in, both row-major. Uses QR decompositions
 * of the two factors, so that the product is never formed. svd->rank is min(out, inner, in). Works on the calling
 * thread; any thread may call it. Values must be finite. Returns ORGAN_USAGE for an empty factor, ORGAN_IO if memory
 * cannot be allocated; *svd is then empty. The caller frees *svd. */
organ_status organ_factored_svd(const organ_kernels *kernels, const float *b, const float *a, size_t out, size_t inner,
                                size_t in, organ_svd *svd, organ_error *error);

#endif
