/* SPDX-License-Identifier: MIT
 * SparseGPT (Frantar & Alistarh 2023, arXiv:2301.00774). Killing weight j of a row raises the row's squared output
 * error by w_j^2 / [H^-1]_jj, with H the second moments of the inputs, if the other weights change by -w_j / [H^-1]_jj
 * times row j of H^-1. Each row would need the inverse for its own kept weights. SparseGPT therefore fixes columns from
 * left to right: the inverse for the columns from j on is then the same for all rows, and with H^-1 = U^T U, U upper
 * triangular, its first row is u_jj (u_jj, u_j,j+1, ...). So the score of a weight is (w_j / u_jj)^2, and killing it
 * subtracts (w_j / u_jj) u_jk from every w_k to its right. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define COLUMNS ((size_t)128) /* columns of a pass; the authors' block size */
#define STRIP   ((size_t)128) /* rows of one task that scores weights */
#define SWEPT   ((size_t)16)  /* rows of one task that removes weights */
#define DAMPING 0.01          /* added to H's diagonal, times the mean of the diagonal */

typedef struct sparsegpt_sweep {
    const organ_matrix_job *job;
    const float *factor;      /* U with H^-1 = U^T U on and above the diagonal; in diagonal blocks like H */
    float *scores;            /* scores of the pass, then sweep_row's errors: rows x n, n at most COLUMNS */
    uint8_t *kept;            /* mask of the pass by these scores, rows x n; not used with a pattern */
    unsigned char *scratch;   /* scratch of the product kernel, ORGAN_PRODUCT_SCRATCH bytes per worker */
    size_t first, n;          /* the pass has columns [first, first + n) */
    organ_edge_search search; /* of the mask `kept` */
    size_t start, width;      /* the pass is in the diagonal block of H with columns [start, start + width) */
    const float *u;           /* U of this block from element (first, first) on; rows are `width` values apart */
} sparsegpt_sweep;

/* enter_block has selected the block `h` of H. An input that is always 0 would make H singular, so its diagonal
 * entry becomes the mean of the diagonal. All other entries of this input's row and column of H are 0, so its
 * weights affect no other weights. Returns ORGAN_BAD_INPUT if the block is not positive definite, ORGAN_IO if memory
 * cannot be allocated. */
static organ_status sparsegpt_factorise(const sparsegpt_sweep *s, float *h, organ_error *error)
{
    const float mean = (float)s->job->moments->mean_diagonal;
    bool definite = false;
    for (size_t j = 0; j < s->width; j++) {
        float *const own = &h[j * (s->width + 1)];
        *own = (*own == 0 ? mean : *own) + (float)DAMPING * mean;
    }
    if (!organ_inverse_factor(s->job->engine, h, s->width, &definite))
        return organ_fail_memory(error, s->job->options->name);
    if (!definite)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: the second moments of inputs %zu to %zu cannot be inverted (mean square %g)",
                          s->job->options->name, s->start, s->start + s->width - 1, s->job->moments->mean_diagonal);
    return ORGAN_OK;
}

static float own_factor(const sparsegpt_sweep *s, size_t column)
{
    const size_t block = s->job->moments->block, start = column / block * block,
                 width = organ_min(block, s->job->cols - start);
    return s->factor[start * block + (column - start) * (width + 1)];
}

/* The weights of greatest score (w_j / u_jj)^2 stay. The first weight of the group is weights[0] in column `column`.
 * The group may extend into the next block of H. */
static void keep_group(const sparsegpt_sweep *s, const float *weights, size_t column, uint8_t *keep)
{
    const organ_pattern *const pattern = &s->job->options->pattern;
    float scores[ORGAN_PATTERN_MAX];
    for (size_t k = 0; k < pattern->of; k++) {
        const float x = weights[k] / own_factor(s, column + k);
        scores[k] = x * x;
    }
    organ_pattern_group(pattern, scores, keep);
}

/* The score of a weight is (w_j / u_jj)^2; it is counted for the search of the mask. */
static void score_rows(void *context, size_t index, size_t worker)
{
    sparsegpt_sweep *const s = context;
    const size_t cols = s->job->cols, first = index * STRIP, end = organ_min(first + STRIP, s->job->rows);
    for (size_t i = first; i < end; i++)
        for (size_t j = 0; j < s->n; j++) {
            const float x = s->job->weights[i * cols + s->first + j] / s->u[j * (s->width + 1)];
            s->scores[i * s->n + j] = x * x;
        }
    organ_edge_search_count(&s->search, first * s->n, (end - first) * s->n, worker);
}

static void mask_pass(sparsegpt_sweep *s)
{
    const size_t all = s->job->rows * s->n;
    s->search.strip = STRIP * s->n;
    organ_edge_search_begin(&s->search, s->scores, all, (size_t)llround(s->job->options->sparsity / 100 * (double)all),
                            s->kept);
    organ_share(s->job->engine, NULL, organ_pieces_of(s->job->rows, STRIP), score_rows, s);
    organ_edge_search_finish(&s->search);
}

/* Each killed weight j becomes 0, and its error times row j of U is subtracted from the later columns of the pass.
 * errors[j] becomes this error, w_j / u_jj, or 0 for a kept weight. With these errors the caller updates the columns
 * after the pass, for many rows in one product. */
static void sweep_row(const sparsegpt_sweep *s, size_t row, float *errors)
{
    const organ_pattern *const pattern = &s->job->options->pattern;
    float *const w = s->job->weights + row * s->job->cols + s->first;
    uint8_t *const keep = s->job->keep + row * s->job->cols + s->first;
    for (size_t j = 0; j < s->n; j++) {
        const float *const u = s->u + j * s->width;
        if (!pattern->of)
            keep[j] = s->kept[row * s->n + j];
        else if ((s->first + j) % pattern->of == 0)
            keep_group(s, w + j, s->first + j, keep + j);
        errors[j] = keep[j] ? 0.0f : w[j] / u[j];
        if (keep[j])
            continue;
        for (size_t k = j; k < s->n; k++)
            w[k] -= errors[j] * u[k];
        w[j] = 0;
    }
}

static void sweep_rows(void *context, size_t index, size_t worker)
{
    const sparsegpt_sweep *const s = context;
    (void)worker;
    for (size_t row = index * SWEPT; row < organ_min((index + 1) * SWEPT, s->job->rows); row++)
        sweep_row(s, row, s->scores + row * s->n);
}

/* Subtracts the errors times the rows of U from all later columns of the block, in one product. */
static void subtract_errors(const sparsegpt_sweep *s)
{
    const organ_product product = {.m = s->job->rows,
                                   .n = s->start + s->width - s->first - s->n,
                                   .k = s->n,
                                   .a = organ_by_rows(s->scores, s->n),
                                   .b = organ_by_columns(s->u + s->n, s->width),
                                   .c = s->job->weights + s->first + s->n,
                                   .c_stride = s->job->cols,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    if (product.n)
        organ_products_run(s->job->engine, NULL, &product, 1, s->scratch);
}

static void enter_block(sparsegpt_sweep *s, size_t start)
{
    s->start = start;
    s->width = organ_min(s->job->moments->block, s->job->cols - start);
}

static organ_status refuse_memory(const organ_matrix_job *job, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: sparsegpt of %zu x %zu", job->options->name, job->rows, job->cols);
}

/* Computes the factor in factor->values, which stays NULL after an error. */
static organ_status make_factor(sparsegpt_sweep *s, organ_prune_inverse *factor, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    factor->values = organ_expand_moments(job->engine, job->moments, /*c=*/0, /*h=*/1, /*damping=*/0, &factor->buffers);
    if (!factor->values)
        return refuse_memory(job, error);
    for (size_t start = 0; start < job->cols && !error->status; start += job->moments->block) {
        enter_block(s, start);
        sparsegpt_factorise(s, factor->values + start * job->moments->block, error);
    }
    if (error->status) {
        organ_buffers_release(&factor->buffers);
        factor->values = NULL;
    }
    return error->status;
}

/* A pass has at most COLUMNS columns. Without a pattern, the mask of a pass is chosen for all rows together just
 * before its columns are processed, from the weights as compensated until then. With a pattern, a pass ends at the
 * end of a group or of the block. */
static organ_status sweep_block(sparsegpt_sweep *s, organ_error *error)
{
    const organ_matrix_job *const job = s->job;
    const size_t of = job->options->pattern.of ? job->options->pattern.of : 1;
    const float *const factor = s->factor + s->start * job->moments->block;
    for (s->first = s->start; s->first < s->start + s->width; s->first += s->n) {
        if (organ_stop_is_requested(job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", job->options->name);
        s->n = organ_min((s->first + COLUMNS) / of * of, s->start + s->width) - s->first;
        s->u = factor + (s->first - s->start) * (s->width + 1);
        if (!job->options->pattern.of)
            mask_pass(s);
        organ_share_work(job->engine, NULL, organ_pieces_of(job->rows, SWEPT), (double)(job->rows * s->n * s->n),
                         sweep_rows, s);
        subtract_errors(s);
    }
    return ORGAN_OK;
}

static void lay_out(void *context, organ_buffers *b)
{
    sparsegpt_sweep *const s = context;
    s->search = (organ_edge_search){.engine = s->job->engine, .strip = STRIP};
    s->scores = organ_take_floats(b, s->job->rows, COLUMNS);
    s->kept = organ_take(b, s->job->rows, COLUMNS);
    s->scratch = organ_take(b, organ_products_scratch(s->job->engine), 1);
    organ_edge_search_lay_out(&s->search, s->job->rows * COLUMNS, b);
    organ_take_beside(b, organ_inverse_factor_memory(s->job->engine, s->job->cols));
}

uint64_t organ_prune_sweep_memory(const organ_engine *engine, uint64_t rows, uint64_t cols)
{
    const organ_matrix_job job = {.engine = engine, .rows = (size_t)rows, .cols = (size_t)cols};
    return rows * cols + organ_buffers_count(lay_out, &(sparsegpt_sweep){.job = &job}); /* the first is the mask */
}

organ_status organ_prune_by_sweep(organ_matrix_job *job, organ_error *error)
{
    organ_prune_inverse own = {0}, *const factor = job->options->inverse ? job->options->inverse : &own;
    ORGAN_OWNED_BUFFERS buffers = {0};
    sparsegpt_sweep s = {.job = job};
    if (!organ_buffers_take(&buffers, lay_out, &s))
        refuse_memory(job, error);
    else if (factor->values || make_factor(&s, factor, error) == ORGAN_OK) {
        s.factor = factor->values;
        organ_clear_dead_inputs(job);
        for (size_t start = 0; start < job->cols && !error->status; start += job->moments->block) {
            enter_block(&s, start);
            sweep_block(&s, error);
        }
    }
    organ_buffers_release(&own.buffers);
    return error->status;
}

/* ---- preconditioned conjugate gradients on the rows of one matrix ---- */

/* Preconditioned conjugate gradients on the rows of one matrix. Ranks: each rank solves a part of the rows, because
 * layers must be solved in order and so cannot be divided among ranks. */

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
    organ_buffers buffers;
};

/* ---- creation ---- */

static void lay_out_squares(void *context, organ_buffers *b)
{
    organ_masked_squares *const s = context;
    const size_t n = s->h.size, together = organ_min(s->rows, TOGETHER);
    s->scratch = organ_preconditioner_scratch(&s->h, ROWS_PER_BATCH);
    s->r = organ_take_floats(b, s->rows, n);
    s->ahead = organ_take_floats(b, s->rows, n);
    s->p = organ_take_floats(b, together, n);
    s->hp = organ_take_floats(b, together, n);
    s->rz = organ_take_zeros(b, together, sizeof *s->rz);
    s->worker_buffers = organ_take_floats(b, organ_workers_count(s->engine->workers), ROWS_PER_BATCH * n + s->scratch);
    s->last_mask = organ_take(b, s->rows, n);
    organ_take_beside(b, sizeof *s + organ_preconditioner_memory(&s->h, s->rows) +
                             organ_products_scratch(s->engine)); /* of products with H */
}

organ_status organ_masked_squares_create(const organ_engine *engine, const organ_block_matrix *h, size_t rows,
                                         const char *name, organ_masked_squares **squares, organ_error *error)
{
    *squares = NULL;
    organ_buffers buffers = {0};
    organ_masked_squares *const s = organ_take(&buffers, 1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, name);
    *s = (organ_masked_squares){.engine = engine, .name = name, .h = *h, .rows = rows, .buffers = buffers};
    if (organ_preconditioner_create(engine, h, rows, name, &s->preconditioner, error) == ORGAN_OK) {
        if (organ_buffers_take(&s->buffers, lay_out_squares, s)) {
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
    organ_buffers_release(&s->buffers);
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

uint64_t organ_masked_squares_memory(const organ_engine *engine, uint64_t rows, uint64_t cols)
{
    organ_masked_squares whole = {.engine = engine, .h = {(size_t)cols, (size_t)cols, NULL}, .rows = (size_t)rows},
                         blocks = whole;
    blocks.h.block = organ_min(256, blocks.h.size);
    return organ_max(organ_buffers_count(lay_out_squares, &whole), organ_buffers_count(lay_out_squares, &blocks));
}
