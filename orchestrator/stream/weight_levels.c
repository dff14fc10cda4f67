/* SPDX-License-Identifier: MIT
 * The family of 4-bit weights of bitsandbytes. The codes are those of all values in the order of rows, two in a byte,
 * the first in the high nibble. A block of consecutive values, which may begin and end within rows, shares a scale. */
#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/weight_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LEVELS = 16, NESTED_LEVELS = 256 };

typedef struct level_parts {
    unsigned char *codes; /* of whole blocks, as stored, then with the first code in the low nibble */
    unsigned char *bytes; /* codes of scales */
    float *scales;        /* of these blocks */
    float *nested;        /* the scales of the codes of scales */
    float *head;          /* the values of a block that begins in an earlier row */
} level_parts;

static size_t block_of(const organ_weight_reader *r) { return (size_t)r->weight->blocks->block; }

/* The blocks in which `rows` rows lie, at most. */
static size_t blocks_of(const organ_weight_reader *r, size_t rows)
{
    return (size_t)weight_up(rows * r->shape.cols, r->weight->blocks->block) + 1;
}

static level_parts lay_out_levels(const organ_weight_reader *r, size_t rows, uintptr_t *at)
{
    const size_t blocks = blocks_of(r, rows), nested = (size_t)r->weight->blocks->nested;
    level_parts p = {.codes = weight_take(at, blocks * block_of(r) / 2)};
    p.bytes = weight_take(at, nested ? blocks : 0);
    p.scales = weight_take(at, blocks * sizeof(float));
    p.nested = weight_take(at, nested ? (blocks / nested + 2) * sizeof(float) : 0);
    p.head = weight_take(at, block_of(r) * sizeof(float));
    return p;
}

static size_t levels_scratch(const organ_weight_reader *r, size_t rows)
{
    uintptr_t end = 0;
    lay_out_levels(r, rows, &end);
    return end;
}

/* The headers were checked when the weight was found. */
static organ_status prepare_levels(organ_weight_reader *r, organ_error *error)
{
    (void)r;
    (void)error;
    return ORGAN_OK;
}

/* reader->table has the levels of the codes, and those of the codes of scales behind them. */
static organ_status load_levels(organ_weight_reader *r, char note[256], organ_error *error)
{
    const organ_tensor *const levels = r->weight->levels, *const nested = r->weight->nested_levels;
    (void)note;
    if (!(r->table = malloc((LEVELS + NESTED_LEVELS) * sizeof *r->table)))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", r->weight->name);
    if (organ_weight_fetch(r, levels, 0, LEVELS * sizeof *r->table, r->table, error) || !nested)
        return error->status;
    return organ_weight_fetch(r, nested, 0, NESTED_LEVELS * sizeof *r->table, r->table + LEVELS, error);
}

/* Reads the scales of `count` blocks from number `from` on. */
static organ_status read_scales(const organ_weight_reader *r, uint64_t from, size_t count, const level_parts *p,
                                organ_error *error)
{
    const organ_weight *const w = r->weight;
    const uint64_t nested = w->blocks->nested, first = nested ? from / nested : 0;
    const float offset = (float)w->blocks->offset;
    if (!nested)
        return organ_weight_fetch(r, w->scale, from * sizeof(float), count * sizeof(float), p->scales, error);
    const size_t factors = (size_t)((from + count - 1) / nested - first + 1);
    if (organ_weight_fetch(r, w->scale, from, count, p->bytes, error) ||
        organ_weight_fetch(r, w->nested_scale, first * sizeof(float), factors * sizeof(float), p->nested, error))
        return error->status;
    for (size_t k = 0; k < count; k++) {
        const float product = r->table[LEVELS + p->bytes[k]] * p->nested[(from + k) / nested - first];
        p->scales[k] = product + offset;
    }
    return ORGAN_OK;
}

static void swap_nibbles(unsigned char *bytes, size_t n)
{
    for (size_t k = 0; k < n; k++)
        bytes[k] = (unsigned char)(bytes[k] << 4 | bytes[k] >> 4);
}

/* The last block of the weight may be shorter than the others. A block that begins before the first row is decoded
 * apart, because its first code that is wanted may be in the middle of a byte. */
static organ_status read_levels(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                                unsigned char *scratch, organ_error *error)
{
    const level_parts p = lay_out_levels(r, rows->count, &(uintptr_t){(uintptr_t)scratch});
    const organ_real real = organ_weight_real(as);
    const size_t block = block_of(r), size = as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t);
    const uint64_t begin = rows->first * r->shape.cols, n = rows->count * r->shape.cols, from = begin / block;
    const size_t blocks = (size_t)((begin + n - 1) / block - from + 1), skip = (size_t)(begin - from * block);
    const size_t bytes = (size_t)organ_min((uint64_t)blocks * block / 2, r->weight->codes->bytes - from * block / 2);
    size_t done = 0, whole = 0; /* values and blocks decoded apart */
    if (organ_weight_fetch(r, r->weight->codes, from * block / 2, bytes, p.codes, error) ||
        read_scales(r, from, blocks, &p, error))
        return error->status;
    swap_nibbles(p.codes, bytes);
    if (skip > 0) {
        done = (size_t)organ_min(block - skip, n);
        whole = 1;
        r->kernels->decode_levels[real](p.codes, r->table, p.scales, block, p.head, skip + done);
        memcpy(values, (const unsigned char *)p.head + skip * size, done * size);
    }
    if (done < n)
        r->kernels->decode_levels[real](p.codes + whole * block / 2, r->table, p.scales + whole, block,
                                        (unsigned char *)values + done * size, (size_t)n - done);
    return ORGAN_OK;
}

const weight_family organ_weight_family_levels = {
    prepare_levels, load_levels, levels_scratch, read_levels, organ_weight_can_decode_to, false};
