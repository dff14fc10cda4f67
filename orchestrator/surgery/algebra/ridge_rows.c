/* SPDX-License-Identifier: MIT
 * Stores rows of inputs by slot; a slot is a pair of block and part. A row is appended to the last batch of its slot.
 * With a scratch file, a full batch is written to the file. */
#include "orchestrator/surgery/algebra/ridge_rows.h"

#include "orchestrator/stream/disk/scratch_file.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <errno.h>
#include <stdlib.h>
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

/* A partly filled batch of each slot is in memory in any case; full batches are not if there is a scratch file. */
double organ_ridge_rows_memory(const organ_ridge_shape *shape)
{
    const double tokens = (double)shape->tokens[ORGAN_RIDGE_FIT] + (double)shape->tokens[ORGAN_RIDGE_HELD];
    const double slots = (double)ORGAN_RIDGE_PARTS * (double)shape->blocks, batch = (double)ORGAN_RIDGE_BATCH;
    const double batches = tokens * (double)shape->used / batch + slots, values = 4 * batch * (double)shape->width;
    const double read = (double)ORGAN_RIDGE_READ * (4 * (double)shape->width + 4);
    /* for each batch 4 bytes per token, a digest of 8, and 4 each for `rows` and `next` */
    return batches * (4 * batch + 16) + 8 * slots + read + (shape->scratch ? slots : batches) * values;
}

/* With a scratch file only a pending batch for each slot is allocated. Returns false if memory cannot be allocated. */
static bool ridge_rows_allocate(organ_ridge_rows *r)
{
    const size_t max = max_batches(&r->shape), slots = slots_of(&r->shape), values = batch_values(&r->shape);
    const bool scratch = r->shape.scratch;
    r->all = scratch ? NULL : organ_floats(max, values);
    r->pending = scratch ? organ_floats(slots, values) : NULL;
    r->values = organ_floats(ORGAN_RIDGE_READ, r->shape.width);
    r->read = calloc(ORGAN_RIDGE_READ, sizeof *r->read);
    r->digests = scratch ? calloc(max, sizeof *r->digests) : NULL;
    r->tokens = calloc(max * ORGAN_RIDGE_BATCH, sizeof *r->tokens);
    r->rows = calloc(max, sizeof *r->rows);
    r->next = calloc(max, sizeof *r->next);
    r->first = malloc(slots * sizeof *r->first);
    r->last = malloc(slots * sizeof *r->last);
    for (size_t s = 0; r->first && r->last && s < slots; s++)
        r->first[s] = r->last[s] = ORGAN_RIDGE_NONE;
    return r->tokens && r->rows && r->next && r->first && r->last && r->values && r->read &&
           (scratch ? r->pending && r->digests : r->all != NULL);
}

static organ_status file_failed(const organ_ridge_rows *r, const organ_error *fault, organ_error *error)
{
    return organ_fail_errno(error, fault->errnum, "%s: cannot store %llu bytes of expert inputs (--scratch)",
                            r->file.path,
                            (unsigned long long)max_batches(&r->shape) * batch_values(&r->shape) * sizeof(float));
}

/* The space of the scratch file is reserved, so that a full disk is reported before the work begins. */
organ_status organ_ridge_rows_open(const organ_ridge_shape *shape, organ_ridge_rows **rows, organ_error *error)
{
    organ_ridge_rows *const r = *rows = calloc(1, sizeof *r);
    organ_error fault = {0};
    if (r) {
        r->shape = *shape;
        r->file = (organ_direct_file){.fd = -1, .direct = -1};
    }
    if (!r || !ridge_rows_allocate(r))
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
    ORGAN_FREE_ARRAYS(r->all, r->pending, r->values, r->read, r->digests, r->tokens, r->rows, r->next, r->first,
                      r->last, r);
}

/* ---- rows ---- */

static uint64_t ridge_rows_place_of(const organ_ridge_rows *r, uint32_t number)
{
    return (uint64_t)number * batch_values(&r->shape) * sizeof(float);
}

static organ_status write_batch(organ_ridge_rows *r, size_t slot, organ_error *error)
{
    const uint32_t number = r->last[slot];
    const float *const values = r->pending + slot * batch_values(&r->shape);
    const size_t bytes = r->rows[number] * r->shape.width * sizeof *values;
    organ_error fault = {0};
    if (organ_direct_write(&r->file, values, bytes, ridge_rows_place_of(r, number), &fault) != ORGAN_OK)
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
        const uint32_t number = (uint32_t)r->count++;
        *(r->last[slot] == ORGAN_RIDGE_NONE ? &r->first[slot] : &r->next[r->last[slot]]) = number;
        r->next[number] = ORGAN_RIDGE_NONE;
        r->last[slot] = number;
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
    free(r->pending);
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
    if (organ_scratch_read(&r->file, values, bytes, ridge_rows_place_of(r, number), error) != ORGAN_OK)
        return error->status;
    if (XXH3_64bits(values, bytes) == r->digests[number])
        return ORGAN_OK;
    return organ_fail_errno(error, EIO, "%s: %zu bytes of expert inputs (--scratch) differ from the written ones",
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
        organ_scratch_announce(&r->file, batch_values(&r->shape) * sizeof(float), ridge_rows_place_of(r, *number));
    return error->status;
}
