/* SPDX-License-Identifier: MIT
 * One module: workers take units of rows, read them from each model, and sum what they find in 16 lanes. Units depend
 * on the shape alone and are folded in order, so the bits depend on neither threads nor memory. */
#include "orchestrator/surgery/orthogonality/noise_pairs_job.h"

#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/weight_reader.h"
#include "orchestrator/surgery/algebra/multiply.h"
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/orthogonality/chance.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, UNITS = 64 };
#define UNIT_VALUES ((size_t)1 << 16)

enum { WEIGHT_A, WEIGHT_B, APART, NOISE_A, NOISE_B, BETWEEN, SIGNS, REST, CHANGE, ALONG_A, ALONG_B, ALONG_REST, TERMS };

typedef struct unit_sums {
    double lane[TERMS][LANES];
} unit_sums;

typedef struct noise_pairs_sums_stage {
    organ_pairs_job *job;
    organ_pairs_module *module;
    organ_weight_reader *reader[ORGAN_PAIR_SOURCES];
    float *b, *a; /* factors of the change, or NULL */
    size_t unit_rows, units, buffers;
    size_t first, rows; /* of the strip: up to UNITS units */
    unsigned char *scratch;
    size_t scratch_bytes, active;
    unit_sums *sums; /* of the strip's units */
    size_t next;     /* unit that nobody has taken */
    organ_unit_faults faults;
} noise_pairs_sums_stage;

static size_t buffer_bytes(const noise_pairs_sums_stage *s)
{
    return organ_to_line(s->unit_rows * s->module->cols * sizeof(float));
}

/* ---- room ---- */

/* What the headers of a module tell: rows of a unit, and the bytes of one thread, which has a unit of each model, and
 * of the change. */
static organ_status find_room(const organ_pairs_job *job, const organ_pairs_module *m, size_t *unit_rows, size_t *bytes,
                              organ_error *error)
{
    const organ_kernels *const kernels = job->engine->kernels;
    size_t rows = 1, reader = 0;
    for (size_t k = 0; k < job->sources && !error->status; k++) {
        size_t step = 1;
        organ_weight_reader_step_of(job->model[k], m->weight[k], kernels, organ_larger(UNIT_VALUES / m->cols, 1), &step,
                                    error);
        rows = organ_larger(rows, step);
    }
    *unit_rows = organ_lesser(rows, m->rows);
    for (size_t k = 0; k < job->sources && !error->status; k++) {
        size_t scratch = 0;
        organ_weight_reader_size(job->model[k], m->weight[k], kernels, *unit_rows, &scratch, error);
        reader = organ_larger(reader, scratch);
    }
    *bytes = (job->sources + (m->pair != NULL)) * organ_to_line(*unit_rows * m->cols * sizeof(float)) +
             organ_to_line(organ_larger(reader, m->pair ? ORGAN_PRODUCT_SCRATCH : 0));
    return error->status;
}

organ_status organ_pairs_check_memory(const organ_pairs_job *job, organ_error *error)
{
    const organ_pairs_module *widest = NULL;
    size_t most = 0;
    for (size_t k = 0; k < job->count; k++) {
        size_t rows, bytes;
        if (find_room(job, &job->modules[k], &rows, &bytes, error))
            return error->status;
        widest = bytes > most ? &job->modules[k] : widest;
        most = organ_larger(most, bytes);
    }
    if (most <= job->engine->memory)
        return ORGAN_OK;
    return organ_memory_refuse(error, job->engine->memory, most, "rows of '%s' of all models in one thread",
                               widest->name);
}

static organ_status noise_pairs_sums_make_room(noise_pairs_sums_stage *s, organ_error *error)
{
    const organ_engine *const engine = s->job->engine;
    s->buffers = s->job->sources + (s->b != NULL);
    if (find_room(s->job, s->module, &s->unit_rows, &s->scratch_bytes, error))
        return error->status;
    s->active = organ_lesser(organ_workers_count(engine->workers), (size_t)(engine->memory / s->scratch_bytes));
    s->scratch = aligned_alloc(64, s->active * s->scratch_bytes);
    s->sums = malloc(UNITS * sizeof *s->sums);
    return s->scratch && s->sums ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "tensor '%s'", s->module->name);
}

/* ---- a unit ---- */

/* Sixteen values of a matrix. */
typedef struct sixteen {
    double at[LANES];
} sixteen;

static sixteen widened(const float *from)
{
    sixteen x;
    for (size_t j = 0; j < LANES; j++)
        x.at[j] = (double)from[j];
    return x;
}

static sixteen less(const sixteen *x, const sixteen *y)
{
    sixteen z;
    for (size_t j = 0; j < LANES; j++)
        z.at[j] = x->at[j] - y->at[j];
    return z;
}

static sixteen times(const sixteen *x, const sixteen *y)
{
    sixteen z;
    for (size_t j = 0; j < LANES; j++)
        z.at[j] = x->at[j] * y->at[j];
    return z;
}

/* lane += x y */
static void noise_pairs_sums_add_product(double *restrict lane, const sixteen *x, const sixteen *y)
{
    for (size_t j = 0; j < LANES; j++)
        lane[j] += x->at[j] * y->at[j];
}

static void add_values(unit_sums *u, const float *const v[ORGAN_PAIR_SOURCES + 1])
{
    const sixteen clean = widened(v[ORGAN_CLEAN_A]), other = widened(v[ORGAN_CLEAN_B]),
                  noisy_a = widened(v[ORGAN_NOISY_A]), noisy_b = widened(v[ORGAN_NOISY_B]);
    const sixteen a = less(&clean, &noisy_a), b = less(&other, &noisy_b), rest = less(&a, &b),
                  apart = less(&other, &clean);
    const sixteen product = times(&a, &b), tuned = widened(v[v[ORGAN_TUNED] ? ORGAN_TUNED : ORGAN_CLEAN_B]);
    const sixteen d = v[ORGAN_PAIR_SOURCES] ? widened(v[ORGAN_PAIR_SOURCES]) : less(&tuned, &clean);
    noise_pairs_sums_add_product(u->lane[WEIGHT_A], &clean, &clean);
    noise_pairs_sums_add_product(u->lane[WEIGHT_B], &other, &other);
    noise_pairs_sums_add_product(u->lane[APART], &apart, &apart);
    noise_pairs_sums_add_product(u->lane[NOISE_A], &a, &a);
    noise_pairs_sums_add_product(u->lane[NOISE_B], &b, &b);
    noise_pairs_sums_add_product(u->lane[BETWEEN], &a, &b);
    noise_pairs_sums_add_product(u->lane[SIGNS], &product, &product);
    noise_pairs_sums_add_product(u->lane[REST], &rest, &rest);
    noise_pairs_sums_add_product(u->lane[CHANGE], &d, &d);
    noise_pairs_sums_add_product(u->lane[ALONG_A], &a, &d);
    noise_pairs_sums_add_product(u->lane[ALONG_B], &b, &d);
    noise_pairs_sums_add_product(u->lane[ALONG_REST], &rest, &d);
}

/* All values of the unit: the last, where there are fewer than sixteen, with zeros behind them. */
static void add_unit(unit_sums *u, size_t count, const float *const values[ORGAN_PAIR_SOURCES + 1])
{
    float last[ORGAN_PAIR_SOURCES + 1][LANES] = {{0}};
    const float *v[ORGAN_PAIR_SOURCES + 1] = {NULL};
    for (size_t at = 0; at < count; at += LANES) {
        const bool whole = count - at >= LANES;
        for (size_t k = 0; k <= ORGAN_PAIR_SOURCES; k++) {
            if (values[k] && !whole)
                memcpy(last[k], values[k] + at, (count - at) * sizeof(float));
            v[k] = !values[k] ? NULL : whole ? values[k] + at : last[k];
        }
        add_values(u, v);
    }
}

static bool all_finite(const float *values, size_t count)
{
    bool finite = true;
    for (size_t k = 0; k < count; k++)
        finite = finite && fabsf(values[k]) <= FLT_MAX;
    return finite;
}

static organ_status read_source(noise_pairs_sums_stage *s, size_t source, size_t first, size_t rows, float *to,
                                void *scratch, organ_error *error)
{
    const size_t cols = s->module->cols, count = rows * cols;
    if (organ_weight_read(s->reader[source], first, rows, ORGAN_F32, to, scratch, error) || all_finite(to, count))
        return error->status;
    for (size_t k = 0; k < count; k++)
        if (!isfinite(to[k]))
            return organ_noise_not_finite(s->job->model[source], s->module->weight[source], first + k / cols, to[k],
                                          error);
    return ORGAN_OK;
}

/* Rows of K. */
static void noise_pairs_sums_multiply(const noise_pairs_sums_stage *s, size_t first, size_t rows, float *to,
                                      void *scratch)
{
    const size_t inner = (size_t)s->module->pair->rank, cols = s->module->cols;
    const organ_product product = {.m = rows,
                                   .n = cols,
                                   .k = inner,
                                   .a = organ_by_rows(s->b + first * inner, inner),
                                   .b = organ_by_columns(s->a, cols),
                                   .c = to,
                                   .c_stride = cols};
    s->job->engine->kernels->product(&product, scratch);
}

static organ_status sum_unit(noise_pairs_sums_stage *s, size_t unit, unsigned char *scratch, organ_error *error)
{
    const size_t from = unit * s->unit_rows, rows = organ_lesser(s->unit_rows, s->rows - from), first = s->first + from;
    const size_t count = rows * s->module->cols, bytes = buffer_bytes(s);
    const float *values[ORGAN_PAIR_SOURCES + 1] = {NULL};
    for (size_t k = 0; k < s->job->sources; k++) {
        float *const to = (float *)(void *)(scratch + k * bytes);
        if (read_source(s, k, first, rows, to, scratch + s->buffers * bytes, error))
            return error->status;
        values[k] = to;
    }
    if (s->b) {
        float *const to = (float *)(void *)(scratch + s->job->sources * bytes);
        noise_pairs_sums_multiply(s, first, rows, to, scratch + s->buffers * bytes);
        values[ORGAN_PAIR_SOURCES] = to;
    }
    s->sums[unit] = (unit_sums){{{0}}};
    add_unit(&s->sums[unit], count, values);
    return ORGAN_OK;
}

static void sum_units(void *context, size_t worker)
{
    noise_pairs_sums_stage *const s = context;
    if (worker >= s->active)
        return;
    for (size_t unit; (unit = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->units;) {
        organ_error error = {0};
        if (sum_unit(s, unit, s->scratch + worker * s->scratch_bytes, &error))
            organ_unit_faults_keep(&s->faults, unit, &error);
    }
}

/* ---- the module ---- */

static double noise_pairs_sums_fold_lanes(double *lane)
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

static void fold_units(noise_pairs_sums_stage *s)
{
    organ_pair_sums *const to = &s->module->sums;
    double *const terms[TERMS] = {&to->weight[0], &to->weight[1], &to->apart,         &to->noise[0],
                                  &to->noise[1],  &to->between,   &to->between_signs, &to->rest,
                                  &to->change,    &to->along[0],  &to->along[1],      &to->rest_along};
    for (size_t unit = 0; unit < s->units; unit++)
        for (size_t t = 0; t < TERMS; t++)
            *terms[t] += noise_pairs_sums_fold_lanes(s->sums[unit].lane[t]);
}

static organ_status run_strips(noise_pairs_sums_stage *s, organ_error *error)
{
    const size_t rows = s->module->rows, strip = UNITS * s->unit_rows;
    for (s->first = 0; s->first < rows; s->first += s->rows) {
        uint64_t bytes = 0;
        if (organ_stop_asked(s->job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        s->rows = organ_lesser(strip, rows - s->first);
        s->units = (s->rows + s->unit_rows - 1) / s->unit_rows;
        s->next = 0;
        organ_workers_run(s->job->engine->workers, sum_units, s);
        if (s->faults.first.status) {
            *error = s->faults.first;
            return error->status;
        }
        fold_units(s);
        for (size_t k = 0; k < s->job->sources; k++)
            bytes += organ_weight_reader_bytes(s->reader[k], s->rows);
        organ_progress_advance(s->job->progress, bytes, NULL, NULL);
    }
    return ORGAN_OK;
}

static organ_status noise_pairs_sums_open_readers(noise_pairs_sums_stage *s, organ_error *error)
{
    const organ_pairs_job *const job = s->job;
    const organ_pairs_module *const m = s->module;
    char note[256];
    for (size_t k = 0; k < job->sources; k++) {
        if (organ_weight_reader_open(job->model[k], m->weight[k], job->engine->kernels, note, &s->reader[k], error))
            return error->status;
        if (*note)
            organ_progress_note(job->progress, "%s: %s", job->model[k]->path, note);
    }
    return m->pair ? organ_lora_factors_placed(job->adapter, m->pair, m->transposed, job->engine->kernels, &s->b, &s->a,
                                               error)
                   : ORGAN_OK;
}

static void noise_pairs_sums_release(noise_pairs_sums_stage *s)
{
    for (size_t k = 0; k < ORGAN_PAIR_SOURCES; k++)
        organ_weight_reader_close(s->reader[k]);
    free(s->a);
    free(s->b);
    free(s->scratch);
    free(s->sums);
    pthread_mutex_destroy(&s->faults.lock);
}

organ_status organ_pairs_measure(organ_pairs_job *job, organ_pairs_module *module, organ_error *error)
{
    noise_pairs_sums_stage s = {.job = job, .module = module};
    pthread_mutex_init(&s.faults.lock, NULL);
    if (noise_pairs_sums_open_readers(&s, error) == ORGAN_OK && noise_pairs_sums_make_room(&s, error) == ORGAN_OK &&
        run_strips(&s, error) == ORGAN_OK)
        organ_chance_baseline(job->options->seed, module->index, job->options->draws,
                              (uint64_t)module->rows * module->cols, &module->drawn_mean, &module->drawn_std);
    noise_pairs_sums_release(&s);
    return error->status;
}
