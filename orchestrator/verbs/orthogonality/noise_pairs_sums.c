/* SPDX-License-Identifier: MIT
 * Measures one module of two pairs. Workers read the module's weight from all models in units of some rows, and compute
 * the sums of a unit in 16 lanes (partial sums). The rows of a unit depend on the shape alone, and units are added in
 * order, so the bits of the results depend neither on threads nor on memory. */
#include "orchestrator/verbs/orthogonality/noise_parts.h"

#include "orchestrator/stream/memory.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* LANES is the number of independent partial sums of a unit, for vector instructions. UNITS is the number of units
 * whose sums are in memory at a time, a set of rows. */
enum { LANES = 16, UNITS = 64 };
/* Largest number of values of one model in a unit. */
#define UNIT_VALUES ((size_t)1 << 16)

/* The sums are in the order of the table in pairs_fold_units. W is a weight, N a noise (clean minus noisy), D the
 * change. */
enum {
    WEIGHT_A,              /* |W_clean_A|^2 */
    WEIGHT_B,              /* |W_clean_B|^2 */
    CLEAN_DIFFERENCE,      /* |W_clean_B - W_clean_A|^2 */
    NOISE_A,               /* |N_A|^2 */
    NOISE_B,               /* |N_B|^2 */
    BETWEEN,               /* <N_A, N_B> */
    BETWEEN_SIGNS,         /* sum of the squares of the products in <N_A, N_B> */
    NOISE_DIFFERENCE,      /* |N_A - N_B|^2 */
    CHANGE,                /* |D|^2 */
    A_AND_CHANGE,          /* <N_A, D> */
    B_AND_CHANGE,          /* <N_B, D> */
    DIFFERENCE_AND_CHANGE, /* <N_A - N_B, D> */
    TERMS
};

typedef struct unit_sums {
    double lane[TERMS][LANES];
} unit_sums;

typedef struct pairs_stage {
    const organ_compared_job *job;
    organ_compared_module *module;
    organ_row_sources sources;    /* in the order of organ_pair_source */
    float *b, *a;                 /* factors of D = b a if it is the change of an adapter, or NULL */
    size_t unit_rows, unit_bytes; /* rows of a unit, and bytes of the unit of one model */
    /* scratch_bytes for each of the `active` workers: a unit of each model, with an adapter one of D, then the scratch
     * of a reader or product */
    unsigned char *scratch;
    size_t scratch_bytes, active; /* bytes for a worker; number of workers that run */
    unit_sums *sums;              /* sums[u]: of unit u of the current set of rows */
} pairs_stage;

/* ---- memory ---- */

/* The scratch of a worker is a unit of each model, with `adapter` also a unit of D, then the scratch of a reader or
 * of a product, whichever is larger. */
static organ_status pairs_size_buffers(const organ_row_sources *sources, bool adapter, size_t *unit_rows, size_t *bytes,
                                       organ_error *error)
{
    size_t reader = 0;
    if (organ_row_sources_step(sources, UNIT_VALUES, unit_rows, error) ||
        organ_row_sources_scratch(sources, *unit_rows, &reader, error))
        return error->status;
    *bytes = (sources->count + adapter) * organ_to_line(*unit_rows * (size_t)sources->cols * sizeof(float)) +
             organ_to_line(organ_max(reader, adapter ? ORGAN_PRODUCT_SCRATCH : 0));
    return ORGAN_OK;
}

organ_status organ_pairs_need(const organ_compared_job *job, const organ_compared_module *m, uint64_t *bytes,
                              organ_error *error)
{
    const organ_row_sources sources = organ_compared_sources(job, m);
    size_t rows, worker = 0;
    pairs_size_buffers(&sources, m->pair != NULL, &rows, &worker, error);
    *bytes = worker;
    return error->status;
}

static organ_status pairs_allocate(pairs_stage *s, organ_error *error)
{
    if (pairs_size_buffers(&s->sources, s->b != NULL, &s->unit_rows, &s->scratch_bytes, error))
        return error->status;
    s->unit_bytes = organ_to_line(s->unit_rows * s->module->cols * sizeof(float));
    s->active = organ_memory_workers(s->job->engine, s->scratch_bytes, 0);
    s->scratch = aligned_alloc(64, s->active * s->scratch_bytes);
    s->sums = malloc(UNITS * sizeof *s->sums);
    return s->scratch && s->sums ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "tensor '%s'", s->module->name);
}

/* ---- a unit ---- */

typedef struct pairs_values {
    const float *clean_a, *noisy_a, *clean_b, *noisy_b;
    const float *to, *from; /* D = to - from */
} pairs_values;

/* Value j of each matrix belongs to lane j. */
static void pairs_add_sixteen(double (*restrict lane)[LANES], const pairs_values *v)
{
    const float *restrict const clean_a = v->clean_a, *restrict const noisy_a = v->noisy_a,
                                *restrict const clean_b = v->clean_b, *restrict const noisy_b = v->noisy_b,
                                *restrict const to = v->to, *restrict const from = v->from;
    for (size_t j = 0; j < LANES; j++) {
        const double x = (double)clean_a[j], y = (double)clean_b[j], a = x - (double)noisy_a[j],
                     b = y - (double)noisy_b[j], rest = a - b, apart = y - x, product = a * b,
                     d = (double)to[j] - (double)from[j];
        lane[WEIGHT_A][j] += x * x;
        lane[WEIGHT_B][j] += y * y;
        lane[CLEAN_DIFFERENCE][j] += apart * apart;
        lane[NOISE_A][j] += a * a;
        lane[NOISE_B][j] += b * b;
        lane[BETWEEN][j] += product;
        lane[BETWEEN_SIGNS][j] += product * product;
        lane[NOISE_DIFFERENCE][j] += rest * rest;
        lane[CHANGE][j] += d * d;
        lane[A_AND_CHANGE][j] += a * d;
        lane[B_AND_CHANGE][j] += b * d;
        lane[DIFFERENCE_AND_CHANGE][j] += rest * d;
    }
}

/* values[k] is the unit of model k (organ_pair_source), NULL if the job has no such model; values[ORGAN_ROW_SOURCES]
 * is the unit of an adapter's change, NULL without an adapter. Without an adapter, D is the tuned model minus the
 * clean model of A; without a tuned model too, the clean model of B minus that of A. If LANES does not divide
 * `count`, the last values are padded with zeros. */
static void pairs_add_unit(unit_sums *u, size_t count, const float *const values[ORGAN_ROW_SOURCES + 1])
{
    static const float zeros[LANES];
    float last[ORGAN_ROW_SOURCES + 1][LANES] = {{0}};
    const float *v[ORGAN_ROW_SOURCES + 1] = {NULL};
    for (size_t at = 0; at < count; at += LANES) {
        const bool full = count - at >= LANES;
        for (size_t k = 0; k <= ORGAN_ROW_SOURCES; k++) {
            if (!values[k])
                continue;
            if (!full)
                memcpy(last[k], values[k] + at, (count - at) * sizeof(float));
            v[k] = full ? values[k] + at : last[k];
        }
        const float *const adapter = v[ORGAN_ROW_SOURCES], *const tuned =
                                                               v[v[ORGAN_TUNED] ? ORGAN_TUNED : ORGAN_CLEAN_B];
        pairs_add_sixteen(u->lane, &(pairs_values){.clean_a = v[ORGAN_CLEAN_A],
                                                   .noisy_a = v[ORGAN_NOISY_A],
                                                   .clean_b = v[ORGAN_CLEAN_B],
                                                   .noisy_b = v[ORGAN_NOISY_B],
                                                   .to = adapter ? adapter : tuned,
                                                   .from = adapter ? zeros : v[ORGAN_CLEAN_A]});
    }
}

static organ_status pairs_read(const pairs_stage *s, size_t source, const organ_row_unit *unit, float *to,
                               void *scratch, organ_error *error)
{
    const size_t cols = s->module->cols, count = unit->rows * cols;
    if (organ_weight_read(s->sources.reader[source], unit->first, unit->rows, ORGAN_F32, to, scratch, error) ||
        organ_all_finite(to, count))
        return error->status;
    for (size_t k = 0; k < count; k++)
        if (!isfinite(to[k]))
            return organ_compared_not_finite(s->job, s->module, source, unit->first + k / cols, to[k], error);
    return ORGAN_OK;
}

static void pairs_multiply(const pairs_stage *s, const organ_row_unit *unit, float *to, void *scratch)
{
    const size_t inner = (size_t)s->module->pair->rank, cols = s->module->cols;
    const organ_product product = {.m = unit->rows,
                                   .n = cols,
                                   .k = inner,
                                   .a = organ_by_rows(s->b + unit->first * inner, inner),
                                   .b = organ_by_columns(s->a, cols),
                                   .c = to,
                                   .c_stride = cols};
    s->job->engine->kernels->product(&product, scratch);
}

static organ_status pairs_sum_unit(void *context, const organ_row_unit *unit, size_t worker, organ_error *error)
{
    const pairs_stage *const s = context;
    const size_t sources = s->sources.count;
    unsigned char *const scratch = s->scratch + worker * s->scratch_bytes, *const rest =
                                                                               scratch + (sources + (s->b != NULL)) *
                                                                                             s->unit_bytes;
    const float *values[ORGAN_ROW_SOURCES + 1] = {NULL};
    for (size_t k = 0; k < sources; k++) {
        float *const to = (float *)(void *)(scratch + k * s->unit_bytes);
        if (pairs_read(s, k, unit, to, rest, error))
            return error->status;
        values[k] = to;
    }
    if (s->b) {
        float *const to = (float *)(void *)(scratch + sources * s->unit_bytes);
        pairs_multiply(s, unit, to, rest);
        values[ORGAN_ROW_SOURCES] = to;
    }
    s->sums[unit->index] = (unit_sums){{{0}}};
    pairs_add_unit(&s->sums[unit->index], unit->rows * s->module->cols, values);
    return ORGAN_OK;
}

/* ---- the module ---- */

/* The sums of the units are added in the order of the units, so that the result does not depend on threads. */
static void pairs_fold_units(void *context, const organ_row_set *set)
{
    pairs_stage *const s = context;
    organ_pair_sums *const to = &s->module->sums;
    double *const terms[TERMS] = {&to->weight[0],      &to->weight[1],        &to->clean_difference,
                                  &to->noise[0],       &to->noise[1],         &to->between,
                                  &to->between_signs,  &to->noise_difference, &to->change,
                                  &to->with_change[0], &to->with_change[1],   &to->noise_difference_with_change};
    for (size_t unit = 0; unit < set->units; unit++)
        for (size_t t = 0; t < TERMS; t++)
            *terms[t] += organ_compared_fold_lanes(s->sums[unit].lane[t]);
    organ_progress_advance(s->job->progress, organ_row_sources_bytes(&s->sources, set->rows), NULL, NULL);
}

static organ_status pairs_run(pairs_stage *s, organ_error *error)
{
    const organ_row_walk walk = {.rows = s->module->rows,
                                 .set_rows = UNITS * s->unit_rows,
                                 .unit_rows = s->unit_rows,
                                 .readers = s->active,
                                 .context = s,
                                 .unit = pairs_sum_unit,
                                 .retire = pairs_fold_units};
    if (organ_row_walk_run(&walk, s->job->engine, error) == ORGAN_OK)
        organ_compared_draw(s->job, s->module);
    return error->status;
}

organ_status organ_pairs_measure(const organ_compared_job *job, organ_compared_module *module, organ_error *error)
{
    pairs_stage s = {.job = job, .module = module, .sources = organ_compared_sources(job, module)};
    if (organ_row_sources_open(&s.sources, job->progress, error) == ORGAN_OK && module->pair)
        organ_lora_factors_placed(job->adapter, module->pair, module->transposed, job->engine->kernels, &s.b, &s.a,
                                  error);
    if (!error->status && pairs_allocate(&s, error) == ORGAN_OK)
        pairs_run(&s, error);
    organ_row_sources_close(&s.sources);
    ORGAN_FREE_ARRAYS(s.a, s.b, s.scratch, s.sums);
    return error->status;
}
