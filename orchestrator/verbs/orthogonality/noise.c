/* SPDX-License-Identifier: MIT
 * Compares the noises of one module (W_clean - W_noisy, one for each noisy model) with the change K of an adapter, in
 * strips of rows. First the workers read a strip of the clean and the noisy models, some rows (a unit) at a time, and
 * store the noises. Then each task processes a block of columns of the strip. A task computes this block of K from the
 * factors of the adapter, and the sums over the block. It also adds U^T N of the block to FP64 sums that no other task
 * changes. Strips and blocks depend on the shapes alone and are added in order, so the bits of the results depend
 * neither on threads nor on memory. */
#include "orchestrator/verbs/orthogonality/noise_parts.h"

#include "orchestrator/stream/memory.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/low_rank.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <organ/inspect.h> /* members of organ_orthogonality_options */
#include <stdlib.h>
#include <string.h>

/* LANES is the number of independent partial sums of a task, BLOCK_COLS the number of columns in a block. */
enum { LANES = 16, BLOCK_COLS = 256 };
/* Largest number of values of one model in a strip (STRIP_VALUES) and in a unit (UNIT_VALUES). */
#define STRIP_VALUES ((size_t)1 << 19)
#define UNIT_VALUES  ((size_t)1 << 16)

typedef struct block_sums {
    double change, between;    /* |K|^2 and <N_1, N_2> */
    organ_noise_sums noise[2]; /* of each noise, without `inside` */
} block_sums;

typedef struct noise_stage {
    const organ_compared_job *job;
    organ_compared_module *module;
    organ_row_sources sources;            /* the clean model, then the noisy ones */
    size_t noises;                        /* number of noisy models */
    float *b, *a;                         /* factors of K = b a: rows x inner, including the scale, and inner x cols */
    size_t inner;                         /* rank of the pair */
    organ_svd svd;                        /* singular value decomposition of K */
    double *inside[2];                    /* U_k^T N of each noise, [k][cols], summed over the strips so far */
    float *noise[2];                      /* the noises in the current strip, [strip_rows][cols] */
    size_t strip_rows, unit_rows, blocks; /* rows in a strip and in a unit; number of blocks of columns */
    unsigned char *scratch;               /* scratch_bytes for each of the `active` workers */
    size_t scratch_bytes, active;         /* bytes for a worker; number of workers that run */
    block_sums *sums;                     /* sums[b]: of block b of the current strip */
} noise_stage;

/* ---- the factors ---- */

/* K is b a. m->k becomes the number of its singular values that are not rounding errors, limited to the option top_k
 * (0: no limit). */
static organ_status load_factors(noise_stage *s, organ_error *error)
{
    organ_compared_module *const m = s->module;
    s->inner = (size_t)m->pair->rank;
    if (organ_lora_factors_placed(s->job->adapter, m->pair, m->transposed, s->job->engine->kernels, &s->b, &s->a,
                                  error))
        return error->status;
    if (organ_factored_svd(s->job->engine->kernels, s->b, s->a, m->rows, s->inner, m->cols, &s->svd, error))
        return error->status;
    /* Smaller singular values are rounding errors, and their vectors have no meaning. */
    const float floor = s->svd.sigma[0] * FLT_EPSILON * (float)s->inner;
    const size_t max = s->job->options->top_k ? organ_min(s->job->options->top_k, s->svd.rank) : s->svd.rank;
    for (m->k = 0; m->k < max && s->svd.sigma[m->k] > floor;)
        m->k++;
    return ORGAN_OK;
}

/* ---- memory ---- */

typedef struct room {
    size_t strip_rows, unit_rows; /* rows in a strip and in a unit */
    size_t strips, worker;        /* bytes of the noises of a strip, and of the scratch of one worker */
} room;

/* A worker either reads or computes, so r->worker is the larger of two needs: for reading, a unit of two models and
 * the scratch of a reader; for a block, its part of K and the scratch of a product. */
static organ_status noise_size_buffers(const organ_row_sources *sources, room *r, organ_error *error)
{
    const size_t cols = (size_t)sources->cols;
    size_t reader = 0;
    if (organ_row_sources_step(sources, STRIP_VALUES, &r->strip_rows, error) ||
        organ_row_sources_step(sources, UNIT_VALUES, &r->unit_rows, error))
        return error->status;
    r->unit_rows = organ_min(r->unit_rows, r->strip_rows);
    organ_row_sources_scratch(sources, r->unit_rows, &reader, error);
    const size_t reading = 2 * organ_to_line(r->unit_rows * cols * sizeof(float)) + organ_to_line(reader);
    const size_t block =
        ORGAN_PRODUCT_SCRATCH + organ_to_line(r->strip_rows * organ_min(BLOCK_COLS, cols) * sizeof(float));
    r->worker = organ_to_line(organ_max(reading, block));
    r->strips = (sources->count - 1) * organ_to_line(r->strip_rows * cols * sizeof(float));
    return error->status;
}

organ_status organ_orthogonality_need(const organ_compared_job *job, const organ_compared_module *m, uint64_t *bytes,
                                      organ_error *error)
{
    const organ_row_sources sources = organ_compared_sources(job, m);
    room r = {0};
    noise_size_buffers(&sources, &r, error);
    *bytes = r.strips + r.worker;
    return error->status;
}

/* s->active is the number of workers for which the engine's memory has room in addition to the strip, at most the
 * threads of the engine. */
static organ_status noise_allocate(noise_stage *s, organ_error *error)
{
    const organ_compared_module *const m = s->module;
    room r = {0};
    if (noise_size_buffers(&s->sources, &r, error))
        return error->status;
    s->strip_rows = r.strip_rows;
    s->unit_rows = r.unit_rows;
    s->blocks = organ_pieces_of(m->cols, BLOCK_COLS);
    s->scratch_bytes = r.worker;
    s->active = organ_memory_workers(s->job->engine, r.worker, r.strips);
    s->scratch = aligned_alloc(64, s->active * s->scratch_bytes);
    s->sums = calloc(s->blocks, sizeof *s->sums);
    bool complete = s->scratch && s->sums;
    for (size_t n = 0; n < s->noises && complete; n++) {
        s->noise[n] = organ_floats(s->strip_rows, m->cols);
        s->inside[n] = calloc(m->k * m->cols + 1, sizeof(double));
        complete = s->noise[n] && s->inside[n];
    }
    return complete ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "tensor '%s'", m->weight[0]->name);
}

/* ---- reading ---- */

/* The function is called if a difference clean[k] - noisy[k], k < count, is not finite; if all values are finite,
 * the difference overflows FP32. n is the index of the noise; `first` is the row of clean[0]. */
static organ_status noise_find_fault(const noise_stage *s, size_t n, uint64_t first, const float *clean,
                                     const float *noisy, size_t count, organ_error *error)
{
    const organ_compared_module *const m = s->module;
    for (size_t k = 0; k < count; k++) {
        const uint64_t row = first + k / m->cols;
        if (!isfinite(clean[k]))
            return organ_compared_not_finite(s->job, m, /*source=*/0, row, clean[k], error);
        if (!isfinite(noisy[k]))
            return organ_compared_not_finite(s->job, m, /*source=*/1 + n, row, noisy[k], error);
    }
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: tensor '%s': differs from the clean one by more than FP32 can represent",
                      s->job->model[1 + n]->path, m->weight[1 + n]->name);
}

static organ_status noise_read_unit(void *context, const organ_row_unit *unit, size_t worker, organ_error *error)
{
    noise_stage *const s = context;
    const size_t cols = s->module->cols, count = unit->rows * cols, at = unit->index * s->unit_rows * cols,
                 bytes = organ_to_line(s->unit_rows * cols * sizeof(float));
    unsigned char *const scratch = s->scratch + worker * s->scratch_bytes;
    float *const clean = (float *)(void *)scratch, *const noisy = (float *)(void *)(scratch + bytes);
    organ_weight_reader *const *const reader = s->sources.reader;
    if (organ_weight_read(reader[0], unit->first, unit->rows, ORGAN_F32, clean, scratch + 2 * bytes, error))
        return error->status;
    for (size_t n = 0; n < s->noises; n++) {
        float *const to = s->noise[n] + at;
        bool finite = true;
        if (organ_weight_read(reader[1 + n], unit->first, unit->rows, ORGAN_F32, noisy, scratch + 2 * bytes, error))
            return error->status;
        for (size_t k = 0; k < count; k++) {
            to[k] = clean[k] - noisy[k];
            finite = finite && fabsf(to[k]) <= FLT_MAX;
        }
        if (!finite)
            return noise_find_fault(s, n, unit->first, clean, noisy, count, error);
    }
    return ORGAN_OK;
}

/* ---- sums ---- */

/* The partial sums in LANES lanes, which the compiler vectorises, are |K|^2 (change), |N|^2 (square), <N, K> (dot),
 * and the sum of the squares of the products in <N, K> (signs). */
typedef struct lanes {
    double change[LANES], square[LANES], dot[LANES], signs[LANES];
} lanes;

/* Value k is added to lane k % LANES. The last values are padded with zeros to LANES. */
static void add_row(lanes *restrict l, const float *restrict noise, const float *restrict change, size_t count)
{
    float tail[2][LANES] = {{0}};
    for (size_t k = 0; k < count; k += LANES) {
        const float *n = noise + k, *c = change + k;
        if (count - k < LANES) {
            n = memcpy(tail[0], n, (count - k) * sizeof *n);
            c = memcpy(tail[1], c, (count - k) * sizeof *c);
        }
        for (size_t j = 0; j < LANES; j++) {
            const double x = (double)n[j], y = (double)c[j], product = x * y;
            l->change[j] += y * y;
            l->square[j] += x * x;
            l->dot[j] += product;
            l->signs[j] += product * product;
        }
    }
}

/* The result is <N_1, N_2> over the rows of the strip and the `width` columns from `col` on. */
static double noise_between(const noise_stage *s, const organ_row_set *strip, size_t col, size_t width)
{
    const size_t cols = s->module->cols;
    double lane[LANES] = {0};
    for (size_t r = 0; r < strip->rows; r++) {
        const float *const x = s->noise[0] + r * cols + col, *const y = s->noise[1] + r * cols + col;
        for (size_t k = 0; k < width; k++)
            lane[k % LANES] += (double)x[k] * (double)y[k];
    }
    return organ_compared_fold_lanes(lane);
}

/* Adds U^T N to s->inside[n], which sums over the strips. N is noise n in the rows of the strip and the `width`
 * columns from `col` on; U is the rows of the strip in the first m->k singular vectors. */
static void noise_add_inside(const noise_stage *s, const organ_row_set *strip, size_t n, size_t col, size_t width,
                             void *scratch)
{
    const organ_compared_module *const m = s->module;
    const organ_product part = {.m = m->k,
                                .n = width,
                                .k = strip->rows,
                                .a = organ_by_rows(s->svd.u + strip->first, m->rows),
                                .b = organ_by_columns(s->noise[n] + col, m->cols),
                                .c = s->inside[n] + col,
                                .c_stride = m->cols,
                                .wide = true,
                                .into = ORGAN_PRODUCT_ADD};
    s->job->engine->kernels->product(&part, scratch);
}

/* K is b a. If m->k is not 0, U^T N of each noise in the block is added to s->inside. */
static void noise_sum_block(void *context, const organ_row_set *strip, size_t block, size_t worker)
{
    noise_stage *const s = context;
    const organ_compared_module *const m = s->module;
    const size_t col = block * BLOCK_COLS, width = organ_min(BLOCK_COLS, m->cols - col);
    unsigned char *const scratch = s->scratch + worker * s->scratch_bytes;
    float *const change = (float *)(void *)(scratch + ORGAN_PRODUCT_SCRATCH);
    block_sums *const to = &s->sums[block];
    const organ_product product = {.m = strip->rows,
                                   .n = width,
                                   .k = s->inner,
                                   .a = organ_by_rows(s->b + strip->first * s->inner, s->inner),
                                   .b = organ_by_columns(s->a + col, m->cols),
                                   .c = change,
                                   .c_stride = width};
    s->job->engine->kernels->product(&product, scratch);
    for (size_t n = 0; n < s->noises; n++) {
        lanes l = {0};
        for (size_t r = 0; r < strip->rows; r++)
            add_row(&l, s->noise[n] + r * m->cols + col, change + r * width, width);
        to->change = organ_compared_fold_lanes(l.change);
        to->noise[n] = (organ_noise_sums){.square = organ_compared_fold_lanes(l.square),
                                          .dot = organ_compared_fold_lanes(l.dot),
                                          .signs = organ_compared_fold_lanes(l.signs)};
        if (m->k)
            noise_add_inside(s, strip, n, col, width, scratch);
    }
    to->between = s->noises > 1 ? noise_between(s, strip, col, width) : 0;
}

/* The sums of the blocks are added in the order of the blocks, so that the result does not depend on threads. */
static void noise_fold_blocks(void *context, const organ_row_set *strip)
{
    noise_stage *const s = context;
    organ_compared_module *const m = s->module;
    for (size_t b = 0; b < s->blocks; b++) {
        m->change += s->sums[b].change;
        m->between += s->sums[b].between;
        for (size_t n = 0; n < s->noises; n++) {
            m->noise[n].square += s->sums[b].noise[n].square;
            m->noise[n].dot += s->sums[b].noise[n].dot;
            m->noise[n].signs += s->sums[b].noise[n].signs;
        }
    }
    organ_progress_advance(s->job->progress, organ_row_sources_bytes(&s->sources, strip->rows), NULL, NULL);
}

/* ---- the module ---- */

static organ_status noise_run(noise_stage *s, organ_error *error)
{
    organ_compared_module *const m = s->module;
    const organ_row_walk walk = {.rows = m->rows,
                                 .set_rows = s->strip_rows,
                                 .unit_rows = s->unit_rows,
                                 .readers = s->active,
                                 .helpers = s->active,
                                 .context = s,
                                 .unit = noise_read_unit,
                                 .task = noise_sum_block,
                                 .tasks = s->blocks,
                                 .retire = noise_fold_blocks};
    if (organ_row_walk_run(&walk, s->job->engine, error))
        return error->status;
    for (size_t n = 0; n < s->noises; n++)
        for (size_t k = 0; k < m->k * m->cols; k++)
            m->noise[n].inside += s->inside[n][k] * s->inside[n][k];
    organ_compared_draw(s->job, m);
    return ORGAN_OK;
}

static void noise_release(noise_stage *s)
{
    organ_row_sources_close(&s->sources);
    for (size_t n = 0; n < 2; n++)
        ORGAN_FREE_ARRAYS(s->noise[n], s->inside[n]);
    organ_svd_release(&s->svd);
    ORGAN_FREE_ARRAYS(s->a, s->b, s->scratch, s->sums);
}

organ_status organ_orthogonality_measure(const organ_compared_job *job, organ_compared_module *module,
                                         organ_error *error)
{
    ORGAN_RELEASED_BY(noise_release)
    noise_stage s = {
        .job = job, .module = module, .sources = organ_compared_sources(job, module), .noises = job->sources - 1};
    if (organ_row_sources_open(&s.sources, job->progress, error) == ORGAN_OK && load_factors(&s, error) == ORGAN_OK &&
        noise_allocate(&s, error) == ORGAN_OK)
        noise_run(&s, error);
    return error->status;
}
