/* SPDX-License-Identifier: MIT
 * Kernels that encode values to codes of 8 and 4 bits with a scale for each group (organ_encode_codes), with or without
 * the sums of the errors (organ_encode_summed), and that find the greatest magnitude of an array. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/code_factors.h"

/* Codes, and the numbers that the decoders return for them with a scale of 1: for floats the magnitudes. */
typedef struct coded {
    u8x16 codes;
    f32x16 numbers;
} coded;

/* Returns the codes of 16 values as floats of 8 bits, or of 4 if they have one fraction bit: with `fraction` fraction
 * bits, smallest normal exponent `least` and largest value `greatest`; larger magnitudes become `greatest`, a NaN the
 * code with all bits but the sign. `one` is 2^(e + 23 - fraction), where e is
 * the exponent of the value, at least `least`. The unit in the last place of `one` is one step of the result, so FP32
 * addition of `one` rounds to nearest even. The increase of its bit pattern is the number of steps; with `above`, the
 * steps for e - `least`, it is the code. Without `nan` no value is NaN. */
INLINE coded float_codes(f32x16 a, const int fraction, const int least, const float greatest, const int nan)
{
    const uint32_t bottom = (uint32_t)(127 + least) << 23, up = (uint32_t)(23 - fraction) << 23;
    const u32x16 bits = f32_bits(a), magnitude = u32_and(bits, u32_set1(MAGNITUDE));
    const u32x16 clamped = u32_min(magnitude, f32_bits(f32_set1(greatest)));
    const u32x16 exponent = u32_max(u32_and(clamped, u32_set1(INFINITE)), u32_set1(bottom)),
                 one = u32_add(exponent, u32_set1(up));
    const f32x16 steps = f32_add(f32_of_bits(clamped), f32_of_bits(one));
    const u32x16 above = u32_add(u32_srl(exponent, 23 - fraction), u32_set1(0u - (bottom >> (23 - fraction))));
    const u32x16 code = u32_add(u32_sub(f32_bits(steps), one), above);
    const int magnitudes = fraction == 1 ? 3 : 7; /* bits of a code before which the sign is */
    const u32x16 byte = u32_or(code, u32_and(u32_srl(bits, 31 - magnitudes), u32_set1(1u << magnitudes)));
    const f32x16 number = f32_sub(steps, f32_of_bits(one));
    if (!nan)
        return (coded){u8_of_u32(byte), number};
    return (coded){u8_of_u32(u32_select(f32_nan(a), u32_set1((1u << magnitudes) - 1), byte)),
                   f32_select(f32_nan(a), f32_set1(fraction == 1 ? greatest : __builtin_nanf("")), number)};
}

/* Rounds to the nearest whole number from `least` to `max`, ties to even, as a signed byte; a NaN becomes 0. Adding
 * 1.5 x 2^23 makes 1 the unit in the last place, so the addition rounds. Without `nan` no value is NaN. */
INLINE coded round_to_s8(f32x16 a, const float least, const float max, const int nan)
{
    const f32x16 number = nan ? f32_of_bits(u32_select(f32_nan(a), u32_set1(0), f32_bits(a))) : a,
                 magic = f32_set1(0x1.8p23f);
    const f32x16 clamped = f32_min(f32_max(number, f32_set1(least)), f32_set1(max));
    const f32x16 rounded = f32_sub(f32_add(clamped, magic), magic);
    return (coded){s8_of_f32(rounded), rounded};
}

INLINE int is_float(const organ_code code)
{
    return code == ORGAN_CODE_E4M3 || code == ORGAN_CODE_E5M2 || code == ORGAN_CODE_E2M1;
}

INLINE coded encode_vector(f32x16 a, const organ_code code, const int nan)
{
    coded c;
    switch (code) {
    case ORGAN_CODE_E4M3:
        return float_codes(a, 3, -6, 448, nan);
    case ORGAN_CODE_E5M2:
        return float_codes(a, 2, -14, 57344, nan);
    case ORGAN_CODE_E2M1:
        return float_codes(a, 1, 0, 6, nan);
    case ORGAN_CODE_U4: /* adds 8 by subtracting 248 modulo 256 */
        c = round_to_s8(a, -8, 7, nan);
        c.codes = u8_sub(c.codes, u8_set1(248));
        return c;
    case ORGAN_CODE_U8:
        c = round_to_s8(a, -128, 127, nan);
        c.codes = u8_sub(c.codes, u8_set1(128));
        return c;
    default:
        return round_to_s8(a, -128, 127, nan);
    }
}

/* 4-bit codes are packed two to a byte, the first in the low half. */
INLINE void store_code_pair(uint8_t *codes, u8x16 a, u8x16 b, const organ_code code)
{
    if (is_nibble(code)) {
        u8_store(codes, u8_join_nibbles(a, b));
    } else {
        u8_store(codes, a);
        u8_store(codes + 16, b);
    }
}

/* ---- sums of squares of values and of their errors ---- */
typedef struct square_sums {
    f64x16 values, errors;
} square_sums;

INLINE void add_squares(square_sums *sums, f32x16 x, f32x16 back)
{
    const f64x16 wide = f64_of_f32(x), lost = f64_of_f32(f32_sub(x, back));
    sums->values = f64_fma(wide, wide, sums->values);
    sums->errors = f64_fma(lost, lost, sums->errors);
}

INLINE void fold_squares(const square_sums *s, double *sums)
{
    sums[0] = f64_fold(s->values);
    sums[1] = f64_fold(s->errors);
}

void KERNEL(error_squares)(const float *values, const float *back, size_t n, double *sums)
{
    square_sums s = {f64_set1(0), f64_set1(0)};
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        add_squares(&s, f32_load(values + at), f32_load(back + at));
    if (at < n)
        add_squares(&s, f32_load_part(values + at, n - at), f32_load_part(back + at, n - at));
    fold_squares(&s, sums);
}

INLINE f32x16 f32_magnitude(f32x16 a) { return f32_of_bits(u32_and(f32_bits(a), u32_set1(MAGNITUDE))); }

/* Returns the codes of 16 values and adds the squares. A float has the sign of value / scale, so its product with the
 * scale has the sign of the value, and magnitudes have the same errors. */
INLINE u8x16 encode_and_add(f32x16 x, f32x16 scale, const organ_code code, const int nan, square_sums *sums)
{
    const coded c = encode_vector(f32_div(x, scale), code, nan);
    if (is_float(code))
        add_squares(sums, f32_magnitude(x), f32_mul(c.numbers, f32_magnitude(scale)));
    else
        add_squares(sums, x, f32_mul(c.numbers, scale));
    return c.codes;
}

/* ---- encoding ---- */

INLINE void encode_pair(const float *values, const factor_pair *f, uint8_t *codes, const organ_code code)
{
    const u8x16 a = encode_vector(f32_div(f32_load(values), f->scale[0]), code, 1).codes;
    const u8x16 b = encode_vector(f32_div(f32_load(values + 16), f->scale[1]), code, 1).codes;
    store_code_pair(codes, a, b, code);
}

INLINE void encode_codes(const float *values, const float *scales, size_t group, void *codes, size_t n,
                         const organ_code code)
{
    code_factors f = {scales, NULL, group, group};
    factor_pair factors;
    uint8_t *to = codes;
    size_t at = 0;
    for (; at + PAIR <= n; at += PAIR) {
        next_factor_pair(&f, &factors);
        encode_pair(values + at, &factors, to + code_bytes(at, code), code);
    }
    if (at < n) {
        float some[PAIR] = {0};
        uint8_t results[PAIR];
        memcpy(some, values + at, (n - at) * sizeof *some);
        code_factors last = f;
        factor_pair rest;
        factors_by_element(&last, n - at, &rest);
        encode_pair(some, &rest, results, code);
        if (is_nibble(code) && n % 2 == 1)
            results[(n - at) / 2] &= 15;
        memcpy(to + code_bytes(at, code), results, code_bytes(n - at, code));
    }
}

/* ---- encoding with sums ---- */

/* n is a multiple of PAIR. */
INLINE void encode_run(const float *values, float scale, uint8_t *codes, size_t n, const organ_code code, const int nan,
                       square_sums *sums)
{
    const f32x16 by = f32_set1(scale);
    square_sums s = *sums;
    for (size_t at = 0; at < n; at += PAIR) {
        const u8x16 a = encode_and_add(f32_load(values + at), by, code, nan, &s),
                    b = encode_and_add(f32_load(values + at + 16), by, code, nan, &s);
        store_code_pair(codes + code_bytes(at, code), a, b, code);
    }
    *sums = s;
}

/* n <= PAIR values of any groups. After the last value there are zeros with a scale of 1, whose squares are 0. */
INLINE void encode_some(const float *values, code_factors *f, uint8_t *codes, size_t n, const organ_code code,
                        const int nan, square_sums *sums)
{
    float some[PAIR] = {0}, scales[PAIR];
    uint8_t results[PAIR];
    factor_pair by;
    memcpy(some, values, n * sizeof *some);
    factors_by_element(f, n, &by);
    f32_store(scales, by.scale[0]);
    f32_store(scales + 16, by.scale[1]);
    for (size_t l = n; l < PAIR; l++)
        scales[l] = 1;
    const u8x16 a = encode_and_add(f32_load(some), f32_load(scales), code, nan, sums),
                b = encode_and_add(f32_load(some + 16), f32_load(scales + 16), code, nan, sums);
    store_code_pair(results, a, b, code);
    if (is_nibble(code) && n % 2 == 1)
        results[n / 2] &= 15;
    memcpy(codes, results, code_bytes(n, code));
}

/* Encodes all whole pairs of groups of 16 values, with a scale for each, and returns how many values these are. */
INLINE size_t encode_sixteens(const float *values, const float *scales, uint8_t *codes, size_t n, const organ_code code,
                              const int nan, square_sums *sums)
{
    square_sums s = *sums;
    size_t at = 0;
    for (; at + PAIR <= n; at += PAIR) {
        const float *const by = scales + at / 16;
        const u8x16 a = encode_and_add(f32_load(values + at), f32_set1(by[0]), code, nan, &s),
                    b = encode_and_add(f32_load(values + at + 16), f32_set1(by[1]), code, nan, &s);
        store_code_pair(codes + code_bytes(at, code), a, b, code);
    }
    *sums = s;
    return at;
}

INLINE void encode_groups(const float *values, const float *scales, size_t group, uint8_t *codes, size_t n,
                          const organ_code code, const int nan, double *sums)
{
    square_sums s = {f64_set1(0), f64_set1(0)};
    const size_t first = group == 16 ? encode_sixteens(values, scales, codes, n, code, nan, &s) : 0;
    code_factors f = {scales + first / group, NULL, group, group};
    for (size_t at = first, run; at < n; at += run) {
        uint8_t *const to = codes + code_bytes(at, code);
        run = min_size(n - at, f.group_left) / PAIR * PAIR;
        if (run > 0) {
            encode_run(values + at, *f.scales, to, run, code, nan, &s);
            pass_factors(&f, run);
        } else {
            run = min_size(n - at, PAIR);
            code_factors after = f;
            encode_some(values + at, &after, to, run, code, nan, &s);
            f = after;
        }
    }
    fold_squares(&s, sums);
}

/* Returns 0 if a quotient of a value and a scale may be NaN although both sums are finite. */
INLINE int has_quotients(const float *scales, size_t count)
{
    int all = 1;
    for (size_t g = 0; g < count; g++)
        all &= scales[g] != 0;
    return all;
}

/* Defines the kernels encode_NAME and encode_NAME_summed for one format of codes. The latter runs again if a quotient
 * may be NaN. */
#define ENCODE(name, code)                                                                                             \
    void KERNEL(encode_##name)(const float *values, const float *scales, size_t group, void *codes, size_t n)          \
    {                                                                                                                  \
        encode_codes(values, scales, group, codes, n, code);                                                           \
    }                                                                                                                  \
    SHARED void encode_any_##name(const float *values, const float *scales, size_t group, uint8_t *codes, size_t n,    \
                                  double *sums)                                                                        \
    {                                                                                                                  \
        encode_groups(values, scales, group, codes, n, code, 1, sums);                                                 \
    }                                                                                                                  \
    void KERNEL(encode_##name##_summed)(const float *values, const float *scales, size_t group, void *codes, size_t n, \
                                        double *sums)                                                                  \
    {                                                                                                                  \
        encode_groups(values, scales, group, codes, n, code, 0, sums);                                                 \
        if (!(sums[0] + sums[1] < __builtin_inf()) || !has_quotients(scales, (n + group - 1) / group))                 \
            encode_any_##name(values, scales, group, codes, n, sums);                                                  \
    }
ENCODE(e4m3, ORGAN_CODE_E4M3)
ENCODE(e5m2, ORGAN_CODE_E5M2)
ENCODE(i8, ORGAN_CODE_I8)
ENCODE(u8, ORGAN_CODE_U8)
ENCODE(u4, ORGAN_CODE_U4)
ENCODE(e2m1, ORGAN_CODE_E2M1)

/* ---- the greatest magnitude ---- */
/* Returns the largest magnitude of n values; NaN is ignored, infinity is not. Bit patterns of magnitudes compare as
 * integers. */
float KERNEL(amax)(const float *values, size_t n)
{
    u32x16 max[2] = {u32_set1(0), u32_set1(0)};
    size_t at = 0;
    for (; at + PAIR <= n; at += PAIR) {
        max[0] = u32_max(max[0], magnitude_bits(f32_load(values + at)));
        max[1] = u32_max(max[1], magnitude_bits(f32_load(values + at + 16)));
    }
    for (; at < n; at += 16)
        max[0] = u32_max(max[0], magnitude_bits(f32_load_part(values + at, n - at < 16 ? n - at : 16)));
    const uint32_t bits = u32_top(u32_max(max[0], max[1]));
    float greatest;
    memcpy(&greatest, &bits, sizeof greatest);
    return greatest;
}

#endif
