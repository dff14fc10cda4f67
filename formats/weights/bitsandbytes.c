/* SPDX-License-Identifier: MIT
 * Finds the weights of bitsandbytes: INT8 (LLM.int8()) and the 4-bit types NF4 and FP4. Formulas and names are those of
 * functional.py (QuantState, int8_vectorwise_dequant) in bitsandbytes 0.50. */
#include "formats/weights/weight_search.h"

#include "formats/base/json.h"
#include "formats/base/results.h"

#include <inttypes.h>
#include <math.h>

enum {
    STATE_BYTES = 4096, /* upper bound of the JSON text in a state; the library writes about 100 bytes */
    LEVELS = 16,
    NESTED_LEVELS = 256
};
#define BLOCK_MAX 4096 /* the largest block size of the library */

/* ---- INT8 ---- */

/* The scales have a type and a shape that no other layout has. A weight_format other than 0 names a layout of the codes
 * for one kind of GPU, which old versions saved. */
static organ_status check_int8(organ_weight_search *search, const organ_weight *weight)
{
    const organ_tensor *const scale = weight->scale, *const format = weight->state;
    unsigned char byte = 0;
    if (weight->rank != 2)
        return organ_weight_fail(search, weight->codes, "has %u axes, but a matrix is expected", weight->rank);
    if (scale->dtype != ORGAN_F32)
        return organ_weight_fail(search, scale, "is %s, but the scales of bitsandbytes' INT8 are F32",
                                 organ_dtype_name(scale->dtype));
    if (organ_weight_expect(search, weight, scale, 1, weight->shape))
        return search->error->status;
    if (!format)
        return ORGAN_OK;
    if (format->dtype != ORGAN_U8 || format->elements != 1)
        return organ_weight_fail(search, format, "is %s of %" PRIu64 " values, but a format is one U8",
                                 organ_dtype_name(format->dtype), format->elements);
    if (organ_model_read(search->model, format->file, &byte, 1, format->offset, search->error))
        return search->error->status;
    return byte == 0
               ? ORGAN_OK
               : organ_weight_fail(search, format,
                                   "is %d: codes in that layout of a GPU cannot be read, only those in rows (0)", byte);
}

static organ_status find_int8(organ_weight_search *search, const organ_tensor *codes, const organ_tensor *scale,
                              size_t stem)
{
    organ_weight weight = organ_weight_plain(codes);
    weight.scheme = ORGAN_SCHEME_BNB8;
    weight.scale = scale;
    weight.state = organ_weight_relative(search, codes->name, stem, "weight_format");
    weight.block_rows = 1;
    weight.block_cols = weight.rank == 2 ? weight.shape[1] : 0;
    return check_int8(search, &weight) ? search->error->status : organ_weight_add(search, &weight);
}

/* ---- NF4 and FP4 ---- */

/* The state of a 4-bit weight, a JSON text in a tensor of bytes. */
typedef struct bnb_state {
    json_t *root;
    uint64_t block, nested, rows, cols;
    double offset;
} bnb_state;

static const char *const state_leaves[] = {".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"};

static const organ_tensor *find_state(organ_weight_search *search, const organ_tensor *codes)
{
    const organ_tensor *found = NULL;
    for (size_t k = 0; k < 2 && !found; k++)
        found = organ_weight_relative(search, codes->name, strlen(codes->name), state_leaves[k]);
    return found;
}

/* 0 if the member is not a whole number from 1 to `most`. */
static uint64_t count_of(const json_t *object, const char *key, uint64_t most)
{
    const json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 && (uint64_t)value <= most ? (uint64_t)value : 0;
}

static bool is_block(uint64_t size) { return size >= 32 && (size & (size - 1)) == 0; }

static bool state_is_whole(bnb_state *s)
{
    const json_t *const shape = json_object_get(s->root, "shape"), *const offset =
                                                                       json_object_get(s->root, "nested_offset");
    s->block = count_of(s->root, "blocksize", BLOCK_MAX);
    s->rows = (uint64_t)json_integer_value(json_array_get(shape, 0));
    s->cols = (uint64_t)json_integer_value(json_array_get(shape, 1));
    if (!is_block(s->block) || json_array_size(shape) != 2 || !json_is_integer(json_array_get(shape, 0)) ||
        !json_is_integer(json_array_get(shape, 1)) || s->rows == 0 || s->cols == 0 || s->rows > INT64_MAX / 2 ||
        s->cols > INT64_MAX / 2)
        return false;
    if (!json_object_get(s->root, "nested_blocksize"))
        return true;
    s->nested = count_of(s->root, "nested_blocksize", BLOCK_MAX);
    s->offset = json_number_value(offset);
    return s->nested > 0 && json_is_number(offset) && isfinite(s->offset);
}

/* The caller releases s->root. */
static organ_status read_state(organ_weight_search *search, const organ_tensor *tensor, bnb_state *s)
{
    char text[STATE_BYTES];
    json_error_t fault;
    bool no_memory;
    if (tensor->dtype != ORGAN_U8 || tensor->bytes == 0 || tensor->bytes > sizeof text)
        return organ_weight_fail(search, tensor,
                                 "is %s of %" PRIu64 " bytes, but the state of a 4-bit weight is a text of U8",
                                 organ_dtype_name(tensor->dtype), tensor->bytes);
    if (organ_model_read(search->model, tensor->file, text, (size_t)tensor->bytes, tensor->offset, search->error))
        return search->error->status;
    s->root = organ_json_load(text, (size_t)tensor->bytes, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    if (no_memory)
        return organ_fail_memory(search->error, search->model->path);
    if (!json_is_object(s->root) || !state_is_whole(s))
        return organ_weight_fail(
            search, tensor,
            "is no state of a 4-bit weight: a JSON object with `blocksize`, a power of two from 32 "
            "to 4096, `shape`, two whole numbers from 1, and, for nested scales, "
            "`nested_blocksize` and `nested_offset` is expected");
    return ORGAN_OK;
}

static organ_status expect_values(const organ_weight_search *search, const organ_tensor *tensor, organ_dtype type,
                                  uint64_t count, const char *what)
{
    if (tensor->dtype == type && tensor->elements == count)
        return ORGAN_OK;
    return organ_weight_fail(search, tensor, "is %s of %" PRIu64 " values, but %s are %s of %" PRIu64,
                             organ_dtype_name(tensor->dtype), tensor->elements, what, organ_dtype_name(type), count);
}

/* A model that was saved after a forward pass on some CPUs has scales of BF16 in another order. */
static organ_status find_scales(organ_weight_search *search, organ_weight *weight, const bnb_state *s)
{
    const organ_tensor *const codes = weight->codes;
    const size_t length = strlen(codes->name);
    const uint64_t blocks = organ_divide_up(weight->elements, s->block);
    if (organ_weight_require(search, codes, length, ".absmax", &weight->scale) ||
        organ_weight_require(search, codes, length, ".quant_map", &weight->levels))
        return search->error->status;
    if (weight->scale->dtype != ORGAN_F32 && weight->scale->dtype != ORGAN_U8)
        return organ_weight_fail(
            search, weight->scale,
            "is %s, but the scales of a 4-bit weight are F32 or U8: bitsandbytes changes a model in "
            "its first forward pass on some CPUs, and what it saves afterwards is another model",
            organ_dtype_name(weight->scale->dtype));
    if (expect_values(search, weight->scale, s->nested ? ORGAN_U8 : ORGAN_F32, blocks, "its scales") ||
        expect_values(search, weight->levels, ORGAN_F32, LEVELS, "the levels of 4-bit codes"))
        return search->error->status;
    if (!s->nested)
        return ORGAN_OK;
    if (organ_weight_require(search, codes, length, ".nested_absmax", &weight->nested_scale) ||
        organ_weight_require(search, codes, length, ".nested_quant_map", &weight->nested_levels) ||
        expect_values(search, weight->nested_scale, ORGAN_F32, organ_divide_up(blocks, s->nested), "nested scales"))
        return search->error->status;
    return expect_values(search, weight->nested_levels, ORGAN_F32, NESTED_LEVELS, "the levels of codes of scales");
}

static organ_status set_pairs(organ_weight_search *search, organ_weight *weight, const bnb_state *s)
{
    organ_level_blocks *const blocks = organ_arena_take(&search->arena, sizeof *blocks);
    if (!blocks)
        return organ_fail_memory(search->error, search->model->path);
    *blocks = (organ_level_blocks){.block = s->block, .nested = s->nested, .offset = s->offset};
    weight->blocks = blocks;
    weight->bits = 4;
    weight->block_rows = 1;
    weight->block_cols = s->block < s->cols ? s->block : s->cols;
    if (organ_weight_shape(search, weight, 0, NULL, s->rows, s->cols))
        return search->error->status;
    if (weight->codes->bytes != organ_divide_up(weight->elements, 2))
        return organ_weight_fail(search, weight->codes,
                                 "has %" PRIu64 " bytes, but a weight of %" PRIu64 " x %" PRIu64 " has %" PRIu64,
                                 weight->codes->bytes, s->rows, s->cols, organ_divide_up(weight->elements, 2));
    return find_scales(search, weight, s) ? search->error->status : organ_weight_add(search, weight);
}

static organ_status find_pairs(organ_weight_search *search, const organ_tensor *codes, const organ_tensor *state)
{
    bnb_state s = {.root = NULL};
    organ_weight weight = {.name = codes->name, .scheme = ORGAN_SCHEME_BNB4, .codes = codes, .state = state};
    if (read_state(search, state, &s) == ORGAN_OK)
        set_pairs(search, &weight, &s);
    organ_clear_json(&s.root);
    return search->error->status;
}

/* *found is also set if the weight is faulty. */
organ_status organ_weight_find_bitsandbytes(organ_weight_search *search, const organ_tensor *tensor, bool *found)
{
    const size_t length = strlen(tensor->name);
    const bool module = organ_ends_with(tensor->name, ".weight");
    const organ_tensor *const state = module ? find_state(search, tensor) : NULL;
    const organ_tensor *const scale =
        module && tensor->dtype == ORGAN_I8
            ? organ_weight_relative(search, tensor->name, length - strlen("weight"), "SCB")
            : NULL;
    *found = state || scale;
    if (state)
        return find_pairs(search, tensor, state);
    return scale ? find_int8(search, tensor, scale, length - strlen("weight")) : ORGAN_OK;
}
