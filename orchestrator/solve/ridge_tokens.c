/* SPDX-License-Identifier: MIT
 * Solver by tokens of the ridge regression, its dual form for fewer tokens than inputs: D = Z^T A, where A solves (Z
 * Z^T + shift I) A = R, a system with a row for each token. `gram` is Z Z^T: element (x, y) is the inner product of the
 * inputs of tokens x and y, over the blocks that both use. Products of the blocks are added in order in FP64; the sum
 * is rounded to FP32. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/ridge_parts.h"

#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/read_rows.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define TILE ORGAN_RIDGE_TILE

static void lay_out(organ_ridge *ridge, organ_buffers *b)
{
    const organ_ridge_shape *const s = &ridge->shape;
    const size_t rows = ridge->n * s->used;
    ridge->inputs = organ_take_floats(b, rows, s->width);
    ridge->target = organ_take_floats(b, ridge->n, s->outputs);
    ridge->gram = organ_take_floats(b, ridge->n, ridge->n);
    ridge->block = organ_take(b, rows, sizeof *ridge->block);
    ridge->token = organ_take(b, rows, sizeof *ridge->token);
    ridge->begin = organ_take_zeros(b, s->blocks + 1, sizeof *ridge->begin);
}

/* Held-out tokens begin after all tokens of FIT. Without `blocks`, a token uses all blocks in order. */
static organ_status ridge_tokens_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                                     const float *inputs, const float *target, organ_error *error)
{
    const organ_ridge_shape *const s = &ridge->shape;
    const size_t at = (part == ORGAN_RIDGE_HELD ? s->tokens[ORGAN_RIDGE_FIT] : 0) + ridge->sums[part].added;
    memcpy(ridge->target + at * s->outputs, target, tokens * s->outputs * sizeof *target);
    memcpy(ridge->inputs + at * s->used * s->width, inputs, tokens * s->used * s->width * sizeof *inputs);
    for (size_t k = 0; k < tokens * s->used; k++)
        ridge->block[at * s->used + k] = blocks ? blocks[k] : (uint32_t)(k % s->used);
    return error->status;
}

/* ---- rows by block ---- */

static void exchange_rows(organ_ridge *ridge, size_t row, size_t with)
{
    const size_t width = ridge->shape.width;
    float *const a = ridge->inputs + row * width, *const b = ridge->inputs + with * width;
    for (size_t k = 0; k < width; k++) {
        const float swapped = a[k];
        a[k] = b[k];
        b[k] = swapped;
    }
}

/* The rows of inputs are sorted by block, and those of a block by token. A counting sort writes the destination of
 * each row to ridge->block; then the rows of each cycle of this permutation are exchanged in place. ridge->begin and
 * ridge->token are set. */
static void sort_rows(organ_ridge *ridge)
{
    const organ_ridge_shape *const s = &ridge->shape;
    const size_t rows = ridge->n * s->used;
    size_t *const begin = ridge->begin;
    /* counts the rows of each block; the sums of the counts are the first rows of the blocks */
    for (size_t r = 0; r < rows; r++)
        begin[ridge->block[r] + 1]++;
    for (size_t b = 0; b < s->blocks; b++)
        begin[b + 1] += begin[b];
    for (size_t r = 0; r < rows; r++) {
        const size_t to = begin[ridge->block[r]]++;
        ridge->token[to] = (uint32_t)(r / s->used);
        ridge->block[r] = (uint32_t)to;
    }
    /* each begin[b] has advanced to the end of its block: shifts them back by one block */
    memmove(begin + 1, begin, s->blocks * sizeof *begin);
    begin[0] = 0;
    for (size_t r = 0; r < rows; r++)
        while (ridge->block[r] != r) {
            const uint32_t to = ridge->block[r];
            exchange_rows(ridge, r, to);
            ridge->block[r] = ridge->block[to];
            ridge->block[to] = to;
        }
}

/* The row is the first one of block `block` with a token number of at least `token`, found by bisection; the end of
 * the block if there is none. */
static size_t first_row(const organ_ridge *ridge, size_t block, size_t token)
{
    size_t from = ridge->begin[block], to = ridge->begin[block + 1];
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (ridge->token[middle] < token)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* ---- Z Z^T ---- */

/* The TILE x TILE tile of Z Z^T begins at tokens `row` and `col`. The tile is in `scratch`, after the scratch of
 * products. Only tokens that use the block have rows of inputs, so the product is smaller than the tile and its
 * elements are added one by one. */
static void add_block(const organ_ridge *ridge, size_t block, size_t row, size_t col, unsigned char *scratch)
{
    double *const sums = (double *)(void *)(scratch + ORGAN_PRODUCT_SCRATCH), *const piece = sums + TILE * TILE;
    const size_t a = first_row(ridge, block, row), b = first_row(ridge, block, col), width = ridge->shape.width;
    const organ_product product = {.m = first_row(ridge, block, row + TILE) - a,
                                   .n = first_row(ridge, block, col + TILE) - b,
                                   .k = width,
                                   .a = organ_by_rows(ridge->inputs + a * width, width),
                                   .b = organ_by_rows(ridge->inputs + b * width, width),
                                   .c = piece,
                                   .c_stride = TILE,
                                   .wide = true};
    ridge->engine->kernels->product(&product, scratch);
    for (size_t i = 0; i < product.m; i++)
        for (size_t j = 0; j < product.n; j++)
            sums[(ridge->token[a + i] - row) * TILE + ridge->token[b + j] - col] += piece[i * TILE + j];
}

/* The tile is mirrored. `index` counts the tiles on and above the diagonal, row by row. */
static void add_tile(void *context, size_t index, size_t worker)
{
    organ_ridge *const ridge = context;
    unsigned char *const scratch = ridge->scratch + worker * ridge->worker_bytes;
    const double *const sums = (const double *)(const void *)(scratch + ORGAN_PRODUCT_SCRATCH);
    size_t row = 0, remaining = organ_pieces_of(ridge->n, TILE);
    /* finds the row of tiles that has tile `index`; each row has one tile less than the row above */
    for (; index >= remaining; index -= remaining--)
        row += TILE;
    const size_t col = row + index * TILE;
    memset(scratch + ORGAN_PRODUCT_SCRATCH, 0, TILE * TILE * sizeof *sums);
    for (size_t b = 0; b < ridge->shape.blocks; b++)
        add_block(ridge, b, row, col, scratch);
    for (size_t i = row; i < organ_min(row + TILE, ridge->n); i++)
        for (size_t j = col; j < organ_min(col + TILE, ridge->n); j++)
            ridge->gram[i * ridge->n + j] = ridge->gram[j * ridge->n + i] = (float)sums[(i - row) * TILE + j - col];
}

static organ_status ridge_tokens_finish(organ_ridge *ridge, organ_error *error)
{
    const size_t tiles = organ_pieces_of(ridge->n, TILE), fit = ridge->shape.tokens[ORGAN_RIDGE_FIT];
    sort_rows(ridge);
    organ_share(ridge->engine, NULL, tiles * (tiles + 1) / 2, add_tile, ridge);
    for (size_t i = 0; i < ridge->n; i++)
        ridge->sums[i < fit ? ORGAN_RIDGE_FIT : ORGAN_RIDGE_HELD].trace += (double)ridge->gram[i * (ridge->n + 1)];
    return error->status;
}

/* ---- solutions: A, a row for each token; D is Z^T A ---- */

/* The right-hand sides are the rows of R. Tokens of FIT are first, so their matrix is the upper left part of Z Z^T. */
static size_t ridge_tokens_prepare(organ_ridge *ridge, bool all, double shift, const float **rhs)
{
    const size_t n = all ? ridge->n : ridge->shape.tokens[ORGAN_RIDGE_FIT];
    for (size_t i = 0; i < n; i++) {
        memcpy(ridge->factor + i * n, ridge->gram + i * ridge->n, n * sizeof *ridge->gram);
        ridge->factor[i * (n + 1)] = (float)((double)ridge->gram[i * (ridge->n + 1)] + shift);
    }
    *rhs = ridge->target;
    return n;
}

/* The solution A has a row for each token of FIT, so the prediction of held-out tokens is the part of Z Z^T with
 * rows of HELD and columns of FIT, times A. */
static double ridge_tokens_held_error(organ_ridge *ridge)
{
    const size_t fit = ridge->shape.tokens[ORGAN_RIDGE_FIT], held = ridge->shape.tokens[ORGAN_RIDGE_HELD],
                 outputs = ridge->shape.outputs;
    const float *const target = ridge->target + fit * outputs;
    const organ_product product = {.m = held,
                                   .n = outputs,
                                   .k = fit,
                                   .a = organ_by_rows(ridge->gram + fit * ridge->n, ridge->n),
                                   .b = organ_by_columns(ridge->solution, outputs),
                                   .c = ridge->workspace,
                                   .c_stride = outputs};
    organ_products_run(ridge->engine, NULL, &product, 1, ridge->scratch);
    double sum = 0;
    for (size_t t = 0; t < held; t++) {
        double row = 0;
        for (size_t k = t * outputs; k < (t + 1) * outputs; k++) {
            const double residual = (double)target[k] - (double)ridge->workspace[k];
            row += residual * residual;
        }
        sum += row;
    }
    return sum;
}

/* D = Z^T A of a block, transposed, is A^T Z, where A and Z have the rows of the tokens that use the block. */
static void ridge_tokens_block(organ_ridge *ridge, size_t index, float *values)
{
    const size_t width = ridge->shape.width, outputs = ridge->shape.outputs, first = ridge->begin[index];
    const size_t rows = ridge->begin[index + 1] - first;
    for (size_t r = 0; r < rows; r++)
        memcpy(ridge->workspace + r * outputs, ridge->solution + ridge->token[first + r] * outputs,
               outputs * sizeof *ridge->workspace);
    const organ_product product = {.m = outputs,
                                   .n = width,
                                   .k = rows,
                                   .a = organ_by_columns(ridge->workspace, outputs),
                                   .b = organ_by_columns(ridge->inputs + first * width, width),
                                   .c = values,
                                   .c_stride = width};
    organ_products_run(ridge->engine, NULL, &product, 1, ridge->scratch);
}

const organ_ridge_solver organ_ridge_by_tokens = {.name = "tokens",
                                                  .worker_bytes = 2 * TILE * TILE * sizeof(double),
                                                  .lay_out = lay_out,
                                                  .add = ridge_tokens_add,
                                                  .finish = ridge_tokens_finish,
                                                  .prepare = ridge_tokens_prepare,
                                                  .held_error = ridge_tokens_held_error,
                                                  .block = ridge_tokens_block};

/* ---- strips of rows of a matrix, which are kept if they fit in memory ---- */

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
    organ_strip *set;               /* strips of the current set: [capacity] */
    organ_buffers buffers;
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
    const uint64_t least = organ_strips_min(s->matrix), strip = strip_bytes(s);
    const size_t workers = organ_workers_count(s->engine->workers);
    if (organ_memory_claim(s->engine, least, error, "%s", s->matrix->name) != ORGAN_OK)
        return error->status;
    if (hold)
        organ_memory_prefer(s->engine, s->matrix->extra_bytes + 2 * workers * s->scratch_bytes + s->count * strip);
    const uint64_t memory = organ_engine_memory(s->engine) - s->matrix->extra_bytes;
    s->readers = workers;
    if (s->scratch_bytes > 0)
        s->readers = organ_min(workers, (size_t)((memory - strip) / 2 / s->scratch_bytes));
    s->readers = s->readers ? s->readers : 1;
    const uint64_t remaining = memory - (uint64_t)s->readers * s->scratch_bytes;
    s->in_memory = hold && remaining / strip >= s->count;
    s->capacity = organ_min(s->count, (size_t)(remaining / strip));
    return ORGAN_OK;
}

static void lay_out_strips(void *context, organ_buffers *b)
{
    organ_strips *const s = context;
    s->energies = organ_take_zeros(b, s->count, sizeof *s->energies);
    s->values = organ_take_floats(b, s->capacity * ORGAN_STRIP_ROWS, (size_t)s->matrix->cols);
    s->scratch = organ_take(b, s->readers, s->scratch_bytes);
    s->set = organ_take(b, s->capacity, sizeof *s->set);
}

/* A strip must not have more values than an int can count. */
organ_status organ_strips_open(const organ_rows *matrix, const organ_engine *engine, bool hold, organ_strips **strips,
                               organ_error *error)
{
    *strips = NULL;
    if (matrix->rows > INT_MAX || matrix->cols > INT_MAX / ORGAN_STRIP_ROWS)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %llu x %llu is too large to be decomposed", matrix->name,
                          (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
    organ_buffers buffers = {0};
    organ_strips *const s = organ_take(&buffers, 1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, matrix->name);
    *s = (organ_strips){.matrix = matrix,
                        .engine = engine,
                        .count = organ_pieces_of((size_t)matrix->rows, ORGAN_STRIP_ROWS),
                        .scratch_bytes = organ_to_line(matrix->scratch_bytes),
                        .buffers = buffers};
    if (strips_divide(s, hold, error) == ORGAN_OK && !organ_buffers_take(&s->buffers, lay_out_strips, s))
        organ_fail_memory(error, matrix->name);
    if (error->status) {
        organ_strips_close(s);
        return error->status;
    }
    *strips = s;
    return ORGAN_OK;
}

void organ_strips_close(organ_strips *s)
{
    if (s)
        organ_buffers_release(&s->buffers);
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
    bool read; /* strips must be read; false: all are in memory */
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
    organ_strip *const strip = &s->set[unit->index];
    *strip = (organ_strip){.index = (size_t)(unit->first / ORGAN_STRIP_ROWS), .rows = unit->rows, .values = values};
    if (r->read && read_strip(s, unit, strip->index, values, worker, error))
        return error->status;
    r->work->each(r->work->context, strip, worker);
    return ORGAN_OK;
}

static void strips_after(void *context, const organ_row_set *set, size_t task, size_t worker)
{
    const strips_run *const r = context;
    r->work->after(r->work->context, task, r->strips->set, set->units, worker);
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
    organ_row_walk_run(&walk, s->engine, error);
    s->energies_known = s->energies_known || !error->status;
    return error->status;
}
