/* SPDX-License-Identifier: MIT
 * Weights whose layer rotates its inputs or outputs at run time: values with the rotation folded in. A rotation of
 * inputs changes the values of each row; one of outputs mixes the rows of a matrix. */
#include "formats/base/results.h"
#include "formats/base/hadamard.h"
#include "orchestrator/stream/turn.h"
#include "orchestrator/stream/weight_parts.h"

#include <stdlib.h>
#include <string.h>

/* Rows of outputs are made in groups of about this many values, each of which needs all rows of the block. */
#define GROUP_VALUES ((size_t)1 << 20)
#define PERIOD_MOST  ((uint64_t)64)

static const organ_rotation *rotation_of(const organ_weight_reader *r) { return r->weight->rotation; }

static organ_status prepare_inner(const organ_weight_reader *r, organ_weight_reader *inner, organ_error *error)
{
    return r->readers->prepare(r->model, rotation_of(r)->from, r->kernels, inner, error);
}

/* ---- rows and columns ---- */

static size_t group_rows(const organ_weight_reader *r)
{
    const size_t cols = r->shape.cols ? (size_t)r->shape.cols : 1, rows = GROUP_VALUES / cols;
    return rows > PERIOD_MOST && !rotation_of(r)->matrix ? rows : (size_t)PERIOD_MOST;
}

/* The periods that `rows` rows may touch; those of a stored matrix may be single rows. */
static size_t periods_of(const organ_weight_reader *r, size_t rows)
{
    const uint64_t size = rotation_of(r)->size, run = size & (~size + 1);
    return rotation_of(r)->matrix || rotation_of(r)->order ? rows + 2
                                                           : rows / (size_t)(run < PERIOD_MOST ? run : PERIOD_MOST) + 2;
}

static organ_status prepare_rotated(organ_weight_reader *r, organ_error *error)
{
    organ_weight_reader inner;
    if (prepare_inner(r, &inner, error))
        return error->status;
    r->batch = inner.batch;
    r->step = inner.step;
    if (!rotation_of(r)->rows)
        return ORGAN_OK;
    const uint64_t block = rotation_of(r)->size;
    r->batch = group_rows(r);
    r->step = block < PERIOD_MOST ? (size_t)block : (size_t)PERIOD_MOST;
    return ORGAN_OK;
}

static organ_status load_rotated(organ_weight_reader *r, char note[256], organ_error *error)
{
    if (!(r->parts = calloc(1, sizeof *r->parts)))
        return organ_fail_memory(error, r->weight->name);
    if (r->readers->open(r->model, rotation_of(r)->from, r->kernels, note, &r->parts[0], error))
        return error->status;
    return organ_turn_open(r->model, rotation_of(r), &r->turn, error);
}

/* ---- scratch ---- */

/* `rows`: rows that are asked for; `read`: rows of the inner weight that are read at once. */
typedef struct rotation_room {
    float *values;        /* read rows, without the rotation; unused if values go to the caller */
    double *sums;         /* rows in FP64 */
    double *coefficients; /* of each row of the block, for each period that the rows touch */
    double *line;         /* a row of the rotation's matrix */
    void *inner, *spare;
    size_t bytes;
} rotation_room;

static size_t sum_rows(const organ_weight_reader *r, size_t rows)
{
    return rotation_of(r)->rows ? rows + 2 * (size_t)PERIOD_MOST : rows;
}

static rotation_room lay_out(const organ_weight_reader *r, const organ_weight_reader *inner, size_t rows, uintptr_t at)
{
    const size_t cols = (size_t)r->shape.cols;
    const bool mixes = rotation_of(r)->rows;
    const size_t read = mixes ? inner->batch : rows;
    const uintptr_t start = at;
    rotation_room l = {0};
    l.values = weight_take(&at, mixes ? read * cols * sizeof(float) : 0);
    l.sums = weight_take(&at, sum_rows(r, rows) * cols * sizeof(double));
    l.coefficients = weight_take(&at, mixes ? rotation_of(r)->size * periods_of(r, rows) * sizeof(double) : 0);
    l.line = weight_take(&at, mixes ? rotation_of(r)->size * sizeof(double) : 0);
    l.inner = weight_take(&at, r->readers->scratch(inner, read));
    l.spare = weight_take(&at, organ_turn_spare(rotation_of(r), mixes ? 0 : rows, cols));
    l.bytes = at - start;
    return l;
}

static size_t rotated_scratch(const organ_weight_reader *r, size_t rows)
{
    organ_weight_reader inner;
    organ_error ignored = {0}; /* prepare_rotated has reported it */
    return prepare_inner(r, &inner, &ignored) ? 0 : lay_out(r, &inner, rows, 0).bytes;
}

/* ---- inputs: each row ---- */

static organ_status turn_columns(const organ_weight_reader *r, const weight_rows *rows, float *values,
                                 const rotation_room *l, organ_error *error)
{
    const size_t n = rows->count * (size_t)r->shape.cols;
    const uint64_t first = rows->matrix * r->shape.rows + rows->first;
    if (r->readers->read(r->parts[0], first, rows->count, ORGAN_F32, values, l->inner, error))
        return error->status;
    for (size_t k = 0; k < n; k++)
        l->sums[k] = values[k];
    if (organ_turn_rows(r->turn, rotation_of(r)->transposed, l->sums, rows->count, (size_t)r->shape.cols, l->spare,
                        error))
        return error->status;
    for (size_t k = 0; k < n; k++)
        values[k] = (float)l->sums[k];
    return ORGAN_OK;
}

/* ---- outputs: rows of a block ---- */

/* Rows [first, end) of the block that begins at row `block` of a matrix. Row k of the block adds to row k % period of
 * each of the periods that the rows touch. Then the rows of each period are summed with the signs of Sylvester's
 * matrix. */
typedef struct mixing {
    const organ_weight_reader *r;
    const rotation_room *l;
    uint64_t block, first, end, period;
} mixing;

static size_t periods_in(const mixing *m) { return (size_t)((m->end - m->first) / m->period); }

/* The rows of the matrix are read once each, also if they are columns of its transpose. */
static organ_status find_coefficients(const mixing *m, organ_error *error)
{
    const organ_turn *const turn = m->r->turn;
    const uint64_t size = rotation_of(m->r)->size, count = periods_in(m);
    const bool transposed = rotation_of(m->r)->transposed;
    double *const line = m->l->line;
    for (uint64_t row = 0; !transposed && row < size && !error->status; row++) {
        organ_turn_values(turn, row, m->first, m->end - m->first, line, m->l->spare, error);
        for (uint64_t k = 0; k < count; k++)
            m->l->coefficients[row * count + k] = line[k * m->period];
    }
    for (uint64_t k = 0; transposed && k < count && !error->status; k++) {
        const uint64_t at = m->first + k * m->period;
        organ_turn_values(turn, at, 0, size, line, m->l->spare, error);
        for (uint64_t row = 0; row < size; row++)
            m->l->coefficients[row * count + k] = line[row] * organ_turn_sign(turn, transposed, at);
    }
    return error->status;
}

static void add_row(const mixing *m, uint64_t row, const float *values)
{
    const size_t cols = (size_t)m->r->shape.cols, count = periods_in(m);
    for (size_t k = 0; k < count; k++) {
        double *const to = m->l->sums + (k * m->period + row % m->period) * cols;
        const double c = m->l->coefficients[row * count + k];
        for (size_t j = 0; j < cols; j++)
            to[j] += c * values[j];
    }
}

static organ_status add_block(const mixing *m, uint64_t matrix, organ_error *error)
{
    const organ_weight_reader *const inner = m->r->parts[0];
    const uint64_t size = rotation_of(m->r)->size, top = matrix * m->r->shape.rows + m->block;
    for (uint64_t row = 0, n; row < size && !error->status; row += n) {
        n = size - row < inner->batch ? size - row : inner->batch;
        m->r->readers->read(inner, top + row, (size_t)n, ORGAN_F32, m->l->values, m->l->inner, error);
        for (uint64_t k = 0; k < n && !error->status; k++)
            add_row(m, row + k, m->l->values + k * m->r->shape.cols);
    }
    return error->status;
}

/* Rows [from, until) of a block become `values`. */
static organ_status mix_block(const organ_weight_reader *r, uint64_t matrix, uint64_t block, uint64_t from,
                              uint64_t until, float *values, const rotation_room *l, organ_error *error)
{
    const size_t cols = (size_t)r->shape.cols;
    mixing m = {.r = r, .l = l, .block = block, .period = organ_turn_period(r->turn, PERIOD_MOST)};
    m.first = from / m.period * m.period;
    m.end = weight_up(until, m.period) * m.period;
    memset(l->sums, 0, (size_t)(m.end - m.first) * cols * sizeof *l->sums);
    if (find_coefficients(&m, error) || add_block(&m, matrix, error))
        return error->status;
    organ_hadamard_sums(l->sums, (size_t)((m.end - m.first) / m.period), (size_t)m.period, cols);
    for (uint64_t row = from; row < until; row++) {
        const double sign = organ_turn_sign(r->turn, rotation_of(r)->transposed, row);
        const double *const sums = l->sums + (row - m.first) * cols;
        for (size_t j = 0; j < cols; j++)
            values[(row - from) * cols + j] = (float)(sign * sums[j]);
    }
    return ORGAN_OK;
}

static organ_status mix_rows(const organ_weight_reader *r, const weight_rows *rows, float *values,
                             const rotation_room *l, organ_error *error)
{
    const uint64_t size = rotation_of(r)->size, end = rows->first + rows->count;
    for (uint64_t row = rows->first, next; row < end && !error->status; row = next) {
        const uint64_t block = row / size * size;
        next = block + size < end ? block + size : end;
        mix_block(r, rows->matrix, block, row - block, next - block, values + (row - rows->first) * r->shape.cols, l,
                  error);
    }
    return error->status;
}

static organ_status read_rotated(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                                 unsigned char *scratch, organ_error *error)
{
    const rotation_room l = lay_out(r, r->parts[0], rows->count, (uintptr_t)scratch);
    (void)as; /* F32, because the family has no function `writes` */
    return rotation_of(r)->rows ? mix_rows(r, rows, values, &l, error) : turn_columns(r, rows, values, &l, error);
}

const weight_family organ_weight_family_rotated = {prepare_rotated, load_rotated, rotated_scratch,
                                                   read_rotated,    NULL,         false};
