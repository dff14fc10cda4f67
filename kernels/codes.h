/* SPDX-License-Identifier: MIT
 * Bodies over codes of 8 and 4 bits with scales for groups. They walk in pairs of vectors, 32 elements, which is what fills a line of
 * 16-bit values and takes 16 bytes of nibbles. A destination larger than STREAM_BYTES is written past the caches, as in convert.h. */
enum { PAIR = 32 };

/* ---- scales and zero points by element ---- */
typedef struct code_factors {
    const float *scales, *zeros;
    size_t group, left; /* left: elements of *scales' group still to come */
} code_factors;

typedef struct factor_pair {
    f32x16 scale[2], zero[2];
} factor_pair;

INLINE void pass_factors(code_factors *f, size_t n) /* n elements of one group */
{
    f->left -= n;
    if (f->left == 0) {
        f->left = f->group;
        f->scales++;
        f->zeros += f->zeros != NULL;
    }
}

/* Those of the next n <= 16 elements; none is read that belongs to no element. */
INLINE void next_factors(code_factors *f, size_t n, f32x16 *scale, f32x16 *zero)
{
    if (n > 0 && f->left >= n) {
        *scale = f32_set1(*f->scales);
        *zero = f32_set1(f->zeros ? *f->zeros : 0.0f);
        pass_factors(f, n);
        return;
    }
    float scales[16] = {0}, zeros[16] = {0};
    for (size_t l = 0; l < n; l++) {
        scales[l] = *f->scales;
        zeros[l] = f->zeros ? *f->zeros : 0.0f;
        pass_factors(f, 1);
    }
    *scale = f32_load(scales);
    *zero = f32_load(zeros);
}

INLINE void next_factor_pair(code_factors *f, size_t n, factor_pair *pair)
{
    const size_t first = n < 16 ? n : 16;
    next_factors(f, first, &pair->scale[0], &pair->zero[0]);
    next_factors(f, n - first, &pair->scale[1], &pair->zero[1]);
}

/* ---- codes to FP32, exactly ---- */
/* E4M3 has the layout of F16 after its upper two exponent bits; of a sign-extended byte the sign comes into bits 15 and 14 by the shift. A
 * subnormal stays one. So the value is 2^8 times that of the F16. Only NaN, 0x7f, carries into bit 14 when one unit is added, and that bit
 * makes a NaN of it. */
INLINE f32x16 e4m3_values(u8x16 codes)
{
    const u16x16 half = u16_and(u16_sll(u16_of_s8(codes), 7), u16_set1(0xbfff));
    const u16x16 nan = u16_and(u16_add(u16_and(half, u16_set1(0x3fff)), u16_set1(0x80)), u16_set1(0x4000));
    return f32_mul(f16_widen(u16_or(half, nan)), f32_set1(256));
}

INLINE f32x16 e4m3fnuz_values(u8x16 codes)
{
    const u16x16 half = u16_and(u16_sll(u16_of_s8(codes), 7), u16_set1(0xbfff));
    const u16x16 nan = u16_keep(u16_eq(half, u16_set1(0x8000)), u16_set1(0x7fff));
    return f32_mul(f16_widen(u16_or(half, nan)), f32_set1(128));
}

INLINE f32x16 e5m2_values(u8x16 codes) { return f16_widen(u16_sll(u16_of_s8(codes), 8)); }

/* The greatest exponent of F16 is not a number's, so here the shift goes to where FP32 has its lower exponent bits. */
INLINE f32x16 e5m2fnuz_values(u8x16 codes)
{
    const u32x16 word = u32_sll(u16_widen(u16_of_s8(codes)), 16), sign = u32_and(word, u32_set1(0x80000000));
    const u32x16 magnitude = u32_and(u32_sll(word, 5), u32_set1(0x0fe00000));
    const u32x16 nan = u32_keep(u32_eq(u32_or(magnitude, sign), u32_set1(0x80000000)), u32_set1(0x7fc00000));
    return f32_mul(f32_of_bits(u32_or(u32_or(magnitude, sign), nan)), f32_set1(0x1p111f));
}

INLINE int is_nibble(const organ_code code) { return code == ORGAN_CODE_E2M1 || code == ORGAN_CODE_U4; }

/* What the 16 codes of 4 bits are worth, as BF16. */
INLINE u16x16 nibble_words(const organ_code code)
{
    static const uint16_t words[2][16] = {
        {0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0},
        {0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170}};
    return u16_load(words[code == ORGAN_CODE_U4]);
}

INLINE f32x16 code_values(u8x16 codes, const organ_code code)
{
    switch (code) {
    case ORGAN_CODE_E4M3:
        return e4m3_values(codes);
    case ORGAN_CODE_E5M2:
        return e5m2_values(codes);
    case ORGAN_CODE_E4M3FNUZ:
        return e4m3fnuz_values(codes);
    case ORGAN_CODE_E5M2FNUZ:
        return e5m2fnuz_values(codes);
    case ORGAN_CODE_I8:
        return f32_of_s8(codes);
    case ORGAN_CODE_U8:
        return f32_of_u8(codes);
    default:
        return element_values(u16_look(nibble_words(code), codes), BF16);
    }
}

/* ---- values to memory ---- */
/* One bit pattern for all NaN: which one an operation makes is not the same on every ISA. */
INLINE f32x16 one_nan(f32x16 a)
{
    const u32x16 bits = f32_bits(a);
    const m32x16 nan = u32_gt(u32_and(bits, u32_set1(MAGNITUDE)), u32_set1(INFINITE));
    return f32_of_bits(u32_select(nan, u32_set1(0x7fc00000), bits));
}

INLINE u16x16 narrow_one_nan(f32x16 a, const enum element_type type) { return narrow_vector(one_nan(a), type); }

INLINE void put_pair(void *values, size_t at, f32x16 a, f32x16 b, const enum element_type type, const int streams)
{
    float *wide = (float *)values + at;
    uint16_t *narrow = (uint16_t *)values + at;
    if (type == F32 && streams) {
        f32_stream(wide, one_nan(a));
        f32_stream(wide + 16, one_nan(b));
    } else if (type == F32) {
        f32_store(wide, one_nan(a));
        f32_store(wide + 16, one_nan(b));
    } else if (streams) {
        u16_stream(narrow, narrow_one_nan(a, type), narrow_one_nan(b, type));
    } else {
        u16_store(narrow, narrow_one_nan(a, type));
        u16_store(narrow + 16, narrow_one_nan(b, type));
    }
}

/* ---- decoding ---- */
INLINE size_t code_bytes(size_t n, const organ_code code) { return is_nibble(code) ? n / 2 + n % 2 : n; }

INLINE void load_code_pair(const uint8_t *codes, const organ_code code, u8x16 pair[2])
{
    const u8x16 first = u8_load(codes);
    if (is_nibble(code)) {
        const u8x16 low = u8_field(first, 0, 15), high = u8_field(first, 4, 15);
        pair[0] = u8_zip_low(low, high);
        pair[1] = u8_zip_high(low, high);
    } else {
        pair[0] = first;
        pair[1] = u8_load(codes + 16);
    }
}

INLINE f32x16 scaled(u8x16 codes, f32x16 scale, f32x16 zero, const organ_code code)
{
    return f32_mul(f32_sub(code_values(codes, code), zero), scale);
}

INLINE void decode_pair(const uint8_t *codes, const factor_pair *f, void *values, size_t at, const organ_code code,
                        const enum element_type type, const int streams)
{
    u8x16 pair[2];
    load_code_pair(codes, code, pair);
    put_pair(values, at, scaled(pair[0], f->scale[0], f->zero[0], code), scaled(pair[1], f->scale[1], f->zero[1], code), type, streams);
}

/* Up to 31 elements, from element `at` on, which is an even one where codes are nibbles. */
INLINE void decode_part(const uint8_t *codes, code_factors *f, void *values, size_t at, size_t n, const organ_code code,
                        const enum element_type type)
{
    uint8_t some[PAIR] = {0};
    union {
        float wide[PAIR];
        uint16_t narrow[PAIR];
    } results;
    factor_pair factors;
    if (n == 0)
        return;
    memcpy(some, codes + code_bytes(at, code), code_bytes(n, code));
    next_factor_pair(f, n, &factors);
    decode_pair(some, &factors, &results, 0, code, type, 0);
    memcpy((uint8_t *)values + at * element_size(type), &results, n * element_size(type));
}

/* Nibbles have 16 values a group: those are computed and rounded once, and looked up. `at` is the first of n elements of one group. */
INLINE void look_up(const uint8_t *codes, float scale, float zero, uint16_t *values, size_t n, const organ_code code,
                    const enum element_type type, const int streams)
{
    const f32x16 exact = element_values(nibble_words(code), BF16);
    const u16x16 table = narrow_one_nan(f32_mul(f32_sub(exact, f32_set1(zero)), f32_set1(scale)), type);
    for (size_t at = 0; at < n; at += PAIR) {
        u8x16 pair[2];
        load_code_pair(codes + at / 2, code, pair);
        const u16x16 a = u16_look(table, pair[0]), b = u16_look(table, pair[1]);
        if (streams) {
            u16_stream(values + at, a, b);
        } else {
            u16_store(values + at, a);
            u16_store(values + at + 16, b);
        }
    }
}

/* The first n elements, n a multiple of PAIR; so is the group, or it is not below n. */
INLINE void look_up_groups(const uint8_t *codes, code_factors *f, uint16_t *values, size_t n, const organ_code code,
                           const enum element_type type, const int streams)
{
    for (size_t at = 0; at < n;) {
        const size_t run = n - at < f->left ? n - at : f->left;
        look_up(codes + at / 2, *f->scales, f->zeros ? *f->zeros : 0.0f, values + at, run, code, type, streams);
        at += run;
        pass_factors(f, run);
    }
}

/* From element `at` on, pairs of vectors; returns where it stopped. */
INLINE size_t decode_pairs(const uint8_t *codes, code_factors *f, void *values, size_t at, size_t n, const organ_code code,
                           const enum element_type type, const int streams)
{
    if (is_nibble(code) && type != F32 && at == 0 && (f->group % PAIR == 0 || f->group >= n)) {
        look_up_groups(codes, f, values, n / PAIR * PAIR, code, type, streams);
        at = n / PAIR * PAIR;
    }
    for (; at + PAIR <= n; at += PAIR) {
        factor_pair factors;
        next_factor_pair(f, PAIR, &factors);
        decode_pair(codes + code_bytes(at, code), &factors, values, at, code, type, streams);
    }
    return at;
}

INLINE void decode(const void *codes, const float *scales, const float *zeros, size_t group, void *values, size_t n, const organ_code code,
                   const enum element_type type)
{
    const size_t size = element_size(type), head = elements_to_line(values, size, n);
    const int even = !is_nibble(code) || head % 2 == 0, lines = ((uintptr_t)values + head * size) % 64 == 0;
    code_factors f = {scales, zeros, group, group};
    size_t at = 0;
    if (n * size >= STREAM_BYTES && even && lines) {
        decode_part(codes, &f, values, 0, head, code, type);
        at = decode_pairs(codes, &f, values, head, n, code, type, 1);
        stream_end();
    } else {
        at = decode_pairs(codes, &f, values, 0, n, code, type, 0);
    }
    decode_part(codes, &f, values, at, n - at, code, type);
}

#define DECODE(name, code, real, type)                                                                                                     \
    static void decode_##name##_##real(const void *codes, const float *scales, const float *zeros, size_t group, void *values, size_t n)   \
    {                                                                                                                                      \
        decode(codes, scales, zeros, group, values, n, code, type);                                                                        \
    }
#define DECODE_ALL(name, code)                                                                                                             \
    DECODE(name, code, f32, F32)                                                                                                           \
    DECODE(name, code, bf16, BF16)                                                                                                         \
    DECODE(name, code, f16, F16)
DECODE_ALL(e4m3, ORGAN_CODE_E4M3)
DECODE_ALL(e5m2, ORGAN_CODE_E5M2)
DECODE_ALL(e4m3fnuz, ORGAN_CODE_E4M3FNUZ)
DECODE_ALL(e5m2fnuz, ORGAN_CODE_E5M2FNUZ)
DECODE_ALL(i8, ORGAN_CODE_I8)
DECODE_ALL(u8, ORGAN_CODE_U8)
DECODE_ALL(e2m1, ORGAN_CODE_E2M1)
DECODE_ALL(u4, ORGAN_CODE_U4)

/* ---- encoding ---- */
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
