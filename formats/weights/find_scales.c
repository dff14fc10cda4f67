/* SPDX-License-Identifier: MIT
 * Determines the block of values to which each scale applies, from the shapes of scales and weights. A parameter
 * `group` is the config's settings for the weight. */
#include "formats/weights/weight_search.h"

#include <inttypes.h>
#include <stdio.h>

/* If `count` is above 1, the size of a block must be a power of two: 130 rows in 2 blocks, for example, are a block
 * of 128 and a smaller one, not two blocks of 65. */
static bool find_block_side(uint64_t side, uint64_t count, uint64_t *block_side)
{
    if (count == 0 || side % count != 0)
        return false;
    *block_side = side / count;
    return count == 1 || (*block_side & (*block_side - 1)) == 0;
}

organ_status organ_weight_scale_type(const organ_weight_search *search, const organ_weight *weight,
                                     const organ_dtype *types)
{
    char expected[128] = "";
    size_t used = 0;
    for (size_t k = 0; types[k] != ORGAN_DTYPE_COUNT; k++) {
        if (weight->scale->dtype == types[k])
            return ORGAN_OK;
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s", k ? " or " : "",
                                 organ_dtype_name(types[k]));
    }
    return organ_weight_fail(search, weight->scale, "is %s, but the scales of %s codes are %s",
                             organ_dtype_name(weight->scale->dtype), organ_dtype_name(weight->codes->dtype), expected);
}

organ_status organ_weight_check_symmetry(organ_weight_search *search, const organ_weight *weight,
                                         const organ_quant_group *group)
{
    if (group->symmetric == 0 && !weight->zero)
        return organ_weight_fail(search, weight->codes, "is asymmetric (%s), but there is no '%.200s_zero_point'",
                                 search->config->file, weight->name);
    if (group->symmetric == 1 && weight->zero)
        organ_weight_note_contradiction(search, weight, "symmetric", 1, 0, 0, 0);
    return ORGAN_OK;
}

organ_status organ_weight_expect(const organ_weight_search *search, const organ_weight *weight,
                                 const organ_tensor *tensor, unsigned rank, const uint64_t *shape)
{
    char has[ORGAN_SHAPE_TEXT], needs[ORGAN_SHAPE_TEXT], whole[ORGAN_SHAPE_TEXT];
    if (tensor->rank == rank && organ_same_axes(tensor->shape, shape, rank))
        return ORGAN_OK;
    return organ_weight_fail(search, tensor, "has shape %s, but a weight of shape %s needs %s",
                             organ_shape_text(tensor->rank, tensor->shape, has),
                             organ_shape_text(weight->rank, weight->shape, whole),
                             organ_shape_text(rank, shape, needs));
}

/* `groups` is the number of groups in a row, as the scales have it. A negative or too large group size of the config
 * means all columns. Equal groups that replace it have a power of two of columns unless there is one group. */
organ_status organ_weight_groups(organ_weight_search *search, const organ_weight *weight, uint64_t groups,
                                 const organ_quant_group *group, uint64_t *size)
{
    /* Groups run along in_features also in a transposed weight, because only the axes of the plain weight are
     * exchanged. */
    const uint64_t cols = weight->shape[weight->rank - 1];
    const int64_t declared = group ? group->group_size : 0;
    if (declared != 0) {
        *size = declared < 0 || (uint64_t)declared > cols ? cols : (uint64_t)declared;
        if (organ_divide_up(cols, *size) == groups)
            return ORGAN_OK;
    }
    if (find_block_side(cols, groups, size)) {
        if (declared != 0)
            organ_weight_note_contradiction(search, weight, "group_size", (uint64_t)declared, 0, *size, 0);
        return ORGAN_OK;
    }
    if (declared == 0)
        return organ_weight_fail(search, weight->scale,
                                 "has %" PRIu64 " groups for %" PRIu64
                                 " columns: the group size is ambiguous, and no config states it",
                                 groups, cols);
    return organ_weight_fail(
        search, weight->scale,
        "has %" PRIu64 " groups for %" PRIu64 " columns, but group_size %" PRId64 " of %s makes them %" PRIu64, groups,
        cols, declared, search->config->file,
        organ_divide_up(cols, declared < 0 || (uint64_t)declared > cols ? cols : (uint64_t)declared));
}

/* A stack has one scale for each matrix. `blocks` is true if the config states a block size: then a scale tensor
 * with two or more axes is a grid of blocks instead, even if it has only one value. */
static bool is_per_tensor(const organ_weight *weight, bool blocks)
{
    const organ_matrices m = organ_weight_matrices(weight);
    const organ_tensor *const s = weight->scale;
    if (s->elements == 1 && (s->rank < 2 || !blocks))
        return true;
    if (m.count == 1 || s->elements != m.count || s->rank == 0 || s->shape[0] != weight->shape[0])
        return false;
    return s->rank == 1 || (!blocks && s->rank == weight->rank);
}

static organ_status fail_grid(const organ_weight_search *search, const organ_weight *weight,
                              const organ_quant_group *group)
{
    char scale_shape[ORGAN_SHAPE_TEXT], weight_shape[ORGAN_SHAPE_TEXT], needed[ORGAN_SHAPE_TEXT];
    const organ_matrices m = organ_weight_matrices(weight);
    organ_shape_text(weight->scale->rank, weight->scale->shape, scale_shape);
    organ_shape_text(weight->rank, weight->shape, weight_shape);
    if (group->block_rows == 0 && group->group_size != 0)
        return organ_weight_fail(search, weight->scale,
                                 "has shape %s, but a weight of shape %s with group_size %" PRId64
                                 " (%s) has a row of scales for each row",
                                 scale_shape, weight_shape, group->group_size, search->config->file);
    if (group->block_rows == 0)
        return organ_weight_fail(
            search, weight->scale,
            "has shape %s for a weight of shape %s: the block size is ambiguous, and no config states it", scale_shape,
            weight_shape);
    const uint64_t grid[2] = {organ_divide_up(m.rows, group->block_rows), organ_divide_up(m.cols, group->block_cols)};
    return organ_weight_fail(search, weight->scale,
                             "has shape %s, but a weight of shape %s in blocks of %" PRIu64 " x %" PRIu64
                             " (%s) needs %s%s",
                             scale_shape, weight_shape, group->block_rows, group->block_cols, search->config->file,
                             organ_shape_text(2, grid, needed), weight->rank > 2 ? " for each matrix" : "");
}

/* A fused gate and up has two scales (`rows` = 2 and `cols` = 1): one for the gate half and one for the up half of
 * the rows. transformers stores stacks of experts so (Mistral 4) if the model's other weights have one scale each. */
static bool has_halves(const organ_weight *weight, uint64_t rows, uint64_t cols)
{
    return weight->anatomy.role == ORGAN_ROLE_GATE_UP && weight->rank == 3 && rows == 2 && cols == 1;
}

/* The first that applies is taken: the config's blocks, if they give these numbers; groups in rows, if there are
 * scales for each row; the two halves of a fused gate and up (has_halves); without sizes in the config, an equal
 * division into blocks whose sides are powers of two. */
static organ_status scales_find_blocks(organ_weight_search *search, organ_weight *weight, uint64_t rows, uint64_t cols,
                                       const organ_quant_group *group)
{
    const organ_matrices m = organ_weight_matrices(weight);
    if (rows == 0 || cols == 0)
        return fail_grid(search, weight, group);
    if (group->block_rows > 0 && rows == organ_divide_up(m.rows, group->block_rows) &&
        cols == organ_divide_up(m.cols, group->block_cols)) {
        weight->block_rows = group->block_rows;
        weight->block_cols = group->block_cols;
        return ORGAN_OK;
    }
    if (rows == m.rows && (group->block_rows == 0 || cols == 1)) {
        weight->block_rows = 1;
        if (group->block_rows > 0)
            organ_weight_note_contradiction(search, weight, "block", group->block_rows, group->block_cols, 1, m.cols);
        /* with one scale for a row, the config's group_size does not apply */
        return organ_weight_groups(search, weight, cols, group->block_rows > 0 || cols == 1 ? NULL : group,
                                   &weight->block_cols);
    }
    if (group->block_rows == 0 && group->group_size == 0 && has_halves(weight, rows, cols) && m.rows % 2 == 0) {
        weight->block_rows = m.rows / 2;
        weight->block_cols = m.cols;
        return ORGAN_OK;
    }
    /* If the config declares groups or rows, blocks of several rows are impossible; no known scheme has a scale for
     * each column. */
    const bool declared = group->block_rows > 0 || group->group_size != 0 || (cols == m.cols && cols > 1);
    if (declared || !find_block_side(m.rows, rows, &weight->block_rows) ||
        !find_block_side(m.cols, cols, &weight->block_cols))
        return fail_grid(search, weight, group);
    return ORGAN_OK;
}

/* ModelOpt's scales of blocks of a matrix have 4 axes, [rows of blocks, 1, columns of blocks, 1]. Copies them to *two
 * with the first and the third. */
static bool has_unit_axes(const organ_weight *weight, organ_tensor *two, uint64_t shape[2])
{
    const organ_tensor *const s = weight->scale;
    if (weight->rank != 2 || s->rank != 4 || s->shape[1] != 1 || s->shape[3] != 1)
        return false;
    *two = *s;
    shape[0] = s->shape[0];
    shape[1] = s->shape[2];
    two->rank = 2;
    two->shape = shape;
    return true;
}

organ_status organ_weight_grid(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    const organ_matrices m = organ_weight_matrices(weight);
    organ_tensor two;
    uint64_t shape[2];
    const organ_tensor *const s = has_unit_axes(weight, &two, shape) ? &two : weight->scale;
    const bool blocks = group->block_rows > 0;
    if (is_per_tensor(weight, blocks)) {
        weight->block_rows = m.rows;
        weight->block_cols = m.cols;
        if (blocks && (group->block_rows < m.rows || group->block_cols < m.cols))
            organ_weight_note_contradiction(search, weight, "block", group->block_rows, group->block_cols, m.rows,
                                            m.cols);
        return ORGAN_OK;
    }
    if (!blocks && weight->rank >= 2 && s->rank == weight->rank - 1 &&
        organ_same_axes(s->shape, weight->shape, s->rank)) {
        weight->block_rows = 1;
        weight->block_cols = m.cols;
        return ORGAN_OK;
    }
    if (weight->rank < 2 || s->rank != weight->rank || !organ_same_axes(s->shape, weight->shape, s->rank - 2))
        return fail_grid(search, weight, group);
    return scales_find_blocks(search, weight, s->shape[s->rank - 2], s->shape[s->rank - 1], group);
}
