/* SPDX-License-Identifier: MIT
 * Companions of packed weights: reads scales and zero points as FP32, and the groups of columns. */
#include "orchestrator/stream/weight_parts.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
    if (ordered || natural) {
        free(r->g_idx);
        r->g_idx = NULL;
    }
    return ORGAN_OK;
}

/* Reading this many unneeded bytes costs less than another system call. */
#define WORTH_A_CALL 4096

/* Whole rows are copied with one call, others usually with a call for each row. If the rows must be read from the
 * file and at most WORTH_A_CALL bytes of a row are left out, one call reads as many whole rows as `scratch` has room
 * for. */
organ_status organ_weight_fetch_columns(const organ_weight_reader *r, const organ_tensor *tensor, uint64_t row,
                                        size_t rows, uint64_t width, uint64_t first, size_t n, unsigned char *to,
                                        unsigned char *scratch, organ_error *error)
{
    if (n == width)
        return organ_weight_fetch(r, tensor, row * width, rows * n, to, error);
    const bool held = organ_weight_in_memory(r, tensor, row * width, rows * (size_t)width) != NULL;
    /* rows that one call reads whole; 0: a call for each row */
    const size_t whole = !held && width - n <= WORTH_A_CALL && width <= WEIGHT_ROOM ? (size_t)(WEIGHT_ROOM / width) : 0;
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
