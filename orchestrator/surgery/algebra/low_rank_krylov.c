/* SPDX-License-Identifier: MIT
 * Block Krylov iteration on W^T W with full reorthogonalisation and a thick restart. With W = m x n and blocks of l vectors of n values,
 * H = V^T W^T W V of the basis V tells how much of ||W||^2 the best vectors in it capture. Every product is cut by the shape of the matrix
 * alone and summed in the order of its strips, so that the bits depend on nothing else. */
#include "orchestrator/surgery/algebra/low_rank_job.h"

#include "orchestrator/machine/blas.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/algebra/philox.h"

#include <cblas.h>
#include <errno.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH 1e-5 /* of ||W||^2: a pass that captures less more is the last */
#define PANEL  ORGAN_STRIP_ROWS
/* Each pass captures no less than the one before, up to rounding; a matrix that needs more passes is not known. */
#define MOST_PASSES 200

typedef struct krylov {
    organ_strips *strips;
    size_t m, n, rank, l, b, most; /* vectors kept, vectors of a block, and columns that the basis has room for */
    size_t k;                      /* columns of the basis that H knows */
    float *basis;                  /* n x most; V in the first k, and a new block in the next b */
    float *block;                  /* n x b: W^T W of the new block, then the next new block */
    float *image;                  /* m x l; W of the new block in the first b */
    float *h;                      /* most x most, leading dimension `most`; symmetric */
    float *c, *values;             /* most x most for what becomes of H, and its eigenvalues, ascending */
    float scale;                   /* a power of two: what is decomposed is W times it, whose squares are numbers too */
    float *scratch;                /* per worker: PANEL x l */
    size_t c_rows, c_from;         /* of a shared product: rows of `c`, and the first column of the basis in it */
    const float *source;           /* what the matrix is multiplied by, and how many vectors they are */
    size_t width;
    uint64_t seed;
    unsigned passes;
} krylov;

static size_t panels_of(size_t n) { return (n + PANEL - 1) / PANEL; }

/* C = alpha op(A) B + beta C, on any thread. */
static void multiply(bool transposed, size_t m, size_t n, size_t k, float alpha, const float *a, size_t a_lead, const float *b,
                     size_t b_lead, float beta, float *c, size_t c_lead)
{
    organ_blas_begin();
    cblas_sgemm(CblasColMajor, transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, alpha, a, (int)a_lead, b,
                (int)b_lead, beta, c, (int)c_lead);
    organ_blas_end();
}

/* ---- over the matrix ---- */

/* Rows of W lie one behind the other: for BLAS a strip is its transpose, n x rows. */
static void map_strip(void *context, const organ_strip *strip, size_t worker)
{
    const krylov *const y = context;
    (void)worker;
    multiply(true, strip->rows, y->width, y->n, y->scale, strip->values, y->n, y->source, y->n, 0,
             y->image + strip->index * ORGAN_STRIP_ROWS, y->m);
}

/* Some rows of W^T (W V), to which each strip adds in order. */
static void map_back(void *context, size_t task, const organ_strip *strips, size_t count)
{
    const krylov *const y = context;
    const size_t from = task * PANEL, rows = organ_lesser(PANEL, y->n - from);
    for (size_t k = 0; k < count; k++)
        multiply(false, rows, y->b, strips[k].rows, y->scale, strips[k].values + from, y->n, y->image + strips[k].index * ORGAN_STRIP_ROWS,
                 y->m, strips[k].index ? 1 : 0, y->block + from, y->n);
}

/* block = W^T W source, of b vectors; or image = W source alone, of l. */
static organ_status pass(krylov *y, const float *source, bool back, organ_error *error)
{
    const organ_strip_work work = {.context = y, .each = map_strip, .after = back ? map_back : NULL, .tasks = panels_of(y->n)};
    y->source = source;
    y->width = back ? y->b : y->l;
    y->passes++;
    return organ_strips_run(y->strips, &work, error);
}

/* ---- in the space of the basis ---- */

/* Some rows of V^T block. */
static void project_part(void *context, size_t task, size_t worker)
{
    const krylov *const y = context;
    const size_t from = task * PANEL, rows = organ_lesser(PANEL, y->c_rows - from);
    (void)worker;
    multiply(true, rows, y->b, y->n, 1, y->basis + from * y->n, y->n, y->block, y->n, 0, y->c + from, y->most);
}

/* Some rows of block - V (V^T block). */
static void subtract_part(void *context, size_t task, size_t worker)
{
    const krylov *const y = context;
    const size_t from = task * PANEL, rows = organ_lesser(PANEL, y->n - from);
    (void)worker;
    multiply(false, rows, y->b, y->c_rows, -1, y->basis + from, y->n, y->c, y->most, 1, y->block + from, y->n);
}

/* Makes the block orthogonal to the first `columns` of the basis; c becomes what it had of them. */
static void make_orthogonal(krylov *y, size_t columns)
{
    const organ_engine *const engine = organ_strips_engine(y->strips);
    y->c_rows = columns;
    organ_share(engine, NULL, panels_of(columns), project_part, y);
    organ_share(engine, NULL, panels_of(y->n), subtract_part, y);
}

/* Some rows of V c, for l columns from c_from on, in the place of the first l of V. */
static void rotate_part(void *context, size_t task, size_t worker)
{
    const krylov *const y = context;
    const size_t from = task * PANEL, rows = organ_lesser(PANEL, y->n - from);
    float *const part = y->scratch + worker * PANEL * y->l;
    multiply(false, rows, y->l, y->k, 1, y->basis + from, y->n, y->c + y->c_from * y->most, y->most, 0, part, rows);
    for (size_t column = 0; column < y->l; column++)
        memcpy(y->basis + column * y->n + from, part + column * rows, rows * sizeof *part);
}

/* Eigenvalues of H, and its eigenvectors in c if they are wanted. */
static bool analyse(krylov *y, bool vectors)
{
    for (size_t column = 0; column < y->k; column++)
        memcpy(y->c + column * y->most, y->h + column * y->most, y->k * sizeof *y->c);
    organ_blas_begin();
    const int info = LAPACKE_ssyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', (int)y->k, y->c, (int)y->most, y->values);
    organ_blas_end();
    return info == 0;
}

/* What the best `rank` vectors of the basis capture. */
static double captured(const krylov *y)
{
    double sum = 0;
    for (size_t k = 0; k < organ_lesser(y->rank, y->k); k++)
        sum += (double)y->values[y->k - 1 - k];
    return sum;
}

/* The best l vectors of the basis take its place, the best last; H becomes diagonal. */
static bool keep_best(krylov *y)
{
    if (!analyse(y, true))
        return false;
    y->c_from = y->k - y->l;
    organ_share(organ_strips_engine(y->strips), NULL, panels_of(y->n), rotate_part, y);
    for (size_t column = 0; column < y->l; column++) {
        memset(y->h + column * y->most, 0, y->l * sizeof *y->h);
        y->h[column * y->most + column] = y->values[y->c_from + column];
    }
    y->k = y->l;
    return true;
}

/* H grows by V^T W^T W of the new block, which is in c; the parts that rounding makes differ are averaged. */
static void grow(krylov *y)
{
    const size_t k = y->k, b = y->b, lead = y->most;
    for (size_t column = 0; column < b; column++)
        for (size_t row = 0; row < k + b; row++) {
            const float value = row < k ? y->c[column * lead + row] : (y->c[column * lead + row] + y->c[(row - k) * lead + k + column]) / 2;
            y->h[(k + column) * lead + row] = value;
            y->h[row * lead + k + column] = value;
        }
    y->k += b;
}

static bool orthonormal_block(krylov *y, float *r)
{
    organ_blas_begin();
    const bool done = organ_orthonormal(y->block, y->n, y->b, r);
    organ_blas_end();
    return done;
}

/* Columns of which nothing but rounding was left become random ones; R says which. What is lost is far below what ends the iteration. */
static bool replace_nothing(krylov *y, const float *r)
{
    const double nothing = 1e-6 * (double)y->values[y->k - 1];
    bool any = false;
    for (size_t k = 0; k < y->b; k++)
        if (!(fabs((double)r[k * y->b + k]) > nothing)) {
            organ_philox_uniform(y->seed, y->passes, k * y->n, y->block + k * y->n, y->n);
            any = true;
        }
    return any;
}

/* The block becomes orthonormal, and orthogonal to the basis: twice, for what rounding leaves. */
static bool refine(krylov *y)
{
    float *r = organ_floats(y->b, y->b);
    bool done = r && orthonormal_block(y, r);
    const int times = done && replace_nothing(y, r) ? 2 : 1;
    for (int time = 0; done && time < times; time++) {
        make_orthogonal(y, y->k);
        done = orthonormal_block(y, NULL);
    }
    free(r);
    return done;
}

/* ---- the iteration ---- */

static organ_status krylov_no_memory(const krylov *y, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: decomposition of %zu x %zu", organ_strips_matrix(y->strips)->name, y->m, y->n);
}

/* block = W^T W of the new block of the basis. Only once the first pass is over is it known how large W is; where W^T W leaves the range of
 * FP32, that pass is made again. */
static organ_status extend(krylov *y, organ_error *error)
{
    const float *const fresh = y->basis + y->k * y->n;
    if (pass(y, fresh, true, error))
        return error->status;
    const double norm = sqrt(organ_strips_energy(y->strips));
    if (y->passes > 1 || norm == 0 || (norm > 0x1p-20 && norm < 0x1p20))
        return ORGAN_OK;
    y->scale = ldexpf(1, -ilogb(norm));
    return pass(y, fresh, true, error);
}

/* From the random block in `block` to a basis that captures enough. */
static organ_status iterate(krylov *y, organ_error *error)
{
    double before = 0;
    bool done = orthonormal_block(y, NULL);
    while (done && y->passes < MOST_PASSES) {
        memcpy(y->basis + y->k * y->n, y->block, y->n * y->b * sizeof *y->block);
        if (extend(y, error))
            return error->status;
        make_orthogonal(y, y->k + y->b);
        grow(y);
        done = analyse(y, false);
        const double now = captured(y), energy = organ_strips_energy(y->strips) * (double)y->scale * (double)y->scale;
        if (y->k >= y->l && !(now - before >= ENOUGH * energy))
            break;
        before = now;
        done = done && refine(y) && (y->k + y->b <= y->most || keep_best(y));
    }
    return done ? ORGAN_OK : krylov_no_memory(y, error);
}

/* From W X = Q R, X the best l vectors of the basis, and R = P diag(sigma) S^T: U = Q P and V = X S, each for the first `rank`. */
static organ_status finish(krylov *y, organ_svd *svd, organ_error *error)
{
    const size_t l = y->l, r = y->rank;
    float *triangle = organ_floats(l, l), *p = organ_floats(l, l), *st = organ_floats(l, l), *sigma = organ_floats(l, 1);
    bool done = triangle && p && st && sigma && organ_svd_make(svd, y->m, y->n, r) && keep_best(y);
    if (done && pass(y, y->basis, false, error) == ORGAN_OK) {
        organ_blas_begin();
        done = organ_orthonormal(y->image, y->m, l, triangle) && organ_dense_svd(triangle, l, l, p, sigma, st);
        if (done) {
            cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, (int)y->m, (int)r, (int)l, 1, y->image, (int)y->m, p, (int)l, 0, svd->u,
                        (int)y->m);
            cblas_sgemm(CblasColMajor, CblasNoTrans, CblasTrans, (int)y->n, (int)r, (int)l, 1, y->basis, (int)y->n, st, (int)l, 0, svd->vt,
                        (int)y->n);
            for (size_t k = 0; k < r; k++)
                svd->sigma[k] = sigma[k] / y->scale;
        }
        organ_blas_end();
    }
    free(triangle);
    free(p);
    free(st);
    free(sigma);
    svd->passes = y->passes;
    return done ? error->status : krylov_no_memory(y, error);
}

organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd, organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    krylov y = {.strips = strips,
                .m = (size_t)matrix->rows,
                .n = (size_t)matrix->cols,
                .rank = rank,
                .l = rank + oversampling,
                .scale = 1,
                .seed = seed};
    y.b = (y.l + 1) / 2;
    y.most = organ_lesser(3 * y.l, organ_lesser(y.m, y.n) - y.b); /* one more block must be orthogonal to all of them */
    y.basis = organ_floats(y.n, y.most);
    y.block = organ_floats(y.n, y.b);
    y.image = organ_floats(y.m, y.l);
    y.h = organ_floats(y.most, y.most);
    y.c = organ_floats(y.most, y.most);
    y.values = organ_floats(y.most, 1);
    y.scratch = organ_floats(organ_workers_count(organ_strips_engine(strips)->workers), PANEL * y.l);
    if (!y.basis || !y.block || !y.image || !y.h || !y.c || !y.values || !y.scratch)
        krylov_no_memory(&y, error);
    else {
        organ_philox_uniform(seed, 0, 0, y.block, y.n * y.b);
        if (iterate(&y, error) == ORGAN_OK)
            finish(&y, svd, error);
    }
    float *const parts[] = {y.basis, y.block, y.image, y.h, y.c, y.values, y.scratch};
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        free(parts[k]);
    return error->status;
}
