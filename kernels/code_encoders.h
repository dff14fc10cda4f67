/* SPDX-License-Identifier: MIT
 * Bodies from floats to codes, after codes.h, whose walk over groups they share; and what a scale is found with. */
/* Of the magnitude: with `fraction` bits, bias and greatest value of the type. Normal: rounds to even on the integer; subnormal: under a
 * power of two whose last bit is worth one code the addition rounds. */
INLINE u8x16 fp8_codes(f32x16 a, const int fraction, const int bias, const float greatest)
{
    const u32x16 bits = f32_bits(a), magnitude = u32_and(bits, u32_set1(MAGNITUDE));
    const m32x16 nan = u32_gt(magnitude, u32_set1(INFINITE));
    const m32x16 too_great = u32_gt(magnitude, f32_bits(f32_set1(greatest)));
    const u32x16 clamped = u32_select(too_great, f32_bits(f32_set1(greatest)), magnitude);
    const int drop = 23 - fraction;
    const u32x16 odd = u32_and(u32_srl(clamped, drop), u32_set1(1));
    const u32x16 rounded = u32_srl(u32_add(u32_add(clamped, u32_set1((1u << (drop - 1)) - 1)), odd), drop);
    const u32x16 normal = u32_add(rounded, u32_set1(0u - ((uint32_t)(127 - bias) << fraction)));
    const u32x16 one = u32_set1((uint32_t)(127 + 23 + 1 - bias - fraction) << 23);
    const u32x16 subnormal = u32_add(f32_bits(f32_add(f32_of_bits(clamped), f32_of_bits(one))),
                                     u32_set1(0u - ((uint32_t)(127 + 23 + 1 - bias - fraction) << 23)));
    const m32x16 is_normal = u32_gt(clamped, u32_set1(((uint32_t)(128 - bias) << 23) - 1));
    const u32x16 code = u32_or(u32_select(is_normal, normal, subnormal), u32_and(u32_srl(bits, 24), u32_set1(0x80)));
    return u8_of_u32(u32_select(nan, u32_set1(0x7f), code));
}

/* To the nearest whole number from least to most, as a signed byte: with 1.5 x 2^23 added the last bit is worth one. */
INLINE u8x16 whole_codes(f32x16 a, const float least, const float most)
{
    const m32x16 nan = u32_gt(u32_and(f32_bits(a), u32_set1(MAGNITUDE)), u32_set1(INFINITE));
    const f32x16 above = f32_select(f32_gt(a, f32_set1(least)), a, f32_set1(least));
    const f32x16 clamped = f32_select(f32_gt(above, f32_set1(most)), f32_set1(most), above);
    const f32x16 number = f32_select(nan, f32_set1(0), clamped), magic = f32_set1(0x1.8p23f);
    return s8_of_f32(f32_sub(f32_add(number, magic), magic));
}

INLINE u8x16 encode_vector(f32x16 a, const organ_code code)
{
    switch (code) {
    case ORGAN_CODE_E4M3:
        return fp8_codes(a, 3, 7, 448);
    case ORGAN_CODE_E5M2:
        return fp8_codes(a, 2, 15, 57344);
    case ORGAN_CODE_I8:
        return whole_codes(a, -128, 127);
    default: /* U4: 8 more modulo 256 */
        return u8_sub(whole_codes(a, -8, 7), u8_set1(248));
    }
}

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

INLINE void encode(const float *values, const float *scales, size_t group, void *codes, size_t n, const organ_code code)
{
    code_factors f = {scales, NULL, group, group};
    factor_pair factors;
    uint8_t *to = codes;
    size_t at = 0;
    for (; at + PAIR <= n; at += PAIR) {
        next_factor_pair(&f, PAIR, &factors);
        encode_pair(values + at, &factors, to + code_bytes(at, code), code);
    }
    if (at < n) {
        float some[PAIR] = {0};
        uint8_t results[PAIR];
        memcpy(some, values + at, (n - at) * sizeof *some);
        next_factor_pair(&f, n - at, &factors);
        encode_pair(some, &factors, results, code);
        if (is_nibble(code) && n % 2 == 1)
            results[(n - at) / 2] &= 15;
        memcpy(to + code_bytes(at, code), results, code_bytes(n - at, code));
    }
}

#define ENCODE(name, code)                                                                                                                 \
    static void encode_##name(const float *values, const float *scales, size_t group, void *codes, size_t n)                               \
    {                                                                                                                                      \
        encode(values, scales, group, codes, n, code);                                                                                     \
    }
ENCODE(e4m3, ORGAN_CODE_E4M3)
ENCODE(e5m2, ORGAN_CODE_E5M2)
ENCODE(i8, ORGAN_CODE_I8)
ENCODE(u4, ORGAN_CODE_U4)

/* ---- the greatest magnitude ---- */
INLINE u32x16 numbers_magnitude(f32x16 a)
{
    const u32x16 magnitude = u32_and(f32_bits(a), u32_set1(MAGNITUDE));
    return u32_select(u32_gt(magnitude, u32_set1(INFINITE)), u32_set1(0), magnitude);
}

static float amax(const float *values, size_t n)
{
    u32x16 most[2] = {u32_set1(0), u32_set1(0)};
    size_t at = 0;
    for (; at + PAIR <= n; at += PAIR) {
        most[0] = u32_max(most[0], numbers_magnitude(f32_load(values + at)));
        most[1] = u32_max(most[1], numbers_magnitude(f32_load(values + at + 16)));
    }
    for (; at < n; at += 16)
        most[0] = u32_max(most[0], numbers_magnitude(f32_load_part(values + at, n - at < 16 ? n - at : 16)));
    const uint32_t bits = u32_top(u32_max(most[0], most[1]));
    float greatest;
    memcpy(&greatest, &bits, sizeof greatest);
    return greatest;
}
