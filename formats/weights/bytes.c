/* SPDX-License-Identifier: MIT
 * Finds weights whose codes are bytes or parts of bytes: FP8, INT8, MXFP8, MXFP6, MXFP4, MXINT4, NVFP4 and ModelOpt's
 * INT4, under all names that tools give to their tensors. A parameter `group` is the config's settings for the weight.
 */
#include "formats/weights/weight_search.h"

#include <inttypes.h>

#define MX_GROUP    32 /* values that share a scale: block size k of the OCP Microscaling Formats (MX) Specification */
#define NVFP4_GROUP 16 /* values that share a scale in NVIDIA's NVFP4 */

/* float_scales are for INT8, fp8_scales for FP8, exponents for MXFP4, where a scale is a power of two stored as its
 * exponent. */
static const organ_dtype float_scales[] = {ORGAN_F32, ORGAN_BF16, ORGAN_F16, ORGAN_DTYPE_COUNT};
static const organ_dtype fp8_scales[] = {ORGAN_F32, ORGAN_BF16, ORGAN_F16, ORGAN_F8_E8M0, ORGAN_DTYPE_COUNT};
static const organ_dtype exponents[] = {ORGAN_U8, ORGAN_F8_E8M0, ORGAN_DTYPE_COUNT};

/* An E8M0 byte e stands for the factor 2^(e - 127). */
static bool is_exponents(const organ_tensor *scale)
{
    return scale->dtype == ORGAN_U8 || scale->dtype == ORGAN_F8_E8M0;
}

/* Tools name the scale X.weight_scale_inv, X.weight_scale, X.scale, X.qscale_weight or X.scale_weight. Two of these
 * are an error, because either could be the right one. For codes with a name Y that does not end with ".weight",
 * only Y_scale_inv and Y_scale are tried. */
static organ_status find_scale(organ_weight_search *search, const organ_tensor *codes, const organ_tensor **scale)
{
    static const char *const ends[] = {"_scale_inv", "_scale", "scale", "qscale_weight", "scale_weight"};
    const size_t length = strlen(codes->name), stem = length - strlen("weight");
    const bool module = organ_ends_with(codes->name, ".weight");
    *scale = NULL;
    for (size_t k = 0; k < (module ? 5 : 2); k++) { /* the first two follow the whole name */
        const organ_tensor *const found = organ_weight_relative(search, codes->name, k < 2 ? length : stem, ends[k]);
        if (found && *scale)
            return organ_weight_fail(search, codes, "has two scales, '%.150s' and '%.150s'", (*scale)->name,
                                     found->name);
        if (found)
            *scale = found;
    }
    return ORGAN_OK;
}

/* A row of weight->codes is a sequence of codes of weight->bits bits. The caller has set weight->scale, which `size`
 * consecutive codes of a row share. */
static organ_status add_packed(organ_weight_search *search, organ_weight *weight, uint64_t size)
{
    const organ_tensor *const codes = weight->codes, *const scale = weight->scale;
    const unsigned rank = codes->rank;
    const uint64_t cols = codes->shape[rank - 1] * 8 / weight->bits;
    uint64_t expected[8];
    if (organ_weight_shape(search, weight, rank - 2, codes->shape, codes->shape[rank - 2], cols))
        return search->error->status;
    if (cols % size != 0)
        return organ_weight_fail(search, codes, "has %" PRIu64 " codes in a row, not a multiple of %" PRIu64, cols,
                                 size);
    memcpy(expected, codes->shape, (rank - 1) * sizeof *expected);
    expected[rank - 1] = cols / size;
    if (organ_weight_expect(search, weight, scale, rank, expected))
        return search->error->status;
    weight->block_rows = 1;
    weight->block_cols = size;
    organ_weight_add(search, weight);
    return ORGAN_OK;
}

/* The tensor has one number, or one for each matrix of a stack. Its name is the first `length` bytes of the codes'
 * name, followed by _global_scale in compressed-tensors (the values are divided by it) or by _scale_2 in ModelOpt
 * (the values are multiplied by it). */
static organ_status find_global(organ_weight_search *search, organ_weight *weight, size_t length,
                                const organ_quant_group *group)
{
    const organ_tensor *const divisor = organ_weight_relative(search, weight->codes->name, length, "_global_scale");
    const organ_tensor *const factor = organ_weight_relative(search, weight->codes->name, length, "_scale_2");
    const organ_tensor *const global = weight->global = divisor ? divisor : factor;
    weight->divides = divisor != NULL;
    if (!global && strcmp(group->strategy, "group") == 0)
        return ORGAN_OK; /* compressed-tensors has tensor scales with the strategy "tensor_group" */
    if (!global)
        return organ_weight_fail(
            search, weight->codes,
            "is NVFP4, but its tensor scale is missing: there is neither '%.*s_global_scale' nor '%.*s_scale_2'",
            (int)(length > 150 ? 150 : length), weight->codes->name, (int)(length > 150 ? 150 : length),
            weight->codes->name);
    if (divisor && factor)
        return organ_weight_fail(search, weight->codes, "has two tensor scales, '%.150s' and '%.150s'", divisor->name,
                                 factor->name);
    if (global->dtype != ORGAN_F32)
        return organ_weight_fail(search, global, "is %s, but a tensor scale of NVFP4 is F32",
                                 organ_dtype_name(global->dtype));
    const uint64_t stack = weight->codes->rank > 2
                               ? weight->codes->elements / weight->codes->shape[weight->codes->rank - 1] /
                                     weight->codes->shape[weight->codes->rank - 2]
                               : 1;
    if (global->elements != 1 && global->elements != stack)
        return organ_weight_fail(search, global, "has %" PRIu64 " values, but one is expected%s", global->elements,
                                 stack > 1 ? " or one for each matrix" : "");
    return ORGAN_OK;
}

/* A code has 4 bits, or 6 if the scales fit no 4: then 24 bytes have the 32 codes of a scale. compressed-tensors has
 * E2M3 codes only; Quark states which type it has. */
static organ_status add_mx(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    const organ_tensor *const codes = weight->codes, *const scale = weight->scale;
    const unsigned rank = codes->rank;
    const char *const type = group->codes;
    const bool six = scale->rank == rank && codes->shape[rank - 1] == 24 * scale->shape[rank - 1];
    const bool integers = strncmp(type, "mx_int", strlen("mx_int")) == 0, floats = strncmp(type, "mx_fp", 5) == 0;
    static const char *const four[] = {"", "fp4", NULL}, *const wide[] = {"", "fp6_e2m3", "fp6_e3m2", NULL};
    weight->bits = six ? 6 : 4;
    weight->scheme = six ? ORGAN_SCHEME_MXFP6 : ORGAN_SCHEME_MXFP4;
    weight->wide_exponent = strcmp(type, "fp6_e3m2") == 0;
    if (integers && !six)
        weight->scheme = ORGAN_SCHEME_MXINT4;
    else if (!(floats && !six) && !organ_is_one_of(type, six ? wide : four))
        return organ_weight_fail(search, codes, "has codes of %u bits of the type \"%.60s\" (%s), which cannot be read",
                                 weight->bits, type, search->config->file);
    return add_packed(search, weight, MX_GROUP);
}

/* ---- INT4 of ModelOpt: a byte has the codes of two neighbouring rows ---- */

/* The scales have a row for each row of the weight, and so twice as many as the codes. */
static bool is_of_two_rows(const organ_weight *weight)
{
    const organ_tensor *const codes = weight->codes, *const scale = weight->scale;
    return scale->dtype == ORGAN_F32 && codes->rank == 2 && scale->rank == 2 && scale->shape[0] == 2 * codes->shape[0];
}

/* ModelOpt's W4A8 has a second scale beside that of the inputs, which is no factor of the values. */
static organ_status add_two_rows(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    const organ_tensor *const codes = weight->codes, *const scale = weight->scale;
    weight->scheme = ORGAN_SCHEME_INT4_ROWS;
    weight->bits = 4;
    weight->block_rows = 1;
    weight->state = organ_weight_relative(search, codes->name, strlen(codes->name), "_scale_2");
    if (organ_weight_shape(search, weight, 0, NULL, scale->shape[0], codes->shape[1]) ||
        organ_weight_groups(search, weight, scale->shape[1], group, &weight->block_cols))
        return search->error->status;
    return organ_weight_add(search, weight);
}

static organ_status add_fp4(organ_weight_search *search, organ_weight *weight, size_t length)
{
    const organ_tensor *const codes = weight->codes;
    const organ_quant_group *group;
    bool named;
    if (codes->elements == 0)
        return organ_weight_fail(search, codes, "has no elements");
    if (codes->rank < 2 || codes->rank > 4)
        return organ_weight_fail(search, codes, "has %u axes, but a matrix or a stack of them is expected",
                                 codes->rank);
    if (organ_weight_group(search, weight->name, &group, &named))
        return search->error->status;
    if (is_exponents(weight->scale))
        return add_mx(search, weight, group);
    if (is_of_two_rows(weight))
        return add_two_rows(search, weight, group);
    weight->scheme = ORGAN_SCHEME_NVFP4;
    weight->bits = 4;
    if (weight->scale->dtype != ORGAN_F8_E4M3)
        return organ_weight_fail(search, weight->scale,
                                 "is %s, but the scales of codes of 4 bits are F8_E4M3 (NVFP4), U8 or F8_E8M0 (MX), or "
                                 "F32 with two rows in a byte (ModelOpt's INT4)",
                                 organ_dtype_name(weight->scale->dtype));
    return find_global(search, weight, length, group) == ORGAN_OK ? add_packed(search, weight, NVFP4_GROUP)
                                                                  : search->error->status;
}

/* ---- FP8 and INT8 ---- */

/* MXFP8 has E4M3 codes with an exponent as scale for each 32 values of a row. */
static bool is_mxfp8(const organ_weight *weight, const organ_quant_group *group)
{
    const organ_tensor *const s = weight->scale;
    const unsigned rank = weight->rank;
    if (weight->codes->dtype != ORGAN_F8_E4M3 || !is_exponents(s) || rank < 2 || s->rank != rank ||
        weight->shape[rank - 1] % MX_GROUP)
        return false;
    if (group->block_rows > 0 && (group->block_rows != 1 || group->block_cols != MX_GROUP))
        return false;
    for (unsigned k = 0; k + 1 < rank; k++)
        if (s->shape[k] != weight->shape[k])
            return false;
    return s->shape[rank - 1] == weight->shape[rank - 1] / MX_GROUP;
}

static organ_status add_fp8(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    weight->scheme = is_mxfp8(weight, group) ? ORGAN_SCHEME_MXFP8 : ORGAN_SCHEME_FP8;
    if (weight->scheme == ORGAN_SCHEME_MXFP8) {
        weight->block_rows = 1;
        weight->block_cols = MX_GROUP;
    } else if (organ_weight_scale_type(search, weight, fp8_scales) || organ_weight_grid(search, weight, group)) {
        return search->error->status;
    }
    organ_weight_add(search, weight);
    return ORGAN_OK;
}

/* The zero points X_zero_point of codes X are optional and have the shape of the scales. */
static organ_status add_int8(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group)
{
    weight->scheme = ORGAN_SCHEME_INT8;
    if (organ_weight_scale_type(search, weight, float_scales) || organ_weight_grid(search, weight, group))
        return search->error->status;
    if (!weight->zero)
        weight->zero = organ_weight_relative(search, weight->codes->name, strlen(weight->codes->name), "_zero_point");
    if (organ_weight_check_symmetry(search, weight, group))
        return search->error->status;
    if (weight->zero && weight->zero->dtype != ORGAN_I8)
        return organ_weight_fail(search, weight->zero, "is %s, but the zero points of I8 codes are I8",
                                 organ_dtype_name(weight->zero->dtype));
    if (weight->zero && organ_weight_expect(search, weight, weight->zero, weight->scale->rank, weight->scale->shape))
        return search->error->status;
    organ_weight_add(search, weight);
    return ORGAN_OK;
}

static bool is_code_type(organ_dtype t)
{
    return organ_dtype_is_fp8(t) || t == ORGAN_U8 || t == ORGAN_I8 || t == ORGAN_F4 || t == ORGAN_F6_E2M3 ||
           t == ORGAN_F6_E3M2;
}

/* Words are integers of 16 or 32 bits. Codes without a scale form a plain weight whose values are the codes; unless
 * they are words, search->without_scales_count counts it for a note. */
organ_status organ_weight_check_without_scale(organ_weight_search *search, const organ_tensor *codes)
{
    const organ_quant_group *group;
    const organ_tensor *scale;
    bool named, skipped;
    const bool words = codes->dtype == ORGAN_I32 || codes->dtype == ORGAN_U32 || codes->dtype == ORGAN_I16 ||
                       codes->dtype == ORGAN_U16;
    if (!(is_code_type(codes->dtype) || words) || codes->rank < 2 || find_scale(search, codes, &scale))
        return search->error->status;
    const char *const type = organ_dtype_name(codes->dtype);
    if (scale)
        return organ_weight_fail(search, codes, "is %s and has a scale, '%.200s': no known scheme has such codes", type,
                                 scale->name);
    if (words)
        return ORGAN_OK;
    const size_t length = organ_weight_module_length(codes->name);
    const char *const module = organ_weight_name(search, codes->name, length, "");
    if (!module)
        return organ_fail_memory(search->error, search->model->path);
    if (organ_weight_group(search, codes->name, &group, &named) ||
        organ_quant_config_is_skipped(search->config, module, codes->anatomy.role == ORGAN_ROLE_EMBED, &skipped,
                                      search->error))
        return search->error->status;
    if (!named || skipped) {
        search->without_scales = search->without_scales ? search->without_scales : codes->name;
        search->without_scales_count++;
        return ORGAN_OK;
    }
    return organ_weight_fail(search, codes,
                             "is %s and quantised (%s: %s), but there is neither '%.150s_scale_inv' nor '%.150s_scale'",
                             type, search->config->file, search->config->method, codes->name, codes->name);
}

/* Each code of the weight is a byte: FP8 or INT8. */
static organ_status add_bytes(organ_weight_search *search, organ_weight *weight)
{
    const organ_quant_group *group;
    bool named;
    if (weight->codes->elements == 0)
        return organ_weight_fail(search, weight->codes, "has no elements");
    if (organ_weight_group(search, weight->name, &group, &named))
        return search->error->status;
    return organ_dtype_is_fp8(weight->codes->dtype) ? add_fp8(search, weight, group) : add_int8(search, weight, group);
}

/* torchao stores the parts of a weight of the module X as X._weight_qdata, X._weight_scale and, unless they are
 * symmetric, X._weight_zero_point [flatten_tensor_state_dict]. */
static organ_status find_torchao(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    const size_t stem = strlen(tensor->name) - strlen("_weight_qdata");
    organ_weight weight = organ_weight_plain(tensor);
    *found = true;
    weight.name = organ_weight_name(search, tensor->name, stem, "weight");
    weight.scale = organ_weight_relative(search, tensor->name, stem, "_weight_scale");
    if (!weight.scale)
        return organ_weight_fail(search, tensor, "has no scales: there is no '%.300s'", search->name);
    weight.zero = organ_weight_relative(search, tensor->name, stem, "_weight_zero_point");
    if (tensor->dtype != ORGAN_I8 && !organ_dtype_is_fp8(tensor->dtype))
        return organ_weight_fail(search, tensor,
                                 "is %s of %" PRIu64 " values: of torchao's layouts only those with a code in a byte, "
                                 "I8 or FP8, can be read",
                                 organ_dtype_name(tensor->dtype), tensor->elements);
    return add_bytes(search, &weight);
}

static organ_status find_under_own_name(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    organ_weight weight = organ_weight_plain(tensor);
    if (find_scale(search, tensor, &weight.scale))
        return search->error->status;
    if (!weight.scale)
        return ORGAN_OK;
    *found = true;
    const bool exponent_scales = weight.scale->dtype == ORGAN_F8_E8M0 || weight.scale->dtype == ORGAN_U8;
    if (tensor->dtype == ORGAN_U8 || (tensor->dtype == ORGAN_I8 && exponent_scales))
        return add_fp4(search, &weight, strlen(tensor->name));
    return add_bytes(search, &weight);
}

/* gpt-oss has codes in a tensor X.blocks or X_blocks [experts, out, in / 32, 16 bytes], and scales in X.scales or
 * X_scales [experts, out, in / 32]. X.blocks is the name in the first release; the weight is then [experts, out,
 * in]. X_blocks is the name in transformers; the weight is then transposed to [experts, in, out]. */
static organ_status bytes_find_blocks(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    const bool first = organ_ends_with(tensor->name, ".blocks");
    const size_t length = strlen(tensor->name) - strlen("_blocks");
    if (!first && !organ_ends_with(tensor->name, "_blocks"))
        return ORGAN_OK;
    organ_weight weight = {.scheme = ORGAN_SCHEME_MXFP4, .codes = tensor, .bits = 4, .transposed = !first};
    weight.scale = organ_weight_relative(search, tensor->name, length, first ? ".scales" : "_scales");
    if (tensor->rank != 4 || tensor->shape[3] != 16)
        return ORGAN_OK;
    *found = true;
    if (!weight.scale)
        return organ_weight_fail(search, tensor, "has no scales: there is no '%s'", search->name);
    const uint64_t out = tensor->shape[1], in = tensor->shape[2] * MX_GROUP;
    weight.name = organ_weight_name(search, tensor->name, length, "");
    if (organ_weight_scale_type(search, &weight, exponents) ||
        organ_weight_shape(search, &weight, 1, tensor->shape, first ? out : in, first ? in : out) ||
        organ_weight_expect(search, &weight, weight.scale, 3, tensor->shape))
        return search->error->status;
    weight.block_rows = first ? 1 : MX_GROUP;
    weight.block_cols = first ? MX_GROUP : 1;
    organ_weight_add(search, &weight);
    return ORGAN_OK;
}

/* *.weight_packed of bytes is MXFP4 or NVFP4 of compressed-tensors. */
static organ_status find_packed_bytes(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    const size_t length = strlen(tensor->name) - strlen("_packed");
    *found = true;
    organ_weight weight = {.name = organ_weight_name(search, tensor->name, length, ""), .codes = tensor};
    weight.scale = organ_weight_relative(search, tensor->name, length, "_scale");
    if (!weight.scale)
        return organ_weight_fail(search, tensor, "has no scales: there is no '%s'", search->name);
    return add_fp4(search, &weight, length);
}

/* *found is also set if the weight is faulty; it must be false at first. */
organ_status organ_weight_find_bytes(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    if (tensor->dtype == ORGAN_U8 && organ_ends_with(tensor->name, ".weight_packed"))
        return find_packed_bytes(search, tensor, found);
    if (organ_ends_with(tensor->name, "._weight_qdata"))
        return find_torchao(search, tensor, found);
    if (tensor->dtype == ORGAN_U8 && bytes_find_blocks(search, tensor, found))
        return search->error->status;
    if (*found || (tensor->dtype != ORGAN_U8 && tensor->dtype != ORGAN_I8 && !organ_dtype_is_fp8(tensor->dtype)))
        return ORGAN_OK;
    return find_under_own_name(search, tensor, found);
}
