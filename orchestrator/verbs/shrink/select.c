/* SPDX-License-Identifier: MIT
 * Computes which entries of a stored tensor are kept if its weight keeps some rows or columns. A weight is the unpacked
 * matrix; it may be stored in several tensors: codes, which may be packed along either axis, and scales and zero
 * points, which belong to blocks of rows and columns. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include <inttypes.h>
#include <string.h>

typedef struct packing {
    uint64_t per;    /* rows or columns that are stored together; 0: the axis has none of them and is kept whole */
    uint64_t places; /* entries of the axis that store `per` rows or columns */
} packing;

static const packing ONE = {1, 1};  /* an entry for each row or column */
static const packing NONE = {0, 0}; /* one entry is for all rows or columns */

/* Sets *out to the entries of an axis that store the rows or columns in `keep`. `have` is the number of all rows or
 * columns of the weight, `entries` that of all entries of the axis. A group of p.per rows or columns (the last group
 * may be shorter) cannot be kept only in part. */
static organ_status pack_list(organ_cut_run *run, const organ_tensor *tensor, const organ_cut_keep *keep, uint64_t have,
                              packing p, uint64_t entries, organ_cut_keep *out, organ_error *error)
{
    const uint64_t capacity = (keep->count + p.per - 1) / p.per * p.places;
    uint32_t *const list = organ_arena_take(&run->arena, (size_t)(capacity + 1) * sizeof *list);
    size_t count = 0;
    if (!list)
        return organ_fail_memory(error, tensor->name);
    for (size_t k = 0; k < keep->count;) {
        const uint64_t group = keep->numbers[k] / p.per, remaining = have - group * p.per;
        size_t members = 0;
        while (k + members < keep->count && keep->numbers[k + members] / p.per == group)
            members++;
        if (members != (remaining < p.per ? remaining : p.per))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': %" PRIu64 " to %" PRIu64
                              " are stored in one block, which cannot be split: keep multiples of %" PRIu64,
                              tensor->name, group * p.per, group * p.per + p.per - 1, p.per);
        for (uint64_t at = 0; at < p.places && group * p.places + at < entries; at++)
            list[count++] = (uint32_t)(group * p.places + at);
        k += members;
    }
    *out = (organ_cut_keep){list, count};
    return ORGAN_OK;
}

/* Keeps the entries of an axis that store the rows or columns in `keep`, of `have` in the weight. */
static organ_status select_axis(organ_cut_run *run, organ_cut_part *part, unsigned axis, const organ_cut_keep *keep,
                                uint64_t have, packing p, organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    const organ_dtype_info *const type = organ_dtype_describe(t->dtype);
    const bool last = axis == t->rank - 1;
    if (!keep->numbers || p.per == 0)
        return ORGAN_OK;
    /* GGUF blocks, and bytes with two 4-bit values, are kept or removed whole. A block has type->elements entries of
     * the axis, and each entry stores p.per / p.places rows or columns. */
    if (last && type->elements > 1)
        p = (packing){p.per * type->elements / p.places, 1};
    const uint64_t entries = t->shape[axis] / (last ? type->elements : 1);
    if (pack_list(run, t, keep, have, p, entries, &part->axes[axis], error))
        return error->status;
    part->shape[axis] = part->axes[axis].count * (last ? type->elements : 1);
    return ORGAN_OK;
}

/* With w->dense_words, and in GPTQ, whose planes have whole blocks too, 32 codes take w->bits words without gaps; else
 * each word has 32 / w->bits codes. If w->bits divides 32, both are the same. */
static packing packing_of_words(const organ_weight *w)
{
    const bool dense = w->dense_words || w->scheme == ORGAN_SCHEME_GPTQ;
    if (dense && 32 % w->bits)
        return (packing){32, w->bits};
    return (packing){32 / w->bits, 1};
}

/* Codes of unlisted schemes have one entry each. */
static void packing_of_codes(const organ_weight *w, packing *rows, packing *cols)
{
    *rows = *cols = ONE;
    switch (w->scheme) {
    case ORGAN_SCHEME_PACKED:
    case ORGAN_SCHEME_AWQ_GEMV:
    case ORGAN_SCHEME_GPTQ:
    case ORGAN_SCHEME_MLX:
        *cols = packing_of_words(w);
        break;
    case ORGAN_SCHEME_AWQ_GEMM:
    case ORGAN_SCHEME_QUARK4:
        *rows = (packing){8, 1}; /* a word has the 4-bit codes of 8 rows */
        break;
    case ORGAN_SCHEME_MXFP4:
    case ORGAN_SCHEME_NVFP4:
        *cols = (packing){w->codes->dtype == ORGAN_U32 ? 8 : 2, 1}; /* 4-bit codes in a word, or in a byte */
        break;
    case ORGAN_SCHEME_MXINT4:
        *cols = (packing){2, 1};
        break;
    case ORGAN_SCHEME_MXFP6:
        *cols = (packing){4, 3}; /* four codes in three bytes */
        break;
    case ORGAN_SCHEME_INT4_ROWS:
        *rows = (packing){2, 1};
        break;
    case ORGAN_SCHEME_MXFP8:
        *cols = (packing){w->codes->dtype == ORGAN_U32 ? 4 : 1, 1}; /* 8-bit codes in a word, or in a byte */
        break;
    default:
        break;
    }
}

/* `block` is the number of rows or columns that share a scale (0: all), `all` that of the weight. */
static packing packing_of_scale(uint64_t block, uint64_t all)
{
    return block == 0 || block >= all ? NONE : (packing){block, 1};
}

/* In a transposed weight the last axis has the rows. */
static organ_status select_rows_and_cols(organ_cut_run *run, const organ_weight *w, organ_cut_part *part,
                                         const organ_cut_shares *shares, packing rows, packing cols, organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    const bool apart = w->rank == 2 && t->rank == 4; /* ModelOpt's scales of blocks: an axis of 1 follows each */
    const unsigned last = apart ? 2 : t->rank - 1, before = apart ? 0 : t->rank - 2;
    const unsigned axis_of_rows = w->transposed ? last : before, axis_of_cols = w->transposed ? before : last;
    if (t->rank < 2)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %u axes, so its rows and columns are ambiguous",
                          t->name, t->rank);
    if (select_axis(run, part, axis_of_rows, &shares->rows, w->shape[w->rank - 2], rows, error) == ORGAN_OK)
        select_axis(run, part, axis_of_cols, &shares->cols, w->shape[w->rank - 1], cols, error);
    return error->status;
}

/* The tensor weight_shape [compressed-tensors] has the numbers of rows and columns. The new numbers are
 * little-endian integers of the same width as in the donor, 32 or 64 bits. */
static organ_status select_shape(organ_cut_run *run, const organ_cut_shares *shares, organ_cut_part *part,
                                 organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    const size_t width = organ_dtype_describe(t->dtype)->bytes;
    const uint64_t requested[2] = {shares->rows.numbers ? shares->rows.count : 0,
                                   shares->cols.numbers ? shares->cols.count : 0};
    unsigned char *const bytes = organ_arena_take(&run->arena, 2 * sizeof(uint64_t));
    if (!bytes)
        return organ_fail_memory(error, t->name);
    if (t->elements != 2 || (width != 4 && width != 8))
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': does not have two numbers, of rows and columns",
                          t->name);
    if (organ_model_read(run->model, t->file, bytes, 2 * width, t->offset, error))
        return error->status;
    for (size_t k = 0; k < 2; k++)
        for (size_t b = 0; requested[k] && b < width; b++)
            bytes[k * width + b] = (unsigned char)(requested[k] >> 8 * b);
    part->values = bytes;
    return ORGAN_OK;
}

/* Like scales, there is one zero point per block of rows and columns. A word has the zero points of several rows: in
 * compressed-tensors and GPTQ of as many as a word has codes, in AWQ gemm of 8. In AWQ gemv a word has those of
 * several blocks of columns, so columns cannot be cut. */
static organ_status select_zero(organ_cut_run *run, const organ_weight *w, const organ_cut_shares *shares,
                                organ_cut_part *part, organ_error *error)
{
    packing rows = packing_of_scale(w->block_rows, w->shape[w->rank - 2]),
            cols = packing_of_scale(w->block_cols, w->shape[w->rank - 1]);
    if (w->scheme == ORGAN_SCHEME_PACKED || w->scheme == ORGAN_SCHEME_GPTQ)
        rows = packing_of_words(w);
    if (w->scheme == ORGAN_SCHEME_AWQ_GEMM || w->scheme == ORGAN_SCHEME_QUARK4)
        rows = (packing){8, 1};
    if (w->scheme == ORGAN_SCHEME_AWQ_GEMV && shares->cols.numbers)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': zero points of several groups of columns share a word: columns cannot be cut",
                          part->tensor->name);
    return select_rows_and_cols(run, w, part, shares, rows, cols, error);
}

/* A tensor without rows and columns stays whole: a global scale, one element, or a weight that is a vector. Columns
 * cannot be cut if g_idx gives a group for each column. */
static organ_status select_of_weight(organ_cut_run *run, const organ_weight *w, const organ_cut_shares *shares,
                                     organ_cut_part *part, organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    packing rows, cols;
    if (w->rank < 2 || t == w->global || t->elements == 1)
        return ORGAN_OK;
    if (shares->cols.numbers && w->g_idx)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its columns are in groups by %s: they cannot be cut",
                          w->codes->name, w->g_idx->name);
    if (w->scheme == ORGAN_SCHEME_BNB4 && (shares->rows.numbers || shares->cols.numbers))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': bitsandbytes stores 4-bit codes and their scales without regard to rows: rows "
                          "and columns cannot be cut; organ dequantize makes a model that can be cut",
                          w->codes->name);
    if (t == w->g_idx)
        return ORGAN_OK;
    if (t == w->columns)
        return select_axis(run, part, 0, &shares->cols, t->shape[0], ONE, error);
    if (t == w->shape_tensor)
        return select_shape(run, shares, part, error);
    if (t == w->zero)
        return select_zero(run, w, shares, part, error);
    if (t == w->codes) {
        packing_of_codes(w, &rows, &cols);
        return select_rows_and_cols(run, w, part, shares, rows, cols, error);
    }
    rows = packing_of_scale(w->block_rows, w->shape[w->rank - 2]);
    cols = packing_of_scale(w->block_cols, w->shape[w->rank - 1]);
    if (t->rank == 1) /* one scale per row */
        return select_axis(run, part, 0, &shares->rows, t->shape[0], rows, error);
    return select_rows_and_cols(run, w, part, shares, rows, cols, error);
}

/* ---- stacks in which each matrix keeps its own entries ---- */

/* Each matrix keeps the rows and columns in `one`. With `bias`, the tensor is [matrices][rows] and has the biases of
 * one matrix in each row. */
static organ_status select_matrix(organ_cut_run *run, const organ_cut_shares *one, bool bias, organ_cut_part *part,
                                  organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    const size_t at = run->weight_of[t - run->model->tensors];
    if (bias)
        return select_axis(run, part, 1, &one->rows, t->shape[1], ONE, error);
    return select_of_weight(run, &run->weights->weights[at], one, part, error);
}

/* `found` is the selection for the matrix of `expert`: rows or columns, so at most one axis is cut. It must not be the
 * first axis, which must only have the experts. each[expert] becomes the kept entries of the cut axis. */
static organ_status copy_matrix_selection(organ_cut_part *part, organ_cut_keep *each, uint32_t expert,
                                          const organ_cut_part *found, organ_error *error)
{
    for (unsigned axis = 1; axis < part->tensor->rank; axis++)
        if (found->axes[axis].numbers) {
            part->each = each;
            part->each_axis = axis;
            part->shape[axis] = found->shape[axis];
            each[expert] = found->axes[axis];
        }
    return found->axes[0].numbers || found->values
               ? organ_fail(error, ORGAN_BAD_INPUT,
                            "tensor '%s': its first axis is not only that of experts: their channels cannot be cut",
                            part->tensor->name)
               : ORGAN_OK;
}

/* A tensor that has one element per matrix or a single one stays unchanged. */
static organ_status select_each(organ_cut_run *run, const organ_cut_shares *shares, organ_cut_part *part,
                                organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    const size_t at = run->weight_of[t - run->model->tensors];
    const organ_weight *const w = at == SIZE_MAX ? NULL : &run->weights->weights[at];
    const bool bias = t->rank == 2 && t->anatomy.role == ORGAN_ROLE_BIAS;
    if ((w && t == w->global) || t->elements == shares->count ||
        t->elements == 1) /* one scale per matrix, or one for all */
        return ORGAN_OK;
    if (!bias && (!w || w->rank != 3 || t->rank != 3 || t->shape[0] != shares->count))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': is not known to have a matrix for each of %" PRIu32
                          " experts: their channels cannot be cut",
                          t->name, shares->count);
    organ_cut_keep *const each = organ_arena_take(&run->arena, shares->count * sizeof *each);
    if (!each)
        return organ_fail_memory(error, t->name);
    memset(each, 0, shares->count * sizeof *each);
    for (uint32_t e = 0; e < shares->count && !error->status; e++) {
        const organ_cut_shares one = {.rows = shares->each_rows ? shares->each_rows[e] : (organ_cut_keep){NULL, 0},
                                      .cols = shares->each_cols ? shares->each_cols[e] : (organ_cut_keep){NULL, 0}};
        organ_cut_part found = *part;
        if ((one.rows.numbers || one.cols.numbers) && select_matrix(run, &one, bias, &found, error) == ORGAN_OK)
            copy_matrix_selection(part, each, e, &found, error);
    }
    return error->status;
}

organ_status organ_cut_select(organ_cut_run *run, const organ_cut_shares *shares, organ_cut_part *part,
                              organ_error *error)
{
    const organ_tensor *const t = part->tensor;
    const size_t at = run->weight_of[t - run->model->tensors];
    if (t->rank > ORGAN_CUT_AXES)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %u axes, more than %zu: it cannot be cut", t->name,
                          t->rank, ORGAN_CUT_AXES);
    if (t->rank)
        memcpy(part->shape, t->shape, t->rank * sizeof *t->shape);
    if (shares->count && select_each(run, shares, part, error))
        return error->status;
    const unsigned expert_axis = organ_expert_axis(t->rank, t->shape);
    if (shares->experts.numbers)
        return select_axis(run, part, expert_axis, &shares->experts, t->shape[expert_axis], ONE, error);
    if (!shares->rows.numbers && !shares->cols.numbers)
        return ORGAN_OK;
    if (t->rank == 1 && (at == SIZE_MAX || run->weights->weights[at].rank < 2)) /* a bias */
        return select_axis(run, part, 0, &shares->rows, t->shape[0], ONE, error);
    if (at == SIZE_MAX)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': is not known to belong to a weight: it cannot be cut with it", t->name);
    return select_of_weight(run, &run->weights->weights[at], shares, part, error);
}
