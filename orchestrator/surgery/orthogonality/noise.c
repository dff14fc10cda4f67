/* SPDX-License-Identifier: MIT
 * One module. Strips of rows pass through memory; of each, all workers first read rows and take their differences, then
 * divide its columns into blocks of fixed width: K of the block by a product of the factors' parts, the sums over it,
 * and U^T N of the block, added to FP64 sums that no other worker touches. Strips and blocks depend on the shapes alone
 * and are folded in order, so the bits depend on neither threads nor memory. */
#include "orchestrator/surgery/orthogonality/job.h"

#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/weight_reader.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/algebra/low_rank.h"
#include "orchestrator/surgery/algebra/multiply.h"
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/orthogonality/chance.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, BLOCK_COLS = 256 };
#define STRIP_VALUES ((size_t)1 << 19)
#define UNIT_VALUES  ((size_t)1 << 16)

/* Over one block of columns of one strip. */
typedef struct block_sums {
    double change, between;
    organ_noise_sums noise[2];
} block_sums;

typedef struct noise_stage {
    const organ_orthogonality_job *job;
    organ_noise_module *module;
    organ_weight_reader *clean, *noisy[2];
    float *b, *a; /* rows x inner with the scale in it, inner x cols */
    size_t inner;
    organ_svd svd;
    double *inside[2]; /* U^T N, k x cols */
    float *noise[2];   /* of the strip */
    size_t strip_rows, unit_rows, blocks;
    unsigned char *scratch; /* of all active workers */
    size_t scratch_bytes, active;
    block_sums *sums; /* of the strip's blocks */
    size_t first, rows;
    size_t next; /* unit or block that nobody has taken */
    organ_unit_faults faults;
} noise_stage;

/* ---- the factors ---- */

/* K = b a with what stands left of its values in it, and the vectors of U_k. */
static organ_status load_factors(noise_stage *s, organ_error *error)
{
    organ_noise_module *const m = s->module;
    s->inner = (size_t)m->pair->rank;
    if (organ_lora_factors_placed(s->job->adapter, m->pair, m->transposed, s->job->engine->kernels, &s->b, &s->a,
                                  error))
        return error->status;
    if (organ_factored_svd(s->job->engine->kernels, s->b, s->a, m->rows, s->inner, m->cols, &s->svd, error))
        return error->status;
    /* Directions that only rounding has put there are none. */
    const float floor = s->svd.sigma[0] * FLT_EPSILON * (float)s->inner;
    const size_t most = s->job->options->top_k ? organ_lesser(s->job->options->top_k, s->svd.rank) : s->svd.rank;
    for (m->k = 0; m->k < most && s->svd.sigma[m->k] > floor;)
        m->k++;
    return ORGAN_OK;
}

/* ---- room ---- */

/* What the headers of a module tell of the room that it takes. */
typedef struct room {
    size_t strip_rows, unit_rows;
    size_t strips, worker; /* bytes of the strips, and of what one thread takes besides */
} room;

static const organ_model *model_of(const organ_orthogonality_job *job, size_t n)
{
    return n ? job->noisy[n - 1] : job->clean;
}
static const organ_weight *noise_weight_of(const organ_noise_module *m, size_t n)
{
    return n ? m->noisy[n - 1] : m->clean;
}

/* About so many values, as many rows as all models like to read at once. */
static organ_status noise_rows_of(const organ_orthogonality_job *job, const organ_noise_module *m, size_t values,
                                  size_t *rows, organ_error *error)
{
    *rows = 1;
    for (size_t n = 0; n <= job->noises && !error->status; n++) {
        size_t step = 1;
        organ_weight_reader_step_of(model_of(job, n), noise_weight_of(m, n), job->engine->kernels,
                                    organ_larger(values / m->cols, 1), &step, error);
        *rows = organ_larger(*rows, step);
    }
    *rows = organ_lesser(*rows, m->rows);
    return error->status;
}

/* Reading needs a unit of both models and the reader's own room, a block needs its K and what a product takes. */
static organ_status find_room(const organ_orthogonality_job *job, const organ_noise_module *m, room *r,
                              organ_error *error)
{
    size_t reader = 0;
    if (noise_rows_of(job, m, STRIP_VALUES, &r->strip_rows, error) ||
        noise_rows_of(job, m, UNIT_VALUES, &r->unit_rows, error))
        return error->status;
    r->unit_rows = organ_lesser(r->unit_rows, r->strip_rows);
    for (size_t n = 0; n <= job->noises && !error->status; n++) {
        size_t scratch = 0;
        organ_weight_reader_size(model_of(job, n), noise_weight_of(m, n), job->engine->kernels, r->unit_rows, &scratch,
                                 error);
        reader = organ_larger(reader, scratch);
    }
    const size_t reading = 2 * organ_to_line(r->unit_rows * m->cols * sizeof(float)) + organ_to_line(reader);
    const size_t block =
        ORGAN_PRODUCT_SCRATCH + organ_to_line(r->strip_rows * organ_lesser(BLOCK_COLS, m->cols) * sizeof(float));
    r->worker = organ_to_line(organ_larger(reading, block));
    r->strips = job->noises * organ_to_line(r->strip_rows * m->cols * sizeof(float));
    return error->status;
}

organ_status organ_orthogonality_check_memory(const organ_orthogonality_job *job, organ_error *error)
{
    const organ_noise_module *widest = NULL;
    uint64_t most = 0;
    for (size_t k = 0; k < job->count; k++) {
        room r = {0};
        if (find_room(job, &job->modules[k], &r, error))
            return error->status;
        widest = r.strips + r.worker > most ? &job->modules[k] : widest;
        most = organ_larger(most, r.strips + r.worker);
    }
    if (most <= job->engine->memory)
        return ORGAN_OK;
    return organ_memory_refuse(error, job->engine->memory, most, "strips of '%s' and the buffers of one thread",
                               widest->clean->name);
}

static organ_status noise_make_room(noise_stage *s, organ_error *error)
{
    const organ_noise_module *const m = s->module;
    const organ_engine *const engine = s->job->engine;
    room r = {0};
    if (find_room(s->job, m, &r, error))
        return error->status;
    s->strip_rows = r.strip_rows;
    s->unit_rows = r.unit_rows;
    s->blocks = (m->cols + BLOCK_COLS - 1) / BLOCK_COLS;
    s->scratch_bytes = r.worker;
    s->active = organ_lesser(organ_workers_count(engine->workers), (size_t)(engine->memory - r.strips) / r.worker);
    s->scratch = aligned_alloc(64, s->active * s->scratch_bytes);
    s->sums = calloc(s->blocks, sizeof *s->sums);
    bool whole = s->scratch && s->sums;
    for (size_t n = 0; n < s->job->noises && whole; n++) {
        s->noise[n] = organ_floats(s->strip_rows, m->cols);
        s->inside[n] = calloc(m->k * m->cols + 1, sizeof(double));
        whole = s->noise[n] && s->inside[n];
    }
    return whole ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "tensor '%s'", m->clean->name);
}

/* ---- reading ---- */

static size_t noise_take(noise_stage *s) { return __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED); }

organ_status organ_noise_not_finite(const organ_model *model, const organ_weight *weight, uint64_t row, float value,
                                    organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': a value of row %llu is %s", model->path, weight->name,
                      (unsigned long long)row, isnan(value) ? "NaN" : "infinite");
}

/* Why a difference is not finite. */
static organ_status find_fault(const noise_stage *s, size_t n, size_t first, const float *clean, const float *noisy,
                               size_t count, organ_error *error)
{
    const organ_noise_module *const m = s->module;
    for (size_t k = 0; k < count; k++) {
        const uint64_t row = first + k / m->cols;
        if (!isfinite(clean[k]))
            return organ_noise_not_finite(s->job->clean, m->clean, row, clean[k], error);
        if (!isfinite(noisy[k]))
            return organ_noise_not_finite(s->job->noisy[n], m->noisy[n], row, noisy[k], error);
    }
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': differs from the clean one by more than FP32 holds",
                      s->job->noisy[n]->path, m->noisy[n]->name);
}

static organ_status read_unit(noise_stage *s, size_t at, size_t rows, unsigned char *scratch, organ_error *error)
{
    const size_t cols = s->module->cols, count = rows * cols,
                 bytes = organ_to_line(s->unit_rows * cols * sizeof(float));
    float *const clean = (float *)(void *)scratch, *const noisy = (float *)(void *)(scratch + bytes);
    if (organ_weight_read(s->clean, s->first + at, rows, ORGAN_F32, clean, scratch + 2 * bytes, error))
        return error->status;
    for (size_t n = 0; n < s->job->noises; n++) {
        float *const to = s->noise[n] + at * cols;
        bool finite = true;
        if (organ_weight_read(s->noisy[n], s->first + at, rows, ORGAN_F32, noisy, scratch + 2 * bytes, error))
            return error->status;
        for (size_t k = 0; k < count; k++) {
            to[k] = clean[k] - noisy[k];
            finite = finite && fabsf(to[k]) <= FLT_MAX;
        }
        if (!finite)
            return find_fault(s, n, s->first + at, clean, noisy, count, error);
    }
    return ORGAN_OK;
}

static void read_units(void *context, size_t worker)
{
    noise_stage *const s = context;
    if (worker >= s->active)
        return;
    for (size_t unit = noise_take(s); unit * s->unit_rows < s->rows; unit = noise_take(s)) {
        const size_t at = unit * s->unit_rows;
        organ_error error = {0};
        if (read_unit(s, at, organ_lesser(s->unit_rows, s->rows - at), s->scratch + worker * s->scratch_bytes, &error))
            organ_unit_faults_keep(&s->faults, unit, &error);
    }
}

/* ---- sums ---- */

typedef struct lanes {
    double change[LANES], square[LANES], dot[LANES], signs[LANES];
} lanes;

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

static double noise_fold_lanes(double *lane)
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

/* <N_1, N_2> of the block. */
static double between(const noise_stage *s, size_t col, size_t width)
{
    const size_t cols = s->module->cols;
    double lane[LANES] = {0};
    for (size_t r = 0; r < s->rows; r++) {
        const float *const x = s->noise[0] + r * cols + col, *const y = s->noise[1] + r * cols + col;
        for (size_t k = 0; k < width; k++)
            lane[k % LANES] += (double)x[k] * (double)y[k];
    }
    return noise_fold_lanes(lane);
}

/* U^T N of the block, added to what the strips before gave. */
static void add_inside(noise_stage *s, size_t n, size_t col, size_t width, void *scratch)
{
    const organ_noise_module *const m = s->module;
    const organ_product part = {.m = m->k,
                                .n = width,
                                .k = s->rows,
                                .a = organ_by_rows(s->svd.u + s->first, m->rows),
                                .b = organ_by_columns(s->noise[n] + col, m->cols),
                                .c = s->inside[n] + col,
                                .c_stride = m->cols,
                                .wide = true,
                                .into = ORGAN_PRODUCT_ADD};
    s->job->engine->kernels->product(&part, scratch);
}

static void sum_block(noise_stage *s, size_t block, unsigned char *scratch)
{
    const organ_noise_module *const m = s->module;
    const size_t col = block * BLOCK_COLS, width = organ_lesser(BLOCK_COLS, m->cols - col);
    float *const change = (float *)(void *)(scratch + ORGAN_PRODUCT_SCRATCH);
    block_sums *const to = &s->sums[block];
    const organ_product product = {.m = s->rows,
                                   .n = width,
                                   .k = s->inner,
                                   .a = organ_by_rows(s->b + s->first * s->inner, s->inner),
                                   .b = organ_by_columns(s->a + col, m->cols),
                                   .c = change,
                                   .c_stride = width};
    s->job->engine->kernels->product(&product, scratch);
    for (size_t n = 0; n < s->job->noises; n++) {
        lanes l = {0};
        for (size_t r = 0; r < s->rows; r++)
            add_row(&l, s->noise[n] + r * m->cols + col, change + r * width, width);
        to->change = noise_fold_lanes(l.change);
        to->noise[n] = (organ_noise_sums){
            .square = noise_fold_lanes(l.square), .dot = noise_fold_lanes(l.dot), .signs = noise_fold_lanes(l.signs)};
        if (m->k)
            add_inside(s, n, col, width, scratch);
    }
    to->between = s->job->noises > 1 ? between(s, col, width) : 0;
}

static void sum_blocks(void *context, size_t worker)
{
    noise_stage *const s = context;
    if (worker >= s->active)
        return;
    for (size_t block = noise_take(s); block < s->blocks; block = noise_take(s))
        sum_block(s, block, s->scratch + worker * s->scratch_bytes);
}

static void fold_blocks(noise_stage *s)
{
    organ_noise_module *const m = s->module;
    for (size_t b = 0; b < s->blocks; b++) {
        m->change += s->sums[b].change;
        m->between += s->sums[b].between;
        for (size_t n = 0; n < s->job->noises; n++) {
            m->noise[n].square += s->sums[b].noise[n].square;
            m->noise[n].dot += s->sums[b].noise[n].dot;
            m->noise[n].signs += s->sums[b].noise[n].signs;
        }
    }
}

/* ---- the module ---- */

static uint64_t strip_bytes(const noise_stage *s)
{
    uint64_t bytes = organ_weight_reader_bytes(s->clean, s->rows);
    for (size_t n = 0; n < s->job->noises; n++)
        bytes += organ_weight_reader_bytes(s->noisy[n], s->rows);
    return bytes;
}

static organ_status run_strips(noise_stage *s, organ_error *error)
{
    organ_workers *const workers = s->job->engine->workers;
    const size_t rows = s->module->rows;
    for (s->first = 0; s->first < rows; s->first += s->rows) {
        if (organ_stop_asked(s->job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        s->rows = organ_lesser(s->strip_rows, rows - s->first);
        s->next = 0;
        organ_workers_run(workers, read_units, s);
        if (s->faults.first.status) {
            *error = s->faults.first;
            return error->status;
        }
        s->next = 0;
        organ_workers_run(workers, sum_blocks, s);
        fold_blocks(s);
        organ_progress_advance(s->job->progress, strip_bytes(s), NULL, NULL);
    }
    return ORGAN_OK;
}

static void finish_sums(noise_stage *s)
{
    organ_noise_module *const m = s->module;
    for (size_t n = 0; n < s->job->noises; n++)
        for (size_t k = 0; k < m->k * m->cols; k++)
            m->noise[n].inside += s->inside[n][k] * s->inside[n][k];
    organ_chance_baseline(s->job->options->seed, m->index, s->job->options->draws, (uint64_t)m->rows * m->cols,
                          &m->drawn_mean, &m->drawn_std);
}

static organ_status open_reader(const noise_stage *s, const organ_model *model, const organ_weight *weight,
                                organ_weight_reader **reader, organ_error *error)
{
    char note[256];
    if (organ_weight_reader_open(model, weight, s->job->engine->kernels, note, reader, error))
        return error->status;
    if (*note)
        organ_progress_note(s->job->progress, "%s: %s", model->path, note);
    return ORGAN_OK;
}

static organ_status noise_open_readers(noise_stage *s, organ_error *error)
{
    const organ_orthogonality_job *const job = s->job;
    open_reader(s, job->clean, s->module->clean, &s->clean, error);
    for (size_t n = 0; n < job->noises && !error->status; n++)
        open_reader(s, job->noisy[n], s->module->noisy[n], &s->noisy[n], error);
    return error->status;
}

static void noise_release(noise_stage *s)
{
    organ_weight_reader_close(s->clean);
    for (size_t n = 0; n < 2; n++) {
        organ_weight_reader_close(s->noisy[n]);
        free(s->noise[n]);
        free(s->inside[n]);
    }
    organ_svd_free(&s->svd);
    free(s->a);
    free(s->b);
    free(s->scratch);
    free(s->sums);
    pthread_mutex_destroy(&s->faults.lock);
}

organ_status organ_orthogonality_measure(organ_orthogonality_job *job, organ_noise_module *module, organ_error *error)
{
    noise_stage s = {.job = job, .module = module};
    pthread_mutex_init(&s.faults.lock, NULL);
    if (noise_open_readers(&s, error) == ORGAN_OK && load_factors(&s, error) == ORGAN_OK &&
        noise_make_room(&s, error) == ORGAN_OK && run_strips(&s, error) == ORGAN_OK)
        finish_sums(&s);
    noise_release(&s);
    return error->status;
}
