/* SPDX-License-Identifier: MIT
 * R = f D (C x S): a factor f, signs D (a diagonal), a core C and the matrix S of Sylvester; or a matrix without such a
 * structure, as a table. With a permutation p, rows and columns of R are in its order: R[i][j] is that of p[i], p[j].
 */
#include "orchestrator/stream/turn.h"
#include "formats/base/hadamard.h"
#include "formats/base/half.h"
#include "orchestrator/stream/weight_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CORE_MOST   ((uint64_t)256) /* greatest order of a core that is looked for in a stored matrix */
#define PANEL_BYTES ((size_t)1 << 20)

struct organ_turn {
    const organ_model *model;
    const organ_rotation *rotation;
    uint64_t size, order; /* rows of R and of C */
    double factor;
    double *core;    /* C; NULL: there is no structure */
    double *signs;   /* D; NULL: all 1 */
    double *table;   /* R without its factor; NULL: there is a core, or the matrix stays in the file */
    uint64_t *place; /* the permutation; NULL: none */
};

/* ---- stored numbers ---- */

static double number_at(organ_dtype type, const unsigned char *bytes)
{
    uint16_t half;
    uint32_t word;
    float single;
    double value;
    switch (type) {
    case ORGAN_I8:
        return (signed char)*bytes;
    case ORGAN_F64:
        memcpy(&value, bytes, sizeof value);
        return value;
    case ORGAN_F32:
        memcpy(&single, bytes, sizeof single);
        return single;
    case ORGAN_BF16:
        memcpy(&half, bytes, sizeof half);
        word = (uint32_t)half << 16;
        memcpy(&single, &word, sizeof single);
        return single;
    default:
        memcpy(&half, bytes, sizeof half);
        return organ_half_value(half);
    }
}

static size_t number_bytes(const organ_tensor *tensor) { return organ_dtype_describe(tensor->dtype)->bytes; }

/* Reads `count` numbers of the matrix from its row `row` and column `first` on. */
static organ_status read_numbers(const organ_turn *t, uint64_t row, uint64_t first, uint64_t count, double *values,
                                 organ_error *error)
{
    const organ_tensor *const matrix = t->rotation->matrix;
    const size_t bytes = number_bytes(matrix);
    unsigned char *const at = (unsigned char *)values + count * (sizeof(double) - bytes);
    if (organ_model_read(t->model, matrix->file, at, count * bytes, matrix->offset + (row * t->size + first) * bytes,
                         error))
        return error->status;
    for (uint64_t k = 0; k < count; k++) { /* a number is read before its bytes are written */
        values[k] = number_at(matrix->dtype, at + k * bytes);
        if (!isfinite(values[k]))
            return organ_refuse(error, t->model->files[matrix->file].name, "tensor '%.200s' has %g, but is a rotation",
                                matrix->name, values[k]);
    }
    return ORGAN_OK;
}

/* ---- the structure of a stored matrix ---- */

/* Returns the length of the runs of equal numbers in the first row, at most the largest power of two that divides it.
 */
static uint64_t run_of(const double *row, uint64_t size)
{
    uint64_t run = size & (~size + 1);
    for (uint64_t k = 0; run > 1 && k < size; k++)
        while (run > 1 && row[k] != row[k / run * run])
            run /= 2;
    return run;
}

static double sylvester(uint64_t i, uint64_t j) { return __builtin_parityll(i & j) ? -1 : 1; }

/* Row i of R is D[i] C[i / m][k] S[i % m][r] in column k m + r. */
static bool has_structure(const organ_turn *t, uint64_t i, const double *row)
{
    const uint64_t m = t->size / t->order;
    const double *const core = t->core + i / m * t->order;
    for (uint64_t k = 0; k < t->order; k++)
        for (uint64_t r = 0; r < m; r++)
            if (row[k * m + r] != t->signs[i] * core[k] * sylvester(i % m, r))
                return false;
    return true;
}

/* Tries to write the matrix with cores of size / run rows. Rows i = 0, m, 2 m ... are the core, with sign 1. */
static bool find_structure(organ_turn *t, uint64_t run, double *row, organ_error *error)
{
    t->order = t->size / run;
    for (uint64_t i = 0; i < t->size; i++) {
        if (read_numbers(t, i, 0, t->size, row, error))
            return false;
        double *const core = t->core + i / run * t->order;
        for (uint64_t k = 0; i % run == 0 && k < t->order; k++)
            core[k] = row[k * run];
        t->signs[i] = *core != 0 && *row == *core ? 1 : -1;
        if (!has_structure(t, i, row))
            return false;
    }
    return true;
}

static organ_status load_stored(organ_turn *t, organ_error *error)
{
    ORGAN_OWNED double *const row = malloc(t->size * sizeof *row);
    t->core = malloc(CORE_MOST * CORE_MOST * sizeof *t->core);
    t->signs = malloc(t->size * sizeof *t->signs);
    if (!row || !t->core || !t->signs)
        return organ_fail_memory(error, t->rotation->matrix->name);
    if (read_numbers(t, 0, 0, t->size, row, error))
        return error->status;
    for (uint64_t run = run_of(row, t->size); run > 1 && t->size / run <= CORE_MOST; run /= 2)
        if (find_structure(t, run, row, error) || error->status)
            return error->status;
    ORGAN_FREE_ARRAYS(t->core, t->signs);
    t->core = t->signs = NULL;
    if (t->size > ORGAN_TURN_HELD)
        return ORGAN_OK;
    if (!(t->table = malloc(t->size * t->size * sizeof *t->table)))
        return organ_fail_memory(error, t->rotation->matrix->name);
    for (uint64_t i = 0; i < t->size && !error->status; i++)
        read_numbers(t, i, 0, t->size, t->table + i * t->size, error);
    return error->status;
}

/* ---- a permutation ---- */

static organ_status load_order(organ_turn *t, organ_error *error)
{
    const organ_tensor *const order = t->rotation->order;
    ORGAN_OWNED bool *const seen = calloc(t->size, sizeof *seen);
    t->place = malloc(t->size * sizeof *t->place);
    if (!seen || !t->place)
        return organ_fail_memory(error, order->name);
    if (organ_model_read(t->model, order->file, t->place, t->size * sizeof *t->place, order->offset, error))
        return error->status;
    for (uint64_t k = 0; k < t->size; k++) {
        if (t->place[k] >= t->size || seen[t->place[k]])
            return organ_refuse(error, t->model->files[order->file].name,
                                "tensor '%.200s' has %lld at %llu, and is no permutation of %llu numbers", order->name,
                                (long long)t->place[k], (unsigned long long)k, (unsigned long long)t->size);
        seen[t->place[k]] = true;
    }
    return ORGAN_OK;
}

/* ---- open and close ---- */

static organ_status load_built(organ_turn *t, organ_error *error)
{
    t->order = organ_hadamard_order(t->size);
    t->core = malloc(t->order * t->order * sizeof *t->core);
    if (!t->core)
        return organ_fail_memory(error, t->model->path);
    organ_hadamard_core(t->order, t->core);
    return ORGAN_OK;
}

organ_status organ_turn_open(const organ_model *model, const organ_rotation *rotation, organ_turn **turn,
                             organ_error *error)
{
    organ_turn *const t = *turn = calloc(1, sizeof *t);
    if (!t)
        return organ_fail_memory(error, model->path);
    *t = (organ_turn){.model = model, .rotation = rotation, .size = rotation->size, .factor = rotation->factor};
    if (rotation->matrix ? load_stored(t, error) : load_built(t, error)) {
    } else if (rotation->order)
        load_order(t, error);
    if (error->status) {
        organ_turn_close(t);
        *turn = NULL;
    }
    return error->status;
}

void organ_turn_close(organ_turn *turn)
{
    if (turn)
        ORGAN_FREE_ARRAYS(turn->core, turn->signs, turn->table, turn->place, turn);
}

bool organ_turn_is_held(const organ_turn *turn) { return turn->core || turn->table; }

/* ---- products ---- */

static void times_signs(const organ_turn *t, double *x)
{
    for (uint64_t k = 0; t->signs && k < t->size; k++)
        x[k] *= t->signs[k];
}

/* y[j][r] = the sum over i of x[i][r] C[i][j], or C[j][i]. */
static void times_core(const organ_turn *t, bool transposed, double *x, double *y)
{
    const uint64_t m = t->size / t->order;
    memset(y, 0, t->size * sizeof *y);
    for (uint64_t j = 0; j < t->order; j++)
        for (uint64_t i = 0; i < t->order; i++) {
            const double c = t->core[transposed ? j * t->order + i : i * t->order + j];
            for (uint64_t r = 0; r < m; r++)
                y[j * m + r] += c * x[i * m + r];
        }
    memcpy(x, y, t->size * sizeof *x);
}

static void times_structure(const organ_turn *t, bool transposed, double *x, double *spare)
{
    if (!transposed)
        times_signs(t, x);
    organ_hadamard_sums(x, t->order, t->size / t->order, 1);
    if (t->order > 1 || *t->core != 1)
        times_core(t, transposed, x, spare);
    if (transposed)
        times_signs(t, x);
}

static void times_table(const organ_turn *t, bool transposed, double *x, double *y)
{
    memset(y, 0, t->size * sizeof *y);
    for (uint64_t i = 0; i < t->size; i++) {
        const double *const row = t->table + i * t->size;
        for (uint64_t j = 0; j < t->size; j++) {
            if (transposed)
                y[i] += x[j] * row[j];
            else
                y[j] += x[i] * row[j];
        }
    }
    memcpy(x, y, t->size * sizeof *x);
}

/* x[place[k]] = x[k], or back. */
static void reorder(const organ_turn *t, bool back, double *x, double *spare)
{
    if (!t->place)
        return;
    memcpy(spare, x, t->size * sizeof *x);
    for (uint64_t k = 0; k < t->size; k++)
        x[back ? k : t->place[k]] = spare[back ? t->place[k] : k];
}

static void turn_part(const organ_turn *t, bool transposed, double *x, double *spare)
{
    reorder(t, /*back=*/false, x, spare);
    if (t->core)
        times_structure(t, transposed, x, spare);
    else
        times_table(t, transposed, x, spare);
    reorder(t, /*back=*/true, x, spare);
    for (uint64_t k = 0; k < t->size; k++)
        x[k] *= t->factor;
}

/* The matrix is read once for all rows, whose sums are in `y`. */
static organ_status turn_from_file(const organ_turn *t, bool transposed, double *x, size_t rows, size_t cols,
                                   double *line, double *y, organ_error *error)
{
    memset(y, 0, rows * cols * sizeof *y);
    for (uint64_t i = 0; i < t->size; i++) {
        if (read_numbers(t, i, 0, t->size, line, error))
            return error->status;
        for (size_t at = 0; at < rows * cols; at += t->size)
            for (uint64_t j = 0; j < t->size; j++) {
                if (transposed)
                    y[at + i] += x[at + j] * line[j];
                else
                    y[at + j] += x[at + i] * line[j];
            }
    }
    for (size_t k = 0; k < rows * cols; k++)
        x[k] = y[k] * t->factor;
    return ORGAN_OK;
}

size_t organ_turn_spare(const organ_rotation *rotation, size_t rows, size_t cols)
{
    const size_t line = weight_round(rotation->size * sizeof(double));
    return rotation->matrix && rotation->size > ORGAN_TURN_HELD ? line + weight_round(rows * cols * sizeof(double))
                                                                : line;
}

organ_status organ_turn_rows(const organ_turn *turn, bool transposed, double *x, size_t rows, size_t cols, void *spare,
                             organ_error *error)
{
    double *const line = spare;
    if (!organ_turn_is_held(turn))
        return turn_from_file(turn, transposed, x, rows, cols, line,
                              line + weight_round(turn->size * sizeof *line) / sizeof *line, error);
    for (size_t at = 0; at < rows * cols; at += turn->size)
        turn_part(turn, transposed, x + at, line);
    return ORGAN_OK;
}

/* ---- single values ---- */

organ_status organ_turn_values(const organ_turn *t, uint64_t row, uint64_t first, uint64_t count, double *values,
                               void *spare, organ_error *error)
{
    const uint64_t m = t->core ? t->size / t->order : 1, i = t->place ? t->place[row] : row;
    if (!organ_turn_is_held(t)) {
        if (read_numbers(t, i, 0, t->size, spare, error))
            return error->status;
    }
    for (uint64_t k = 0; k < count; k++) {
        const uint64_t j = t->place ? t->place[first + k] : first + k;
        if (t->core)
            values[k] = (t->signs ? t->signs[i] : 1) * t->core[i / m * t->order + j / m] * sylvester(i % m, j % m);
        else
            values[k] = t->table ? t->table[i * t->size + j] : ((const double *)spare)[j];
        values[k] *= t->factor;
    }
    return ORGAN_OK;
}

uint64_t organ_turn_period(const organ_turn *t, uint64_t most)
{
    const uint64_t m = t->core && !t->place ? t->size / t->order : 1;
    return m < most ? m : most;
}

double organ_turn_sign(const organ_turn *t, bool transposed, uint64_t column)
{
    return transposed && t->signs && !t->place ? t->signs[column] : 1;
}
