/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/calibrated/preconditioner.h"

#include "orchestrator/machine/blas.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/algebra/philox.h"

#include <cblas.h>
#include <errno.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTIONS       ((size_t)64) /* of a whole H */
#define DIRECTIONS_BLOCK ((size_t)16) /* of a block of a block-diagonal one */
#define OVERSAMPLED      ((size_t)16) /* more that are followed and not used */
#define PASSES           3            /* of subspace iteration, and one more for the values */
#define LEAST_GAP        1e-3f        /* a direction as strong as the rest counts for nothing */
#define LEAST_SHARE      1e-4f        /* of mu in Lambda - mu: keeps the k x k matrices far from singular in FP32 */

typedef struct part {
    size_t start, width, k; /* columns of the block, directions */
    size_t first;           /* direction among those of all blocks */
    size_t square;          /* of the row's squares: where the block's k x (k + 1) numbers begin */
    float mu;
} part;

struct organ_preconditioner {
    const char *name;
    organ_block_matrix h;
    size_t rows, part_count, directions, squares; /* over all blocks; numbers a row */
    part *parts;
    float *root, *inverse; /* sqrt(diag H), and 1 / that */
    float *u;              /* size x k of its part: row j begins at at[part] + (j - start) * k */
    size_t *at;
    float *gap; /* Lambda - mu, per direction */
    /* Per row and part a k x k matrix E + (masked U)^T (masked U), E = mu / (Lambda - mu): its Cholesky factor on and below the diagonal,
     * by columns, the matrix itself above it; then its diagonal. */
    float *square;
};

/* ---- directions ---- */

/* The scaled H: rows of q times D^-1 H D^-1. */
static void multiply_scaled(const organ_engine *engine, const organ_preconditioner *c, float *q, size_t count, float *product)
{
    const size_t n = c->h.size;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < n; j++)
            q[i * n + j] *= c->inverse[j];
    organ_block_multiply(engine, &c->h, q, count, product);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < n; j++) {
            q[i * n + j] *= c->root[j];
            product[i * n + j] *= c->inverse[j];
        }
}

static size_t followed(const part *p) { return organ_lesser(p->k + OVERSAMPLED, p->width); }

/* Orthonormal rows, each part for itself; LAPACK sees them as columns. */
static bool orthonormalise(const organ_preconditioner *c, float *q)
{
    float tau[DIRECTIONS + OVERSAMPLED];
    bool done = true;
    organ_blas_begin();
    for (size_t b = 0; b < c->part_count && done; b++) {
        const part *const p = &c->parts[b];
        const int m = (int)p->width, k = (int)followed(p), lead = (int)c->h.size;
        done = LAPACKE_sgeqrf(LAPACK_COL_MAJOR, m, k, q + p->start, lead, tau) == 0 &&
               LAPACKE_sorgqr(LAPACK_COL_MAJOR, m, k, k, q + p->start, lead, tau) == 0;
    }
    organ_blas_end();
    return done;
}

/* U and Lambda of a part from its orthonormal rows q and their products s with the scaled H. */
static bool find_part(organ_preconditioner *c, size_t index, const float *q, const float *s)
{
    part *const p = &c->parts[index];
    const size_t f = followed(p), n = c->h.size;
    float ritz[(DIRECTIONS + OVERSAMPLED) * (DIRECTIONS + OVERSAMPLED)], lambda[DIRECTIONS + OVERSAMPLED];
    double sum = 0;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)f, (int)f, (int)p->width, 1, q + p->start, (int)n, s + p->start, (int)n, 0,
                ritz, (int)f);
    if (LAPACKE_ssyev(LAPACK_ROW_MAJOR, 'V', 'U', (int)f, ritz, (int)f, lambda) != 0)
        return false;
    for (size_t d = 0; d < p->k; d++)
        sum += (double)lambda[f - 1 - d];
    /* The trace of the scaled H is its width. */
    p->mu = (float)fmax(((double)p->width - sum) / (double)(p->width - p->k), 1e-6);
    for (size_t d = 0; d < p->k; d++)
        c->gap[p->first + d] = fmaxf(lambda[f - 1 - d] - p->mu, LEAST_GAP * p->mu);
    /* Column f - 1 - d of ritz is direction d. */
    for (size_t j = 0; j < p->width; j++)
        for (size_t d = 0; d < p->k; d++) {
            double x = 0;
            for (size_t e = 0; e < f; e++)
                x += (double)q[e * n + p->start + j] * (double)ritz[e * f + f - 1 - d];
            c->u[c->at[index] + j * p->k + d] = (float)x;
        }
    return true;
}

static organ_status find_directions(const organ_engine *engine, organ_preconditioner *c, organ_error *error)
{
    const size_t n = c->h.size;
    size_t count = 0;
    for (size_t b = 0; b < c->part_count; b++)
        count = followed(&c->parts[b]) > count ? followed(&c->parts[b]) : count;
    float *q = organ_floats(count, n), *s = organ_floats(count, n);
    bool done = true;
    if (!q || !s)
        organ_fail_errno(error, ENOMEM, "%s: directions of %zu inputs", c->name, n);
    else {
        organ_philox_normal(n, 0, 0, q, count * n);
        for (int k = 0; k < PASSES && done; k++) {
            multiply_scaled(engine, c, q, count, s);
            memcpy(q, s, count * n * sizeof *q);
            done = orthonormalise(c, q);
        }
        multiply_scaled(engine, c, q, count, s);
        organ_blas_begin();
        for (size_t b = 0; b < c->part_count && done; b++)
            done = find_part(c, b, q, s);
        organ_blas_end();
        if (!done)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: the second moments of the inputs have no eigenvectors", c->name);
    }
    free(q);
    free(s);
    return error->status;
}

/* ---- making ---- */

static void cut_parts(organ_preconditioner *c)
{
    const size_t n = c->h.size, most = c->h.block < n ? DIRECTIONS_BLOCK : DIRECTIONS;
    size_t at = 0;
    for (size_t b = 0; b < c->part_count; b++) {
        part *const p = &c->parts[b];
        *p = (part){.start = b * c->h.block, .first = c->directions, .square = c->squares};
        p->width = organ_lesser(c->h.block, n - p->start);
        p->k = organ_lesser(most, p->width / 4);
        c->at[b] = at;
        at += p->width * p->k;
        c->directions += p->k;
        c->squares += p->k * (p->k + 1);
    }
}

static float *square_of(const organ_preconditioner *c, size_t row, const part *p) { return c->square + row * c->squares + p->square; }

/* E + I: with no mask U^T U is I. */
static void begin_squares(organ_preconditioner *c)
{
    for (size_t row = 0; row < c->rows; row++)
        for (size_t b = 0; b < c->part_count; b++) {
            const part *const p = &c->parts[b];
            float *const square = square_of(c, row, p);
            memset(square, 0, p->k * p->k * sizeof *square);
            for (size_t d = 0; d < p->k; d++) {
                const float own = fmaxf(p->mu / c->gap[p->first + d], LEAST_SHARE) + 1;
                square[p->k * p->k + d] = own;
                square[d * (p->k + 1)] = sqrtf(own);
            }
        }
}

organ_status organ_preconditioner_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows, const char *name,
                                         organ_preconditioner **made, organ_error *error)
{
    *made = NULL;
    organ_preconditioner *c = calloc(1, sizeof *c);
    if (!c)
        return organ_fail_memory(error, name);
    *c = (organ_preconditioner){.name = name, .h = *h, .rows = rows, .part_count = (h->size + h->block - 1) / h->block};
    c->parts = calloc(c->part_count, sizeof *c->parts);
    c->at = calloc(c->part_count, sizeof *c->at);
    c->root = organ_floats(h->size, 1);
    c->inverse = organ_floats(h->size, 1);
    if (c->parts && c->at && c->root && c->inverse) {
        cut_parts(c);
        for (size_t j = 0; j < h->size; j++) {
            c->root[j] = sqrtf(organ_block_diagonal(h, j));
            c->inverse[j] = 1.0f / c->root[j];
        }
        c->u = organ_floats(h->size, DIRECTIONS);
        c->gap = organ_floats(c->directions + 1, 1);
        c->square = organ_floats(rows, c->squares + 1);
    }
    if (!c->u || !c->gap || !c->square)
        organ_fail_errno(error, ENOMEM, "%s: preconditioner of %zu x %zu", name, rows, h->size);
    else if (find_directions(engine, c, error) == ORGAN_OK) {
        begin_squares(c);
        *made = c;
        return ORGAN_OK;
    }
    organ_preconditioner_destroy(c);
    return error->status;
}

void organ_preconditioner_destroy(organ_preconditioner *c)
{
    if (!c)
        return;
    free(c->parts);
    free(c->at);
    free(c->root);
    free(c->inverse);
    free(c->u);
    free(c->gap);
    free(c->square);
    free(c);
}

/* ---- use ---- */

size_t organ_preconditioner_scratch(const organ_preconditioner *c, size_t rows)
{
    const size_t gathered = organ_lesser(c->h.block, c->h.size) * DIRECTIONS, shares = rows * c->directions;
    return gathered > shares ? gathered : shares;
}

/* The rows of U that go, one behind the other; how many. */
static size_t gather(const organ_preconditioner *c, size_t index, const uint8_t *before, const uint8_t *keep, float *rows)
{
    const part *const p = &c->parts[index];
    size_t count = 0;
    for (size_t j = 0; j < p->width; j++)
        if (before[p->start + j] && !keep[p->start + j])
            memcpy(rows + p->k * count++, c->u + c->at[index] + j * p->k, p->k * sizeof *rows);
    return count;
}

void organ_preconditioner_remove(organ_preconditioner *c, size_t row, const uint8_t *before, const uint8_t *keep, float *scratch)
{
    for (size_t b = 0; b < c->part_count; b++) {
        const part *const p = &c->parts[b];
        const size_t k = p->k, count = gather(c, b, before, keep, scratch);
        float *const square = square_of(c, row, p), *const diagonal = square + k * k;
        if (count == 0 || k == 0)
            continue;
        for (size_t d = 0; d < k; d++)
            square[d * (k + 1)] = diagonal[d];
        cblas_ssyrk(CblasColMajor, CblasUpper, CblasNoTrans, (int)k, (int)count, -1, scratch, (int)k, 1, square, (int)k);
        for (size_t d = 0; d < k; d++) {
            diagonal[d] = square[d * (k + 1)];
            for (size_t e = d + 1; e < k; e++)
                square[d * k + e] = square[e * k + d];
        }
        LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'L', (int)k, square, (int)k);
    }
}

void organ_preconditioner_multiply(const organ_preconditioner *c, size_t rows, const float *matrix, float *product, float *scratch)
{
    const size_t n = c->h.size;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            product[i * n + j] = matrix[i * n + j] * c->root[j];
    for (size_t b = 0; b < c->part_count; b++) {
        const part *const p = &c->parts[b];
        float *const x = product + p->start;
        const float *const u = c->u + c->at[b];
        if (p->k)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)p->k, (int)p->width, 1, x, (int)n, u, (int)p->k, 0,
                        scratch, (int)p->k);
        for (size_t i = 0; i < rows; i++)
            for (size_t d = 0; d < p->k; d++)
                scratch[i * p->k + d] *= c->gap[p->first + d];
        if (p->k)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)p->width, (int)p->k, 1, scratch, (int)p->k, u, (int)p->k,
                        p->mu, x, (int)n);
        else
            cblas_sscal((int)p->width, p->mu, x, 1);
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            product[i * n + j] *= c->root[j];
}

/* x = (x - (x U) A^-1 U^T), A the row's square. */
static void solve_part(const organ_preconditioner *c, size_t index, size_t first, size_t rows, float *x, float *scratch)
{
    const part *const p = &c->parts[index];
    const float *const u = c->u + c->at[index];
    const int k = (int)p->k, n = (int)c->h.size;
    if (k == 0)
        return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, k, (int)p->width, 1, x, n, u, k, 0, scratch, k);
    for (size_t i = 0; i < rows; i++) {
        const float *const factor = square_of(c, first + i, p);
        cblas_strsv(CblasColMajor, CblasLower, CblasNoTrans, CblasNonUnit, k, factor, k, scratch + i * p->k, 1);
        cblas_strsv(CblasColMajor, CblasLower, CblasTrans, CblasNonUnit, k, factor, k, scratch + i * p->k, 1);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)p->width, k, -1, scratch, k, u, k, 1, x, n);
}

/* y = a x z where it is kept, else 0. */
static void scale_kept(float *y, float a, const float *x, const float *z, const uint8_t *keep, size_t n)
{
    for (size_t j = 0; j < n; j++)
        y[j] = a * x[j] * z[j] * (float)keep[j];
}

void organ_preconditioner_solve(const organ_preconditioner *c, size_t first, size_t rows, const float *residual, const uint8_t *keep,
                                float *result, float *scratch)
{
    const size_t n = c->h.size;
    for (size_t i = 0; i < rows; i++)
        scale_kept(result + i * n, 1, residual + i * n, c->inverse, keep + i * n, n);
    for (size_t b = 0; b < c->part_count; b++)
        solve_part(c, b, first, rows, result + c->parts[b].start, scratch);
    for (size_t i = 0; i < rows; i++)
        for (size_t b = 0; b < c->part_count; b++) {
            const part *const p = &c->parts[b];
            float *const x = result + i * n + p->start;
            scale_kept(x, 1.0f / p->mu, x, c->inverse + p->start, keep + i * n + p->start, p->width);
        }
}
