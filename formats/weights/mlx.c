/* SPDX-License-Identifier: MIT
 * Finds weights of MLX: X.weight with rows of U32 words, X.scales and, in the affine mode, X.biases. The sizes of the
 * last axes of codes and scales give only the bits of a whole group; the config must state the bits of one code or the
 * number of codes in a group, unless only one pair of these is possible. A parameter `declared` is the config's
 * settings for the weight. */
#include "formats/weights/weight_search.h"

#include <inttypes.h>
#include <stdio.h>

#define WORD_BITS 32

/* `group` codes of `bits` bits share a scale. The bits of a group (128, 256, 64) identify the mode. */
typedef struct float_mode {
    const char *name; /* "mode" in the config */
    organ_scheme scheme;
    unsigned bits, group; /* bits of a code; codes that share a scale */
} float_mode;

static const float_mode float_modes[] = {
    {"mxfp4", ORGAN_SCHEME_MXFP4, 4, 32}, {"mxfp8", ORGAN_SCHEME_MXFP8, 8, 32}, {"nvfp4", ORGAN_SCHEME_NVFP4, 4, 16}};
enum { FLOAT_MODES = sizeof float_modes / sizeof *float_modes };

/* Upper bound of the words of a row, far above real ones, so that products of the functions below cannot overflow. */
#define WORDS_MAX ((uint64_t)1 << 40)

static organ_status check_axes(const organ_weight_search *search, const organ_weight *weight)
{
    const organ_tensor *const codes = weight->codes, *const scale = weight->scale;
    const unsigned rank = codes->rank;
    char words[ORGAN_SHAPE_TEXT], groups[ORGAN_SHAPE_TEXT];
    if (rank < 2 || rank > 4)
        return organ_weight_fail(search, codes, "has %u axes, but a matrix or a stack of them is expected", rank);
    bool same = scale->rank == rank;
    for (unsigned k = 0; same && k + 1 < rank; k++)
        same = scale->shape[k] == codes->shape[k];
    if (!same)
        return organ_weight_fail(search, scale,
                                 "has shape %s, but '%.200s' has %s: all axes but the last must be equal",
                                 organ_shape_text(scale->rank, scale->shape, groups), codes->name,
                                 organ_shape_text(rank, codes->shape, words));
    if (codes->elements == 0 || scale->elements == 0 || codes->shape[rank - 1] > WORDS_MAX)
        return organ_weight_fail(search, codes, "has %" PRIu64 " words for %" PRIu64 " scales", codes->elements,
                                 scale->elements);
    return ORGAN_OK;
}

static uint64_t last_axis(const organ_tensor *tensor) { return tensor->shape[tensor->rank - 1]; }

static organ_status mlx_add_rows(organ_weight_search *search, organ_weight *weight, uint64_t group)
{
    const organ_tensor *const codes = weight->codes;
    const unsigned lead = codes->rank - 2;
    const uint64_t cols = last_axis(codes) * WORD_BITS / weight->bits;
    if (organ_weight_shape(search, weight, lead, codes->shape, codes->shape[lead], cols))
        return search->error->status;
    weight->block_rows = 1;
    weight->block_cols = group;
    organ_weight_add(search, weight);
    return ORGAN_OK;
}

/* ---- mxfp4, mxfp8, nvfp4: scales are bytes ---- */

/* The number of words for each scale decides the mode (mxfp4, mxfp8 or nvfp4); a mode in the config must agree with
 * it. */
static organ_status add_floats(organ_weight_search *search, organ_weight *weight, const organ_quant_group *declared)
{
    const uint64_t words = last_axis(weight->codes), groups = last_axis(weight->scale);
    const float_mode *found = NULL, *named = NULL;
    for (size_t k = 0; k < FLOAT_MODES; k++) {
        const float_mode *const mode = &float_modes[k];
        found = words == groups * (mode->bits * mode->group / WORD_BITS) ? mode : found;
        named = strcmp(declared->format, mode->name) == 0 ? mode : named;
    }
    if (!found || (named && named != found))
        return organ_weight_fail(
            search, weight->codes, "has %" PRIu64 " words and %" PRIu64 " scales of a byte in a row%s%s%s: %s", words,
            groups, named ? ", but is " : "", named ? named->name : "", named ? " by its config" : "",
            found ? "these have the sizes of another mode"
                  : "neither mxfp4 (4 words for a scale) nor mxfp8 (8) nor "
                    "nvfp4 (2) has such groups");
    if (weight->bias)
        return organ_weight_fail(search, weight->bias, "are biases of a weight of mode %s, which has none",
                                 found->name);
    weight->scheme = found->scheme;
    weight->bits = found->bits;
    return mlx_add_rows(search, weight, found->group);
}

/* ---- affine ---- */

/* MLX can write codes of certain widths in groups of certain sizes. `product` is the bits of a group. Returns false,
 * and *bits and *group are undefined, unless exactly one such pair has this product. */
static bool infer_bits_and_group(uint64_t product, uint64_t *bits, uint64_t *group)
{
    static const unsigned sizes[] = {32, 64, 128}, widths[] = {1, 2, 3, 4, 5, 6, 8};
    unsigned count = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            if (product == sizes[s] * widths[w]) {
                *bits = widths[w];
                *group = sizes[s];
                count++;
            }
    return count == 1;
}

static const char *numbers_text(const organ_quant_group *declared, char out[64])
{
    size_t used = 0;
    out[0] = '\0';
    if (declared->bits)
        used = (size_t)snprintf(out, 64, "bits %d", declared->bits);
    if (declared->group_size)
        snprintf(out + used, 64 - used, "%sgroup_size %" PRId64, used ? ", " : "", declared->group_size);
    return out;
}

static organ_status find_group(const organ_weight_search *search, organ_weight *weight,
                               const organ_quant_group *declared, uint64_t *group)
{
    const uint64_t words = last_axis(weight->codes), groups = last_axis(weight->scale), row_bits = words * WORD_BITS,
                   group_bits = row_bits / groups;
    const char *const file = search->config->file;
    uint64_t bits = (uint64_t)declared->bits;
    char numbers[64];
    *group = declared->group_size > 0 ? (uint64_t)declared->group_size : 0;
    if (row_bits % groups != 0)
        return organ_weight_fail(search, weight->codes,
                                 "has %" PRIu64 " words in a row, not a multiple of %" PRIu64 " groups", words, groups);
    if (bits == 0 && *group > 0 && group_bits % *group == 0)
        bits = group_bits / *group;
    if (bits > 0 && *group == 0 && group_bits % bits == 0)
        *group = group_bits / bits;
    if (bits == 0 && *group == 0 && !infer_bits_and_group(group_bits, &bits, group))
        return organ_weight_fail(search, weight->codes,
                                 "has %" PRIu64 " words and %" PRIu64
                                 " scales in a row: no config states the bits of a code, "
                                 "and more than one fits or none does",
                                 words, groups);
    if (declared->group_size < 0 || bits == 0 || bits > 8 || bits * *group != group_bits)
        return organ_weight_fail(search, weight->codes,
                                 "has %" PRIu64 " words and %" PRIu64 " scales in a row, which are %" PRIu64
                                 " bits for each scale, which matches no group of codes of %s (%s)",
                                 words, groups, group_bits, numbers_text(declared, numbers), file);
    weight->bits = (unsigned)bits;
    return ORGAN_OK;
}

/* w = scale x code + bias, with one scale and one bias for each group. `stem_length` is the length of the codes'
 * name before "biases", for messages. */
static organ_status add_affine(organ_weight_search *search, organ_weight *weight, size_t stem_length,
                               const organ_quant_group *declared)
{
    static const organ_dtype floats[] = {ORGAN_BF16, ORGAN_F16, ORGAN_F32, ORGAN_DTYPE_COUNT};
    const organ_tensor *const scale = weight->scale, *const bias = weight->bias;
    uint64_t group;
    if (organ_weight_scale_type(search, weight, floats))
        return search->error->status;
    if (!bias)
        return organ_weight_fail(search, weight->codes, "is an affine weight of MLX, but there is no '%.*sbiases'",
                                 (int)(stem_length > 200 ? 200 : stem_length), weight->codes->name);
    if (bias->dtype != scale->dtype)
        return organ_weight_fail(search, bias, "is %s, but its scales '%.200s' are %s", organ_dtype_name(bias->dtype),
                                 scale->name, organ_dtype_name(scale->dtype));
    weight->rank = scale->rank; /* for messages, until the shape of the weight is determined */
    weight->shape = scale->shape;
    if (organ_weight_expect(search, weight, bias, scale->rank, scale->shape) ||
        find_group(search, weight, declared, &group))
        return search->error->status;
    weight->dense_words = true;
    return mlx_add_rows(search, weight, group);
}

static organ_status check_mode(const organ_weight_search *search, const organ_weight *weight,
                               const organ_quant_group *declared)
{
    const bool bytes = weight->scale->dtype == ORGAN_U8;
    bool floats = false;
    for (size_t k = 0; k < FLOAT_MODES; k++)
        floats = floats || strcmp(declared->format, float_modes[k].name) == 0;
    const bool known = floats || *declared->format == '\0' || strcmp(declared->format, "affine") == 0;
    if (!known)
        return organ_weight_fail(search, weight->codes, "is a weight of MLX in mode '%.60s' (%s), which cannot be read",
                                 declared->format, search->config->file);
    if (floats && !bytes)
        return organ_weight_fail(search, weight->scale, "is %s, but the scales of mode %s (%s) are U8",
                                 organ_dtype_name(weight->scale->dtype), declared->format, search->config->file);
    if (bytes && strcmp(declared->format, "affine") == 0)
        return organ_weight_fail(search, weight->scale,
                                 "is U8, but the scales of mode affine (%s) are BF16 or F16 or F32",
                                 search->config->file);
    return ORGAN_OK;
}

/* Codes are NAME.weight (of a stack NAME) of U32 words with a tensor NAME.scales or NAME.biases, or with settings for
 * NAME in MLX's section of the config. *found is also set if the weight is faulty. */
organ_status organ_weight_find_mlx(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    static const organ_quant_group nothing = {.name = "", .format = "", .symmetric = -1};
    const organ_quant_group *declared = &nothing;
    bool named = false, skipped = false;
    const bool bare = organ_ends_with(tensor->name, "_proj"); /* "X.experts.gate_up_proj" has no ".weight" */
    if (tensor->dtype != ORGAN_U32 || (!bare && !organ_ends_with(tensor->name, ".weight")))
        return ORGAN_OK;
    const size_t stem = strlen(tensor->name) - (bare ? 0 : strlen("weight"));
    organ_weight weight = {.name = tensor->name, .scheme = ORGAN_SCHEME_MLX, .codes = tensor};
    weight.bias = organ_weight_relative(search, tensor->name, stem, bare ? ".biases" : "biases");
    weight.scale = organ_weight_relative(search, tensor->name, stem, bare ? ".scales" : "scales");
    const char *const module = organ_weight_name(search, tensor->name, bare ? stem : stem - 1, "");
    if (!module)
        return organ_fail_memory(search->error, search->model->path);
    /* The config of another method describes the model from which the MLX model was converted. */
    if (strcmp(search->config->method, "mlx") == 0 &&
        (organ_quant_config_of(search->config, module, /*embedding=*/false, &declared, &named, search->error) ||
         organ_quant_config_is_skipped(search->config, module, /*embedding=*/false, &skipped, search->error)))
        return search->error->status;
    if (!weight.scale && !weight.bias && (!named || skipped))
        return ORGAN_OK;
    *found = true;
    if (!weight.scale)
        return organ_weight_fail(search, tensor, "is U32 and quantised%s%s, but there is no '%.200s'",
                                 named ? " by " : "", named ? search->config->file : "", search->name);
    if (check_axes(search, &weight) || check_mode(search, &weight, declared))
        return search->error->status;
    return weight.scale->dtype == ORGAN_U8 ? add_floats(search, &weight, declared)
                                           : add_affine(search, &weight, stem, declared);
}
