/* SPDX-License-Identifier: MIT
 * Finds weights whose codes are packed in words of 32 bits: pack-quantized of compressed-tensors, GPTQ and AWQ.
 * A parameter `group` is the config's settings for the weight. */
#include "formats/weights/weight_search.h"

#include <inttypes.h>

#define WORD_BITS 32
/* Upper bound of codes: above every real tensor, and so small that products with numbers of bits do not overflow. */
#define MAX_CODES ((uint64_t)1 << 48)

/* AWQ (github.com/mit-han-lab/llm-awq, awq/quantize/qmodule.py): eight codes of four bits in a word. */
#define PLANES 32 /* codes in a block of planes */

#define AWQ_BITS  4
#define AWQ_CODES (WORD_BITS / AWQ_BITS)

/* For 1, 2, 4 and 8 bits the two layouts are the same. A set of layouts is a sum of these values. */
enum {
    DENSE = 1, /* codes may cross word boundaries */
    PADDED = 2 /* each word has 32 / bits whole codes; its remaining bits are unused */
};

static const organ_dtype scales[] = {ORGAN_F16, ORGAN_BF16, ORGAN_F32, ORGAN_DTYPE_COUNT};

static bool is_plausible_count(uint64_t codes) { return codes > 0 && codes <= MAX_CODES; }

static uint64_t dense_words(uint64_t codes, unsigned bits) { return organ_divide_up(codes * bits, WORD_BITS); }

static uint64_t padded_words(uint64_t codes, unsigned bits) { return organ_divide_up(codes, WORD_BITS / bits); }

static unsigned matching_layouts(uint64_t codes, unsigned bits, uint64_t words)
{
    return (dense_words(codes, bits) == words ? DENSE : 0u) | (padded_words(codes, bits) == words ? PADDED : 0u);
}

/* Both layouts are the same if the codes fit into one word, or whole codes fill a word without unused bits. */
static bool is_one_layout(uint64_t codes, unsigned bits) { return WORD_BITS % bits == 0 || codes <= WORD_BITS / bits; }

static organ_status expect_type(const organ_weight_search *search, const organ_tensor *tensor, organ_dtype type,
                                organ_dtype other)
{
    if (tensor->dtype == type || tensor->dtype == other)
        return ORGAN_OK;
    return organ_weight_fail(search, tensor, "is %s, but %s%s%s is expected", organ_dtype_name(tensor->dtype),
                             organ_dtype_name(type), type == other ? "" : " or ",
                             type == other ? "" : organ_dtype_name(other));
}

/* ---- pack-quantized ---- */

/* The shape is two sizes for a matrix, three for a stack. A size other than the last must be that of the codes on
 * the same axis. */
static organ_status read_weight_shape(organ_weight_search *search, const organ_weight *weight, uint64_t shape[3])
{
    const organ_tensor *const t = weight->shape_tensor, *const codes = weight->codes;
    const size_t width = t->dtype == ORGAN_I64 ? sizeof(int64_t) : sizeof(int32_t);
    int64_t values[3];
    unsigned char bytes[sizeof values];
    if (expect_type(search, t, ORGAN_I64, ORGAN_I32))
        return search->error->status;
    if (t->rank != 1 || t->shape[0] != codes->rank)
        return organ_weight_fail(search, t, "has %" PRIu64 " numbers, but '%.200s' has %u axes", t->elements,
                                 codes->name, codes->rank);
    if (organ_model_read(search->model, t->file, bytes, codes->rank * width, t->offset, search->error))
        return search->error->status;
    for (unsigned k = 0; k < codes->rank; k++) {
        int32_t narrow;
        memcpy(&narrow, bytes + k * width, sizeof narrow);
        values[k] = narrow;
        if (width == sizeof values[k])
            memcpy(&values[k], bytes + k * width, width);
        if (values[k] < 1)
            return organ_weight_fail(search, t, "states that axis %u is %" PRId64 ", not a number from 1", k,
                                     values[k]);
        shape[k] = (uint64_t)values[k];
        if (k + 1 < codes->rank && shape[k] != codes->shape[k])
            return organ_weight_fail(search, t, "states that axis %u is %" PRIu64 ", but '%.200s' has %" PRIu64, k,
                                     shape[k], codes->name, codes->shape[k]);
    }
    return ORGAN_OK;
}

/* The words of a row fit the dense or the padded layout. If the config states a number of bits, it must fit;
 * otherwise exactly one number from 1 to 8 must. */
static organ_status find_bits(const organ_weight_search *search, organ_weight *weight, uint64_t cols, uint64_t words,
                              const organ_quant_group *group)
{
    unsigned found = 0, count = 0;
    weight->bits = (unsigned)group->bits;
    if (!is_plausible_count(cols))
        return organ_weight_fail(search, weight->shape_tensor, "states that a row has %" PRIu64 " codes", cols);
    if (weight->bits && !matching_layouts(cols, weight->bits, words))
        return organ_weight_fail(
            search, weight->codes,
            "has %" PRIu64 " words in a row, but %" PRIu64 " codes ('%.150s') of %u bits (%s) need %" PRIu64, words,
            cols, weight->shape_tensor->name, weight->bits, search->config->file, dense_words(cols, weight->bits));
    if (weight->bits)
        return ORGAN_OK;
    for (unsigned bits = 1; bits <= 8; bits++)
        if (matching_layouts(cols, bits, words)) {
            found = bits;
            count++;
        }
    weight->bits = found;
    if (count == 1)
        return ORGAN_OK;
    return organ_weight_fail(
        search, weight->codes,
        "has %" PRIu64 " words in a row for %" PRIu64 " codes: no config states the bits of a code, and %s", words,
        cols, count ? "several widths are possible" : "no width gives this number of codes");
}

/* Returns the set of layouts that fit the codes and the zero points; *same: they do not differ for these sizes. */
static unsigned possible_layouts(const organ_weight *weight, bool *same)
{
    const uint64_t cols = weight->shape[weight->rank - 1], rows = weight->shape[weight->rank - 2];
    unsigned both = matching_layouts(cols, weight->bits, weight->codes->shape[weight->codes->rank - 1]);
    *same = is_one_layout(cols, weight->bits);
    if (weight->zero) {
        both &= matching_layouts(rows, weight->bits, weight->zero->shape[weight->zero->rank - 2]);
        *same = *same && is_one_layout(rows, weight->bits);
    }
    return both;
}

/* The shape is [words of a column, groups], because a word contains the zero points of one group of columns in
 * several rows. */
static organ_status check_zero(const organ_weight_search *search, const organ_weight *weight)
{
    const organ_tensor *const zero = weight->zero, *const scale = weight->scale;
    const uint64_t rows = weight->shape[weight->rank - 2];
    if (expect_type(search, zero, ORGAN_I32, ORGAN_I32))
        return search->error->status;
    if (weight->block_rows != 1 || scale->rank != weight->rank)
        return organ_weight_fail(search, zero, "are zero points, but the scales are not for groups or rows");
    uint64_t expected[3] = {weight->shape[0], 0, 0};
    expected[weight->rank - 2] = dense_words(rows, weight->bits);
    expected[weight->rank - 1] = scale->shape[scale->rank - 1];
    if (zero->rank == weight->rank && matching_layouts(rows, weight->bits, zero->shape[zero->rank - 2]))
        expected[weight->rank - 2] = zero->shape[zero->rank - 2];
    return organ_weight_expect(search, weight, zero, weight->rank, expected);
}

static organ_status check_index(const organ_weight_search *search, const organ_weight *weight)
{
    if (weight->g_idx && expect_type(search, weight->g_idx, ORGAN_I32, ORGAN_I32) == ORGAN_OK)
        organ_weight_expect(search, weight, weight->g_idx, 1, &weight->shape[weight->rank - 1]);
    return search->error->status;
}

/* Scales must be for rows or groups, or one for the whole weight. A weight for which only one layout is possible
 * adds it to search->layouts_found; organ_weight_resolve_words uses it for the weights for which both layouts are
 * possible. */
static organ_status check_packed(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    bool same;
    if (organ_weight_scale_type(search, weight, scales) || organ_weight_grid(search, weight, group))
        return search->error->status;
    /* scales for blocks that the config does not state: reports the shape that scales for groups have */
    if (weight->block_rows != 1 && weight->scale->elements != 1 && group->block_rows == 0) {
        uint64_t expected[3] = {weight->shape[0], weight->shape[weight->rank - 2], 0};
        expected[weight->rank - 2] = weight->shape[weight->rank - 2];
        expected[weight->rank - 1] = weight->scale->shape[weight->scale->rank - 1];
        return organ_weight_expect(search, weight, weight->scale, weight->rank, expected);
    }
    if (organ_weight_check_symmetry(search, weight, group) || (weight->zero && check_zero(search, weight)) ||
        check_index(search, weight))
        return search->error->status;
    const unsigned possible = possible_layouts(weight, &same);
    if (!possible)
        return organ_weight_fail(search, weight->zero, "is packed differently from '%.200s'", weight->codes->name);
    weight->dense_words = !same && possible == DENSE;
    if (!same && possible != (DENSE | PADDED))
        search->layouts_found |= possible;
    return ORGAN_OK;
}

/* The companions of compressed-tensors' X_packed are X_scale, X_shape and, optionally, X_zero_point and X_g_idx. */
static organ_status find_packed_words(organ_weight_search *search, const organ_tensor *codes)
{
    const size_t length = strlen(codes->name) - strlen("_packed");
    organ_weight weight = {.scheme = ORGAN_SCHEME_PACKED, .codes = codes};
    const organ_quant_group *group;
    bool named;
    uint64_t shape[3];
    if (codes->rank < 2 || codes->rank > 3)
        return organ_weight_fail(search, codes, "has %u axes, but a matrix or a stack of them is expected",
                                 codes->rank);
    weight.name = organ_weight_name(search, codes->name, length, "");
    if (organ_weight_require(search, codes, length, "_scale", &weight.scale) ||
        organ_weight_require(search, codes, length, "_shape", &weight.shape_tensor) ||
        organ_weight_group(search, weight.name, &group, &named) || read_weight_shape(search, &weight, shape))
        return search->error->status;
    weight.zero = organ_weight_relative(search, codes->name, length, "_zero_point");
    weight.g_idx = organ_weight_relative(search, codes->name, length, "_g_idx");
    const uint64_t cols = shape[codes->rank - 1], words = codes->shape[codes->rank - 1];
    if (find_bits(search, &weight, cols, words, group) ||
        organ_weight_shape(search, &weight, codes->rank - 2, codes->shape, shape[codes->rank - 2], cols) ||
        check_packed(search, &weight, group))
        return search->error->status;
    return organ_weight_add(search, &weight);
}

/* A tool writes all weights in one layout, so the layout of the model's other weights applies. */
organ_status organ_weight_resolve_words(organ_weight_search *search)
{
    for (size_t k = 0; k < search->count; k++) {
        organ_weight *const weight = &search->weights[k];
        bool same;
        if (weight->scheme != ORGAN_SCHEME_PACKED || possible_layouts(weight, &same) != (DENSE | PADDED) || same)
            continue;
        if (search->layouts_found != DENSE && search->layouts_found != PADDED)
            return organ_weight_fail(
                search, weight->codes,
                "has the same number of words whether or not codes of %u bits cross words: the layout is ambiguous",
                weight->bits);
        weight->dense_words = search->layouts_found == DENSE;
    }
    return ORGAN_OK;
}

/* ---- GPTQ and AWQ ---- */

/* If the shapes of qweight (q), qzeros (z) and scales (s) fit exactly one of these layouts, returns it; otherwise
 * the config decides. If several fit and no config states the method, reports an error. A word contains codes of 32
 * / bits rows in GPTQ, and of eight columns in AWQ. In AWQ gemv, the rows of the scales are padded; in AWQ gemm they
 * are not. */
static organ_scheme find_layout(organ_weight_search *search, const organ_weight *weight)
{
    const uint64_t *const q = weight->codes->shape, *const z = weight->zero->shape, *const s = weight->scale->shape;
    const char *const method = search->config->method, *const layout = search->config->layout;
    const organ_scheme awq = strcmp(layout, "gemv") == 0 ? ORGAN_SCHEME_AWQ_GEMV : ORGAN_SCHEME_AWQ_GEMM,
                       configured = strstr(method, "awq") ? awq : ORGAN_SCHEME_GPTQ;
    /* in the order of organ_scheme: GPTQ, AWQ gemm, AWQ gemv */
    const bool fits[] = {s[1] == q[1] && z[0] == s[0],
                         s[1] / AWQ_CODES == q[1] && s[1] % AWQ_CODES == 0 && z[1] == q[1] && z[0] == s[0],
                         s[0] == q[0] && z[0] == q[0] && s[1] / AWQ_CODES == z[1] && s[1] % AWQ_CODES == 0};
    const unsigned count = (unsigned)fits[0] + fits[1] + fits[2];
    if (count > 1 && !*method)
        organ_weight_fail(search, weight->codes, "may be GPTQ or AWQ by its shapes, and no config states which");
    if (count != 1 || fits[configured - ORGAN_SCHEME_GPTQ])
        return configured;
    organ_scheme found = ORGAN_SCHEME_GPTQ; /* exactly one layout fits */
    while (!fits[found - ORGAN_SCHEME_GPTQ])
        found++;
    if (strstr(method, "awq") || strstr(method, "gptq"))
        organ_weight_note_contradiction(search, weight, "layout", configured, 0, found, 0);
    return found;
}

/* A column of words contains whole codes, a row of zero points has the number of words that one code for each output
 * needs, and g_idx, if there is one, has an entry for each input. *in is the number of inputs, which are the columns
 * of the weight. */
static bool bits_fit_shapes(const organ_weight *weight, unsigned bits, uint64_t *in)
{
    const uint64_t rows = weight->codes->shape[0], out = weight->scale->shape[1];
    if (weight->zero->shape[1] != dense_words(out, bits))
        return false;
    *in = rows * WORD_BITS / bits;
    return rows * WORD_BITS % bits == 0 && (!weight->g_idx || weight->g_idx->elements == *in);
}

/* The config's bits precede the lowest number from 1 to 8 that fits the shapes. Such a number replaces that of the
 * config only if there is a g_idx, whose length confirms the number of inputs. Codes of 5, 6 and 7 bits, and with
 * the format gptq_p those of 3, are in planes [planar_packing.py of GPTQModel 7.7]. */
static organ_status find_gptq_bits(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group,
                                   uint64_t *in)
{
    const unsigned stated = (unsigned)group->bits;
    unsigned found = stated && bits_fit_shapes(weight, stated, in) ? stated : 0;
    for (unsigned bits = 1; !found && bits <= 8 && (!stated || weight->g_idx); bits++)
        if (bits_fit_shapes(weight, bits, in))
            found = bits;
    weight->bits = found;
    weight->planar = (found > 4 && found < 8) || (found == 3 && strcmp(search->config->layout, "gptq_p") == 0);
    if (found == 1)
        return organ_weight_fail(search, weight->codes, "has codes of 1 bit, which GPTQ does not have");
    if (weight->planar && (*in % PLANES || weight->scale->shape[1] % PLANES))
        return organ_weight_fail(search, weight->codes,
                                 "has codes of %u bits in planes, but %" PRIu64 " x %" PRIu64
                                 " values, which are not whole blocks of 32",
                                 found, weight->scale->shape[1], *in);
    if (found && stated && found != stated)
        organ_weight_note_contradiction(search, weight, "bits", stated, 0, found, 0);
    if (found)
        return ORGAN_OK;
    char widths[16] = "2, 3, 4 or 8", q[ORGAN_SHAPE_TEXT], z[ORGAN_SHAPE_TEXT], s[ORGAN_SHAPE_TEXT];
    if (stated)
        snprintf(widths, sizeof widths, "%u", stated);
    return organ_weight_fail(search, weight->codes,
                             "has shape %s, qzeros %s, scales %s%s: these shapes fit no codes of %s bits",
                             organ_shape_text(2, weight->codes->shape, q), organ_shape_text(2, weight->zero->shape, z),
                             organ_shape_text(2, weight->scale->shape, s), weight->g_idx ? " and a g_idx" : "", widths);
}

/* The shapes are codes [in x bits / 32, out], scales [groups, out], zero points [groups, out x bits / 32]. */
static organ_status set_gptq(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    const uint64_t out = weight->codes->shape[1], groups = weight->scale->shape[0];
    uint64_t in = 0;
    weight->transposed = true;
    weight->labelled_v2 =
        strcmp(search->config->layout, "gptq_v2") == 0 || strcmp(search->config->layout, "gptq_p") == 0;
    weight->rank = 2; /* for messages, until the shape is determined */
    weight->shape = weight->codes->shape;
    if (organ_weight_expect(search, weight, weight->scale, 2, (const uint64_t[]){groups, out}) ||
        organ_weight_expect(search, weight, weight->zero, 2, (const uint64_t[]){groups, weight->zero->shape[1]}) ||
        find_gptq_bits(search, weight, group, &in) || organ_weight_shape(search, weight, 0, NULL, out, in))
        return search->error->status;
    if (check_index(search, weight))
        return search->error->status;
    return organ_weight_groups(search, weight, groups, group, &weight->block_cols);
}

/* The shapes are codes [in, out / 8], scales [groups, out], zero points [groups, out / 8]. */
static organ_status set_gemm(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    const uint64_t *const q = weight->codes->shape;
    const uint64_t groups = weight->scale->shape[0], out = q[1] * AWQ_CODES;
    weight->transposed = true;
    if (organ_weight_shape(search, weight, 0, NULL, out, q[0]) ||
        organ_weight_expect(search, weight, weight->scale, 2, (const uint64_t[]){groups, out}) ||
        organ_weight_expect(search, weight, weight->zero, 2, (const uint64_t[]){groups, q[1]}))
        return search->error->status;
    return organ_weight_groups(search, weight, groups, group, &weight->block_cols);
}

/* The shapes are codes [out, in / 8], scales [out, groups], zero points [out, groups / 8]. Rows of scales and zero
 * points are padded by an amount that depends on the group size, so the config must state the group size. */
static organ_status set_gemv(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    const uint64_t out = weight->codes->shape[0], in = weight->codes->shape[1] * AWQ_CODES;
    if (organ_weight_shape(search, weight, 0, NULL, out, in))
        return search->error->status;
    if (group->group_size == 0)
        return organ_weight_fail(search, weight->codes, "is AWQ gemv, but there is no config that states group_size");
    const uint64_t size = group->group_size < 0 || (uint64_t)group->group_size > in ? in : (uint64_t)group->group_size;
    /* calculate_zeros_width of llm-awq rounds the words of zero points in a row up to this multiple. */
    const uint64_t below_128 = size == 64 ? 2 : 4, multiple = size >= 128 ? 1 : below_128;
    const uint64_t width = organ_divide_up(organ_divide_up(in / size, AWQ_CODES), multiple) * multiple;
    weight->block_cols = size;
    if (in % size != 0)
        return organ_weight_fail(search, weight->codes,
                                 "has %" PRIu64 " columns, not a multiple of group_size %" PRIu64, in, size);
    if (organ_weight_expect(search, weight, weight->zero, 2, (const uint64_t[]){out, width}))
        return search->error->status;
    return organ_weight_expect(search, weight, weight->scale, 2, (const uint64_t[]){out, width * AWQ_CODES});
}

static const char *other_layout(organ_dtype type)
{
    if (type == ORGAN_I8)
        return " (this may be the layout of bitblas)";
    return type == ORGAN_I16 ? " (this may be the layout gemv_fast)" : "";
}

static organ_status check_layout(const organ_weight_search *search, const organ_tensor *codes)
{
    static const char *const known[] = {"", "gptq", "gptq_v2", "gptq_p", "gemm", "gemv", NULL};
    const char *const layout = search->config->layout, *const pack = search->config->pack_dtype;
    if (!organ_is_one_of(layout, known))
        return organ_weight_fail(search, codes, "is in the layout '%.60s' (%s), which cannot be read", layout,
                                 search->config->file);
    if (*pack && strcmp(pack, "int32") != 0)
        return organ_weight_fail(search, codes,
                                 "is packed in '%.60s' (pack_dtype, %s), which cannot be read: only int32 can", pack,
                                 search->config->file);
    if (codes->dtype != ORGAN_I32)
        return organ_weight_fail(search, codes, "is %s: codes of GPTQ and AWQ can only be read from I32 words%s",
                                 organ_dtype_name(codes->dtype), other_layout(codes->dtype));
    return ORGAN_OK;
}

/* Quark's words are those of AWQ gemm under other names: X.weight [in, out / 8], X.weight_scale [groups, out],
 * X.weight_zero_point [groups, out / 8]. */
static organ_status find_quark(organ_weight_search *search, const organ_tensor *codes)
{
    const size_t length = strlen(codes->name);
    organ_weight weight = {
        .name = codes->name, .scheme = ORGAN_SCHEME_QUARK4, .codes = codes, .bits = AWQ_BITS, .block_rows = 1};
    const organ_quant_group *group;
    bool named;
    if (organ_weight_require(search, codes, length, "_scale", &weight.scale) ||
        organ_weight_require(search, codes, length, "_zero_point", &weight.zero) ||
        organ_weight_scale_type(search, &weight, scales) || expect_type(search, weight.zero, ORGAN_I32, ORGAN_I32) ||
        organ_weight_group(search, weight.name, &group, &named))
        return search->error->status;
    if (codes->rank != 2 || weight.scale->rank != 2 || !is_plausible_count(codes->elements))
        return organ_weight_fail(search, codes, "has %u axes, and its scales %u, but a matrix is expected", codes->rank,
                                 weight.scale->rank);
    weight.signed_codes = strcmp(group->codes, "int4") == 0;
    if (!weight.signed_codes && strcmp(group->codes, "uint4") != 0)
        return organ_weight_fail(search, codes,
                                 "has words of the type \"%.60s\" (%s): of Quark's words only int4 and "
                                 "uint4 can be read",
                                 group->codes, search->config->file);
    return set_gemm(search, &weight, group) ? search->error->status : organ_weight_add(search, &weight);
}

static organ_status find_qweight(organ_weight_search *search, const organ_tensor *codes)
{
    const size_t length = strlen(codes->name) - strlen("qweight");
    organ_weight weight = {.codes = codes, .bits = AWQ_BITS, .block_rows = 1};
    const organ_quant_group *group;
    bool named;
    weight.name = organ_weight_name(search, codes->name, length, "weight");
    if (!weight.name) /* reports exhausted memory */
        return organ_weight_shape(search, &weight, 0, NULL, 1, 1);
    if (check_layout(search, codes) || organ_weight_require(search, codes, length, "scales", &weight.scale) ||
        organ_weight_require(search, codes, length, "qzeros", &weight.zero) ||
        organ_weight_scale_type(search, &weight, scales) || expect_type(search, weight.zero, ORGAN_I32, ORGAN_I32) ||
        organ_weight_group(search, weight.name, &group, &named))
        return search->error->status;
    const organ_tensor *const all[] = {codes, weight.scale, weight.zero};
    for (size_t k = 0; k < 3; k++)
        if (all[k]->rank != 2 || !is_plausible_count(all[k]->elements))
            return organ_weight_fail(search, all[k], "has %u axes and %" PRIu64 " elements, but a matrix is expected",
                                     all[k]->rank, all[k]->elements);
    weight.scheme = find_layout(search, &weight);
    if (weight.scheme == ORGAN_SCHEME_GPTQ)
        weight.g_idx = organ_weight_relative(search, codes->name, length, "g_idx");
    if (search->error->status)
        return search->error->status;
    if (weight.scheme != ORGAN_SCHEME_GPTQ && group->bits != 0 && group->bits != AWQ_BITS)
        return organ_weight_fail(search, codes, "is AWQ of %d bits (%s), which cannot be read: only 4 can", group->bits,
                                 search->config->file);
    if (weight.scheme == ORGAN_SCHEME_GPTQ)
        set_gptq(search, &weight, group);
    else if (weight.scheme == ORGAN_SCHEME_AWQ_GEMM)
        set_gemm(search, &weight, group);
    else
        set_gemv(search, &weight, group);
    return organ_weight_add(search, &weight);
}

/* *found is also set if the weight is faulty. */
organ_status organ_weight_find_words(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    if (organ_ends_with(tensor->name, ".qweight")) {
        *found = true;
        return find_qweight(search, tensor);
    }
    if (tensor->dtype == ORGAN_I32 && organ_ends_with(tensor->name, ".weight") &&
        strcmp(search->config->method, "quark") == 0) {
        *found = true;
        return find_quark(search, tensor);
    }
    if (!organ_ends_with(tensor->name, ".weight_packed") || tensor->dtype == ORGAN_U8)
        return ORGAN_OK;
    *found = true;
    if (tensor->dtype != ORGAN_I32)
        return organ_weight_fail(search, tensor, "is %s, but packed weights are I32 or U8",
                                 organ_dtype_name(tensor->dtype));
    return find_packed_words(search, tensor);
}
