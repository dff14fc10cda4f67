/* SPDX-License-Identifier: MIT
 * The table of encodings. */
#include "orchestrator/surgery/encoding/encoding.h"

#include "formats/base/owned.h"
#include "formats/base/quant_sections.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <stdio.h>
#include <string.h>

/* Defines NUMBER_Q4_0 and so on: the numbers of block types in GGUF files. */
#define NUMBER(type, elements, bytes, number) NUMBER_##type = (number),
enum { ORGAN_BLOCK_TYPES(NUMBER) };
#undef NUMBER

/* clang-format off */
#define TENSORS(name, bits, of, size, codes, scales) \
    {name, {bits, ORGAN_SCALE_##of, size}, ORGAN_##codes, ORGAN_##scales, NULL, 0, false},
#define BLOCKS(name, type, bits, narrower, file_type, mixed, meant) \
    {name, {bits, ORGAN_SCALE_GGUF, NUMBER_##type}, ORGAN_##type, ORGAN_DTYPE_COUNT, narrower, file_type, mixed},
#define MLX_ROW(name, bits, of, size, scales) \
    {name, {bits, ORGAN_SCALE_##of, size}, ORGAN_U32, ORGAN_##scales, NULL, 0, false},
#define MLX_E8M0(name, bits, size)     MLX_ROW(name, bits, E8M0, size, U8)
#define MLX_E4M3_ALL(name, bits, size) MLX_ROW(name, bits, E4M3_ALL, size, U8)
/* organ_encoding_for finds the first of the three types. */
#define MLX_AFFINE(name, bits, size) \
    MLX_ROW(name, bits, AFFINE_BF16, size, BF16) MLX_ROW(name, bits, AFFINE_F16, size, F16) \
    MLX_ROW(name, bits, AFFINE_F32, size, F32)
#define MLX(name, bits, of, size) MLX_##of(name, bits, size)

static const organ_encoding encodings[] = {
    ORGAN_TENSOR_SCHEMES(TENSORS, TENSORS)
    {"mixed", {8, ORGAN_SCALE_GROUP, 32}, ORGAN_I32, ORGAN_BF16, NULL, 0, false},
    ORGAN_BLOCK_SCHEMES(BLOCKS, BLOCKS) ORGAN_BLOCK_TENSOR_SCHEMES(BLOCKS)
    ORGAN_MLX_TENSOR_SCHEMES(MLX) ORGAN_MLX_SCHEMES(MLX)};
/* clang-format on */

/* Types without blocks; the size of the grid is the number of the type in GGUF files. */
static const organ_encoding plain_types[] = {
    {"f32", {0, ORGAN_SCALE_GGUF, 0}, ORGAN_F32, ORGAN_DTYPE_COUNT, NULL, 0, false},
    {"f16", {0, ORGAN_SCALE_GGUF, 1}, ORGAN_F16, ORGAN_DTYPE_COUNT, NULL, 1, false},
    {"bf16", {0, ORGAN_SCALE_GGUF, 30}, ORGAN_BF16, ORGAN_DTYPE_COUNT, NULL, 32, false},
};

const organ_encoding *organ_encoding_plain(const char *name)
{
    for (size_t k = 0; k < sizeof plain_types / sizeof *plain_types; k++)
        if (strcmp(name, plain_types[k].name) == 0)
            return &plain_types[k];
    return NULL;
}

bool organ_encoding_is_plain(const organ_encoding *encoding)
{
    return encoding->codes == ORGAN_F32 || encoding->codes == ORGAN_F16 || encoding->codes == ORGAN_BF16;
}

const organ_encoding *organ_encoding_named(const char *name)
{
    for (size_t k = 0; k < sizeof encodings / sizeof *encodings; k++)
        if (strcmp(name, encodings[k].name) == 0)
            return &encodings[k];
    return NULL;
}

/* In the order of bits per weight, then of falling block sizes, then from the last of the table on. */
static bool comes_before(const organ_encoding *a, const organ_encoding *b)
{
    const organ_dtype_info *const x = organ_dtype_describe(a->codes), *const y = organ_dtype_describe(b->codes);
    const size_t own = x->bytes * y->elements, other = y->bytes * x->elements;
    if (own != other)
        return own < other;
    return x->elements != y->elements ? x->elements > y->elements : a > b;
}

size_t organ_encodings_of_mixed(const organ_encoding **types, size_t most)
{
    size_t count = 0;
    for (size_t k = 0; k < sizeof encodings / sizeof *encodings && count < most; k++) {
        size_t at = count;
        if (!encodings[k].mixed || !organ_grid_blocks(&encodings[k].grid))
            continue;
        for (; at > 0 && comes_before(&encodings[k], types[at - 1]); at--)
            types[at] = types[at - 1];
        types[at] = &encodings[k];
        count++;
    }
    return count;
}

organ_kind organ_encoding_kind(const organ_encoding *encoding)
{
    if (encoding->codes == ORGAN_U32)
        return ORGAN_KIND_MLX;
    return encoding->scales == ORGAN_DTYPE_COUNT ? ORGAN_KIND_GGUF : ORGAN_KIND_TENSORS;
}

int64_t organ_encoding_file_type(organ_dtype type)
{
    int64_t number = 0;
    for (size_t k = 0; k < sizeof plain_types / sizeof *plain_types; k++)
        number = plain_types[k].codes == type ? plain_types[k].file_type : number;
    for (size_t k = 0; k < sizeof encodings / sizeof *encodings; k++)
        number = encodings[k].codes == type && encodings[k].file_type ? encodings[k].file_type : number;
    return number;
}

const organ_encoding *organ_encoding_for(const char *name, organ_kind kind)
{
    for (size_t k = 0; k < sizeof encodings / sizeof *encodings; k++)
        if (strcmp(name, encodings[k].name) == 0 && organ_encoding_kind(&encodings[k]) == kind)
            return &encodings[k];
    return NULL;
}

const organ_encoding *organ_encoding_of_type(const organ_encoding *encoding, organ_dtype type)
{
    for (size_t k = 0; k < sizeof encodings / sizeof *encodings && organ_grid_is_free(&encoding->grid); k++)
        if (strcmp(encoding->name, encodings[k].name) == 0 && organ_grid_is_free(&encodings[k].grid) &&
            encodings[k].scales == type)
            return &encodings[k];
    return encoding;
}

bool organ_encoding_is_mixed(const organ_encoding *encoding) { return strcmp(encoding->name, "mixed") == 0; }

bool organ_encoding_is_gguf(const organ_encoding *encoding) { return encoding->grid.scale_of == ORGAN_SCALE_GGUF; }

bool organ_encoding_is_packed(const organ_encoding *encoding) { return encoding->codes == ORGAN_I32; }

bool organ_encoding_is_fp4(const organ_encoding *encoding)
{
    const organ_scale_of of = encoding->grid.scale_of;
    return encoding->grid.bits == 4 && (of == ORGAN_SCALE_E4M3 || of == ORGAN_SCALE_E4M3_ALL || of == ORGAN_SCALE_E8M0);
}

bool organ_encoding_has_divisor(const organ_encoding *encoding)
{
    return encoding->grid.scale_of == ORGAN_SCALE_E4M3 || encoding->codes == ORGAN_NVFP4;
}

/* Returns NULL if there is none. Sizes of groups are powers of 2. */
static const organ_encoding *smaller_group(const organ_encoding *requested, uint64_t cols)
{
    const organ_grid *const grid = &requested->grid;
    char name[32];
    for (size_t size = grid->size / 2; size >= ORGAN_MIN_GROUP; size /= 2)
        if (cols % size == 0) {
            snprintf(name, sizeof name, "int%u-group%zu", grid->bits, size);
            return organ_encoding_for(name, organ_encoding_kind(requested));
        }
    return NULL;
}

const organ_encoding *organ_encoding_fitting(const organ_encoding *requested, uint64_t cols)
{
    const organ_scale_of of = requested->grid.scale_of;
    if (of == ORGAN_SCALE_GROUP || organ_grid_is_free(&requested->grid))
        return cols % requested->grid.size == 0 ? requested : smaller_group(requested, cols);
    if (of == ORGAN_SCALE_E4M3 || of == ORGAN_SCALE_E4M3_ALL || of == ORGAN_SCALE_E8M0)
        return cols % requested->grid.size == 0 ? requested : NULL;
    if (of != ORGAN_SCALE_GGUF || cols % organ_dtype_describe(requested->codes)->elements == 0)
        return requested;
    return requested->narrower ? organ_encoding_fitting(organ_encoding_for(requested->narrower, ORGAN_KIND_GGUF), cols)
                               : NULL;
}

/* ---- encoding and decoding rows, and sums of the errors ---- */

/* Number of codes that are packed or unpacked at a time: a multiple of the codes in a word and of the columns of any
 * group. */
#define TOGETHER ((size_t)2048)

/* Zero points for the kernel that decodes 4-bit codes, one for each group of 32: codes are stored with 8 added. */
static const float middles[TOGETHER / 32] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
                                             8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8,
                                             8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};

/* Packed codes of other widths than 4 and 8 bits are converted from or to int8. */
static organ_code code_of(const organ_encoding *encoding)
{
    if (organ_encoding_is_fp4(encoding))
        return ORGAN_CODE_E2M1;
    return encoding->grid.bits == 0 ? ORGAN_CODE_E4M3 : ORGAN_CODE_I8;
}

/* Returns whether kernels encode rows to the stored bytes. */
static bool has_whole_rows(const organ_encoding *encoding)
{
    const unsigned bits = encoding->grid.bits;
    return !organ_encoding_is_gguf(encoding) && !organ_grid_is_free(&encoding->grid) &&
           (!organ_encoding_is_packed(encoding) || bits == 4 || bits == 8);
}

/* Returns the code of the stored bytes, if the encoding has whole rows. */
static organ_code stored_code(const organ_encoding *encoding)
{
    if (!organ_encoding_is_packed(encoding))
        return code_of(encoding);
    return encoding->grid.bits == 4 ? ORGAN_CODE_U4 : ORGAN_CODE_U8;
}

size_t organ_encoding_row_bytes(const organ_encoding *encoding, size_t cols)
{
    const organ_dtype_info *const type = organ_dtype_describe(encoding->codes);
    if (organ_encoding_kind(encoding) == ORGAN_KIND_MLX)
        return cols / 8 * (encoding->grid.bits ? encoding->grid.bits : 8);
    return organ_encoding_is_packed(encoding) || organ_encoding_is_fp4(encoding) ? cols / 8 * encoding->grid.bits
                                                                                 : cols / type->elements * type->bytes;
}

size_t organ_encoding_band(const organ_encoding *encoding, size_t rows)
{
    return organ_grid_band(&encoding->grid, rows);
}

/* Packs the lowest `bits` bits of 8 bytes, the first byte in the lowest bits: joins two bytes, then two pairs, then two
 * fours. All other bits of `bytes` are 0. */
static inline uint64_t join_eight(uint64_t bytes, unsigned bits)
{
    const unsigned gap = 8 - bits;
    bytes = (bytes & 0x00ff00ff00ff00ff) | (bytes & 0xff00ff00ff00ff00) >> gap;
    bytes = (bytes & 0x0000ffff0000ffff) | (bytes & 0xffff0000ffff0000) >> 2 * gap;
    return (bytes & 0x00000000ffffffff) | (bytes & 0xffffffff00000000) >> 4 * gap;
}

/* Packs n codes of `bits` bits, a constant in each call: limits each to the range of `bits`, adds half of that range,
 * and stores the first code in the lowest bits. n is a multiple of 8, so that it fills whole bytes. Overwrites `codes`.
 */
static inline void pack_width(int8_t *codes, const unsigned bits, size_t n, unsigned char *bytes)
{
    const int8_t half = (int8_t)(1 << (bits - 1)), low = (int8_t)-half, high = (int8_t)(half - 1);
    for (size_t k = 0; k < n; k++) {
        const int8_t code = codes[k] < low ? low : codes[k];
        codes[k] = (int8_t)((code > high ? high : code) + half);
    }
    for (size_t k = 0; k < n; k += 8) {
        uint64_t word;
        memcpy(&word, codes + k, 8);
        word = join_eight(word, bits);
        memcpy(bytes + k / 8 * bits, &word, bits);
    }
}

static void pack_codes(int8_t *codes, unsigned bits, size_t n, unsigned char *bytes)
{
    if (bits == 2)
        pack_width(codes, 2, n, bytes);
    else if (bits == 3)
        pack_width(codes, 3, n, bytes);
    else if (bits == 4)
        pack_width(codes, 4, n, bytes);
    else if (bits == 5)
        pack_width(codes, 5, n, bytes);
    else if (bits == 6)
        pack_width(codes, 6, n, bytes);
    else
        pack_width(codes, 8, n, bytes);
}

/* Packed codes are stored with half of their range added. */
static void decode_packed(const organ_encoding *encoding, const organ_kernels *kernels, const uint8_t *codes,
                          const float *scales, size_t cols, float *values)
{
    const size_t group = organ_grid_group(&encoding->grid, cols);
    const unsigned bits = encoding->grid.bits;
    uint8_t some[TOGETHER];
    for (size_t from = 0; from < cols; from += TOGETHER) {
        const size_t n = organ_min(TOGETHER, cols - from);
        if (bits == 4) {
            kernels->decode[ORGAN_CODE_U4][ORGAN_REAL_F32](codes + from / 2, scales + from / group, middles, group,
                                                           values + from, n);
            continue;
        }
        if (bits == 8)
            memcpy(some, codes + from, n);
        else
            organ_unpack_bits(codes, bits, /*dense=*/1, from, some, n);
        for (size_t k = 0; k < n; k++)
            some[k] = (uint8_t)(some[k] - (1u << (bits - 1)));
        kernels->decode[ORGAN_CODE_I8][ORGAN_REAL_F32](some, scales + from / group, NULL, group, values + from, n);
    }
}

/* ---- codes with minima (MLX) ---- */

/* The product and the sum are each rounded to FP32. */
static void decode_free(const organ_encoding *encoding, const uint8_t *codes, const float *scales, size_t cols,
                        float *values)
{
    const size_t group = encoding->grid.size, groups = cols / group;
    uint8_t some[TOGETHER];
    for (size_t from = 0; from < cols; from += group) {
        const float scale = scales[from / group], minimum = scales[groups + from / group];
        organ_unpack_bits(codes, encoding->grid.bits, /*dense=*/1, from, some, group);
        for (size_t k = 0; k < group; k++)
            values[from + k] = (float)some[k] * scale + minimum;
    }
}

/* pack_codes adds half of the range of codes, so the codes begin half of it below 0. */
static void encode_free(const organ_encoding *encoding, const float *values, const float *scales, size_t cols,
                        unsigned char *codes)
{
    const size_t group = encoding->grid.size, groups = cols / group;
    const unsigned bits = encoding->grid.bits;
    const float half = (float)(1u << (bits - 1));
    float levels[TOGETHER];
    int8_t some[TOGETHER];
    for (size_t from = 0; from < cols; from += group) {
        const size_t g = from / group;
        organ_grid_codes(&encoding->grid, scales[g], scales[groups + g], values + from, levels, group);
        for (size_t k = 0; k < group; k++)
            some[k] = (int8_t)(levels[k] - half);
        pack_codes(some, bits, group, codes + from / 8 * bits);
    }
}

void organ_encoding_decode(const organ_encoding *encoding, const organ_kernels *kernels, const void *codes,
                           const float *scales, size_t cols, float *values)
{
    if (organ_encoding_is_plain(encoding))
        organ_widen(kernels, encoding->codes, codes, values, cols);
    else if (organ_encoding_is_gguf(encoding))
        kernels->dequantize[encoding->grid.size](codes, values, cols / organ_dtype_describe(encoding->codes)->elements);
    else if (organ_grid_is_free(&encoding->grid))
        decode_free(encoding, codes, scales, cols, values);
    else if (organ_encoding_is_packed(encoding))
        decode_packed(encoding, kernels, codes, scales, cols, values);
    else
        kernels->decode[code_of(encoding)][ORGAN_REAL_F32](codes, scales, NULL, organ_grid_group(&encoding->grid, cols),
                                                           values, cols);
}

void organ_encoding_fit(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                        const float *weights, size_t rows, size_t cols, void *blocks)
{
    const size_t elements = organ_dtype_describe(encoding->codes)->elements;
    if (organ_encoding_is_plain(encoding)) {
        organ_narrow(kernels, encoding->codes, values, blocks, rows * cols);
        return;
    }
    kernels->fit[encoding->grid.size](values, weights, cols, blocks, rows * cols / elements);
}

void organ_encoding_encode(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                           const float *scales, size_t cols, void *codes)
{
    const size_t group = organ_grid_group(&encoding->grid, cols);
    const unsigned bits = encoding->grid.bits;
    int8_t some[TOGETHER];
    if (organ_encoding_is_gguf(encoding)) {
        organ_grid_join(&encoding->grid, values, scales, cols, codes);
        return;
    }
    if (organ_grid_is_free(&encoding->grid)) {
        encode_free(encoding, values, scales, cols, codes);
        return;
    }
    if (has_whole_rows(encoding)) {
        kernels->encode[stored_code(encoding)](values, scales, group, codes, cols);
        return;
    }
    for (size_t from = 0; from < cols; from += TOGETHER) {
        const size_t n = organ_min(TOGETHER, cols - from);
        kernels->encode[ORGAN_CODE_I8](values + from, scales + from / group, group, some, n);
        pack_codes(some, bits, n, (unsigned char *)codes + organ_encoding_row_bytes(encoding, from));
    }
}

/* Measured on AVX2 (Zen 3): types whose search takes longer than that of the others, which is at most FIT. */
double organ_encoding_fit_products(const organ_encoding *encoding)
{
    enum { FIT = 560 };
    static const struct {
        organ_dtype type;
        double products;
    } slow[] = {{ORGAN_Q3_K, 760},     {ORGAN_IQ4_NL, 2400},  {ORGAN_IQ4_XS, 3400}, {ORGAN_Q2_K, 3700},
                {ORGAN_IQ2_S, 4900},   {ORGAN_IQ3_S, 6100},   {ORGAN_IQ1_S, 8600},  {ORGAN_IQ1_M, 9500},
                {ORGAN_IQ2_XXS, 9500}, {ORGAN_IQ3_XXS, 9600}, {ORGAN_IQ2_XS, 12700}};
    for (size_t k = 0; k < sizeof slow / sizeof *slow; k++)
        if (slow[k].type == encoding->codes)
            return slow[k].products;
    return FIT;
}

void organ_encoding_encode_row(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                               const float *scales, size_t cols, void *codes, float *back, organ_encoding_loss *sum)
{
    double squares[2];
    if (has_whole_rows(encoding)) {
        kernels->encode_summed[stored_code(encoding)](values, scales, organ_grid_group(&encoding->grid, cols), codes,
                                                      cols, squares);
    } else {
        organ_encoding_encode(encoding, kernels, values, scales, cols, codes);
        organ_encoding_decode(encoding, kernels, codes, scales, cols, back);
        kernels->error_squares(values, back, cols, squares);
    }
    sum->squares += squares[0];
    sum->error_squares += squares[1];
}

size_t organ_encoding_scale_bytes(const organ_encoding *encoding)
{
    return organ_encoding_is_gguf(encoding) ? 0 : organ_dtype_describe(encoding->scales)->bytes;
}

/* The scales are above 0 and exact in the type of a byte. An E8M0 byte is the exponent of the FP32 number. An E4M3 byte
 * has the exponent with bias 7 instead of 127 and 3 bits of the fraction; subnormal numbers count units of 2^-9. */
static void store_bytes(const organ_grid *grid, const float *scales, size_t n, uint8_t *bytes)
{
    const unsigned shift = grid->scale_of == ORGAN_SCALE_E8M0 ? 23 : 20,
                   less = grid->scale_of == ORGAN_SCALE_E8M0 ? 0 : (127u - 7) << 3;
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, &scales[k], sizeof bits);
        bytes[k] = (uint8_t)((bits >> shift) - less);
    }
    for (size_t k = 0; k < n && grid->scale_of == ORGAN_SCALE_E4M3_ALL; k++)
        bytes[k] = scales[k] < 0x1p-6f ? (uint8_t)(scales[k] * 512) : bytes[k];
}

void organ_encoding_store_scales(const organ_encoding *encoding, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored)
{
    if (encoding->scales == ORGAN_F32)
        memcpy(stored, scales, 4 * n);
    else if (encoding->scales == ORGAN_U8 || encoding->scales == ORGAN_F8_E4M3)
        store_bytes(&encoding->grid, scales, n, stored);
    else if (encoding->scales == ORGAN_F16)
        kernels->f32_to_f16(scales, stored, n);
    else
        kernels->f32_to_bf16(scales, stored, n);
}

void organ_encoding_load_scales(const organ_encoding *encoding, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales)
{
    const uint8_t *const bytes = stored;
    if (encoding->scales == ORGAN_F32)
        memcpy(scales, stored, 4 * n);
    else if (encoding->scales == ORGAN_F16)
        kernels->f16_to_f32(stored, scales, n);
    else if (encoding->grid.scale_of == ORGAN_SCALE_E8M0)
        for (size_t k = 0; k < n; k++)
            scales[k] = organ_e8m0_to_f32(bytes[k]);
    else if (encoding->scales == ORGAN_F8_E4M3 || encoding->scales == ORGAN_U8)
        for (size_t k = 0; k < n; k++)
            scales[k] = organ_e4m3_to_f32(bytes[k]);
    else
        kernels->bf16_to_f32(stored, scales, n);
}

/* ---- errors ---- */

/* The sum is m2 + n mean^2, from the mean and the sum of squared deviations m2 that the kernel computes. */
static double sum_squares(const organ_kernels *kernels, const float *values, size_t n)
{
    organ_spread spread;
    kernels->spread(values, n, &spread);
    return spread.m2 + (double)spread.n * spread.mean * spread.mean;
}

/* The compiler vectorises the inner loop because its length is a constant. */
static void subtract_values(float *restrict back, const float *restrict values, size_t n)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        for (size_t l = 0; l < 16; l++)
            back[at + l] = values[at + l] - back[at + l];
    for (; at < n; at++)
        back[at] = values[at] - back[at];
}

/* n is a multiple of 16; rows of GGUF blocks are multiples of 32. */
static void multiply_values(float *restrict values, const float *restrict by, size_t n)
{
    for (size_t at = 0; at < n; at += 16)
        for (size_t l = 0; l < 16; l++)
            values[at + l] *= by[at + l];
}

/* Only GGUF encodings also have the loss with imatrix weights. */
size_t organ_encoding_losses(const organ_encoding *encoding)
{
    return organ_encoding_is_gguf(encoding) ? ORGAN_LOSSES : 1;
}

void organ_encoding_add_losses(const organ_encoding *encoding, organ_encoding_loss *sums,
                               const organ_encoding_loss *more)
{
    for (size_t k = 0; k < organ_encoding_losses(encoding); k++) {
        sums[k].squares += more[k].squares;
        sums[k].error_squares += more[k].error_squares;
    }
}

void organ_encoding_add_row_losses(const organ_kernels *kernels, float *values, float *back, const float *roots,
                                   size_t rows, size_t cols, organ_encoding_loss *sums)
{
    double squares[2];
    kernels->error_squares(values, back, rows * cols, squares);
    sums[ORGAN_LOSS].squares += squares[0];
    sums[ORGAN_LOSS].error_squares += squares[1];
    if (!roots)
        return;
    subtract_values(back, values, rows * cols);
    for (size_t r = 0; r < rows; r++) {
        multiply_values(values + r * cols, roots, cols);
        multiply_values(back + r * cols, roots, cols);
    }
    sums[ORGAN_LOSS_WEIGHTED].squares += sum_squares(kernels, values, rows * cols);
    sums[ORGAN_LOSS_WEIGHTED].error_squares += sum_squares(kernels, back, rows * cols);
}

/* ---- config.json of a model that is no longer quantised ---- */

const char *organ_torch_dtype(organ_dtype dtype)
{
    if (dtype == ORGAN_F32)
        return "float32";
    return dtype == ORGAN_F16 ? "float16" : "bfloat16";
}

organ_status organ_config_set_type(organ_json_edit *config, organ_dtype dtype, bool add, organ_error *error)
{
    static const char *const types[] = {"torch_dtype", "dtype"}, *const places[] = {"text_config", NULL};
    ORGAN_OWNED_JSON json_t *const value = json_string(organ_torch_dtype(dtype));
    for (size_t k = 0; k < 4 && !error->status; k++)
        if (organ_json_edit_has(config, places[k / 2], types[k % 2])) {
            organ_json_edit_set(config, places[k / 2], types[k % 2], value, error);
            add = add && k < 2;
        }
    return error->status || !add ? error->status : organ_json_edit_set(config, NULL, types[0], value, error);
}

const char *const organ_packed_files[ORGAN_PACKED_FILES + 1] = {"quantize_config.json", "quant_config.json",
                                                                "hf_quant_config.json"};

organ_status organ_config_drop_quantisation(organ_json_edit *config, organ_error *error)
{
    const organ_quant_section *section;
    for (size_t k = 0; (section = organ_quant_section_at(k)) && !error->status; k++)
        organ_json_edit_remove(config, section->key, NULL, error);
    if (!error->status && organ_json_edit_has(config, NULL, "expert_dtype")) /* type of codes, of DeepSeek-V4 */
        organ_json_edit_remove(config, "expert_dtype", NULL, error);
    return error->status;
}

organ_status organ_config_make_plain(organ_json_edit *config, organ_dtype dtype, bool packed, organ_error *error)
{
    return organ_config_drop_quantisation(config, error) || !packed
               ? error->status
               : organ_config_set_type(config, dtype, /*add=*/true, error);
}
