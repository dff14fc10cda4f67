/* SPDX-License-Identifier: MIT
 * Companions of packed weights: reads scales and zero points as FP32, and the groups of columns. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/stream/weight_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes of a weight's tensors: from memory if organ_weight_reader_hold has read them, else from the file ---- */

/* Number of a weight's tensors that organ_weight_reader_hold keeps in memory. */
#define HELD (sizeof((organ_weight_reader *)0)->held / sizeof(weight_held))

/* `k` is 0 for codes, 1 for scales, 2 for zero points, 3 for biases. The matrices need their share of the tensor if
 * its bytes can be divided evenly among all matrices, else the whole tensor. The member `tensor` of the result is
 * NULL if the weight has no tensor k. */
static weight_held range_to_hold(const organ_weight *w, size_t k, uint64_t first, uint64_t count)
{
    const organ_tensor *const tensors[HELD] = {w->codes, w->scale, w->zero, w->bias}, *const t = tensors[k];
    if (!t)
        return (weight_held){0};
    const uint64_t all = organ_weight_matrices(w).count, share = all && t->bytes % all == 0 ? t->bytes / all : 0;
    return share ? (weight_held){t, first * share, (first + count) * share, NULL} : (weight_held){t, 0, t->bytes, NULL};
}

uint64_t organ_weight_held_bytes(const organ_weight *weight, uint64_t count)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < HELD; k++) {
        const weight_held part = range_to_hold(weight, k, 0, count);
        bytes += weight_round((size_t)(part.to - part.from));
    }
    return bytes;
}

/* Each range begins at a multiple of 64 bytes. organ_weight_fetch finds the ranges in reader->held. */
organ_status organ_weight_reader_hold(organ_weight_reader *reader, uint64_t first, uint64_t count, void *memory,
                                      organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    unsigned char *at = memory;
    if (reader->weight->rotation && !reader->weight->made) /* the reader of the weight to rotate decodes them */
        return organ_weight_reader_hold(reader->parts[0], first, count, memory, error);
    memset(reader->held, 0, sizeof reader->held);
    for (size_t k = 0; k < HELD; k++) {
        weight_held part = range_to_hold(reader->weight, k, first, count);
        const size_t bytes = (size_t)(part.to - part.from);
        if (!part.tensor)
            continue;
        if (organ_model_read(reader->model, part.tensor->file, at, bytes, part.tensor->offset + part.from, error))
            return error->status;
        part.bytes = at;
        reader->held[k] = part;
        at += weight_round(bytes);
    }
    return ORGAN_OK;
}

/* Returns `bytes` bytes of the tensor from byte `at` on if they are in memory, else NULL. */
static const unsigned char *weight_in_memory(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                             size_t bytes)
{
    for (size_t k = 0; k < HELD; k++) {
        const weight_held *const held = &reader->held[k];
        if (held->tensor == tensor && at >= held->from && at <= held->to && bytes <= held->to - at)
            return held->bytes + (at - held->from);
    }
    return NULL;
}

organ_status organ_weight_fetch(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                size_t bytes, void *to, organ_error *error)
{
    if (at > tensor->bytes || bytes > tensor->bytes - at)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %" PRIu64 " bytes, but '%s' needs %" PRIu64,
                          tensor->name, tensor->bytes, reader->weight->name, at + bytes);
    const unsigned char *const held = weight_in_memory(reader, tensor, at, bytes);
    if (held) {
        memcpy(to, held, bytes);
        return ORGAN_OK;
    }
    return organ_model_read(reader->model, tensor->file, to, bytes, tensor->offset + at, error);
}

/* E4M3 codes have type F8_E4M3, or U8 in NVFP4 of MLX. In other schemes U8 scales are exponents. */
static bool is_e4m3(const organ_weight_reader *r, const organ_tensor *tensor)
{
    return tensor->dtype == ORGAN_F8_E4M3 || (tensor->dtype == ORGAN_U8 && r->weight->scheme == ORGAN_SCHEME_NVFP4);
}

/* Exponents of 2 with a bias of 127 have type F8_E8M0, or U8. */
static bool is_exponent(const organ_weight_reader *r, const organ_tensor *tensor)
{
    return tensor->dtype == ORGAN_F8_E8M0 ||
           (tensor->dtype == ORGAN_U8 && tensor == r->weight->scale && !is_e4m3(r, tensor));
}

static bool is_scale_type(const organ_weight_reader *r, const organ_tensor *tensor)
{
    switch (tensor->dtype) {
    case ORGAN_F32:
    case ORGAN_BF16:
    case ORGAN_F16:
    case ORGAN_I8:
    case ORGAN_I32:
        return true;
    default:
        return is_e4m3(r, tensor) || is_exponent(r, tensor);
    }
}

/* Zero points are not multiplied by model->scale_times. */
void organ_weight_widen(const organ_weight_reader *r, const organ_tensor *tensor, const void *elements, size_t n,
                        float *floats)
{
    const uint8_t *bytes = elements;
    if (is_exponent(r, tensor))
        for (size_t k = 0; k < n; k++)
            floats[k] = organ_e8m0_to_f32(bytes[k]);
    else if (is_e4m3(r, tensor))
        for (size_t k = 0; k < n; k++)
            floats[k] = organ_e4m3_to_f32(bytes[k]);
    else
        organ_widen(r->kernels, tensor->dtype, elements, floats, n);
    const float times = tensor == r->weight->scale || tensor == r->weight->bias ? r->model->scale_times : 0;
    for (size_t k = 0; times > 0 && k < n; k++)
        floats[k] *= times;
}

/* The shape of a companion may differ from rows x groups: the tensor has one grid for each matrix, or one for all
 * matrices of a stack (grid->matrix 0), and rows may have unused elements at their end. */
organ_status organ_weight_grid_make(const organ_weight_reader *r, const organ_tensor *tensor, weight_grid *grid,
                                    organ_error *error)
{
    const organ_matrices *shape = &r->shape;
    const uint64_t cols = r->groups;
    if (!is_scale_type(r, tensor))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s' of '%s': has type %s, which is not a type of scales or zero points",
                          tensor->name, r->weight->name, organ_dtype_name(tensor->dtype));
    *grid =
        (weight_grid){.tensor = tensor, .element = organ_dtype_describe(tensor->dtype)->bytes, .cols = (size_t)cols};
    grid->block_rows = r->weight->block_rows ? r->weight->block_rows : 1;
    grid->rows = weight_up(shape->rows, grid->block_rows);
    if (shape->count * shape->rows * shape->cols == 0)
        return ORGAN_OK;
    grid->matrix = tensor->elements / shape->count;
    if (tensor->elements % shape->count ||
        grid->matrix < grid->rows * cols) { /* a single grid for all matrices of a stack */
        grid->matrix = tensor->elements;
        if (grid->matrix < grid->rows * cols)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': has %" PRIu64 " elements, fewer than the %" PRIu64 " x %" PRIu64
                              " that '%s' needs",
                              tensor->name, tensor->elements, grid->rows, cols, r->weight->name);
    }
    grid->stride = grid->matrix / grid->rows;
    if (grid->matrix * shape->count != tensor->elements)
        grid->matrix = 0; /* all matrices share the grid */
    return ORGAN_OK;
}

/* Returns one more than the blocks that the rows fill, since they may begin within a block, and at most all rows of the
 * grid. */
size_t organ_weight_grid_rows(const weight_grid *grid, size_t rows)
{
    const uint64_t max = weight_up(rows, grid->block_rows) + 1;
    return rows == 0 ? 0 : (size_t)(max < grid->rows ? max : grid->rows);
}

size_t organ_weight_grid_scratch(const weight_grid *grid, size_t rows)
{
    return weight_round(organ_weight_grid_rows(grid, rows) * (size_t)grid->stride * grid->element);
}

organ_status organ_weight_grid_read(const organ_weight_reader *r, const weight_grid *grid, const weight_rows *rows,
                                    float *floats, unsigned char *scratch, organ_error *error)
{
    const uint64_t from = rows->first / grid->block_rows, to = (rows->first + rows->count - 1) / grid->block_rows + 1;
    const size_t n = (size_t)((to - from) * grid->stride);
    const uint64_t at = (rows->matrix * grid->matrix + from * grid->stride) * grid->element;
    if (organ_weight_fetch(r, grid->tensor, at, n * grid->element, scratch, error))
        return error->status;
    organ_weight_widen(r, grid->tensor, scratch, n, floats);
    return ORGAN_OK;
}

organ_status organ_weight_load_global(organ_weight_reader *r, organ_error *error)
{
    const organ_tensor *tensor = r->weight->global;
    const size_t count = (size_t)r->shape.count;
    if (!tensor || count == 0)
        return ORGAN_OK;
    if (tensor->dtype != ORGAN_F32 || (tensor->elements != 1 && tensor->elements != count))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': has %" PRIu64 " elements of type %s, expected 1 or %zu of type F32",
                          tensor->name, tensor->elements, organ_dtype_name(tensor->dtype), count);
    if (!(r->global = malloc(count * sizeof *r->global)))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", tensor->name);
    if (organ_weight_fetch(r, tensor, 0, (size_t)tensor->elements * sizeof *r->global, r->global, error))
        return error->status;
    for (size_t k = (size_t)tensor->elements; k < count; k++)
        r->global[k] = r->global[0];
    return ORGAN_OK;
}

organ_status organ_weight_load_columns(organ_weight_reader *r, organ_error *error)
{
    const organ_tensor *const tensor = r->weight->columns;
    const size_t n = (size_t)r->shape.cols;
    if (!tensor || n == 0)
        return ORGAN_OK;
    ORGAN_OWNED void *const stored = malloc((size_t)tensor->bytes);
    r->columns = malloc(n * sizeof *r->columns);
    if (!stored || !r->columns)
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", tensor->name);
    if (organ_weight_fetch(r, tensor, 0, (size_t)tensor->bytes, stored, error))
        return error->status;
    organ_widen(r->kernels, tensor->dtype, stored, r->columns, n);
    return ORGAN_OK;
}

/* Columns in the order of their groups are faster to decode without r->g_idx. */
organ_status organ_weight_load_g_idx(organ_weight_reader *r, organ_error *error)
{
    const organ_tensor *tensor = r->weight->g_idx;
    const size_t n = (size_t)r->shape.cols;
    if (!tensor || n == 0)
        return ORGAN_OK;
    if (tensor->dtype != ORGAN_I32 || tensor->elements != n)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': has %" PRIu64 " elements of type %s, expected %zu of type I32", tensor->name,
                          tensor->elements, organ_dtype_name(tensor->dtype), n);
    if (!(r->g_idx = malloc(n * sizeof *r->g_idx)))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", tensor->name);
    if (organ_weight_fetch(r, tensor, 0, n * sizeof *r->g_idx, r->g_idx, error))
        return error->status;
    /* compressed-tensors: an entry of -1 means that the g_idx is not used, so columns are in the order of their groups
     */
    const bool may_be_unused = r->weight->scheme == ORGAN_SCHEME_PACKED;
    bool ordered = false, natural = true;
    for (size_t k = 0; k < n; k++) {
        natural = natural && r->g_idx[k] >= 0 && (size_t)r->g_idx[k] == k / r->group;
        if (may_be_unused && r->g_idx[k] == -1)
            ordered = true;
        else if (r->g_idx[k] < 0 || (size_t)r->g_idx[k] >= r->groups)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': column %zu belongs to group %" PRId32 ", but there are %zu groups",
                              tensor->name, k, r->g_idx[k], r->groups);
    }
    if (ordered || natural)
        organ_clear(&r->g_idx);
    return ORGAN_OK;
}

/* Reading this many unneeded bytes costs less than another system call. */
#define WORTH_A_CALL 4096

/* Returns how many whole rows one call is to read, 0 if each row is worth a call: the rows must be read from the file,
 * with at most WORTH_A_CALL bytes that are left out, and fit into WEIGHT_ROOM. */
static size_t rows_of_a_call(const organ_weight_reader *r, const organ_tensor *tensor, uint64_t row, size_t rows,
                             uint64_t width, size_t n)
{
    const bool held = weight_in_memory(r, tensor, row * width, rows * (size_t)width) != NULL;
    return !held && width - n <= WORTH_A_CALL && width <= WEIGHT_ROOM ? (size_t)(WEIGHT_ROOM / width) : 0;
}

organ_status organ_weight_fetch_columns(const organ_weight_reader *r, const organ_tensor *tensor, uint64_t row,
                                        size_t rows, uint64_t width, uint64_t first, size_t n, unsigned char *to,
                                        unsigned char *scratch, organ_error *error)
{
    if (n == width)
        return organ_weight_fetch(r, tensor, row * width, rows * n, to, error);
    const size_t whole = rows_of_a_call(r, tensor, row, rows, width, n);
    for (size_t done = 0, take; done < rows; done += take) {
        take = whole == 0 ? 1 : whole;
        if (rows - done < take)
            take = rows - done;
        unsigned char *at = to + done * n;
        if (whole == 0) {
            if (organ_weight_fetch(r, tensor, (row + done) * width + first, n, at, error))
                return error->status;
            continue;
        }
        if (organ_weight_fetch(r, tensor, (row + done) * width, take * (size_t)width, scratch, error))
            return error->status;
        for (size_t k = 0; k < take; k++)
            memcpy(at + k * n, scratch + k * (size_t)width + first, n);
    }
    return ORGAN_OK;
}

organ_status organ_weight_view_columns(const organ_weight_reader *r, const organ_tensor *tensor, uint64_t row,
                                       size_t rows, uint64_t width, uint64_t first, size_t n, unsigned char *scratch,
                                       weight_columns *view, organ_error *error)
{
    const size_t whole = rows_of_a_call(r, tensor, row, rows, width, n) / 2 * 2;
    *view = (weight_columns){scratch, organ_min(rows, organ_max(whole ? whole : WEIGHT_ROOM / n / 2 * 2, 1)), n};
    for (size_t k = 0; whole == 0 && k < view->rows; k++)
        if (organ_weight_fetch(r, tensor, (row + k) * width + first, n, scratch + k * n, error))
            return error->status;
    if (whole == 0)
        return ORGAN_OK;
    view->bytes = scratch + first;
    view->stride = (size_t)width;
    return organ_weight_fetch(r, tensor, row * width, view->rows * (size_t)width, scratch, error);
}

/* With a g_idx, the number of groups is the extent of the scales along the axis: the tensor may have more groups
 * than the columns fill. */
organ_status organ_weight_find_groups(organ_weight_reader *r, unsigned across, organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t cols = r->shape.cols, group = w->block_cols && w->block_cols < cols ? w->block_cols : cols;
    if (!w->scale)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has no scales", w->name);
    r->group = (size_t)(group ? group : 1);
    r->groups = (size_t)weight_up(cols, r->group);
    if (w->g_idx && w->scale->rank >= across)
        r->groups = (size_t)w->scale->shape[w->scale->rank - across];
    return ORGAN_OK;
}

/* With a g_idx, scale and zero point of each column are copied first, so that the kernel decodes groups of one
 * column. */
void organ_weight_decode(const organ_weight_reader *r, const unsigned char *codes, const float *scales,
                         const float *zeros, float *scale_of, float *zero_of, organ_dtype as, void *values)
{
    const size_t cols = (size_t)r->shape.cols;
    for (size_t k = 0; r->g_idx && k < cols; k++) {
        scale_of[k] = scales[r->g_idx[k]];
        if (zeros)
            zero_of[k] = zeros[r->g_idx[k]];
    }
    r->kernels->decode[r->code][organ_weight_real(as)](codes, r->g_idx ? scale_of : scales,
                                                       r->g_idx && zeros ? zero_of : zeros, r->g_idx ? 1 : r->group,
                                                       values, cols);
}

/* If dense, span.from is a multiple of `bits` words, where 32 codes begin, so that a code begins at the first bit of
 * the first word. */
weight_span organ_weight_span(unsigned bits, bool dense, uint64_t first, uint64_t n)
{
    const uint64_t unit = dense ? 32 : 32 / bits, words = dense ? bits : 1; /* `unit` codes fill `words` words */
    const uint64_t from = first / unit, last = first + n - 1;
    return (weight_span){.from = from * words,
                         .to = dense ? weight_up((last + 1) * bits, 32) : last / unit + 1,
                         .skip = (size_t)(first - from * unit)};
}

bool organ_weight_can_decode_to(const organ_weight_reader *reader, organ_dtype as)
{
    (void)reader;
    return as == ORGAN_F32 || as == ORGAN_BF16 || as == ORGAN_F16;
}

organ_real organ_weight_real(organ_dtype as)
{
    if (as == ORGAN_F32)
        return ORGAN_REAL_F32;
    return as == ORGAN_BF16 ? ORGAN_REAL_BF16 : ORGAN_REAL_F16;
}

/* ---- the two versions of GPTQ, which differ only in the stored zero points ---- */

/* Version 1 (gptq) stores them minus 1, version 2 (gptq_v2) as they are. Some files declare one version and store the
 * other. Symmetric weights show the version, because all their zero points are half of the range (8 for 4 bits):
 * version 2 stores this number, version 1 one less. */

/* The counts are of zero points as stored. */
typedef struct zero_census {
    uint64_t all;                        /* number of zero points */
    uint64_t half, below_half, greatest; /* equal to half of the range, to one less, to the largest code */
} zero_census;

/* Each byte of `codes` is a zero point of `bits` bits. */
static void count_codes(const uint8_t *codes, size_t n, unsigned bits, zero_census *census)
{
    const uint8_t half = (uint8_t)(1u << (bits - 1)), greatest = (uint8_t)((1u << bits) - 1);
    census->all += n;
    for (size_t k = 0; k < n; k++) {
        census->half += codes[k] == half;
        census->below_half += codes[k] == half - 1;
        census->greatest += codes[k] == greatest;
    }
}

static organ_status count_zero_points(const organ_weight_reader *r, zero_census *census, organ_error *error)
{
    const organ_tensor *tensor = r->weight->zero;
    const uint64_t rows = r->groups * r->shape.count;
    const size_t outputs = (size_t)r->shape.rows, bytes = (size_t)(tensor->bytes / (rows ? rows : 1));
    ORGAN_OWNED unsigned char *words = malloc(bytes + 1), *codes = malloc(outputs + 1);
    if (!(words && codes))
        organ_fail(error, ORGAN_IO, "tensor '%s': no memory for a row of it", tensor->name);
    for (uint64_t row = 0; row < rows && !error->status; row++) {
        organ_weight_fetch(r, tensor, row * bytes, bytes, words, error);
        if (!error->status) {
            organ_unpack_bits(words, r->weight->bits, /*dense=*/1, 0, codes, outputs);
            count_codes(codes, outputs, r->weight->bits, census);
        }
    }
    return error->status;
}

/* gptq stores zero points minus 1, gptq_v2 unchanged. The zero points decide if all are those of a symmetric weight.
 * The note also tells if the added 1 changes the largest code to 0. */
organ_status organ_weight_find_version(organ_weight_reader *r, char note[256], organ_error *error)
{
    const organ_weight *w = r->weight;
    zero_census census = {0};
    if (!w->zero || w->planar) /* planes are of version 2 */
        return ORGAN_OK;
    if (count_zero_points(r, &census, error))
        return error->status;
    const unsigned half = 1u << (w->bits - 1);
    const bool says_v1 = census.all && census.below_half == census.all,
               says_v2 = census.all && census.half == census.all;
    r->plus_one = says_v1 || (!says_v2 && !w->labelled_v2);
    if (r->plus_one == w->labelled_v2)
        snprintf(
            note, 256,
            "the configuration states %s, but all its zero points are stored as %u, which means %s: it is read as %s",
            w->labelled_v2 ? "gptq_v2" : "gptq", says_v1 ? half - 1 : half, says_v1 ? "gptq" : "gptq_v2",
            says_v1 ? "gptq" : "gptq_v2");
    else if (r->plus_one && census.greatest)
        snprintf(
            note, 256,
            "%llu of its %llu zero points are stored as %u, the largest code: with the 1 that gptq adds they become 0",
            (unsigned long long)census.greatest, (unsigned long long)census.all, 2 * half - 1);
    return ORGAN_OK;
}

/* ---- experts of gpt-oss: pairs of E2M1 codes with one E8M0 scale for 32 inputs ---- */

/* The file stores each expert as [outputs][inputs], the unpacked weight is [inputs][outputs]. Rows of the weight are
 * thus columns of the stored matrix: read_inputs decodes tiles of the stored matrix and transposes them. */

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

const weight_family organ_weight_family_experts = {prepare_experts, NULL, experts_scratch, read_inputs, NULL, false};
