/* SPDX-License-Identifier: MIT
 * Kernels that encode values to codes of 8 and 4 bits with a scale for each group (organ_encode_codes), and that find
 * the greatest magnitude of an array. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/code_factors.h"

/* Returns the codes of 16 values as 8-bit floats with `fraction` fraction bits, smallest normal exponent `least` and
 * largest value `greatest`; larger magnitudes become `greatest`, NaN 0x7f. `one` is 2^(e + 23 - fraction), where e is
 * the exponent of the value, at least `least`. The unit in the last place of `one` is one step of the result, so FP32
 * addition of `one` rounds to nearest even. The increase of its bit pattern is the number of steps; with `above`, the
 * steps for e - `least`, it is the code. */
INLINE u8x16 fp8_codes(f32x16 a, const int fraction, const int least, const float greatest)
{
    const uint32_t bottom = (uint32_t)(127 + least) << 23, up = (uint32_t)(23 - fraction) << 23;
    const u32x16 bits = f32_bits(a), magnitude = u32_and(bits, u32_set1(MAGNITUDE));
    const u32x16 clamped = u32_min(magnitude, f32_bits(f32_set1(greatest)));
    const u32x16 exponent = u32_max(u32_and(clamped, u32_set1(INFINITE)), u32_set1(bottom)),
                 one = u32_add(exponent, u32_set1(up));
    const u32x16 steps = f32_bits(f32_add(f32_of_bits(clamped), f32_of_bits(one)));
    const u32x16 above = u32_add(u32_srl(exponent, 23 - fraction), u32_set1(0u - (bottom >> (23 - fraction))));
    const u32x16 code = u32_add(u32_sub(steps, one), above);
    const u32x16 number = u32_or(code, u32_and(u32_srl(bits, 24), u32_set1(0x80)));
    return u8_of_u32(u32_select(f32_nan(a), u32_set1(0x7f), number));
}

/* Rounds to the nearest whole number from `least` to `max`, ties to even, as a signed byte; a NaN becomes 0. Adding
 * 1.5 x 2^23 makes 1 the unit in the last place, so the addition rounds. */
INLINE u8x16 round_to_s8(f32x16 a, const float least, const float max)
{
    const f32x16 number = f32_of_bits(u32_select(f32_nan(a), u32_set1(0), f32_bits(a))), magic = f32_set1(0x1.8p23f);
    const f32x16 clamped = f32_min(f32_max(number, f32_set1(least)), f32_set1(max));
    return s8_of_f32(f32_sub(f32_add(clamped, magic), magic));
}

INLINE u8x16 encode_vector(f32x16 a, const organ_code code)
{
    switch (code) {
    case ORGAN_CODE_E4M3:
        return fp8_codes(a, 3, -6, 448);
    case ORGAN_CODE_E5M2:
        return fp8_codes(a, 2, -14, 57344);
    case ORGAN_CODE_I8:
        return round_to_s8(a, -128, 127);
    case ORGAN_CODE_E2M1: { /* the sign moves from bit 7 to bit 3 */
        const u8x16 wide = fp8_codes(a, 1, 0, 6);
        return u8_or(u8_field(wide, 0, 7), u8_field(wide, 4, 8));
    }
    default: /* U4: adds 8 by subtracting 248 modulo 256 */
        return u8_sub(round_to_s8(a, -8, 7), u8_set1(248));
    }
}

/* Encodes 32 values, divided by the two vectors of scales in `f`. 4-bit codes are packed two to a byte, the first in
 * the low half. */
INLINE void encode_pair(const float *values, const factor_pair *f, uint8_t *codes, const organ_code code)
{
    const u8x16 a = encode_vector(f32_div(f32_load(values), f->scale[0]), code);
    const u8x16 b = encode_vector(f32_div(f32_load(values + 16), f->scale[1]), code);
    if (is_nibble(code)) {
        u8_store(codes, u8_or(u8_evens(a, b), u8_sll(u8_odds(a, b), 4)));
    } else {
        u8_store(codes, a);
        u8_store(codes + 16, b);
    }
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

/* Defines the kernel encode_NAME for one format of codes. */
#define ENCODE(name, code)                                                                                             \
    void KERNEL(encode_##name)(const float *values, const float *scales, size_t group, void *codes, size_t n)          \
    {                                                                                                                  \
        encode_codes(values, scales, group, codes, n, code);                                                           \
    }
ENCODE(e4m3, ORGAN_CODE_E4M3)
ENCODE(e5m2, ORGAN_CODE_E5M2)
ENCODE(i8, ORGAN_CODE_I8)
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
