/* SPDX-License-Identifier: MIT
 * B = Q1 R1 and A^T = Q2 R2 give B A = Q1 (R1 R2^T) Q2^T: what is left to decompose has the size of the inner dimension. */
#include "orchestrator/surgery/algebra/low_rank_job.h"

#include "orchestrator/machine/blas.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/algebra/floats.h"

#include <cblas.h>
#include <errno.h>
#include <lapacke.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

void organ_svd_free(organ_svd *svd)
{
    free(svd->sigma);
    free(svd->u);
    free(svd->vt);
    *svd = (organ_svd){0};
}

/* Q (rows x k) R (k x cols), k = min(rows, cols); `q` comes as the matrix, columns one behind the other. */
typedef struct qr {
    size_t rows, cols, k;
    float *q, *r;
} qr;

static bool decompose(qr *f)
{
    const int rows = (int)f->rows, cols = (int)f->cols, k = (int)f->k;
    float *tau = organ_floats(f->k, 1);
    bool done = tau && LAPACKE_sgeqrf(LAPACK_COL_MAJOR, rows, cols, f->q, rows, tau) == 0;
    for (size_t c = 0; done && c < f->cols; c++)
        for (size_t r = 0; r < f->k; r++)
            f->r[c * f->k + r] = r <= c ? f->q[c * f->rows + r] : 0.0f;
    done = done && LAPACKE_sorgqr(LAPACK_COL_MAJOR, rows, k, k, f->q, rows, tau) == 0;
    free(tau);
    return done;
}

bool organ_orthonormal(float *matrix, size_t rows, size_t cols, float *r)
{
    float *mine = r ? r : organ_floats(cols, cols);
    qr f = {rows, cols, cols, matrix, mine};
    const bool done = mine && decompose(&f);
    if (!r)
        free(mine);
    return done;
}

/* U (out x k), sigma, V^T (k x in) of Q1 (R1 R2^T) Q2^T. */
static bool join(const qr *b, const qr *a, organ_svd *svd)
{
    const size_t k = svd->rank;
    const int p = (int)b->k, q = (int)a->k, inner = (int)b->cols;
    float *core = organ_floats(b->k, a->k), *left = organ_floats(b->k, k), *right = organ_floats(k, a->k);
    bool done = core && left && right;
    if (done) {
        cblas_sgemm(CblasColMajor, CblasNoTrans, CblasTrans, p, q, inner, 1, b->r, p, a->r, q, 0, core, p);
        done = organ_dense_svd(core, b->k, a->k, left, svd->sigma, right);
    }
    if (done) {
        cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)b->rows, (int)k, p, 1, b->q, (int)b->rows, left, p, 0, svd->u,
                    (int)b->rows);
        /* V = Q2 right^T, and its columns one behind the other are the rows of V^T. */
        cblas_sgemm(CblasColMajor, CblasNoTrans, CblasTrans, (int)a->rows, (int)k, q, 1, a->q, (int)a->rows, right, (int)k, 0, svd->vt,
                    (int)a->rows);
    }
    free(core);
    free(left);
    free(right);
    return done;
}

bool organ_dense_svd(float *matrix, size_t rows, size_t cols, float *u, float *sigma, float *vt)
{
    const int m = (int)rows, n = (int)cols, k = m < n ? m : n;
    return LAPACKE_sgesdd(LAPACK_COL_MAJOR, 'S', m, n, matrix, m, sigma, u, m, vt, k) == 0;
}

bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank)
{
    *svd = (organ_svd){.rows = rows, .cols = cols, .rank = rank};
    svd->sigma = organ_floats(rank, 1);
    svd->u = organ_floats(rows, rank);
    svd->vt = organ_floats(rank, cols);
    return svd->sigma && svd->u && svd->vt;
}

organ_status organ_factored_svd(const float *b, const float *a, size_t out, size_t inner, size_t in, organ_svd *svd, organ_error *error)
{
    *svd = (organ_svd){0};
    if (out == 0 || inner == 0 || in == 0 || out > INT_MAX || inner > INT_MAX || in > INT_MAX)
        return organ_fail(error, ORGAN_USAGE, "a product of %zu x %zu and %zu x %zu has no decomposition", out, inner, inner, in);
    qr left = {out, inner, organ_lesser(out, inner), organ_floats(out, inner), organ_floats(organ_lesser(out, inner), inner)};
    qr right = {in, inner, organ_lesser(in, inner), organ_floats(in, inner), organ_floats(organ_lesser(in, inner), inner)};
    bool done = organ_svd_make(svd, out, in, organ_lesser(left.k, right.k)) && left.q && left.r && right.q && right.r;
    if (done) {
        for (size_t i = 0; i < out; i++)
            for (size_t k = 0; k < inner; k++)
                left.q[k * out + i] = b[i * inner + k];
        memcpy(right.q, a, inner * in * sizeof *a); /* rows of A are columns of A^T */
        organ_blas_begin();
        done = decompose(&left) && decompose(&right) && join(&left, &right, svd);
        organ_blas_end();
    }
    free(left.q);
    free(left.r);
    free(right.q);
    free(right.r);
    if (!done) {
        organ_svd_free(svd);
        return organ_fail_errno(error, ENOMEM, "decomposition of a product of %zu x %zu and %zu x %zu", out, inner, inner, in);
    }
    return ORGAN_OK;
}
