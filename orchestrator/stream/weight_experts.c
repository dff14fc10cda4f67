/* SPDX-License-Identifier: MIT
 * Experts of gpt-oss: pairs of E2M1 codes along the inputs, one scale for 32, of a weight whose plain form has inputs as rows. Some inputs
 * are a strip of the stored rows, which is decoded as it lies, a tile at a time, and turned. */
#include "orchestrator/stream/weight_parts.h"

#include <inttypes.h>

enum { TILE = 64, GROUP = 32, STEP = 256 };

typedef struct tile_plan {
    size_t codes, exponents, room, scales, values;
    size_t end;
} tile_plan;

static size_t groups_of(size_t rows) { return rows / GROUP + 2; }

static tile_plan lay_out(size_t rows)
{
    const size_t groups = groups_of(rows);
    size_t end = 0;
    tile_plan p = {.codes = weight_take(&end, TILE * groups * GROUP / 2), .exponents = weight_take(&end, TILE * groups)};
    p.room = weight_take(&end, WEIGHT_ROOM);
    p.scales = weight_take(&end, groups * sizeof(float));
    p.values = weight_take(&end, TILE * groups * GROUP * sizeof(float));
    p.end = end;
    return p;
}

static size_t scratch(const organ_weight_reader *r, size_t rows)
{
    (void)r;
    return lay_out(rows).end;
}

static organ_status prepare(organ_weight_reader *r, organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t count = r->shape.count * r->shape.cols, groups = weight_up(r->shape.rows, GROUP);
    r->groups = (size_t)groups;
    if (!w->scale || w->codes->bytes != count * groups * GROUP / 2 || w->scale->bytes != count * groups)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': has %" PRIu64 " bytes of codes and %" PRIu64 " of scales, expected %" PRIu64 " and %" PRIu64,
                          w->name, w->codes->bytes, w->scale ? w->scale->bytes : 0, count * groups * GROUP / 2, count * groups);
    r->step = STEP;
    r->batch = STEP;
    return ORGAN_OK;
}

/* Stored rows [row, row + count), inputs from the group `from` on: `groups` of them, as floats. */
static organ_status decode_tile(const organ_weight_reader *r, uint64_t row, size_t count, size_t from, size_t groups, const tile_plan *p,
                                unsigned char *base, organ_error *error)
{
    const organ_weight *w = r->weight;
    const size_t pairs = GROUP / 2;
    float *scales = (float *)(void *)(base + p->scales), *values = (float *)(void *)(base + p->values);
    const unsigned char *codes = base + p->codes, *exponents = base + p->exponents;
    if (organ_weight_fetch_columns(r, w->codes, row, count, r->groups * pairs, from * pairs, groups * pairs, base + p->codes,
                                   base + p->room, error) ||
        organ_weight_fetch_columns(r, w->scale, row, count, r->groups, from, groups, base + p->exponents, base + p->room, error))
        return error->status;
    for (size_t k = 0; k < count; k++) {
        for (size_t g = 0; g < groups; g++)
            scales[g] = organ_e8m0_to_f32(exponents[k * groups + g]);
        r->kernels->decode[ORGAN_CODE_E2M1][ORGAN_REAL_F32](codes + k * groups * pairs, scales, NULL, GROUP, values + k * groups * GROUP,
                                                            groups * GROUP);
    }
    return ORGAN_OK;
}

static organ_status read_inputs(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values, unsigned char *base,
                                organ_error *error)
{
    const tile_plan p = lay_out(rows->count);
    const size_t from = (size_t)(rows->first / GROUP), skip = (size_t)(rows->first % GROUP), cols = (size_t)r->shape.cols;
    const size_t groups = (skip + rows->count + GROUP - 1) / GROUP;
    const uint32_t *tile = (const uint32_t *)(const void *)(base + p.values);
    (void)as; /* F32 */
    for (size_t col = 0; col < cols; col += TILE) {
        const size_t n = cols - col < TILE ? cols - col : TILE;
        if (decode_tile(r, rows->matrix * cols + col, n, from, groups, &p, base, error))
            return error->status;
        organ_transpose_u32(tile + skip, groups * GROUP, (uint32_t *)values + col, cols, n, rows->count);
    }
    return ORGAN_OK;
}

const weight_family organ_weight_family_experts = {prepare, NULL, scratch, read_inputs, NULL};
