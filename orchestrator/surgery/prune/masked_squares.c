/* SPDX-License-Identifier: MIT
 * Preconditioned conjugate gradients on the rows of one matrix. Ranks: each rank solves a part of the rows, because
 * layers must be solved in order and so cannot be divided among ranks. */
#include "orchestrator/surgery/prune/masked_squares.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/prune/preconditioner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_PER_BATCH ((size_t)64) /* rows of the work of one task of organ_share */
/* Rows that are solved together, with one product with H for all of them: a multiple of ROWS_PER_BATCH. */
#define TOGETHER ((size_t)1024)
/* Share of the last preconditioned step of a solve that v takes. No product with H checks this step, and a full step is
 * too long in directions that the preconditioner does not contain. */
#define AHEAD 0.7f

struct organ_masked_squares {
    const organ_engine *engine;
    const char *name; /* for messages */
    organ_block_matrix h;
    size_t rows;    /* rows of the matrix */
    size_t scratch; /* floats of scratch of a worker: organ_preconditioner_scratch for ROWS_PER_BATCH rows */
    organ_preconditioner *preconditioner;
    float *r;              /* residual of v - ahead, rows x h.size, also at removed weights */
    float *ahead;          /* change of v that `r` does not include yet, rows x h.size */
    size_t from, count;    /* the current rows are [from, from + count): they are solved together */
    float *p, *hp;         /* of the current rows: direction of conjugate gradients, and its product with H */
    double *rz;            /* of each current row: dot product of residual and preconditioned residual */
    float *worker_buffers; /* for each worker ROWS_PER_BATCH x h.size floats, then its scratch */
    uint8_t *last_mask;    /* mask of the last solve */
    const uint8_t *keep;   /* mask of the running solve */
    float *v;              /* weights of the running solve, rows x h.size */
};

/* ---- creation ---- */

organ_status organ_masked_squares_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_masked_squares **squares, organ_error *error)
{
    *squares = NULL;
    organ_masked_squares *s = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, name);
    *s = (organ_masked_squares){.engine = engine, .name = name, .h = *h, .rows = rows};
    if (organ_preconditioner_create(engine, h, rows, name, &s->preconditioner, error) == ORGAN_OK) {
        s->scratch = organ_preconditioner_scratch(s->preconditioner, ROWS_PER_BATCH);
        s->r = organ_floats(rows, h->size);
        s->ahead = organ_floats(rows, h->size);
        s->p = organ_floats(organ_min(rows, TOGETHER), h->size);
        s->hp = organ_floats(organ_min(rows, TOGETHER), h->size);
        s->rz = calloc(organ_min(rows, TOGETHER), sizeof *s->rz);
        s->worker_buffers = organ_floats(organ_workers_count(engine->workers), ROWS_PER_BATCH * h->size + s->scratch);
        s->last_mask = malloc(rows * h->size);
        if (s->r && s->ahead && s->p && s->hp && s->rz && s->worker_buffers && s->last_mask) {
            memset(s->last_mask, 1, rows * h->size);
            memset(s->ahead, 0, rows * h->size * sizeof *s->ahead);
            *squares = s;
            return ORGAN_OK;
        }
        organ_fail_errno(error, ENOMEM, "%s: least squares of %zu x %zu", name, rows, h->size);
    }
    organ_masked_squares_destroy(s);
    return error->status;
}

void organ_masked_squares_destroy(organ_masked_squares *s)
{
    if (!s)
        return;
    organ_preconditioner_destroy(s->preconditioner);
    free(s->r);
    free(s->ahead);
    free(s->p);
    free(s->hp);
    free(s->rz);
    free(s->worker_buffers);
    free(s->last_mask);
    free(s);
}

float *organ_masked_squares_residual(organ_masked_squares *s) { return s->r; }

/* ---- rows ----
 *
 * Tasks of organ_share on batch `index` of the current rows. `own` is the batch's first row among the current rows,
 * `first` the same row in the matrix, `at` the offset of this row in v, r, ahead and the masks. */

static void masked_squares_add(float *y, float a, const float *x, size_t n)
{
    for (size_t k = 0; k < n; k++)
        y[k] += a * x[k];
}

/* v loses the weights outside the new mask and gets an approximate compensation: the preconditioner applied to the
 * residual after the removal. p and `ahead` become the whole change of v that the residual does not include yet: the
 * old `ahead`, minus the removed weights, plus the compensation. The first product of the solve multiplies p by H. */
static void begin_rows(void *context, size_t index, size_t worker)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size, own = index * ROWS_PER_BATCH, rows = organ_min(ROWS_PER_BATCH, s->count - own),
                 first = s->from + own, at = first * n;
    float *const z = s->worker_buffers + worker * (ROWS_PER_BATCH * n + s->scratch), *const scratch =
                                                                                         z + ROWS_PER_BATCH * n;
    float *restrict const p = s->p + own * n, *restrict const v = s->v + at, *restrict const ahead = s->ahead + at;
    const uint8_t *restrict const keep = s->keep + at;
    for (size_t k = 0; k < rows * n; k++) {
        p[k] = (keep[k] ? 0.0f : v[k]) - ahead[k]; /* minus the change of v, without the compensation */
        v[k] = keep[k] ? v[k] : 0.0f;
    }
    for (size_t i = 0; i < rows; i++)
        organ_preconditioner_remove(s->preconditioner, first + i, s->last_mask + at + i * n, keep + i * n, scratch);
    organ_preconditioner_multiply(s->preconditioner, rows, p, z, scratch);
    masked_squares_add(z, 1, s->r + at, rows * n);
    organ_preconditioner_solve(s->preconditioner, first, rows, z, keep, z, scratch);
    for (size_t k = 0; k < rows * n; k++) {
        p[k] = z[k] - p[k];
        v[k] += z[k];
        ahead[k] = p[k];
    }
    memcpy(s->last_mask + at, keep, rows * n);
}

static void finish_rows(void *context, size_t index, size_t worker)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size, own = index * ROWS_PER_BATCH;
    (void)worker;
    masked_squares_add(s->r + (s->from + own) * n, -1, s->hp + own * n, organ_min(ROWS_PER_BATCH, s->count - own) * n);
}

static void begin_directions(void *context, size_t index, size_t worker)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size, own = index * ROWS_PER_BATCH, rows = organ_min(ROWS_PER_BATCH, s->count - own),
                 first = s->from + own, at = first * n;
    float *const scratch = s->worker_buffers + worker * (ROWS_PER_BATCH * n + s->scratch), *const p = s->p + own * n;
    finish_rows(s, index, worker);
    organ_preconditioner_solve(s->preconditioner, first, rows, s->r + at, s->keep + at, p, scratch);
    for (size_t i = 0; i < rows; i++)
        s->rz[own + i] = organ_dot(s->r + at + i * n, p + i * n, n);
}

/* The step is v += alpha p and r -= alpha H p, with alpha = <r, z> / <p, H p> and z the preconditioned residual. A
 * row whose residual is zero, or for which <p, H p> is 0 in FP32, is solved and stays unchanged. */
static void step_rows(void *context, size_t index, size_t worker)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size;
    (void)worker;
    for (size_t own = index * ROWS_PER_BATCH; own < organ_min((index + 1) * ROWS_PER_BATCH, s->count); own++) {
        const double length = organ_dot(s->p + own * n, s->hp + own * n, n);
        const float alpha = length > 0 ? (float)(s->rz[own] / length) : 0.0f;
        masked_squares_add(s->v + (s->from + own) * n, alpha, s->p + own * n, n);
        masked_squares_add(s->r + (s->from + own) * n, -alpha, s->hp + own * n, n);
    }
}

static void update_directions(void *context, size_t index, size_t worker)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size, own = index * ROWS_PER_BATCH, rows = organ_min(ROWS_PER_BATCH, s->count - own),
                 first = s->from + own, at = first * n;
    float *const z = s->worker_buffers + worker * (ROWS_PER_BATCH * n + s->scratch);
    organ_preconditioner_solve(s->preconditioner, first, rows, s->r + at, s->keep + at, z, z + ROWS_PER_BATCH * n);
    for (size_t i = 0; i < rows; i++) {
        const double next = organ_dot(s->r + at + i * n, z + i * n, n);
        const float beta = s->rz[own + i] > 0 ? (float)(next / s->rz[own + i]) : 0.0f;
        float *const p = s->p + (own + i) * n;
        for (size_t k = 0; k < n; k++)
            p[k] = z[i * n + k] + beta * p[k];
        s->rz[own + i] = next;
    }
}

/* v moves by AHEAD times one more preconditioned residual. `ahead` stores this step: the first product of the next
 * solve includes it. */
static void step_ahead(void *context, size_t index, size_t worker)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size, own = index * ROWS_PER_BATCH, rows = organ_min(ROWS_PER_BATCH, s->count - own),
                 first = s->from + own, at = first * n;
    float *const scratch = s->worker_buffers + worker * (ROWS_PER_BATCH * n + s->scratch) + ROWS_PER_BATCH * n;
    float *restrict const ahead = s->ahead + at, *restrict const v = s->v + at;
    organ_preconditioner_solve(s->preconditioner, first, rows, s->r + at, s->keep + at, ahead, scratch);
    for (size_t k = 0; k < rows * n; k++) {
        ahead[k] *= AHEAD;
        v[k] += ahead[k];
    }
}

/* ---- solving ---- */

/* The first product (k = 0) updates the residual; with each further product, a step of preconditioned conjugate
 * gradients is taken. step_ahead then takes one more step, which needs no product. Without products, only begin_rows
 * changes v. */
static organ_status solve_together(organ_masked_squares *s, unsigned products, organ_error *error)
{
    const size_t parts = (s->count + ROWS_PER_BATCH - 1) / ROWS_PER_BATCH;
    organ_share(s->engine, NULL, parts, begin_rows, s);
    for (unsigned k = 0; k < products; k++) {
        if (organ_stop_is_requested(s->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", s->name);
        if (k > 0)
            organ_share(s->engine, NULL, parts, k == 1 ? begin_directions : update_directions, s);
        if (organ_block_multiply(s->engine, &s->h, s->p, s->count, s->hp, error))
            return error->status;
        if (k > 0)
            organ_share(s->engine, NULL, parts, step_rows, s);
    }
    if (products == 1)
        organ_share(s->engine, NULL, parts, finish_rows, s);
    if (products > 0)
        organ_share(s->engine, NULL, parts, step_ahead, s);
    return ORGAN_OK;
}

/* The rows are solved TOGETHER at a time, and exchanged, so that every rank has all of v. */
organ_status organ_masked_squares_solve(organ_masked_squares *s, const uint8_t *keep, unsigned products, float *v,
                                        organ_error *error)
{
    s->keep = keep;
    s->v = v;
    const organ_row_range own = organ_ranks_own_rows(s->engine->ranks, s->rows, ROWS_PER_BATCH);
    for (s->from = own.first; s->from < own.end && !error->status; s->from += TOGETHER) {
        s->count = organ_min(TOGETHER, own.end - s->from);
        solve_together(s, products, error);
    }
    return organ_ranks_complete_rows(s->engine->ranks, "solving rows", v, s->h.size * sizeof *v, s->rows,
                                     ROWS_PER_BATCH, error);
}

uint64_t organ_masked_squares_memory(uint64_t rows, uint64_t cols)
{
    const uint64_t together = rows < TOGETHER ? rows : TOGETHER, blocks = (cols + 255) / 256;
    /* The preconditioner's 4 k (k + 1) bytes per row: k = 64 for a whole H, k = 16 for each block of 256 columns. */
    const uint64_t whole = 16640, blockwise = 1088 * blocks;
    /* `r`, `ahead` and `last_mask`: 4 + 4 + 1 bytes per weight. `p` and `hp`. The preconditioner's matrices. Its
     * directions and the buffers for finding them, per column. */
    return 9 * rows * cols + 8 * together * cols + (blockwise > whole ? blockwise : whole) * rows + 1664 * cols;
}
