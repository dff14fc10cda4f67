/* SPDX-License-Identifier: MIT
 * The family of plain weights, a single tensor of any type: GGUF blocks, floats, integers. Types of at most 8 bits are
 * decoded with a table of the values of all codes. */
#include "orchestrator/stream/weight_parts.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

const weight_family organ_weight_family_plain = {prepare_plain, load_plain, plain_scratch, read_plain, plain_writes};
