/* SPDX-License-Identifier: MIT
 * Reads a matrix in strips of rows, and keeps the strips if they fit in memory. */
#include "orchestrator/surgery/algebra/strips.h"

#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/rows.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

/* The matrix is read in strips of ORGAN_STRIP_ROWS rows, in sets of as many strips as fit into memory. */
struct organ_strips {
    const organ_rows *matrix;
    const organ_engine *engine;
    size_t count;                   /* number of strips */
    size_t capacity;                /* strips that `values` has room for */
    float *values;                  /* consecutive strips: those of the current set, or all */
    bool in_memory, energies_known; /* in_memory: all strips stay in `values` after the first pass; energies_known: that
                                       pass is complete */
    double *energies;               /* sum of squares of each strip, computed in the first pass */
    size_t readers;                 /* workers that read at the same time */
    size_t scratch_bytes;           /* scratch of a reader: organ_rows.scratch_bytes in whole cache lines */
    char *scratch;                  /* readers x scratch_bytes */
};

/* ---- opening ---- */

static uint64_t matrix_strip_bytes(const organ_rows *matrix) { return ORGAN_STRIP_ROWS * matrix->cols * sizeof(float); }
static size_t strip_bytes(const organ_strips *s) { return (size_t)matrix_strip_bytes(s->matrix); }

uint64_t organ_strips_min(const organ_rows *matrix)
{
    return matrix->extra_bytes + organ_to_line(matrix->scratch_bytes) + matrix_strip_bytes(matrix);
}

/* s->capacity is how many strips are in memory at once; s->in_memory: all strips stay in memory (`hold` is true and
 * they fit). The scratch of readers takes at most half of the memory, unless one reader needs more. Returns
 * ORGAN_USAGE if the memory is too small for one reader and one strip. */
static organ_status strips_divide(organ_strips *s, bool hold, organ_error *error)
{
    const uint64_t given = s->engine->memory, least = organ_strips_min(s->matrix), strip = strip_bytes(s);
    const size_t workers = organ_workers_count(s->engine->workers);
    if (given < least)
        return organ_memory_refuse(error, given, least, "%s", s->matrix->name);
    const uint64_t memory = given - s->matrix->extra_bytes;
    s->readers = workers;
    if (s->scratch_bytes > 0)
        s->readers = organ_min(workers, (size_t)((memory - strip) / 2 / s->scratch_bytes));
    s->readers = s->readers ? s->readers : 1;
    const uint64_t remaining = memory - (uint64_t)s->readers * s->scratch_bytes;
    s->in_memory = hold && remaining / strip >= s->count;
    s->capacity = organ_min(s->count, (size_t)(remaining / strip));
    return ORGAN_OK;
}

/* A strip must not have more values than an int can count. */
organ_status organ_strips_open(const organ_rows *matrix, const organ_engine *engine, bool hold, organ_strips **strips,
                               organ_error *error)
{
    *strips = NULL;
    if (matrix->rows > INT_MAX || matrix->cols > INT_MAX / ORGAN_STRIP_ROWS)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %llu x %llu is too large to be decomposed", matrix->name,
                          (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
    organ_strips *s = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, matrix->name);
    s->matrix = matrix;
    s->engine = engine;
    s->count = (size_t)((matrix->rows + ORGAN_STRIP_ROWS - 1) / ORGAN_STRIP_ROWS);
    s->scratch_bytes = organ_to_line(matrix->scratch_bytes);
    if (strips_divide(s, hold, error) == ORGAN_OK) {
        s->energies = calloc(s->count, sizeof *s->energies);
        s->values = organ_floats(s->capacity * ORGAN_STRIP_ROWS, (size_t)matrix->cols);
        s->scratch = aligned_alloc(64, s->readers * s->scratch_bytes + 64);
        if (!s->energies || !s->values || !s->scratch)
            organ_fail_memory(error, matrix->name);
    }
    if (error->status) {
        organ_strips_close(s);
        return error->status;
    }
    *strips = s;
    return ORGAN_OK;
}

void organ_strips_close(organ_strips *s)
{
    if (!s)
        return;
    free(s->energies);
    free(s->values);
    free(s->scratch);
    free(s);
}

const organ_rows *organ_strips_matrix(const organ_strips *strips) { return strips->matrix; }
const organ_engine *organ_strips_engine(const organ_strips *strips) { return strips->engine; }

/* The sums of the strips are added in order. */
double organ_strips_energy(const organ_strips *s)
{
    double sum = 0;
    for (size_t k = 0; k < s->count; k++)
        sum += s->energies[k];
    return sum;
}

/* ---- one pass ---- */

typedef struct strips_run {
    organ_strips *strips;
    const organ_strip_work *work;
    organ_strip *set; /* strips of the current set */
    bool read;        /* strips must be read; false: all are in memory */
} strips_run;

static organ_status fail_not_finite(const organ_rows *matrix, uint64_t first, size_t rows, const float *values,
                                    organ_error *error)
{
    for (size_t k = 0; k < rows * matrix->cols; k++)
        if (!isfinite(values[k]))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: the value in row %llu, column %llu is %g", matrix->name,
                              (unsigned long long)(first + k / matrix->cols), (unsigned long long)(k % matrix->cols),
                              (double)values[k]);
    return ORGAN_OK;
}

static organ_status read_strip(organ_strips *s, const organ_row_unit *unit, size_t index, float *values, size_t worker,
                               organ_error *error)
{
    if (s->matrix->read(s->matrix->context, unit->first, unit->rows, values, s->scratch + worker * s->scratch_bytes,
                        error))
        return error->status;
    if (s->energies_known)
        return ORGAN_OK;
    const double energy = s->energies[index] = organ_sum_of_squares(values, unit->rows * s->matrix->cols);
    return isfinite(energy) ? ORGAN_OK : fail_not_finite(s->matrix, unit->first, unit->rows, values, error);
}

static organ_status strips_each(void *context, const organ_row_unit *unit, size_t worker, organ_error *error)
{
    const strips_run *const r = context;
    organ_strips *const s = r->strips;
    float *const values = s->values + unit->index * ORGAN_STRIP_ROWS * s->matrix->cols;
    organ_strip *const strip = &r->set[unit->index];
    *strip = (organ_strip){.index = (size_t)(unit->first / ORGAN_STRIP_ROWS), .rows = unit->rows, .values = values};
    if (r->read && read_strip(s, unit, strip->index, values, worker, error))
        return error->status;
    r->work->each(r->work->context, strip, worker);
    return ORGAN_OK;
}

static void strips_after(void *context, const organ_row_set *set, size_t task, size_t worker)
{
    const strips_run *const r = context;
    r->work->after(r->work->context, task, r->set, set->units, worker);
}

organ_status organ_strips_run(organ_strips *s, const organ_strip_work *work, organ_error *error)
{
    strips_run r = {.strips = s, .work = work, .read = !(s->in_memory && s->energies_known)};
    const size_t workers = organ_workers_count(s->engine->workers);
    const organ_row_walk walk = {.rows = s->matrix->rows,
                                 .set_rows = s->capacity * ORGAN_STRIP_ROWS,
                                 .unit_rows = ORGAN_STRIP_ROWS,
                                 .readers = r.read ? s->readers : workers,
                                 .helpers = workers,
                                 .context = &r,
                                 .unit = strips_each,
                                 .task = strips_after,
                                 .tasks = work->after ? work->tasks : 0};
    r.set = calloc(s->capacity, sizeof *r.set);
    if (!r.set)
        return organ_fail_memory(error, s->matrix->name);
    organ_row_walk_run(&walk, s->engine, error);
    free(r.set);
    s->energies_known = s->energies_known || !error->status;
    return error->status;
}
