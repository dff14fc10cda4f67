/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/masked_squares.h"

#include "orchestrator/stream/share.h"
#include "orchestrator/machine/blas.h"
#include "orchestrator/surgery/low_rank_job.h"

#include <cblas.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STRIP     ((size_t)512) /* rows and columns of a product's parts: they must not depend on the number of threads */
#define PANEL     ((size_t)256)
#define ROWS_A_GO ((size_t)16)
#define LANES     8

static size_t lesser(size_t a, size_t b) { return a < b ? a : b; }

/* ---- products with H ---- */

typedef struct product {
    const organ_block_matrix *h;
    const float *matrix;
    size_t rows, panels;
    float *result;
} product;

static void multiply_part(void *context, size_t index, size_t worker)
{
    const product *const p = context;
    const size_t n = p->h->size, block = p->h->block, per_block = (block + PANEL - 1) / PANEL;
    const size_t row = index / p->panels * STRIP, at = index % p->panels, start = at / per_block * block;
    const size_t width = lesser(block, n - start), col = at % per_block * PANEL;
    (void)worker;
    organ_blas_begin();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)lesser(STRIP, p->rows - row), (int)lesser(PANEL, width - col), (int)width,
                1, p->matrix + row * n + start, (int)n, p->h->values + start * block + col, (int)width, 0,
                p->result + row * n + start + col, (int)n);
    organ_blas_end();
}

void organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix, size_t rows, float *result)
{
    const size_t whole = h->size / h->block, rest = h->size % h->block;
    product p = {.h = h, .matrix = matrix, .rows = rows, .result = result};
    p.panels = whole * ((h->block + PANEL - 1) / PANEL) + (rest + PANEL - 1) / PANEL;
    organ_share(engine, NULL, (rows + STRIP - 1) / STRIP * p.panels, multiply_part, &p);
}

/* ---- conjugate gradients, row by row between the products ---- */

typedef struct gradients {
    const organ_masked_squares *problem;
    float *v, *r, *p, *hp; /* solution, residual, direction, H times it */
    float *reciprocal;     /* of the diagonal of H */
    double *rz;            /* per row: residual times preconditioned residual */
} gradients;

static double fold(const double lanes[LANES])
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/* Of vectors of n values. */
static double dot(const float *a, const float *b, size_t n)
{
    double lanes[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += (double)a[k + l] * (double)b[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += (double)a[k] * (double)b[k];
    return fold(lanes);
}

static double weighted_square(const float *r, const float *reciprocal, size_t n)
{
    double lanes[LANES] = {0};
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += (double)r[k + l] * (double)r[k + l] * (double)reciprocal[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += (double)r[k] * (double)r[k] * (double)reciprocal[k];
    return fold(lanes);
}

static void begin_row(const gradients *g, size_t row)
{
    const size_t n = g->problem->h.size, at = row * n;
    const float *const target = g->problem->target + at, *const hv = g->hp + at;
    const uint8_t *const keep = g->problem->keep + at;
    float *const r = g->r + at, *const p = g->p + at;
    for (size_t k = 0; k < n; k++) {
        r[k] = keep[k] ? target[k] - hv[k] : 0.0f;
        p[k] = r[k] * g->reciprocal[k];
    }
    g->rz[row] = weighted_square(r, g->reciprocal, n);
}

/* A row whose residual is nothing, or whose direction has no length in FP32, is solved: it stays as it is. */
static void move_row(const gradients *g, size_t row)
{
    const size_t n = g->problem->h.size, at = row * n;
    const uint8_t *const keep = g->problem->keep + at;
    float *const v = g->v + at, *const r = g->r + at, *const p = g->p + at;
    const float *const hp = g->hp + at;
    const double length = dot(p, hp, n);
    const float alpha = length > 0 ? (float)(g->rz[row] / length) : 0.0f;
    for (size_t k = 0; k < n; k++) {
        v[k] += alpha * p[k];
        r[k] = keep[k] ? r[k] - alpha * hp[k] : 0.0f;
    }
    const double next = weighted_square(r, g->reciprocal, n);
    const float beta = g->rz[row] > 0 ? (float)(next / g->rz[row]) : 0.0f;
    for (size_t k = 0; k < n; k++)
        p[k] = r[k] * g->reciprocal[k] + beta * p[k];
    g->rz[row] = next;
}

static void begin_rows(void *context, size_t index, size_t worker)
{
    const gradients *const g = context;
    (void)worker;
    for (size_t row = index * ROWS_A_GO; row < lesser((index + 1) * ROWS_A_GO, g->problem->rows); row++)
        begin_row(g, row);
}

static void move_rows(void *context, size_t index, size_t worker)
{
    const gradients *const g = context;
    (void)worker;
    for (size_t row = index * ROWS_A_GO; row < lesser((index + 1) * ROWS_A_GO, g->problem->rows); row++)
        move_row(g, row);
}

static organ_status iterate(const organ_engine *engine, gradients *g, unsigned iterations, const char *name, organ_error *error)
{
    const organ_masked_squares *const problem = g->problem;
    const size_t parts = (problem->rows + ROWS_A_GO - 1) / ROWS_A_GO;
    organ_block_multiply(engine, &problem->h, g->v, problem->rows, g->hp);
    organ_share(engine, NULL, parts, begin_rows, g);
    for (unsigned k = 0; k < iterations; k++) {
        if (organ_stop_asked(engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", name);
        organ_block_multiply(engine, &problem->h, g->p, problem->rows, g->hp);
        organ_share(engine, NULL, parts, move_rows, g);
    }
    return ORGAN_OK;
}

organ_status organ_masked_squares_solve(const organ_engine *engine, const organ_masked_squares *problem, unsigned iterations, float *v,
                                        const char *name, organ_error *error)
{
    const size_t n = problem->h.size, block = problem->h.block;
    gradients g = {.problem = problem, .v = v, .r = organ_floats(problem->rows, n), .p = organ_floats(problem->rows, n)};
    g.hp = organ_floats(problem->rows, n);
    g.reciprocal = organ_floats(n, 1);
    g.rz = calloc(problem->rows, sizeof *g.rz);
    if (!g.r || !g.p || !g.hp || !g.reciprocal || !g.rz)
        organ_fail_errno(error, ENOMEM, "%s: least squares of %zu x %zu", name, problem->rows, n);
    else {
        for (size_t j = 0; j < n; j++) {
            const size_t start = j / block * block, width = lesser(block, n - start);
            g.reciprocal[j] = 1.0f / problem->h.values[start * block + (j - start) * (width + 1)];
        }
        iterate(engine, &g, iterations, name, error);
    }
    free(g.r);
    free(g.p);
    free(g.hp);
    free(g.reciprocal);
    free(g.rz);
    return error->status;
}
