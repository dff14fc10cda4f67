/* SPDX-License-Identifier: MIT
 * Stores rows of inputs by slot; a slot is a pair of block and part. A row is appended to the last batch of its slot.
 * With a scratch file, a full batch is written to the file. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/ridge_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

/* Batches are numbered in the order in which they are begun; those of a slot form a linked list. */
struct organ_ridge_rows {
    organ_ridge_shape shape;
    size_t count; /* number of batches */
    float *all;   /* rows of all batches, [batches][ORGAN_RIDGE_BATCH][width]; NULL: they are in the file */
    organ_direct_file file;
    float *pending;         /* with a file: rows of the last batch of each slot; NULL after organ_ridge_rows_finish */
    uint64_t *digests;      /* with a file: XXH3 of each batch */
    float *values;          /* rows that organ_ridge_rows_read returns */
    uint32_t *read;         /* tokens of these rows */
    uint32_t *tokens;       /* token of each row: [batches][ORGAN_RIDGE_BATCH] */
    uint32_t *rows;         /* number of rows of each batch */
    uint32_t *next;         /* number of the next batch of the same slot */
    uint32_t *first, *last; /* numbers of the first and of the last batch of each slot */
    organ_buffers buffers, until_finish; /* all arrays; `pending` alone */
};

static size_t slots_of(const organ_ridge_shape *shape) { return ORGAN_RIDGE_PARTS * shape->blocks; }
static size_t slot_of(const organ_ridge_rows *r, organ_ridge_part part, size_t block)
{
    return part * r->shape.blocks + block;
}
static size_t batch_values(const organ_ridge_shape *shape) { return ORGAN_RIDGE_BATCH * shape->width; }

/* The bound is as many batches as all rows fill, and a partly filled one for each slot. */
static size_t max_batches(const organ_ridge_shape *shape)
{
    return (shape->tokens[ORGAN_RIDGE_FIT] + shape->tokens[ORGAN_RIDGE_HELD]) * shape->used / ORGAN_RIDGE_BATCH +
           slots_of(shape);
}

/* With a scratch file only a pending batch for each slot is in memory. */
static void lay_out_pending(void *context, organ_buffers *b)
{
    organ_ridge_rows *const r = context;
    r->pending = r->shape.scratch ? organ_take_floats(b, slots_of(&r->shape), batch_values(&r->shape)) : NULL;
}

static void lay_out(void *context, organ_buffers *b)
{
    organ_ridge_rows *const r = context;
    const size_t max = max_batches(&r->shape), slots = slots_of(&r->shape);
    const bool scratch = r->shape.scratch;
    organ_take_beside(b, sizeof *r);
    r->all = scratch ? NULL : organ_take_floats(b, max, batch_values(&r->shape));
    r->values = organ_take_floats(b, ORGAN_RIDGE_READ, r->shape.width);
    r->read = organ_take_zeros(b, ORGAN_RIDGE_READ, sizeof *r->read);
    r->digests = scratch ? organ_take_zeros(b, max, sizeof *r->digests) : NULL;
    r->tokens = organ_take_zeros(b, max, ORGAN_RIDGE_BATCH * sizeof *r->tokens);
    r->rows = organ_take_zeros(b, max, sizeof *r->rows);
    r->next = organ_take_zeros(b, max, sizeof *r->next);
    r->first = organ_take(b, slots, sizeof *r->first);
    r->last = organ_take(b, slots, sizeof *r->last);
}

uint64_t organ_ridge_rows_memory(const organ_ridge_shape *shape)
{
    organ_ridge_rows counted = {.shape = *shape};
    return organ_buffers_count(lay_out, &counted) + organ_buffers_count(lay_out_pending, &counted);
}

static bool take_arrays(organ_ridge_rows *r)
{
    if (!organ_buffers_take(&r->buffers, lay_out, r) || !organ_buffers_take(&r->until_finish, lay_out_pending, r))
        return false;
    for (size_t s = 0; s < slots_of(&r->shape); s++)
        r->first[s] = r->last[s] = ORGAN_RIDGE_NONE;
    return true;
}

static organ_status file_failed(const organ_ridge_rows *r, const organ_error *fault, organ_error *error)
{
    return organ_fail_errno(error, fault->errnum, "%s: cannot store %llu bytes of expert inputs (`scratch`)",
                            r->file.path,
                            (unsigned long long)max_batches(&r->shape) * batch_values(&r->shape) * sizeof(float));
}

/* The space of the scratch file is reserved, so that a full disk is reported before the work begins. */
organ_status organ_ridge_rows_open(const organ_ridge_shape *shape, organ_ridge_rows **rows, organ_error *error)
{
    organ_buffers buffers = {0};
    organ_ridge_rows *const r = *rows = organ_take(&buffers, 1, sizeof *r);
    organ_error fault = {0};
    if (r)
        *r = (organ_ridge_rows){.shape = *shape, .file = {.fd = -1, .direct = -1}, .buffers = buffers};
    if (!r || !take_arrays(r))
        organ_fail_memory(error, shape->name);
    else if (!shape->scratch)
        return ORGAN_OK;
    else if (organ_scratch_open(shape->scratch, &r->file, error) == ORGAN_OK) {
        if (organ_direct_reserve(&r->file, (uint64_t)max_batches(shape) * batch_values(shape) * sizeof(float),
                                 &fault) == ORGAN_OK)
            return ORGAN_OK;
        file_failed(r, &fault, error);
    }
    organ_ridge_rows_close(r);
    *rows = NULL;
    return error->status;
}

void organ_ridge_rows_close(organ_ridge_rows *r)
{
    if (!r)
        return;
    organ_direct_close(&r->file);
    organ_buffers_release(&r->until_finish);
    organ_buffers_release(&r->buffers);
}

/* ---- rows ---- */

static uint64_t place_of(const organ_ridge_rows *r, uint32_t number)
{
    return (uint64_t)number * batch_values(&r->shape) * sizeof(float);
}

static organ_status write_batch(organ_ridge_rows *r, size_t slot, organ_error *error)
{
    const uint32_t number = r->last[slot];
    const float *const values = r->pending + slot * batch_values(&r->shape);
    const size_t bytes = r->rows[number] * r->shape.width * sizeof *values;
    organ_error fault = {0};
    if (organ_direct_write(&r->file, values, bytes, place_of(r, number), &fault) != ORGAN_OK)
        return file_failed(r, &fault, error);
    r->digests[number] = XXH3_64bits(values, bytes);
    return ORGAN_OK;
}

/* The last batch of its slot gets the row, or a new batch if that one is full. With a file, a batch that becomes
 * full is written. */
organ_status organ_ridge_rows_add(organ_ridge_rows *r, organ_ridge_part part, size_t block, size_t token,
                                  const float *inputs, organ_error *error)
{
    const size_t slot = slot_of(r, part, block), width = r->shape.width;
    if (r->last[slot] == ORGAN_RIDGE_NONE || r->rows[r->last[slot]] == ORGAN_RIDGE_BATCH) {
        const uint32_t fresh = (uint32_t)r->count++;
        *(r->last[slot] == ORGAN_RIDGE_NONE ? &r->first[slot] : &r->next[r->last[slot]]) = fresh;
        r->next[fresh] = ORGAN_RIDGE_NONE;
        r->last[slot] = fresh;
    }
    const uint32_t number = r->last[slot];
    const size_t row = r->rows[number]++;
    float *const batch =
        r->all ? r->all + number * batch_values(&r->shape) : r->pending + slot * batch_values(&r->shape);
    memcpy(batch + row * width, inputs, width * sizeof *batch);
    r->tokens[number * ORGAN_RIDGE_BATCH + row] = (uint32_t)token;
    return !r->all && row + 1 == ORGAN_RIDGE_BATCH ? write_batch(r, slot, error) : ORGAN_OK;
}

/* With a file, a full last batch of a slot is written already. */
organ_status organ_ridge_rows_finish(organ_ridge_rows *r, organ_error *error)
{
    for (size_t slot = 0; r->pending && slot < slots_of(&r->shape); slot++)
        if (r->last[slot] != ORGAN_RIDGE_NONE && r->rows[r->last[slot]] < ORGAN_RIDGE_BATCH &&
            write_batch(r, slot, error) != ORGAN_OK)
            return error->status;
    organ_buffers_release(&r->until_finish);
    r->pending = NULL;
    return ORGAN_OK;
}

uint32_t organ_ridge_rows_first(const organ_ridge_rows *r, organ_ridge_part part, size_t block)
{
    return r->first[slot_of(r, part, block)];
}

static organ_status read_batch(organ_ridge_rows *r, uint32_t number, float *values, organ_error *error)
{
    const size_t bytes = r->rows[number] * r->shape.width * sizeof *values;
    if (organ_scratch_read(&r->file, values, bytes, place_of(r, number), error) != ORGAN_OK)
        return error->status;
    if (XXH3_64bits(values, bytes) == r->digests[number])
        return ORGAN_OK;
    return organ_fail_errno(error, EIO, "%s: %zu bytes of expert inputs (`scratch`) differ from the written ones",
                            r->file.path, bytes);
}

/* *batch points to one array with consecutive batches of a slot. With a file, the next read is announced to the file
 * system. */
organ_status organ_ridge_rows_read(organ_ridge_rows *r, uint32_t *number, organ_ridge_batch *batch, organ_error *error)
{
    *batch = (organ_ridge_batch){.tokens = r->read, .inputs = r->values};
    for (; *number != ORGAN_RIDGE_NONE && batch->rows < ORGAN_RIDGE_READ && !error->status;
         *number = r->next[*number]) {
        const size_t rows = r->rows[*number];
        float *const to = r->values + batch->rows * r->shape.width;
        memcpy(r->read + batch->rows, r->tokens + *number * ORGAN_RIDGE_BATCH, rows * sizeof *r->read);
        if (r->all)
            memcpy(to, r->all + *number * batch_values(&r->shape), rows * r->shape.width * sizeof *to);
        else
            read_batch(r, *number, to, error);
        batch->rows += rows;
    }
    if (!r->all && *number != ORGAN_RIDGE_NONE)
        organ_scratch_announce(&r->file, batch_values(&r->shape) * sizeof(float), place_of(r, *number));
    return error->status;
}

/* ---- solution of A X = B for a normal matrix A ---- */

/* A^-1 = U^T U with U upper triangular, so X = U^T (U B): two matrix products, which use all cores, in place of two
 * triangular solves, which do not. */

/* organ_inverse_factor leaves values below the diagonal undefined; they are set to 0 here, because products read
 * them. */
organ_status organ_ridge_invert(organ_ridge *ridge, float *factor, size_t n, organ_error *error)
{
    if (!organ_inverse_factor(ridge->engine, factor, n, &ridge->found))
        return organ_fail_memory(error, ridge->shape.name);
    for (size_t i = 1; i < n; i++)
        memset(factor + i * n, 0, i * sizeof *factor);
    return ORGAN_OK;
}

/* Zeros of U are skipped: a tile of rows of U is multiplied from the diagonal on, a tile of its columns up to the
 * diagonal. */
void organ_ridge_apply(organ_ridge *ridge, const float *factor, size_t n, const float *rhs, float *solution)
{
    const size_t outputs = ridge->shape.outputs;
    size_t count = 0;
    for (size_t from = 0; from < n; from += ORGAN_RIDGE_TILE)
        ridge->products[count++] = (organ_product){.m = organ_min(ORGAN_RIDGE_TILE, n - from),
                                                   .n = outputs,
                                                   .k = n - from,
                                                   .a = organ_by_rows(factor + from * (n + 1), n),
                                                   .b = organ_by_columns(rhs + from * outputs, outputs),
                                                   .c = ridge->workspace + from * outputs,
                                                   .c_stride = outputs};
    organ_products_run(ridge->engine, ridge->engine->stop, ridge->products, count, ridge->scratch);
    for (size_t k = 0; k < count; k++) {
        const size_t from = k * ORGAN_RIDGE_TILE;
        ridge->products[k].k = from + ridge->products[k].m;
        ridge->products[k].a = organ_by_columns(factor + from, n);
        ridge->products[k].b = organ_by_columns(ridge->workspace, outputs);
        ridge->products[k].c = solution + from * outputs;
    }
    organ_products_run(ridge->engine, ridge->engine->stop, ridge->products, count, ridge->scratch);
}

void organ_ridge_transposed(organ_ridge *ridge, size_t index, float *values)
{
    const size_t width = ridge->shape.width, outputs = ridge->shape.outputs;
    const float *const rows = ridge->solution + index * width * outputs;
    for (size_t o = 0; o < outputs; o++)
        for (size_t c = 0; c < width; c++)
            values[o * width + c] = rows[c * outputs + o];
}

/* ---- the solver by inputs: the normal equations (Z^T Z + shift I) D = Z^T R ---- */

/* Tokens are collected into chunks, in which the inputs of blocks that a token does not use are zeros. Products of 256
 * tokens are computed in FP32 and added in FP64, because FP32 sums over many tokens would lose the small eigenvalues.
 * Fitted and held-out tokens have separate sums. */

static void lay_out_inputs(organ_ridge *ridge, organ_buffers *b)
{
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++) {
        organ_ridge_sums *const s = &ridge->sums[part];
        s->square = organ_take_zeros(b, ridge->n, ridge->n * sizeof *s->square);
        s->cross = organ_take_zeros(b, ridge->n, ridge->shape.outputs * sizeof *s->cross);
        s->inputs = organ_take_floats(b, ORGAN_RIDGE_CHUNK, ridge->features);
        s->target = organ_take_floats(b, ORGAN_RIDGE_CHUNK, ridge->shape.outputs);
    }
}

/* ---- sums ---- */

/* Z^T Z is symmetric, so a row of tiles is computed only from the diagonal on. */
static void ridge_inputs_add_chunk(const organ_ridge *ridge, const organ_ridge_sums *s, size_t tokens)
{
    const size_t n = ridge->n, outputs = ridge->shape.outputs;
    size_t count = 0;
    for (size_t from = 0; from < n; from += ORGAN_RIDGE_TILE)
        ridge->products[count++] = (organ_product){.m = organ_min(ORGAN_RIDGE_TILE, n - from),
                                                   .n = n - from,
                                                   .k = tokens,
                                                   .a = organ_by_columns(s->inputs + from, n),
                                                   .b = organ_by_columns(s->inputs + from, n),
                                                   .c = s->square + from * (n + 1),
                                                   .c_stride = n,
                                                   .wide = true,
                                                   .into = ORGAN_PRODUCT_ADD};
    organ_products_run(ridge->engine, NULL, ridge->products, count, ridge->scratch);
    const organ_product cross = {.m = n,
                                 .n = outputs,
                                 .k = tokens,
                                 .a = organ_by_columns(s->inputs, n),
                                 .b = organ_by_columns(s->target, outputs),
                                 .c = s->cross,
                                 .c_stride = outputs,
                                 .wide = true,
                                 .into = ORGAN_PRODUCT_ADD};
    organ_products_run(ridge->engine, NULL, &cross, 1, ridge->scratch);
}

static organ_status ridge_inputs_add(organ_ridge *ridge, organ_ridge_part part, size_t tokens, const uint32_t *blocks,
                                     const float *inputs, const float *target, organ_error *error)
{
    const organ_ridge_shape *const shape = &ridge->shape;
    const organ_ridge_sums *const s = &ridge->sums[part];
    const size_t width = shape->width, outputs = shape->outputs;
    for (size_t t = 0; t < tokens; t++) {
        const size_t at = (s->added + t) % ORGAN_RIDGE_CHUNK;
        memset(s->inputs + at * ridge->n, 0, ridge->n * sizeof *s->inputs);
        for (size_t u = 0; u < shape->used; u++)
            memcpy(s->inputs + at * ridge->n + (blocks ? blocks[t * shape->used + u] : u) * width,
                   inputs + (t * shape->used + u) * width, width * sizeof *s->inputs);
        memcpy(s->target + at * outputs, target + t * outputs, outputs * sizeof *s->target);
        if (at + 1 == ORGAN_RIDGE_CHUNK)
            ridge_inputs_add_chunk(ridge, s, ORGAN_RIDGE_CHUNK);
    }
    return error->status;
}

static organ_status ridge_inputs_finish(organ_ridge *ridge, organ_error *error)
{
    for (size_t part = 0; part < ORGAN_RIDGE_PARTS; part++) {
        organ_ridge_sums *const s = &ridge->sums[part];
        if (s->added % ORGAN_RIDGE_CHUNK > 0)
            ridge_inputs_add_chunk(ridge, s, s->added % ORGAN_RIDGE_CHUNK);
        for (size_t i = 0; i < ridge->n; i++)
            s->trace += s->square[i * (ridge->n + 1)];
    }
    return error->status;
}

/* ---- FP32 copies ---- */

typedef struct ridge_inputs_copying {
    const organ_ridge *ridge;
    organ_ridge_part first, last;
    double shift;
} ridge_inputs_copying;

/* Elements below the diagonal are read from above it, where alone they are stored. */
static void copy_row(void *context, size_t i, size_t worker)
{
    const ridge_inputs_copying *const c = context;
    const size_t n = c->ridge->n;
    (void)worker;
    for (size_t j = 0; j < n; j++) {
        double sum = i == j ? c->shift : 0;
        for (organ_ridge_part part = c->first; part <= c->last; part++)
            sum += c->ridge->sums[part].square[organ_min(i, j) * n + organ_max(i, j)];
        c->ridge->factor[i * n + j] = (float)sum;
    }
}

/* ridge->factor gets the sum of Z^T Z over parts first .. last, plus shift I, in FP32. */
static void copy_square(const organ_ridge *ridge, organ_ridge_part first, organ_ridge_part last, double shift)
{
    ridge_inputs_copying c = {ridge, first, last, shift};
    organ_share(ridge->engine, NULL, ridge->n, copy_row, &c);
}

/* The right-hand sides Z^T R go to ridge->solution, where organ_ridge_apply replaces them by D. */
static size_t ridge_inputs_prepare(organ_ridge *ridge, bool all, double shift, const float **rhs)
{
    const double *const fit = ridge->sums[ORGAN_RIDGE_FIT].cross, *const held = ridge->sums[ORGAN_RIDGE_HELD].cross;
    copy_square(ridge, ORGAN_RIDGE_FIT, all ? ORGAN_RIDGE_HELD : ORGAN_RIDGE_FIT, shift);
    for (size_t k = 0; k < ridge->n * ridge->shape.outputs; k++)
        ridge->solution[k] = (float)(fit[k] + (all ? held[k] : 0));
    *rhs = ridge->solution;
    return ridge->n;
}

/* The error is ||R||^2 - 2 <D, Z^T R> + <D, Z^T Z D> over the held-out tokens, at least 0. Overwrites ridge->factor. */
static double ridge_inputs_held_error(organ_ridge *ridge)
{
    const size_t n = ridge->n, outputs = ridge->shape.outputs;
    const organ_ridge_sums *const held = &ridge->sums[ORGAN_RIDGE_HELD];
    copy_square(ridge, ORGAN_RIDGE_HELD, ORGAN_RIDGE_HELD, 0);
    const organ_product product = {.m = n,
                                   .n = outputs,
                                   .k = n,
                                   .a = organ_by_rows(ridge->factor, n),
                                   .b = organ_by_columns(ridge->solution, outputs),
                                   .c = ridge->workspace,
                                   .c_stride = outputs};
    organ_products_run(ridge->engine, NULL, &product, 1, ridge->scratch);
    double sum = held->energy;
    for (size_t i = 0; i < n; i++) {
        double row = 0;
        for (size_t k = i * outputs; k < (i + 1) * outputs; k++)
            row += (double)ridge->solution[k] * ((double)ridge->workspace[k] - 2 * held->cross[k]);
        sum += row;
    }
    return fmax(sum, 0);
}

const organ_ridge_solver organ_ridge_by_inputs = {.name = "inputs",
                                                  .lay_out = lay_out_inputs,
                                                  .add = ridge_inputs_add,
                                                  .finish = ridge_inputs_finish,
                                                  .prepare = ridge_inputs_prepare,
                                                  .held_error = ridge_inputs_held_error,
                                                  .block = organ_ridge_transposed};
