/* SPDX-License-Identifier: MIT
 * The family of packed weights with codes stored row by row: FP8, INT8, words of compressed-tensors and MLX, MXFP8,
 * MXFP6, MXFP4, MXINT4, NVFP4, AutoAWQ's gemv and ModelOpt's INT4, which has two rows in a row of bytes. A batch of
 * rows is read at once with its scales and decoded directly into the requested type. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/weight_parts.h"

#include <inttypes.h>
#include <math.h>

/* Returns the number of rows of bytes that `rows` rows, the first at an even number, fill. */
static uint64_t stored_lines(const organ_weight_reader *r, uint64_t rows)
{
    return r->weight->scheme == ORGAN_SCHEME_INT4_ROWS ? weight_up(rows, 2) : rows;
}

typedef struct batch_parts {
    unsigned char *codes; /* rows of codes as stored */
    unsigned char *loose; /* one row of codes, a byte each, if the kernels do not decode the stored form (is_loose) */
    float *scales;        /* rows of the grid of scales */
    float *zeros;         /* rows of the grid of zero points or biases; if packed_zero: [rows][groups] */
    unsigned char *raw;   /* stored scales or zero points before they are converted to FP32 */
    uint16_t *narrow;     /* MLX: values of one row in the type of the scales */
    float *scale_of, *zero_of; /* with a g_idx: one number for each column */
} batch_parts;

static bool is_gemv(const organ_weight_reader *r) { return r->weight->scheme == ORGAN_SCHEME_AWQ_GEMV; }

/* MLX's affine mode has biases in place of zero points. */
static bool is_mlx(const organ_weight_reader *r) { return r->weight->scheme == ORGAN_SCHEME_MLX; }

/* Codes in words of 32 bits occur in compressed-tensors, AutoAWQ's gemv and MLX. */
static bool in_words(const organ_weight_reader *r)
{
    return r->weight->scheme == ORGAN_SCHEME_PACKED || is_gemv(r) || is_mlx(r);
}

/* NVFP4 of ModelOpt is recognised by its global scale, which multiplies. ModelOpt reads E2M1 code 8 as 0, the
 * kernels as -0. The zero point -0.0 corrects this: its subtraction changes -0 to 0 and nothing else. */
static bool is_modelopt(const organ_weight_reader *r)
{
    return r->weight->scheme == ORGAN_SCHEME_NVFP4 && r->weight->global && !r->weight->divides;
}

static bool has_zero(const organ_weight_reader *r)
{
    return r->zero.tensor || r->packed_zero || in_words(r) || is_modelopt(r);
}

static bool is_two_rows(const organ_weight_reader *r) { return r->weight->scheme == ORGAN_SCHEME_INT4_ROWS; }

/* Codes of these schemes become codes of 8 bits with the same values before they are decoded. */
static bool is_translated(const organ_weight_reader *r)
{
    return r->weight->scheme == ORGAN_SCHEME_MXFP6 || is_two_rows(r);
}

/* The kernels decode only codes of 4 and 8 bits; others must be unpacked to bytes first. */
static bool is_loose(const organ_weight_reader *r)
{
    return is_translated(r) || (in_words(r) && r->weight->bits != 4 && r->weight->bits != 8);
}

/* ---- codes that become codes of 8 bits ---- */

/* Returns the E5M2 code with the value of the E3M2 code, or the E4M3 code with that of the E2M3 code. The exponent
 * biases of the wider types are greater by 12 and 6. A subnormal code becomes normal. */
static unsigned char wider_float(unsigned code, bool wide_exponent)
{
    const unsigned bits = wide_exponent ? 2 : 3, sign = (code & 32) << 2, more = wide_exponent ? 12 : 6;
    unsigned exponent = code >> bits & (wide_exponent ? 7u : 3u), fraction = code & ((1u << bits) - 1);
    if (exponent == 0 && fraction == 0)
        return (unsigned char)sign;
    unsigned shift = 0;
    for (; exponent == 0 && !(fraction >> bits); shift++)
        fraction <<= 1;
    exponent = (exponent ? exponent : 1) + more - shift;
    return (unsigned char)(sign | exponent << bits | (fraction & ((1u << bits) - 1)));
}

/* Unpacks a row of n codes to a byte each. `row` is the row of the matrix: in a row of bytes of two rows it selects the
 * nibbles, -8 to 7. */
static void unpack_row(const organ_weight_reader *r, const unsigned char *bytes, uint64_t row, unsigned char *codes,
                       size_t n)
{
    const organ_weight *const w = r->weight;
    const unsigned shift = row % 2 * 4;
    if (is_two_rows(r)) {
        for (size_t k = 0; k < n; k++)
            codes[k] = (unsigned char)(((bytes[k] >> shift & 15) ^ 8) - 8);
        return;
    }
    organ_unpack_bits(bytes, w->bits, w->dense_words || is_translated(r), 0, codes, n);
    if (!is_translated(r))
        return;
    for (size_t k = 0; k < n; k++)
        codes[k] = r->wider[codes[k]];
}

/* Returns an upper bound for one group: the words that the codes of `rows` zero points fill, and 2 because the first
 * and the last word may be partly used. Dense codes are counted from the previous multiple of 32 rows, where a code
 * begins at a word. */
static size_t zero_words(const organ_weight_reader *r, size_t rows)
{
    const unsigned bits = r->weight->bits;
    return r->weight->dense_words ? (rows + 31) * bits / 32 + 2 : rows / (32 / bits) + 2;
}

/* In AutoAWQ's gemv a word has zero points of one row. */
static size_t zero_row_words(const organ_weight_reader *r)
{
    return (size_t)weight_up(r->groups, 32 / r->weight->bits);
}

static size_t grid_bytes(const weight_grid *grid, size_t rows)
{
    return organ_weight_grid_rows(grid, rows) * (size_t)grid->stride * sizeof(float);
}

static batch_parts lay_out_batch(const organ_weight_reader *r, size_t rows, uintptr_t *at)
{
    const size_t cols = (size_t)r->shape.cols, by_column = r->weight->g_idx ? cols * sizeof(float) : 0;
    size_t raw = organ_weight_grid_scratch(&r->scale, rows), zeros = has_zero(r) ? r->groups * sizeof(float) : 0;
    if (r->packed_zero) {
        /* words as stored and transposed (read_packed_zeros), then their codes, a byte for each row or each group */
        const size_t words = is_gemv(r) ? zero_row_words(r) : 2 * zero_words(r, rows) * r->groups;
        raw = organ_max(raw, words * 4 + rows + r->groups);
        zeros = rows * r->groups * sizeof(float);
    } else if (r->zero.tensor) {
        raw = organ_max(raw, organ_weight_grid_scratch(&r->zero, rows));
        zeros = grid_bytes(&r->zero, rows);
    }
    batch_parts p = {.codes = weight_take(at, ((size_t)stored_lines(r, rows) + is_two_rows(r)) * r->row_bytes)};
    p.loose = weight_take(at, is_loose(r) ? cols : 0);
    p.scales = weight_take(at, grid_bytes(&r->scale, rows));
    p.zeros = weight_take(at, zeros);
    p.raw = weight_take(at, raw);
    p.narrow = weight_take(at, is_mlx(r) ? cols * sizeof(uint16_t) : 0);
    p.scale_of = weight_take(at, by_column);
    p.zero_of = weight_take(at, by_column);
    return p;
}

static size_t rows_scratch(const organ_weight_reader *r, size_t rows)
{
    uintptr_t end = 0;
    lay_out_batch(r, rows, &end);
    return end;
}

/* ---- checks of the headers ---- */

static organ_code code_of(const organ_weight *w)
{
    switch (w->scheme) {
    case ORGAN_SCHEME_FP8:
    case ORGAN_SCHEME_MXFP8:
        if (w->codes->dtype == ORGAN_F8_E5M2)
            return ORGAN_CODE_E5M2;
        if (w->codes->dtype == ORGAN_F8_E4M3FNUZ)
            return ORGAN_CODE_E4M3FNUZ;
        return w->codes->dtype == ORGAN_F8_E5M2FNUZ ? ORGAN_CODE_E5M2FNUZ : ORGAN_CODE_E4M3;
    case ORGAN_SCHEME_MXFP6:
        return w->wide_exponent ? ORGAN_CODE_E5M2 : ORGAN_CODE_E4M3;
    case ORGAN_SCHEME_INT8:
    case ORGAN_SCHEME_BNB8:
    case ORGAN_SCHEME_INT4_ROWS:
        return ORGAN_CODE_I8;
    case ORGAN_SCHEME_MXFP4:
    case ORGAN_SCHEME_NVFP4:
        return ORGAN_CODE_E2M1;
    default:
        return w->bits == 4 ? ORGAN_CODE_U4 : ORGAN_CODE_U8;
    }
}

static organ_status prepare_codes(organ_weight_reader *r, organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t rows = stored_lines(r, r->shape.count * r->shape.rows), cols = r->shape.cols;
    const uint64_t narrow = w->bits ? w->bits : 4, line = is_two_rows(r) ? 8 : narrow;
    const uint64_t bits = in_words(r) || is_translated(r) || w->bits == 4 ? line : 8;
    /* bytes of a row; words with unused bits (32 is no multiple of `bits`) are stored whole */
    const uint64_t need =
        !in_words(r) || w->dense_words || 32 % bits == 0 ? weight_up(cols * bits, 8) : weight_up(cols, 32 / bits) * 4;
    r->row_bytes = rows ? (size_t)(w->codes->bytes / rows) : 0;
    if (rows && (w->codes->bytes % rows || r->row_bytes < need))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': has %" PRIu64 " bytes for %" PRIu64 " rows of '%s', where %" PRIu64
                          " columns of %" PRIu64 " bits need %" PRIu64 " each",
                          w->codes->name, w->codes->bytes, rows, w->name, cols, bits, need);
    return ORGAN_OK;
}

static organ_status prepare_rows(organ_weight_reader *r, organ_error *error)
{
    const organ_weight *w = r->weight;
    r->code = code_of(w);
    for (unsigned code = 0; code < sizeof r->wider; code++)
        r->wider[code] = wider_float(code, w->wide_exponent);
    if (prepare_codes(r, error) || organ_weight_find_groups(r, /*across=*/1, error) ||
        organ_weight_grid_make(r, w->scale, &r->scale, error))
        return error->status;
    /* Biases have the layout of the scales and replace zero points. */
    if (w->bias && organ_weight_grid_make(r, w->bias, &r->zero, error))
        return error->status;
    r->packed_zero = w->zero && (w->zero->dtype == ORGAN_I32 || is_gemv(r));
    if (w->zero && !r->packed_zero && organ_weight_grid_make(r, w->zero, &r->zero, error))
        return error->status;
    if (r->packed_zero) {
        uint64_t matrix_words = 0;
        if (is_gemv(r))
            matrix_words = r->shape.rows * zero_row_words(r);
        else if (r->shape.rows)
            matrix_words = organ_weight_span(w->bits, w->dense_words, 0, r->shape.rows).to * r->groups;
        if (w->zero->elements < matrix_words * r->shape.count || w->zero->dtype != ORGAN_I32)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "tensor '%s': has %" PRIu64 " words, fewer than the %" PRIu64 " that '%s' needs",
                              w->zero->name, w->zero->elements, matrix_words * r->shape.count, w->name);
    }
    /* Codes of 32 rows fill whole words. Blocks of more than 1024 rows are no step, to limit the memory. */
    r->step = r->packed_zero ? 32 : 1;
    if (w->block_rows > 1 && w->block_rows < r->shape.rows && w->block_rows <= 1024)
        r->step = (size_t)w->block_rows;
    return ORGAN_OK;
}

/* ---- checks of the bytes ---- */

static organ_status load_rows(organ_weight_reader *r, char note[256], organ_error *error)
{
    (void)note;
    if (organ_weight_load_g_idx(r, error) || organ_weight_load_columns(r, error))
        return error->status;
    return organ_weight_load_global(r, error);
}

/* ---- rows ---- */

/* A word of compressed-tensors has zero points of several rows of one group: the words are stored as
 * [words][groups], so this function transposes them and unpacks each group. p->zeros is [rows][groups]. */
static organ_status read_packed_zeros(const organ_weight_reader *r, const weight_rows *rows, const batch_parts *p,
                                      organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t per_matrix = w->zero->elements / r->shape.count;
    const weight_span span = organ_weight_span(w->bits, w->dense_words, rows->first, rows->count);
    const size_t words = (size_t)(span.to - span.from), bytes = words * r->groups * 4;
    unsigned char *turned = p->raw + bytes, *codes = turned + bytes;
    if (organ_weight_fetch(r, w->zero, (rows->matrix * per_matrix + span.from * r->groups) * 4, bytes, p->raw, error))
        return error->status;
    organ_transpose_u32((const uint32_t *)(void *)p->raw, r->groups, (uint32_t *)(void *)turned, words, words,
                        r->groups);
    for (size_t g = 0; g < r->groups; g++) {
        organ_unpack_bits(turned + g * words * 4, w->bits, w->dense_words, span.skip, codes, rows->count);
        for (size_t k = 0; k < rows->count; k++)
            p->zeros[k * r->groups + g] = (float)codes[k];
    }
    return ORGAN_OK;
}

/* In AutoAWQ's gemv the words of a row are followed by padding words. p->zeros is [rows][groups]. */
static organ_status read_gemv_zeros(const organ_weight_reader *r, const weight_rows *rows, const batch_parts *p,
                                    organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t stride = w->zero->elements / (r->shape.count * r->shape.rows); /* words of a row with its padding */
    const size_t words = zero_row_words(r);
    unsigned char *codes = p->raw + words * 4;
    for (size_t k = 0; k < rows->count; k++) {
        const uint64_t row = rows->matrix * r->shape.rows + rows->first + k;
        if (organ_weight_fetch(r, w->zero, row * stride * 4, words * 4, p->raw, error))
            return error->status;
        organ_unpack_bits(p->raw, w->bits, /*dense=*/0, 0, codes, r->groups);
        for (size_t g = 0; g < r->groups; g++)
            p->zeros[k * r->groups + g] = (float)codes[g];
    }
    return ORGAN_OK;
}

static size_t floats_over(const weight_grid *grid, const weight_rows *rows)
{
    const uint64_t from = rows->first / grid->block_rows, last = (rows->first + rows->count - 1) / grid->block_rows;
    return (size_t)((last - from + 1) * grid->stride);
}

/* Adds half of their range to zero points of codes in words. Without a tensor of zero points, sets one row of
 * constants: that half for codes in words, -0.0 for ModelOpt (is_modelopt). */
static organ_status read_row_zeros(const organ_weight_reader *r, const weight_rows *rows, const batch_parts *p,
                                   organ_error *error)
{
    if (r->packed_zero)
        return is_gemv(r) ? read_gemv_zeros(r, rows, p, error) : read_packed_zeros(r, rows, p, error);
    const float offset = in_words(r) && !is_mlx(r) ? (float)(1u << (r->weight->bits - 1))
                                                   : -0.0f; /* words store signed codes plus half of their range */
    const size_t n = r->zero.tensor ? floats_over(&r->zero, rows) : r->groups;
    if (r->zero.tensor && organ_weight_grid_read(r, &r->zero, rows, p->zeros, p->raw, error))
        return error->status;
    for (size_t g = 0; has_zero(r) && g < n; g++)
        p->zeros[g] = r->zero.tensor ? p->zeros[g] + offset : offset;
    return ORGAN_OK;
}

static organ_status read_row_scales(const organ_weight_reader *r, const weight_rows *rows, const batch_parts *p,
                                    organ_error *error)
{
    if (organ_weight_grid_read(r, &r->scale, rows, p->scales, p->raw, error))
        return error->status;
    const size_t n = floats_over(&r->scale, rows);
    for (size_t k = 0; k < n && r->weight->scheme == ORGAN_SCHEME_BNB8; k++)
        p->scales[k] *= 1 / 127.0f;
    if (!r->global)
        return ORGAN_OK;
    const float global = r->global[rows->matrix];
    for (size_t k = 0; k < n; k++)
        p->scales[k] = r->weight->divides ? p->scales[k] / global : p->scales[k] * global;
    return ORGAN_OK;
}

/* Packed zero points have a row for each row of the weight, constants have one row for all, a grid has one for each
 * block of rows. Returns NULL if there are none. */
static const float *zeros_of(const organ_weight_reader *r, const weight_rows *rows, const batch_parts *p, size_t k)
{
    if (r->packed_zero)
        return p->zeros + k * r->groups;
    if (!r->zero.tensor)
        return has_zero(r) ? p->zeros : NULL;
    const uint64_t block = r->zero.block_rows;
    return p->zeros + (size_t)(((rows->first + k) / block - rows->first / block) * r->zero.stride);
}

/* The products code x scale of one row are in p->narrow, or in `values` if the scales are FP32. MLX rounds product
 * and sum to the type of the scales. Here the sum is rounded to FP32 first and then to that type. The double
 * rounding gives the same result, because FP32 has at least 2 p + 2 bits for a type of p bits: BF16 needs 18, F16
 * needs 24, FP32 has 24. */
static void add_biases(const organ_weight_reader *r, const batch_parts *p, const float *biases, float *values)
{
    const organ_kernels *const k = r->kernels;
    const size_t cols = (size_t)r->shape.cols;
    const organ_dtype type = r->weight->scale->dtype;
    if (type == ORGAN_BF16)
        k->bf16_to_f32(p->narrow, values, cols);
    else if (type == ORGAN_F16)
        k->f16_to_f32(p->narrow, values, cols);
    for (size_t at = 0, g = 0; at < cols; at += r->group, g++) {
        const size_t end = at + r->group < cols ? at + r->group : cols;
        for (size_t in = at; in < end; in++) {
            const float sum = values[in] + biases[g];
            values[in] = sum != sum ? NAN : sum; /* a single NaN, because its sign would depend on the machine */
        }
    }
    if (type == ORGAN_BF16) {
        k->f32_to_bf16(values, p->narrow, cols);
        k->bf16_to_f32(p->narrow, values, cols);
    } else if (type == ORGAN_F16) {
        k->f32_to_f16(values, p->narrow, cols);
        k->f16_to_f32(p->narrow, values, cols);
    }
}

/* The values of the codes of MXINT4: a sign above a magnitude in quarters. */
static const float quarters[16] = {0,     0.25f,  0.5f,  0.75f,  1.0f,  1.25f,  1.5f,  1.75f,
                                   -0.0f, -0.25f, -0.5f, -0.75f, -1.0f, -1.25f, -1.5f, -1.75f};

/* Scales and zero points have one number per group; for MLX, `zeros` are the biases. `row` is the row of the matrix. */
static void decode_row(const organ_weight_reader *r, const batch_parts *p, const unsigned char *codes, uint64_t row,
                       const float *scales, const float *zeros, organ_dtype as, void *values)
{
    const size_t cols = (size_t)r->shape.cols;
    if (is_loose(r)) {
        unpack_row(r, codes, row, p->loose, cols);
        codes = p->loose;
    }
    if (is_mlx(r)) {
        const organ_real real = organ_weight_real(r->weight->scale->dtype);
        r->kernels->decode[r->code][real](codes, scales, NULL, r->group, real == ORGAN_REAL_F32 ? values : p->narrow,
                                          cols);
        add_biases(r, p, zeros, values);
        return;
    }
    if (r->weight->scheme == ORGAN_SCHEME_MXINT4)
        r->kernels->decode_levels[organ_weight_real(as)](codes, quarters, scales, r->group, values, cols);
    else
        organ_weight_decode(r, codes, scales, zeros, p->scale_of, p->zero_of, as, values);
    for (size_t k = 0; k < cols && r->columns; k++) /* rows_write allows FP32 only */
        ((float *)values)[k] *= r->columns[k];
}

static organ_status read_rows(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                              unsigned char *scratch, organ_error *error)
{
    const batch_parts p = lay_out_batch(r, rows->count, &(uintptr_t){(uintptr_t)scratch});
    const uint64_t row = rows->matrix * r->shape.rows + rows->first, block = r->scale.block_rows;
    const uint64_t in_line = is_two_rows(r) ? 2 : 1, line = row / in_line; /* rows in a row of bytes */
    const size_t lines = (size_t)((row + rows->count - 1) / in_line - line + 1);
    const size_t value_bytes = (size_t)r->shape.cols * (as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t));
    if (organ_weight_fetch(r, r->weight->codes, line * r->row_bytes, lines * r->row_bytes, p.codes, error) ||
        read_row_scales(r, rows, &p, error) || read_row_zeros(r, rows, &p, error))
        return error->status;
    for (size_t k = 0; k < rows->count; k++) {
        const float *scales = p.scales + (size_t)(((rows->first + k) / block - rows->first / block) * r->scale.stride);
        decode_row(r, &p, p.codes + (size_t)((row + k) / in_line - line) * r->row_bytes, rows->first + k, scales,
                   zeros_of(r, rows, &p, k), as, (unsigned char *)values + k * value_bytes);
    }
    return ORGAN_OK;
}

/* MLX and weights with factors of columns are decoded to FP32 only: weight_reader.c rounds the FP32 values to other
 * types. */
static bool rows_write(const organ_weight_reader *r, organ_dtype as)
{
    return is_mlx(r) || r->weight->columns ? as == ORGAN_F32 : organ_weight_can_decode_to(r, as);
}

const weight_family organ_weight_family_rows = {prepare_rows, load_rows, rows_scratch, read_rows, rows_write, false};
