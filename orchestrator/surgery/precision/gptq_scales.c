/* SPDX-License-Identifier: MIT
 * Refits the scales and minima of each row for fixed codes. The values of a row are linear in these numbers, so the
 * numbers with the least loss solve the normal equations M x = b, where x are changes of the present scales and minima.
 * With c_g the codes of group g, 0 in other columns, M_gh = c_g^T H c_h and b_g = c_g^T H (w - v), with w the weights
 * and v the values of the row. The codes of a minimum are all 1. Unknowns 0 .. groups - 1 are scales, groups .. 2
 * groups - 1 are minima. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <math.h>
#include <string.h>

#define PANEL  ((size_t)512)      /* columns of H by which the codes of a chunk are multiplied at a time */
#define CHUNK  ORGAN_GPTQ_COLUMNS /* greatest number of columns of a chunk, all of one group */
#define BUDGET ((size_t)4 << 20)  /* bytes of the matrices M of a worker */
#define LANES  16                 /* partial sums of a dot product */
#define RIDGE  1e-6f /* number added to the diagonal of M, as a share of its mean: rounding may leave M singular */

/* Buffers of a worker for the rows that it refits together. `unknowns`: scales and minima of a row. */
typedef struct refit_buffers {
    float *codes;  /* codes of the rows, [rows][cols], followed by `ones` */
    float *ones;   /* a row of `cols` ones: the codes of minima */
    float *panel;  /* [rows + 1][PANEL]: codes (and ones) of a chunk times H */
    float *system; /* M of each row, on and above the diagonal: [rows][unknowns][unknowns] */
    float *right;  /* b of each row: [rows][unknowns] */
    float *row;    /* solution of one row, then the diagonal of its M: [2][unknowns] */
    void *scratch; /* for products */
} refit_buffers;

/* Returns the number of unknowns of a row: its scales and, if the grid has them, minima. */
static size_t unknowns_of(const organ_gptq_job *job) { return job->groups * job->terms; }

/* Returns the number of rows that a worker refits together: as many as have matrices M of BUDGET bytes in all, but at
 * least 4 and at most a strip. */
static size_t rows_at_once(const organ_gptq_job *job)
{
    const size_t unknowns = unknowns_of(job), rows = BUDGET / (unknowns * unknowns * sizeof(float));
    return organ_min(organ_max(rows, 4), ORGAN_GPTQ_STRIP);
}

/* Returns `count` rounded up to floats that fill whole cache lines. */
static size_t gptq_scales_floats_of(size_t count) { return organ_to_line(count * sizeof(float)) / sizeof(float); }

/* Divides a worker's scratch, which begins at `at`, into the buffers. The caller sets `ones`. */
static refit_buffers lay_out_refit(const organ_gptq_job *job, float *at)
{
    const size_t rows = rows_at_once(job), unknowns = unknowns_of(job);
    refit_buffers b = {.codes = at};
    b.panel = b.codes + gptq_scales_floats_of((rows + 1) * job->cols);
    b.system = b.panel + (rows + 1) * PANEL;
    b.right = b.system + gptq_scales_floats_of(rows * unknowns * unknowns);
    b.row = b.right + gptq_scales_floats_of(rows * unknowns);
    b.scratch = b.row + gptq_scales_floats_of(2 * unknowns);
    return b;
}

/* Returns the scratch bytes of a worker: the buffers of lay_out_refit. */
size_t organ_gptq_scales_room(const organ_gptq_job *job)
{
    const size_t rows = rows_at_once(job), unknowns = unknowns_of(job);
    return (gptq_scales_floats_of((rows + 1) * job->cols) + (rows + 1) * PANEL +
            gptq_scales_floats_of(rows * unknowns * unknowns) + gptq_scales_floats_of(rows * unknowns) +
            gptq_scales_floats_of(2 * unknowns)) *
               sizeof(float) +
           ORGAN_PRODUCT_SCRATCH;
}

/* Returns the sum of a[k] b[k] for n values, in LANES partial sums that are added in a fixed order, so that every
 * instruction set gives the same bits. */
static float dot_in_lanes(const float *restrict a, const float *restrict b, size_t n)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += a[k + l] * b[k + l];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    for (; k < n; k++)
        sum += a[k] * b[k];
    return sum;
}

/* ---- the normal equations ---- */

/* Adds to M of each row the product (codes of a chunk) x H x (codes of columns [from, to)). These columns all belong to
 * one group, `other`: the chunk's group g or a later group. `chunk`: first column of the chunk. b->panel has the codes
 * of the chunk times H, from column `panel` of H on. */
static void add_chunk_products(const organ_gptq_job *job, const refit_buffers *b, size_t chunk, size_t panel,
                               size_t from, size_t to, size_t rows)
{
    const size_t g = chunk / job->group, other = from / job->group, groups = job->groups, unknowns = unknowns_of(job);
    /* Products with columns to the left of the chunk are not computed. H is symmetric, so a product of two chunks of
     * the same group counts twice. Groups with minima are not longer than a chunk and need no factor. */
    const float twice = other == g && from >= chunk + CHUNK ? 2.0f : 1.0f;
    const float *const ones = b->ones + from, *const of_ones = b->panel + rows * PANEL + from - panel;
    for (size_t i = 0; i < rows; i++) {
        float *const system = b->system + i * unknowns * unknowns;
        const float *const of_codes = b->panel + i * PANEL + from - panel, *const codes =
                                                                               b->codes + i * job->cols + from;
        system[g * unknowns + other] += twice * dot_in_lanes(of_codes, codes, to - from);
        if (job->terms == 1)
            continue;
        system[g * unknowns + groups + other] += dot_in_lanes(of_codes, ones, to - from);
        if (other != g)
            system[other * unknowns + groups + g] += dot_in_lanes(of_ones, codes, to - from);
        system[(groups + g) * unknowns + groups + other] += dot_in_lanes(of_ones, ones, to - from);
    }
}

/* Adds to M of each row the products of a chunk with itself and with all columns to its right in the same block of H.
 * The chunk has `columns` columns of one group, from column `chunk` on. */
static void gptq_scales_add_chunk(const organ_gptq_job *job, const refit_buffers *b, size_t chunk, size_t columns,
                                  size_t rows)
{
    const organ_gptq_inputs *const in = job->inputs;
    const size_t start = chunk / in->block * in->block, width = organ_min(in->block, job->cols - start);
    const float *const h = in->h + start * in->block + (chunk - start) * width;
    for (size_t panel = chunk; panel < start + width; panel += PANEL) {
        const size_t end = organ_min(panel + PANEL, start + width);
        /* the codes of all rows, and with minima the row of ones */
        const organ_product product = {.m = rows + job->terms - 1,
                                       .n = end - panel,
                                       .k = columns,
                                       .a = organ_by_rows(b->codes + chunk, job->cols),
                                       .b = organ_by_columns(h + panel - start, width),
                                       .c = b->panel,
                                       .c_stride = PANEL};
        in->engine->kernels->product(&product, b->scratch);
        /* divides the panel at the ends of groups and of the chunk */
        for (size_t from = panel, to; from < end; from = to) {
            to = organ_min(end, (from / job->group + 1) * job->group);
            to = from < chunk + columns ? organ_min(to, chunk + columns) : to;
            add_chunk_products(job, b, chunk, panel, from, to, rows);
        }
    }
}

/* ---- their solution ---- */

/* Returns a pointer to one of the scales or minima of a row: number `unknown` of the unknowns. */
static float *gptq_scales_number_at(const organ_gptq_job *job, size_t unknown, size_t row)
{
    return &job->scales[unknown * job->padded + row];
}

/* Adds the changes `target` to the scales and minima of a row and rounds them to the stored type. A scale that would
 * not be positive (in GGUF blocks: that would be 0), and a number that would not be finite, keep their old value. */
static void store_row(const organ_gptq_job *job, size_t row, const float *target)
{
    const organ_grid *const grid = &job->matrix->grid;
    const bool signs = organ_grid_blocks(grid) != NULL;
    for (size_t u = 0; u < unknowns_of(job); u++) {
        float *const number = gptq_scales_number_at(job, u, row);
        const float stored = organ_grid_stored(grid, job->inputs->engine->kernels, *number + target[u]);
        const bool usable = u >= job->groups || stored > 0 || (signs && stored < 0);
        *number = usable && isfinite(stored) ? stored : *number;
    }
}

/* Solves the equations of a row and stores its scales and minima; leaves them unchanged if M is not positive definite.
 * `row`: index of the row in the matrix; `at`: index of its buffers. cholesky_f32 overwrites M on and above the
 * diagonal, but organ_gptq_refine needs M, so it is copied: to below the diagonal, and its diagonal to `diagonal`. */
static void solve_row(organ_gptq_job *job, const refit_buffers *b, size_t row, size_t at)
{
    const organ_kernels *const kernels = job->inputs->engine->kernels;
    const size_t n = unknowns_of(job);
    float *const a = b->system + at * n * n, *const right = b->right + at * n, *const x = b->row,
                 *const diagonal = b->row + n;
    float trace = 0;
    for (size_t u = 0; u < n; u++)
        trace += a[u * (n + 1)];
    for (size_t u = 0; u < n; u++) {
        diagonal[u] = a[u * (n + 1)] += RIDGE * trace / (float)n;
        x[u] = right[u];
        for (size_t v = 0; v < u && job->supers; v++)
            a[u * n + v] = a[v * n + u];
    }
    kernels->cholesky_f32(a, n);
    for (size_t u = 0; u < n; u++)
        if (!(a[u * (n + 1)] > 0))
            return;
    kernels->solve_f32(a, n, x);
    if (job->supers)
        organ_gptq_refine(job, row, a, diagonal, right, x);
    else
        store_row(job, row, x);
}

/* Computes the codes of a row from its values and scales, and b, the right-hand side of its equations. `row`: index of
 * the row in the matrix; `at`: index of its buffers. */
static void begin_row(const organ_gptq_job *job, const refit_buffers *b, size_t row, size_t at)
{
    for (size_t g = 0; g < job->groups; g++) {
        const size_t from = g * job->group, n = organ_min(job->group, job->cols - from);
        const float *const field = job->field + row * job->cols + from;
        float *const codes = b->codes + at * job->cols + from, *const right = b->right + at * unknowns_of(job) + g;
        organ_grid_codes(&job->matrix->grid, *gptq_scales_number_at(job, g, row),
                         job->terms > 1 ? *gptq_scales_number_at(job, job->groups + g, row) : 0,
                         job->matrix->values + row * job->cols + from, codes, n);
        *right = dot_in_lanes(codes, field, n);
        if (job->terms > 1)
            right[job->groups] = dot_in_lanes(b->ones, field, n);
    }
}

/* Recomputes the values of a row from its codes with the new scales and minima. */
static void decode_row(const organ_gptq_job *job, const refit_buffers *b, size_t row, size_t at)
{
    float *const values = job->matrix->values + row * job->cols;
    const float *const codes = b->codes + at * job->cols;
    for (size_t j = 0; j < job->cols; j++) {
        const size_t g = j / job->group;
        values[j] = codes[j] * *gptq_scales_number_at(job, g, row);
        if (job->terms > 1)
            values[j] += *gptq_scales_number_at(job, job->groups + g, row);
    }
}

/* Runs on a worker and refits the scales of rows_at_once rows (at the end fewer) from row index x rows_at_once on:
 * computes the codes, sums up M in chunks of columns, solves, and recomputes the values. */
static void solve_rows(void *context, size_t index, size_t worker)
{
    organ_gptq_job *const job = context;
    const size_t some = rows_at_once(job), first = index * some, rows = organ_min(some, job->rows - first),
                 n = unknowns_of(job);
    refit_buffers b = lay_out_refit(job, (float *)(void *)(job->scratch + worker * job->scratch_bytes));
    b.ones = b.codes + rows * job->cols;
    memset(b.system, 0, rows * n * n * sizeof *b.system);
    for (size_t j = 0; j < job->cols; j++)
        b.ones[j] = 1;
    for (size_t i = 0; i < rows; i++)
        begin_row(job, &b, first + i, i);
    for (size_t chunk = 0; chunk < job->cols; chunk += organ_min(job->group, CHUNK))
        gptq_scales_add_chunk(job, &b, chunk, organ_min(organ_min(job->group, CHUNK), job->cols - chunk), rows);
    for (size_t i = 0; i < rows; i++) {
        solve_row(job, &b, first + i, i);
        decode_row(job, &b, first + i, i);
    }
}

/* Refits the scales and minima of all rows for fixed codes, on all workers. */
void organ_gptq_scales(organ_gptq_job *job)
{
    const size_t rows = rows_at_once(job);
    organ_share(job->inputs->engine, NULL, (job->rows + rows - 1) / rows, solve_rows, job);
}
