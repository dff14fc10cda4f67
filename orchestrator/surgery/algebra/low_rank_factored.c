/* SPDX-License-Identifier: MIT
 * SVD of a product B A. With B = Q1 R1 and A^T = Q2 R2, B A = Q1 (R1 R2^T) Q2^T, so only R1 R2^T needs a dense SVD; it
 * has at most as many rows and columns as B has columns. */
#include "orchestrator/surgery/algebra/low_rank_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void organ_svd_release(organ_svd *svd)
{
    free(svd->sigma);
    free(svd->u);
    free(svd->vt);
    *svd = (organ_svd){0};
}

/* `count` vectors of n values have a QR decomposition with k = min(count, n). */
typedef struct qr {
    size_t count, n, k;
    float *q;  /* the vectors; after organ_orthonormal the k vectors of Q: [count][n] */
    float *rt; /* R^T: [count][k] */
} qr;

static qr make_qr(size_t count, size_t n)
{
    const size_t k = organ_min(count, n);
    return (qr){count, n, k, organ_floats(count, n), organ_floats(count, k)};
}

static void free_qr(qr *f)
{
    free(f->q);
    free(f->rt);
}

/* to = factors x Q, where `factors` is [count][k] and `to` is [count][n]. */
static void combine_vectors_of_q(const organ_kernels *kernels, const qr *f, const float *factors, size_t count,
                                 float *to, void *scratch)
{
    const organ_product product = {.m = count,
                                   .n = f->n,
                                   .k = f->k,
                                   .a = organ_by_rows(factors, f->k),
                                   .b = organ_by_columns(f->q, f->n),
                                   .c = to,
                                   .c_stride = f->n};
    kernels->product(&product, scratch);
}

/* B A = Q1 (R1 R2^T) Q2^T from the QR decompositions of B (`b`) and A^T (`a`): the singular vectors of R1 R2^T are
 * multiplied by Q1 and Q2. Returns false if memory cannot be allocated. */
static bool svd_of_factors(const organ_kernels *kernels, const qr *b, const qr *a, organ_svd *svd)
{
    const size_t k = svd->rank;
    float *core = organ_floats(b->k, a->k), /* R1 R2^T */
        *left = organ_floats(k, b->k), *right = organ_floats(k, a->k);
    void *scratch = aligned_alloc(64, ORGAN_PRODUCT_SCRATCH);
    /* The SVD reads column-major; R2 R1^T in row-major order is R1 R2^T in column-major order. */
    const organ_product product = {.m = a->k,
                                   .n = b->k,
                                   .k = b->count,
                                   .a = organ_by_columns(a->rt, a->k),
                                   .b = organ_by_columns(b->rt, b->k),
                                   .c = core,
                                   .c_stride = b->k};
    bool done = core && left && right && scratch;
    if (done) {
        kernels->product(&product, scratch);
        done = organ_dense_svd(kernels, core, b->k, a->k, k, left, svd->sigma, right);
    }
    if (done) {
        combine_vectors_of_q(kernels, b, left, k, svd->u, scratch);
        combine_vectors_of_q(kernels, a, right, k, svd->vt, scratch);
    }
    free(core);
    free(left);
    free(right);
    free(scratch);
    return done;
}

bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank)
{
    *svd = (organ_svd){.rows = rows, .cols = cols, .rank = rank};
    svd->sigma = organ_floats(rank, 1);
    svd->u = organ_floats(rows, rank);
    svd->vt = organ_floats(rank, cols);
    return svd->sigma && svd->u && svd->vt;
}

/* The QR decompositions are those of B and of A^T, whose columns are laid out as vectors. */
organ_status organ_factored_svd(const organ_kernels *kernels, const float *b, const float *a, size_t out, size_t inner,
                                size_t in, organ_svd *svd, organ_error *error)
{
    *svd = (organ_svd){0};
    if (out == 0 || inner == 0 || in == 0 || out > INT_MAX || inner > INT_MAX || in > INT_MAX)
        return organ_fail(error, ORGAN_USAGE, "a product of %zu x %zu and %zu x %zu has no decomposition", out, inner,
                          inner, in);
    qr left = make_qr(inner, out), right = make_qr(inner, in);
    bool done = organ_svd_make(svd, out, in, organ_min(left.k, right.k)) && left.q && left.rt && right.q && right.rt;
    if (done) {
        for (size_t i = 0; i < out; i++)
            for (size_t k = 0; k < inner; k++)
                left.q[k * out + i] = b[i * inner + k];
        memcpy(right.q, a, inner * in * sizeof *a); /* rows of A are columns of A^T */
        done = organ_orthonormal(kernels, left.q, inner, out, out, left.rt) &&
               organ_orthonormal(kernels, right.q, inner, in, in, right.rt) &&
               svd_of_factors(kernels, &left, &right, svd);
    }
    free_qr(&left);
    free_qr(&right);
    if (!done) {
        organ_svd_release(svd);
        return organ_fail_errno(error, ENOMEM, "decomposition of a product of %zu x %zu and %zu x %zu", out, inner,
                                inner, in);
    }
    return ORGAN_OK;
}
