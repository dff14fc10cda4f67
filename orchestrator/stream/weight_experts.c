/* SPDX-License-Identifier: MIT
 * The family of gpt-oss experts: pairs of E2M1 codes with one E8M0 scale for 32 inputs. The file stores each expert as
 * [outputs][inputs], the unpacked weight is [inputs][outputs]. Rows of the weight are thus columns of the stored
 * matrix: read_inputs decodes tiles of the stored matrix and transposes them. */
#include "orchestrator/stream/weight_parts.h"

#include <inttypes.h>

/* TILE: stored rows (outputs) of a tile. GROUP: inputs that share a scale. STEP: rows of the weight (inputs) that are
 * read at once. */
enum { TILE = 64, GROUP = 32, STEP = 256 };

typedef struct tile_parts {
    unsigned char *codes, *exponents; /* as stored: [TILE][groups] of GROUP / 2 bytes, and of 1 byte */
    unsigned char *room;              /* for organ_weight_fetch_columns */
    float *scales;                    /* of one stored row: [groups] */
    float *values;                    /* decoded: [TILE][groups x GROUP] */
} tile_parts;

/* The rows are inputs. They may begin and end within a group, so they touch up to two groups more than they fill. */
static tile_parts lay_out_tile(size_t rows, uintptr_t *at)
{
    const size_t groups = rows / GROUP + 2;
    tile_parts p = {.codes = weight_take(at, TILE * groups * GROUP / 2)};
    p.exponents = weight_take(at, TILE * groups);
    p.room = weight_take(at, WEIGHT_ROOM);
    p.scales = weight_take(at, groups * sizeof(float));
    p.values = weight_take(at, TILE * groups * GROUP * sizeof(float));
    return p;
}

static size_t experts_scratch(const organ_weight_reader *r, size_t rows)
{
    uintptr_t end = 0;
    (void)r;
    lay_out_tile(rows, &end);
    return end;
}

static organ_status prepare_experts(organ_weight_reader *r, organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t count = r->shape.count * r->shape.cols, groups = weight_up(r->shape.rows, GROUP);
    r->groups = (size_t)groups;
    if (!w->scale || w->codes->bytes != count * groups * GROUP / 2 || w->scale->bytes != count * groups)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "tensor '%s': has %" PRIu64 " bytes of codes and %" PRIu64 " of scales, expected %" PRIu64 " and %" PRIu64,
            w->name, w->codes->bytes, w->scale ? w->scale->bytes : 0, count * groups * GROUP / 2, count * groups);
    r->step = STEP;
    r->batch = STEP;
    return ORGAN_OK;
}

/* Rows are counted over all experts. Decodes groups [from, from + groups) of them to p->values. */
static organ_status decode_tile(const organ_weight_reader *r, uint64_t row, size_t count, size_t from, size_t groups,
                                const tile_parts *p, organ_error *error)
{
    const organ_weight *w = r->weight;
    const size_t pairs = GROUP / 2;
    if (organ_weight_fetch_columns(r, w->codes, row, count, r->groups * pairs, from * pairs, groups * pairs, p->codes,
                                   p->room, error) ||
        organ_weight_fetch_columns(r, w->scale, row, count, r->groups, from, groups, p->exponents, p->room, error))
        return error->status;
    for (size_t k = 0; k < count; k++) {
        for (size_t g = 0; g < groups; g++)
            p->scales[g] = organ_e8m0_to_f32(p->exponents[k * groups + g]);
        r->kernels->decode[ORGAN_CODE_E2M1][ORGAN_REAL_F32](p->codes + k * groups * pairs, p->scales, NULL, GROUP,
                                                            p->values + k * groups * GROUP, groups * GROUP);
    }
    return ORGAN_OK;
}

/* `values` is [rows->count][cols]. Stored rows are outputs, so tiles of TILE stored rows are decoded and transposed.
 * `as` is always F32, because the family has no function `writes`. */
static organ_status read_inputs(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                                unsigned char *scratch, organ_error *error)
{
    const tile_parts p = lay_out_tile(rows->count, &(uintptr_t){(uintptr_t)scratch});
    const size_t from = (size_t)(rows->first / GROUP), skip = (size_t)(rows->first % GROUP),
                 cols = (size_t)r->shape.cols;
    const size_t groups = (skip + rows->count + GROUP - 1) / GROUP;
    const uint32_t *tile = (const uint32_t *)(const void *)p.values;
    (void)as;
    for (size_t col = 0; col < cols; col += TILE) {
        const size_t n = cols - col < TILE ? cols - col : TILE;
        if (decode_tile(r, rows->matrix * cols + col, n, from, groups, &p, error))
            return error->status;
        organ_transpose_u32(tile + skip, groups * GROUP, (uint32_t *)values + col, cols, n, rows->count);
    }
    return ORGAN_OK;
}

const weight_family organ_weight_family_experts = {prepare_experts, NULL, experts_scratch, read_inputs, NULL};
