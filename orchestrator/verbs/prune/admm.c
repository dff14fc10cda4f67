/* SPDX-License-Identifier: MIT
 * ADMM for pruning (Meng et al. 2024, "ALPS", arXiv:2406.07831). The solution D minimises tr((W - D) H (W - D)^T) among
 * the matrices with a given number of nonzero entries. V minimises the same loss without that limit, and a multiplier U
 * makes V and D agree. An iteration computes
 *
 *     V = (W H + rho D - U) (H + rho I)^-1      by triangular systems with a Cholesky factor of H + rho I
 *     Z = V + U / rho
 *     D = the largest entries of Z, 0 elsewhere
 *     U = rho (Z - D), which is rho Z for removed entries and 0 for kept ones
 *
 * So D and U follow from Z, its mask and its rho, and only these are stored between iterations.
 *
 * Columns are scaled by the roots of H's diagonal, so that H has ones there: one rho then suits all columns, and the
 * largest entries of Z are those with the largest effect on the output. */
#include "orchestrator/verbs/prune/prune_matrix.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ROWS_PER_BATCH ((size_t)64)   /* rows of a strip, the work of one task of the search of the mask */
#define TOGETHER       ((size_t)1024) /* rows that are refitted together; twice as many are solved for V together */
#define MOST_ROWS      ((size_t)256)  /* rows that a worker solves for V at a time, a multiple of TILE_ROWS */
#define TILE_ROWS      ((size_t)8)

/* Between calls the solver keeps Z, `used` and the factor; the caller keeps the mask. */
struct organ_admm {
    const organ_engine *engine;
    organ_admm_problem problem;
    size_t cols;         /* columns of the matrix: problem->h.size */
    float *root;         /* square roots of H's diagonal before scaling, one for each column */
    float *z;            /* Z, rows x cols; column j is multiplied by root[j] */
    float *own;          /* buffer for a factor that is not shared; NULL: not needed yet */
    const float *factor; /* R of organ_block_factor with H + rho I = R R^T, for each diagonal block; points to `own` or
                          * to a shared factor */
    float relaxed;       /* over-relaxation of the current step */
    float rho;           /* rho of `factor`; 0: none yet */
    float used;          /* rho of the last step: U is `used` Z for removed entries; 0: no step yet */
    size_t from, count;  /* the current rows are [from, from + count): they are solved together */
    size_t height;       /* rows of the work of one task in an iteration */
    /* Arrays of the current rows, count x cols each: in the iterations `a` has right-hand sides, then V, and may extend
     * over both arrays. In the final least squares they have directions, and their products with H. */
    float *a, *b;
    float *panels;            /* per worker: the panel of organ_factor_solve for MOST_ROWS rows */
    unsigned char *scratch;   /* per worker: scratch of the product kernel */
    uint8_t *keep;            /* mask of the current step, rows x cols; 1: kept */
    organ_edge_search search; /* the choice of the mask without a pattern, in strips of ROWS_PER_BATCH rows */
    float *weights;           /* the result of unscale_weights, rows x cols */
    organ_buffers buffers;
};

/* ---- creation ---- */

/* The last strip may be smaller than ROWS_PER_BATCH rows. */
static size_t strips_of(size_t rows) { return (rows + ROWS_PER_BATCH - 1) / ROWS_PER_BATCH; }

/* `row` counts up to the number of rows of the larger matrix, so the row may not exist in H or in T. H_ij is divided
 * by root[i] root[j], T_ij by root[j]. */
static void scale_row(void *context, size_t row, size_t worker)
{
    organ_admm *const s = context;
    const size_t n = s->cols;
    (void)worker;
    if (row < n) {
        const size_t start = row / s->problem.h.block * s->problem.h.block,
                     width = organ_min(s->problem.h.block, n - start);
        float *const h = s->problem.values + start * s->problem.h.block + (row - start) * width;
        for (size_t j = 0; j < width; j++)
            h[j] = start + j == row ? 1.0f : h[j] / (s->root[row] * s->root[start + j]);
    }
    for (size_t j = 0; row < s->problem.rows && j < n; j++)
        s->problem.target[row * n + j] /= s->root[j];
}

uint64_t organ_admm_factors_memory(uint64_t size, uint64_t block)
{
    return ORGAN_ADMM_FACTORS * organ_block_entries((size_t)size, (size_t)block) * sizeof(float);
}

void organ_admm_factors_release(organ_admm_factors *factors)
{
    organ_buffers_release(&factors->buffers);
    *factors = (organ_admm_factors){0};
}

static organ_admm admm_of(const organ_engine *engine, const organ_admm_problem *problem)
{
    organ_admm made = {.engine = engine, .problem = *problem, .cols = problem->h.size};
    made.search = (organ_edge_search){.engine = engine, .strip = ROWS_PER_BATCH * made.cols};
    return made;
}

/* All buffers but that of a factor. */
static void lay_out(void *context, organ_buffers *b)
{
    organ_admm *const s = context;
    const size_t n = s->cols, rows = s->problem.rows, together = organ_min(rows, TOGETHER);
    s->root = organ_take_floats(b, n, 1);
    s->z = organ_take_floats(b, rows, n);
    s->a = organ_take_floats(b, 2 * together, n);
    s->b = s->a ? s->a + together * n : NULL;
    s->panels = organ_take_floats(b, organ_workers_count(s->engine->workers), MOST_ROWS * ORGAN_FACTOR_BLOCK);
    s->scratch = organ_take(b, organ_products_scratch(s->engine), 1);
    organ_edge_search_lay_out(&s->search, rows * n, b);
    organ_take_beside(b, sizeof *s + organ_inverse_factor_memory(s->engine, n)); /* the buffers of a factorisation */
}

uint64_t organ_admm_memory(const organ_engine *engine, uint64_t rows, uint64_t cols)
{
    organ_admm s = admm_of(engine, &(organ_admm_problem){.rows = (size_t)rows, .h = {.size = (size_t)cols}});
    return organ_buffers_count(lay_out, &s);
}

/* H gets ones on its diagonal: with d = sqrt(diag H), H_ij is divided by d_i d_j and T_ij by d_j. */
organ_status organ_admm_create(const organ_engine *engine, const organ_admm_problem *problem, organ_admm **admm,
                               organ_error *error)
{
    organ_admm begun = admm_of(engine, problem), *const s = organ_take(&begun.buffers, 1, sizeof *s);
    if (!(*admm = s))
        return organ_fail_memory(error, problem->name);
    *s = begun;
    if (!organ_buffers_take(&s->buffers, lay_out, s)) {
        organ_admm_destroy(s);
        *admm = NULL;
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", problem->name, problem->rows, problem->h.size);
    }
    for (size_t j = 0; j < s->cols; j++)
        s->root[j] = sqrtf(organ_block_diagonal(&problem->h, j));
    organ_share(engine, NULL, organ_max(s->cols, problem->rows), scale_row, s);
    return ORGAN_OK;
}

/* The arrays of the problem belong to the caller. */
void organ_admm_destroy(organ_admm *s)
{
    if (s)
        organ_buffers_release(&s->buffers);
}

/* ---- one iteration: V, then Z ----
 *
 * A task on some of the current rows uses three numbers: `own`, the offset of its rows in `a`; `at`, their offset in
 * `z`, `keep` and the target; and n, the number of their values. */

/* The buffer is the next free one of the shared factors, or s->own if nothing is shared or all ORGAN_ADMM_FACTORS
 * are computed. Returns NULL if memory cannot be allocated. */
static float *buffer_for_factor(organ_admm *s)
{
    organ_admm_factors *const shared = s->problem.factors;
    float **const room = shared && shared->count < ORGAN_ADMM_FACTORS ? &shared->values[shared->count] : &s->own;
    if (!*room)
        *room = organ_take_floats(room == &s->own ? &s->buffers : &shared->buffers,
                                  organ_block_entries(s->cols, s->problem.h.block), 1);
    return *room;
}

typedef struct shifting {
    const float *h;
    size_t width;
    float rho;
    float *values;
} shifting;

static void shift_row(void *context, size_t row, size_t worker)
{
    const shifting *const x = context;
    (void)worker;
    memcpy(x->values + row * x->width, x->h + row * x->width, x->width * sizeof *x->values);
    x->values[row * (x->width + 1)] += x->rho;
}

static void shift_block(const organ_admm *s, size_t start, size_t width, float rho, float *values)
{
    shifting x = {s->problem.values + start * s->problem.h.block, width, rho, values};
    organ_share_work(s->engine, NULL, width, ORGAN_SHARE_NUMBER * (double)width * (double)width, shift_row, &x);
}

/* The factor is R with H + rho I = R R^T. Returns ORGAN_BAD_INPUT if a block of H + rho I is not positive definite. */
static organ_status factorise_shifted(const organ_admm *s, float rho, float *factor, organ_error *error)
{
    const size_t block = s->problem.h.block;
    bool definite = true;
    for (size_t start = 0; start < s->cols; start += block) {
        const size_t width = organ_min(block, s->cols - start);
        float *const values = factor + start * block;
        shift_block(s, start, width, rho, values);
        if (!organ_block_factor(s->engine, values, width, &definite))
            return organ_fail_memory(error, s->problem.name);
        if (!definite)
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "%s: the second moments of inputs %zu to %zu, with %g on the diagonal, are not positive definite",
                s->problem.name, start, start + width - 1, (double)rho);
    }
    return ORGAN_OK;
}

/* The shared factor of this rho is used if another matrix has computed it. A factor in s->own is not shared, because
 * the next rho overwrites it. */
static organ_status set_factor(organ_admm *s, float rho, organ_error *error)
{
    organ_admm_factors *const shared = s->problem.factors;
    s->rho = rho;
    for (size_t k = 0; shared && k < shared->count; k++)
        if (shared->rho[k] == rho) {
            s->factor = shared->values[k];
            return ORGAN_OK;
        }
    float *const made = buffer_for_factor(s);
    if (!made)
        return organ_fail_errno(error, ENOMEM, "%s: ADMM of %zu x %zu", s->problem.name, s->problem.rows, s->cols);
    if (factorise_shifted(s, rho, made, error) != ORGAN_OK)
        return error->status;
    s->factor = made;
    if (shared && made != s->own)
        shared->rho[shared->count++] = rho;
    return ORGAN_OK;
}

/* The right-hand sides of the systems for V are T + rho D - U. D is Z for kept entries and 0 for removed ones, U is
 * `used` Z for removed entries and 0 for kept ones. So rho Z is added to a kept entry of T, and `used` Z is
 * subtracted from a removed one. */
static void find_sides(const organ_admm *s, size_t own, size_t at, size_t n)
{
    const float *restrict const z = s->z + at, *restrict const target = s->problem.target + at, rho = s->rho,
                                minus_used = -s->used;
    const uint8_t *restrict const keep = s->keep + at;
    float *restrict const a = s->a + own;
    for (size_t k = 0; k < n; k++)
        a[k] = target[k] + (keep[k] ? rho : minus_used) * z[k];
}

static void keep_groups(const organ_pattern *pattern, const float *z, size_t n, uint8_t *keep)
{
    for (size_t k = 0; k < n; k += pattern->of) {
        float scores[ORGAN_PATTERN_MAX];
        for (size_t l = 0; l < pattern->of; l++)
            scores[l] = fabsf(z[k + l]);
        memset(keep + k, 1, pattern->of);
        organ_pattern_group(pattern, scores, keep + k);
    }
}

/* This is the part of the choice of a mask that needs only the n values of Z from offset `at` on. With a pattern,
 * their mask is set. Without one, the highest digits of their magnitudes are counted, because the search finds the
 * edge from the counts of all values. */
static void mask_or_count(organ_admm *s, size_t at, size_t n, size_t worker)
{
    if (s->problem.pattern.of)
        keep_groups(&s->problem.pattern, s->z + at, n, s->keep + at);
    else
        organ_edge_search_count(&s->search, at, n, worker);
}

/* Z becomes relaxed V + (1 - relaxed) D + U / rho. D and U follow from the old Z and mask: the old Z is multiplied
 * by 1 - relaxed for a kept entry, and by used / rho for a removed one. */
static void update_z(const organ_admm *s, size_t own, size_t at, size_t n)
{
    float *restrict const z = s->z + at, ratio = s->used / s->rho, relaxed = s->relaxed, rest = 1.0f - relaxed;
    const float *restrict const v = s->a + own;
    const uint8_t *restrict const keep = s->keep + at;
    for (size_t k = 0; k < n; k++)
        z[k] = relaxed * v[k] + (keep[k] ? rest : ratio) * z[k];
}

static void iterate_rows(void *context, size_t index, size_t worker)
{
    organ_admm *const s = context;
    const size_t first = index * s->height, rows = organ_min(s->height, s->count - first), block = s->problem.h.block;
    const size_t own = first * s->cols, at = s->from * s->cols + own, n = rows * s->cols;
    find_sides(s, own, at, n);
    for (size_t start = 0; start < s->cols; start += block)
        organ_factor_solve(s->engine->kernels, s->factor + start * block, organ_min(block, s->cols - start),
                           s->a + own + start, rows, s->cols, s->panels + worker * MOST_ROWS * ORGAN_FACTOR_BLOCK,
                           s->scratch + worker * ORGAN_PRODUCT_SCRATCH);
    update_z(s, own, at, n);
    mask_or_count(s, at, n, worker);
}

/* ---- the mask: the largest entries of Z ----
 *
 * Strips are those of the whole matrix here, not of the current rows. */

static size_t strip_offset(const organ_admm *s, size_t index, size_t *n)
{
    *n = organ_min(ROWS_PER_BATCH, s->problem.rows - index * ROWS_PER_BATCH) * s->cols;
    return index * ROWS_PER_BATCH * s->cols;
}

static void choose_strip_masks(void *context, size_t index, size_t worker)
{
    organ_admm *const s = context;
    size_t n;
    const size_t at = strip_offset(s, index, &n);
    mask_or_count(s, at, n, worker);
}

/* ---- iterations ---- */

static void begin_masks(organ_admm *s, uint8_t *keep)
{
    s->keep = keep;
    organ_edge_search_begin(&s->search, s->z, s->problem.rows * s->cols, s->problem.killed, keep);
}

/* With a pattern, mask_or_count has completed the mask already. */
static void finish_masks(organ_admm *s)
{
    if (!s->problem.pattern.of)
        organ_edge_search_finish(&s->search);
}

static void clear_killed_row(void *context, size_t row, size_t worker)
{
    organ_admm *const s = context;
    float *restrict const z = s->z + row * s->cols;
    const uint8_t *restrict const keep = s->keep + row * s->cols;
    (void)worker;
    for (size_t k = 0; k < s->cols; k++)
        z[k] = keep[k] ? z[k] : 0.0f;
}

static void share_all_rows(organ_admm *s, void (*task)(void *context, size_t row, size_t worker))
{
    organ_share_work(s->engine, NULL, s->problem.rows, ORGAN_SHARE_NUMBER * (double)s->problem.rows * (double)s->cols,
                     task, s);
}

static void clear_killed(organ_admm *s, const uint8_t *keep)
{
    s->keep = (uint8_t *)keep;
    share_all_rows(s, clear_killed_row);
}

static void scale_weights_row(void *context, size_t row, size_t worker)
{
    const organ_admm *const s = context;
    const float *restrict const weights = s->weights + row * s->cols, *restrict const root = s->root;
    float *restrict const z = s->z + row * s->cols;
    (void)worker;
    for (size_t k = 0; k < s->cols; k++)
        z[k] = weights[k] * root[k];
}

/* Zeros in the removed entries of Z make the multiplier 0. */
void organ_admm_begin(organ_admm *s, const float *weights, bool given, uint8_t *keep)
{
    s->weights = (float *)weights;
    share_all_rows(s, scale_weights_row);
    if (!given) {
        begin_masks(s, keep);
        organ_share(s->engine, NULL, strips_of(s->problem.rows), choose_strip_masks, s);
        finish_masks(s);
    }
    clear_killed(s, keep);
}

/* Each worker gets the same number of tasks, of at most MOST_ROWS rows. A task has whole tiles of the product kernel:
 * the rows of a part of a tile take about as long as a tile. The bits of a row do not depend on it. */
static size_t task_height(const organ_admm *s, size_t count)
{
    const size_t workers = organ_workers_count(s->engine->workers),
                 rounds = organ_pieces_of(count, workers * MOST_ROWS);
    return organ_pieces_of(organ_pieces_of(count, workers * rounds), TILE_ROWS) * TILE_ROWS;
}

/* At most 2 TOGETHER rows are solved at a time. `used` stays the rho of the previous step until the end of this one,
 * because U is `used` Z. In the first step U is 0, and rho itself serves as `used`. */
organ_status organ_admm_step(organ_admm *s, double rho, double relaxed, uint8_t *keep, organ_error *error)
{
    const size_t rows = s->problem.rows, together = organ_pieces_of(rows, organ_pieces_of(rows, 2 * TOGETHER));
    s->relaxed = (float)relaxed;
    if (s->rho != (float)rho && set_factor(s, (float)rho, error) != ORGAN_OK)
        return error->status;
    s->used = s->used > 0 ? s->used : s->rho;
    begin_masks(s, keep);
    for (s->from = 0; s->from < rows; s->from += together) {
        if (organ_stop_is_requested(s->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", s->problem.name);
        s->count = organ_min(together, rows - s->from);
        s->height = task_height(s, s->count);
        organ_share(s->engine, NULL, organ_pieces_of(s->count, s->height), iterate_rows, s);
    }
    s->used = s->rho;
    finish_masks(s);
    return ORGAN_OK;
}

/* ---- least squares over kept weights ----
 *
 * Conjugate gradients on the kept weights of each row of Z: they solve Z H = T there, with Z = 0 at removed weights. */

/* T becomes the residual T - Z H, which is 0 at removed weights; b contains Z H. `a` becomes the first direction.
 * `row` counts from the first of the current rows. */
static void begin_row_residual(void *context, size_t row, size_t worker)
{
    const organ_admm *const s = context;
    const size_t own = row * s->cols, at = s->from * s->cols + own;
    float *const residual = s->problem.target + at;
    (void)worker;
    for (size_t k = 0; k < s->cols; k++)
        s->a[own + k] = residual[k] = s->keep[at + k] ? residual[k] - s->b[own + k] : 0.0f;
}

/* b contains the products of the directions with H; `row` counts from the first of the current rows. A row whose
 * residual is zero, or whose direction p has p H p^T <= 0 after rounding, is solved: its Z and residual stay
 * unchanged. */
static void step_row(void *context, size_t row, size_t worker)
{
    const organ_admm *const s = context;
    const size_t n = s->cols, own = row * n, at = s->from * n + own;
    float *const p = s->a + own, *const hp = s->b + own, *const residual = s->problem.target + at;
    (void)worker;
    for (size_t k = 0; k < n; k++)
        hp[k] = s->keep[at + k] ? hp[k] : 0.0f;
    const double before = organ_dot(residual, residual, n), length = organ_dot(p, hp, n);
    const float alpha = length > 0 ? (float)(before / length) : 0.0f;
    for (size_t k = 0; k < n; k++) {
        s->z[at + k] += alpha * p[k];
        residual[k] -= alpha * hp[k];
    }
    const float beta = before > 0 ? (float)(organ_dot(residual, residual, n) / before) : 0.0f;
    for (size_t k = 0; k < n; k++)
        p[k] = residual[k] + beta * p[k];
}

/* Each step computes b = a H for all current rows, then moves each row along its direction. */
static organ_status solve_together(organ_admm *s, unsigned steps, organ_error *error)
{
    if (organ_block_multiply(s->engine, &s->problem.h, s->z + s->from * s->cols, s->count, s->b, error))
        return error->status;
    organ_share(s->engine, NULL, s->count, begin_row_residual, s);
    for (unsigned k = 0; k < steps; k++) {
        if (organ_stop_is_requested(s->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "%s: interrupted", s->problem.name);
        if (organ_block_multiply(s->engine, &s->problem.h, s->a, s->count, s->b, error))
            return error->status;
        organ_share(s->engine, NULL, s->count, step_row, s);
    }
    return ORGAN_OK;
}

static void unscale_weights_row(void *context, size_t row, size_t worker)
{
    const organ_admm *const s = context;
    float *restrict const weights = s->weights + row * s->cols;
    const float *restrict const z = s->z + row * s->cols, *restrict const root = s->root;
    (void)worker;
    for (size_t k = 0; k < s->cols; k++)
        weights[k] = z[k] / root[k];
}

static void unscale_weights(organ_admm *s, float *weights)
{
    s->weights = weights;
    share_all_rows(s, unscale_weights_row);
}

void organ_admm_write_result(organ_admm *s, const uint8_t *keep, float *weights)
{
    clear_killed(s, keep);
    unscale_weights(s, weights);
}

organ_status organ_admm_finish(organ_admm *s, const uint8_t *keep, unsigned steps, float *weights, organ_error *error)
{
    clear_killed(s, keep);
    for (s->from = 0; s->from < s->problem.rows && !error->status; s->from += TOGETHER) {
        s->count = organ_min(TOGETHER, s->problem.rows - s->from);
        solve_together(s, steps, error);
    }
    unscale_weights(s, weights);
    return error->status;
}
