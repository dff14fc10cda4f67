/* SPDX-License-Identifier: MIT
 * The family of packed weights stored transposed, as a matrix of 32-bit words. In GPTQ a word has codes of several
 * inputs for one output, and a column of words belongs to one output. In AutoAWQ's gemm a word has codes of one input
 * for eight outputs, and a column of words belongs to these outputs. A strip is a range of outputs, which are rows of
 * the weight: read_strip reads the columns of the stored matrix with the strip and transposes them. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/weight_parts.h"
#include "orchestrator/stream/weight_pass.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* STRIP_BYTES: about the bytes of codes in a strip, which has at most MOST_ROWS outputs. STEP, AWQ_STEP: outputs that
 * are best read together at least, so that the runs of bytes in the file are long enough. AWQ_CODES: outputs in a word.
 */
enum { STRIP_BYTES = 4 << 20, MOST_ROWS = 1024, STEP = 64, AWQ_CODES = 8, AWQ_STEP = 256 };

const unsigned organ_awq_nibble[AWQ_CODES] = {0, 4, 1, 5, 2, 6, 3, 7};

static bool is_awq(const organ_weight_reader *r)
{
    return r->weight->scheme == ORGAN_SCHEME_AWQ_GEMM || r->weight->scheme == ORGAN_SCHEME_QUARK4;
}

/* Signed codes differ from unsigned ones that are greater by 8 in the highest bit only, and so do their zero points. */
static unsigned sign_of(const organ_weight_reader *r) { return r->weight->signed_codes ? 8 : 0; }

static size_t stored_rows(const organ_weight_reader *r)
{
    return is_awq(r) ? (size_t)r->shape.cols : (size_t)weight_up(r->shape.cols * r->weight->bits, 32);
}

/* Returns the bytes from the codes of one output to those of the next, transposed; no multiple of a page, because rows
 * that are written at the same time would evict each other from the cache. */
static size_t turned_stride(const organ_weight_reader *r)
{
    return weight_round(is_awq(r) ? (stored_rows(r) + 1) / 2 : stored_rows(r) * 4) + 64;
}

typedef struct strip_parts {
    unsigned char *room;       /* scratch of organ_weight_fetch_columns */
    unsigned char *turned;     /* the codes of each output, turned_stride bytes apart */
    unsigned char *loose;      /* codes of one output, a byte each */
    unsigned char *line;       /* scales or zero points of one group as stored, then converted or unpacked */
    float *scales, *zeros;     /* [outputs][groups] */
    float *scale_of, *zero_of; /* with a g_idx: one number for each column of the weight */
} strip_parts;

/* Returns an upper bound. In AWQ the outputs may begin and end within a word, hence 2 more. */
static size_t word_columns(const organ_weight_reader *r, size_t rows)
{
    return is_awq(r) ? rows / AWQ_CODES + 2 : rows;
}

/* p.line has room for a stored scale, a float and a code of each output, and for rounding. */
static strip_parts lay_out_strip(const organ_weight_reader *r, size_t rows, uintptr_t *at)
{
    const size_t cols = (size_t)r->shape.cols, floats = rows * r->groups * sizeof(float);
    strip_parts p = {.room = weight_take(at, WEIGHT_ROOM)};
    p.turned = weight_take(at, turned_stride(r) * word_columns(r, rows) * (is_awq(r) ? AWQ_CODES : 1));
    p.loose = weight_take(at, cols);
    p.line = weight_take(at, rows * (2 * sizeof(float) + 1) + 128);
    p.scales = weight_take(at, floats);
    p.zeros = weight_take(at, floats);
    p.scale_of = weight_take(at, r->weight->g_idx ? cols * sizeof(float) : 0);
    p.zero_of = weight_take(at, r->weight->g_idx ? cols * sizeof(float) : 0);
    return p;
}

static size_t words_scratch(const organ_weight_reader *r, size_t rows)
{
    uintptr_t end = 0;
    lay_out_strip(r, rows, &end);
    return end;
}

static organ_status check_elements(const organ_weight_reader *r, const organ_tensor *tensor, uint64_t need,
                                   const char *what, organ_error *error)
{
    if (tensor->elements == need)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %" PRIu64 " %s, but '%s' needs %" PRIu64, tensor->name,
                      tensor->elements, what, r->weight->name, need);
}

/* GPTQ only: the words have the zero points of all outputs in one group. */
static uint64_t zero_words(const organ_weight_reader *r) { return weight_up(r->shape.rows * r->weight->bits, 32); }

static organ_status prepare_words(organ_weight_reader *r, organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t count = r->shape.count;
    r->code = w->bits == 4 ? ORGAN_CODE_U4 : ORGAN_CODE_U8;
    if (organ_weight_find_groups(r, /*across=*/2, error))
        return error->status;
    const uint64_t across = is_awq(r) ? r->shape.rows / AWQ_CODES : r->shape.rows; /* columns of the stored matrix */
    if (is_awq(r) && r->shape.rows % AWQ_CODES)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': has %" PRIu64 " rows, not a multiple of the 8 in a word", w->name,
                          r->shape.rows);
    if (w->codes->dtype != ORGAN_I32 || (w->zero && w->zero->dtype != ORGAN_I32))
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': words of type %s, expected I32", w->codes->name,
                          organ_dtype_name(w->codes->dtype));
    if (w->scale->dtype != ORGAN_F16 && w->scale->dtype != ORGAN_BF16 && w->scale->dtype != ORGAN_F32)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': scales of type %s", w->scale->name,
                          organ_dtype_name(w->scale->dtype));
    if (check_elements(r, w->codes, count * stored_rows(r) * across, "words", error) ||
        check_elements(r, w->scale, count * r->groups * r->shape.rows, "scales", error) ||
        (w->zero &&
         check_elements(r, w->zero, count * r->groups * (is_awq(r) ? across : zero_words(r)), "words", error)))
        return error->status;
    /* outputs per strip, so that their codes have about STRIP_BYTES */
    const size_t column = stored_rows(r) * 4, fits = STRIP_BYTES / organ_max(column, 4) * (is_awq(r) ? AWQ_CODES : 1);
    r->step = is_awq(r) ? AWQ_STEP : STEP;
    r->batch = fits > MOST_ROWS ? MOST_ROWS : fits / STEP * STEP;
    if (fits < STEP)
        r->batch = STEP;
    return ORGAN_OK;
}

static organ_status load_words(organ_weight_reader *r, char note[256], organ_error *error)
{
    if (organ_weight_load_g_idx(r, error))
        return error->status;
    return is_awq(r) ? ORGAN_OK : organ_weight_find_version(r, note, error);
}

/* Unpacks n codes of GPTQ from code `first` on. In planes, each 32 codes have as many words as a code has bits: first
 * those of the low plane of 4 bits (of 2 for codes of 3 bits), then those of the planes of 2 and of 1. */
static void unpack_gptq(const organ_weight_reader *r, const unsigned char *words, size_t first, unsigned char *codes,
                        size_t n)
{
    const unsigned bits = r->weight->bits;
    if (!r->weight->planar) {
        organ_unpack_bits(words, bits, /*dense=*/1, first, codes, n);
        return;
    }
    memset(codes, 0, n);
    for (size_t k = 0; k < n; k++) {
        const size_t at = (first + k) % 32;
        const unsigned char *plane = words + (first + k) / 32 * bits * 4;
        for (unsigned done = 0, width; done < bits; done += width, plane += width * 4) {
            const unsigned lowest = bits > 4 ? 4 : 2, further = bits - done > 1 ? 2 : 1;
            width = done == 0 ? lowest : further;
            const size_t bit = at * width;
            codes[k] |= (unsigned char)((plane[bit / 8] >> bit % 8 & ((1u << width) - 1)) << done);
        }
    }
}

/* Treats the tensor as rows of `width` elements, and reads elements [first, first + n) of each row without gaps.
 * `scratch` has WEIGHT_ROOM bytes. */
static organ_status fetch_strip(const organ_weight_reader *r, const organ_tensor *tensor, uint64_t row, size_t rows,
                                uint64_t width, uint64_t first, size_t n, unsigned char *to, unsigned char *scratch,
                                organ_error *error)
{
    const size_t size = organ_dtype_describe(tensor->dtype)->bytes;
    return organ_weight_fetch_columns(r, tensor, row, rows, width * size, first * size, n * size, to, scratch, error);
}

/* p->scales is [outputs][groups]; the file has [groups][outputs]. */
static organ_status read_strip_scales(const organ_weight_reader *r, const weight_rows *rows, const strip_parts *p,
                                      organ_error *error)
{
    float *floats = (float *)(void *)(p->line + weight_round(rows->count * sizeof(float)));
    for (size_t g = 0; g < r->groups; g++) {
        const uint64_t row = rows->matrix * r->groups + g;
        if (fetch_strip(r, r->weight->scale, row, 1, r->shape.rows, rows->first, rows->count, p->line, p->room, error))
            return error->status;
        organ_weight_widen(r, r->weight->scale, p->line, rows->count, floats);
        for (size_t k = 0; k < rows->count; k++)
            p->scales[k * r->groups + g] = floats[k];
    }
    return ORGAN_OK;
}

static organ_status read_zero_codes(const organ_weight_reader *r, const weight_rows *rows, size_t group,
                                    const strip_parts *p, unsigned char *codes, organ_error *error)
{
    const organ_weight *w = r->weight;
    const uint64_t width = is_awq(r) ? r->shape.rows / AWQ_CODES : zero_words(r);
    weight_span span = organ_weight_span(w->bits, !is_awq(r), rows->first, rows->count);
    span.to = w->planar ? weight_up(span.to, w->bits) * w->bits : span.to; /* whole blocks of planes */
    const unsigned char *line = p->line;
    if (fetch_strip(r, w->zero, rows->matrix * r->groups + group, 1, width, span.from, (size_t)(span.to - span.from),
                    p->line, p->room, error))
        return error->status;
    if (!is_awq(r)) {
        unpack_gptq(r, line, span.skip, codes, rows->count);
        return ORGAN_OK;
    }
    for (size_t k = 0; k < rows->count; k++) {
        const size_t at = span.skip + k, nibble = organ_awq_nibble[at % AWQ_CODES];
        codes[k] = (line[at / AWQ_CODES * 4 + nibble / 2] >> nibble % 2 * 4 & 15) ^ sign_of(r);
    }
    return ORGAN_OK;
}

/* p->zeros is [outputs][groups]. Symmetric weights store no zero points: theirs is the middle of the range. */
static organ_status read_strip_zeros(const organ_weight_reader *r, const weight_rows *rows, const strip_parts *p,
                                     organ_error *error)
{
    const unsigned max = (1u << r->weight->bits) - 1;
    unsigned char *codes = p->line + weight_round(rows->count * 4 + 64);
    for (size_t g = 0; g < r->groups; g++) {
        if (r->weight->zero && read_zero_codes(r, rows, g, p, codes, error))
            return error->status;
        /* The 1 is added within the bits of a code: a carry is discarded, as the reference code of GPTQ does. */
        for (size_t k = 0; k < rows->count; k++)
            p->zeros[k * r->groups + g] = (float)(r->weight->zero ? (codes[k] + r->plus_one) & max : max / 2 + 1);
    }
    return ORGAN_OK;
}

/* Makes the codes of an output contiguous: transposes whole words of GPTQ, single codes of AutoAWQ. The stored columns
 * are [first, first + columns). */
static organ_status turn_strip(const organ_weight_reader *r, uint64_t matrix, uint64_t first, size_t columns,
                               const strip_parts *p, organ_error *error)
{
    const size_t stored = stored_rows(r), stride = turned_stride(r);
    const uint64_t width = r->shape.rows / (is_awq(r) ? AWQ_CODES : 1) * 4;
    weight_columns from;
    for (size_t row = 0; row < stored; row += from.rows) {
        if (organ_weight_view_columns(r, r->weight->codes, matrix * stored + row, stored - row, width, first * 4,
                                      columns * 4, p->room, &from, error))
            return error->status;
        if (is_awq(r))
            organ_transpose_nibbles(from.bytes, from.stride, p->turned + row / 2, stride, from.rows, columns * 4,
                                    (uint8_t)(sign_of(r) * 0x11));
        else
            organ_transpose_u32((const uint32_t *)(const void *)from.bytes, from.stride / 4,
                                (uint32_t *)(void *)p->turned + row, stride / 4, from.rows, columns);
    }
    return ORGAN_OK;
}

/* Returns the codes of output `at`, which is counted from the first output of the strip's first stored column. Codes of
 * 4 and 8 bits stay packed, because the kernels decode them so. All other codes are unpacked to a byte each in
 * p->loose, which the next call overwrites. */
static const unsigned char *codes_of(const organ_weight_reader *r, const strip_parts *p, size_t at)
{
    const size_t place = is_awq(r) ? at / AWQ_CODES * AWQ_CODES + organ_awq_nibble[at % AWQ_CODES] : at;
    const unsigned char *codes = p->turned + place * turned_stride(r);
    if (r->weight->bits == 4 || r->weight->bits == 8)
        return codes;
    unpack_gptq(r, codes, 0, p->loose, (size_t)r->shape.cols);
    return p->loose;
}

static organ_status read_strip(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                               unsigned char *scratch, organ_error *error)
{
    const strip_parts p = lay_out_strip(r, rows->count, &(uintptr_t){(uintptr_t)scratch});
    const uint64_t codes = is_awq(r) ? AWQ_CODES : 1; /* outputs in a column of words */
    const uint64_t first = rows->first / codes, columns = (rows->first + rows->count - 1) / codes + 1 - first,
                   top = rows->matrix * r->shape.rows + rows->first;
    const size_t row_bytes = (size_t)r->shape.cols * (as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t)),
                 most = rows->use ? rows->use->most : rows->count;
    if (turn_strip(r, rows->matrix, first, (size_t)columns, &p, error) || read_strip_scales(r, rows, &p, error) ||
        read_strip_zeros(r, rows, &p, error))
        return error->status;
    for (size_t k = 0, n; k < rows->count && !error->status; k += n) {
        n = organ_min(rows->count - k, most);
        for (size_t row = k; row < k + n; row++)
            organ_weight_decode(r, codes_of(r, &p, (size_t)(rows->first - first * codes) + row),
                                p.scales + row * r->groups, p.zeros + row * r->groups, p.scale_of, p.zero_of, as,
                                (unsigned char *)values + (row - k) * row_bytes);
        if (rows->use)
            rows->use->use(rows->use->context, top + k, n, error);
    }
    return error->status;
}

const weight_family organ_weight_family_words = {
    prepare_words, load_words, words_scratch, read_strip, organ_weight_can_decode_to, true};

/* ---- plain weights, a single tensor of any type: GGUF blocks, floats, integers ---- */

/* Types of at most 8 bits are decoded with a table of the values of all codes. */

/* Sizes of the fields, most significant first. */
typedef struct small_float {
    organ_dtype dtype;
    unsigned exponent_bits, mantissa_bits; /* number of bits of exponent and mantissa */
    int bias;                              /* of the exponent */
    /* FINITE: no NaN or infinity; ONE_NAN: NaN if all bits but the sign are ones; FNUZ: one NaN in place of -0; IEEE:
     * the largest exponent means NaN or infinity */
    enum { FINITE, ONE_NAN, FNUZ, IEEE } specials;
} small_float;

/* The small floats of the OCP formats (FP4, FP6, FP8) and the FNUZ variants of FP8. */
static const small_float small_floats[] = {
    {ORGAN_F4, 2, 1, 1, FINITE},         {ORGAN_F6_E2M3, 2, 3, 1, FINITE}, {ORGAN_F6_E3M2, 3, 2, 3, FINITE},
    {ORGAN_F8_E4M3, 4, 3, 7, ONE_NAN},   {ORGAN_F8_E5M2, 5, 2, 15, IEEE},  {ORGAN_F8_E4M3FNUZ, 4, 3, 8, FNUZ},
    {ORGAN_F8_E5M2FNUZ, 5, 2, 16, FNUZ},
};

/* The value is (2^mantissa_bits + mantissa) x 2^(exponent - bias - mantissa_bits), or, for exponent 0 (subnormal),
 * mantissa x 2^(1 - bias - mantissa_bits). */
static float small_value(const small_float *f, unsigned code)
{
    const unsigned exponents = 1u << f->exponent_bits, mantissas = 1u << f->mantissa_bits;
    const unsigned sign = code >> (f->exponent_bits + f->mantissa_bits) & 1,
                   magnitude = code & (exponents * mantissas - 1);
    const unsigned exponent = magnitude / mantissas, mantissa = magnitude % mantissas;
    if ((f->specials == FNUZ && sign && magnitude == 0) ||
        (f->specials == ONE_NAN && magnitude == exponents * mantissas - 1) ||
        (f->specials == IEEE && exponent == exponents - 1 && mantissa))
        return sign ? -NAN : NAN;
    float value = ldexpf((float)(mantissa + (exponent ? mantissas : 0)),
                         (int)(exponent ? exponent : 1) - f->bias - (int)f->mantissa_bits);
    if (f->specials == IEEE && exponent == exponents - 1)
        value = INFINITY;
    return sign ? -value : value;
}

/* Types of 0 bits are not decoded with r->table. */
static unsigned table_bits(organ_dtype dtype)
{
    switch (dtype) {
    case ORGAN_F4:
        return 4;
    case ORGAN_F6_E2M3:
    case ORGAN_F6_E3M2:
        return 6;
    case ORGAN_F8_E5M2:
    case ORGAN_F8_E4M3:
    case ORGAN_F8_E4M3FNUZ:
    case ORGAN_F8_E5M2FNUZ:
    case ORGAN_F8_E8M0:
    case ORGAN_BOOL:
    case ORGAN_U8:
        return 8;
    default:
        return 0;
    }
}

static float table_value(organ_dtype dtype, unsigned code)
{
    for (size_t k = 0; k < sizeof small_floats / sizeof *small_floats; k++)
        if (small_floats[k].dtype == dtype)
            return small_value(&small_floats[k], code);
    if (dtype == ORGAN_F8_E8M0)
        return code == 0xff ? NAN : ldexpf(1.0f, (int)code - 127);
    return dtype == ORGAN_BOOL ? (float)(code != 0) : (float)code;
}

static organ_status prepare_plain(organ_weight_reader *r, organ_error *error)
{
    const organ_dtype dtype = r->weight->codes->dtype;
    if (!organ_can_widen(dtype) && !table_bits(dtype) && dtype != ORGAN_U16 && dtype != ORGAN_U32 && dtype != ORGAN_U64)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': values of type %s are not real numbers",
                          r->weight->name, organ_dtype_name(dtype));
    return ORGAN_OK;
}

/* Each matrix may have a scale. The table of values has 256 entries for any width of the codes. */
static organ_status load_plain(organ_weight_reader *r, char note[256], organ_error *error)
{
    const organ_dtype dtype = r->weight->codes->dtype;
    const unsigned bits = table_bits(dtype);
    (void)note;
    if (organ_weight_load_global(r, error))
        return error->status;
    if (!bits)
        return ORGAN_OK;
    if (!(r->table = malloc(256 * sizeof *r->table)))
        return organ_fail_errno(error, ENOMEM, "tensor '%s'", r->weight->name);
    for (unsigned code = 0; code < 256; code++)
        r->table[code] = table_value(dtype, code & ((1u << bits) - 1));
    return ORGAN_OK;
}

/* Codes of 4 or 6 bits may begin within a byte. */
typedef struct bit_range {
    uint64_t byte;  /* first byte with a bit of the codes */
    unsigned shift; /* bit of that byte at which the first code begins */
    size_t bytes;   /* bytes that contain the codes */
} bit_range;

static bit_range bytes_of_codes(unsigned bits, uint64_t at, size_t n)
{
    const uint64_t from = at * bits;
    return (bit_range){from / 8, (unsigned)(from % 8), (size_t)((from % 8 + (uint64_t)n * bits + 7) / 8)};
}

/* Codes of less than a byte need two bytes more, because they may begin and end within a byte. */
static size_t plain_scratch(const organ_weight_reader *r, size_t rows)
{
    const organ_dtype_info *type = organ_dtype_describe(r->weight->codes->dtype);
    const size_t n = rows * (size_t)r->shape.cols, bits = table_bits(r->weight->codes->dtype);
    return bits ? n * bits / 8 + 2 : n / type->elements * type->bytes;
}

/* Codes are packed without gaps, lowest bits first, from bit `shift` of the first byte on. */
static void look_up_codes(const float *table, unsigned bits, const unsigned char *codes, unsigned shift, size_t n,
                          float *values)
{
    const unsigned mask = (1u << bits) - 1;
    for (size_t k = 0, at = shift; k < n; k++, at += bits) {
        unsigned code = codes[at / 8];
        if (at % 8 + bits > 8)
            code |= (unsigned)codes[at / 8 + 1] << 8;
        values[k] = table[code >> at % 8 & mask];
    }
}

/* Unsigned integers of 16, 32 or 64 bits: organ_widen has only the types of GGUF. */
static void cast_integers(organ_dtype dtype, const unsigned char *from, size_t n, float *values)
{
    const size_t size = organ_dtype_describe(dtype)->bytes;
    for (size_t k = 0; k < n; k++) {
        uint64_t element = 0; /* little endian, like the file */
        memcpy(&element, from + k * size, size);
        values[k] = (float)element;
    }
}

/* Values that have type `as` in the file are read in place, without a change; otherwise `as` is F32. Only NVFP4
 * blocks of GGUF can have a scale for each matrix. */
static organ_status read_plain(const organ_weight_reader *r, const weight_rows *rows, organ_dtype as, void *values,
                               unsigned char *scratch, organ_error *error)
{
    const organ_tensor *tensor = r->weight->codes;
    const organ_dtype_info *type = organ_dtype_describe(tensor->dtype);
    const uint64_t at = (rows->matrix * r->shape.rows + rows->first) * r->shape.cols;
    const size_t n = rows->count * (size_t)r->shape.cols;
    const unsigned bits = table_bits(tensor->dtype);
    if (bits) {
        const bit_range range = bytes_of_codes(bits, at, n);
        if (organ_weight_fetch(r, tensor, range.byte, range.bytes, scratch, error))
            return error->status;
        look_up_codes(r->table, bits, scratch, range.shift, n, values);
        return ORGAN_OK;
    }
    const size_t units = n / type->elements;
    void *to = as == tensor->dtype ? values : scratch;
    if (organ_weight_fetch(r, tensor, at / type->elements * type->bytes, units * type->bytes, to, error))
        return error->status;
    if (to == values)
        return ORGAN_OK;
    if (organ_can_widen(tensor->dtype))
        organ_widen(r->kernels, tensor->dtype, scratch, values, units);
    else
        cast_integers(tensor->dtype, scratch, n, values);
    float *floats = values;
    for (size_t k = 0; r->global && k < n; k++)
        floats[k] *= r->global[rows->matrix];
    return ORGAN_OK;
}

static bool plain_writes(const organ_weight_reader *r, organ_dtype as) { return as == r->weight->codes->dtype; }

const weight_family organ_weight_family_plain = {prepare_plain, load_plain,   plain_scratch,
                                                 read_plain,    plain_writes, false};
