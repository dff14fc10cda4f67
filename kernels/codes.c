/* SPDX-License-Identifier: MIT
 * Kernels that decode codes of 8 and 4 bits with a scale for each group (organ_decode_codes). They process pairs of
 * vectors, 32 elements: one cache line of 16-bit values, or 16 bytes of 4-bit codes. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/code_factors.h"

/* ---- codes to FP32, exactly ---- */
/* Returns the values of 16 codes of FP8 E4M3. Widens them via F16: shifted left by 7, fraction and exponent of a code
 * are the high fraction bits and the low exponent bits of an F16. The shift of the sign-extended byte puts the sign
 * into bits 15 and 14; bit 14 is then cleared. Subnormal codes become subnormal F16. The exponent biases differ by 8,
 * so the value is 2^8 times that of the F16. Only for NaN (0x7f) does adding one unit, 0x80, carry into bit 14, and
 * that bit makes the F16 a NaN. */
INLINE f32x16 e4m3_values(u8x16 codes)
{
    const u16x16 half = u16_and(u16_sll(u16_of_s8(codes), 7), u16_set1(0xbfff));
    const u16x16 nan = u16_and(u16_add(u16_and(half, u16_set1(0x3fff)), u16_set1(0x80)), u16_set1(0x4000));
    return f32_mul(f16_widen(u16_or(half, nan)), f32_set1(256));
}

/* Returns the values of 16 codes of FP8 E4M3FNUZ (bias 8) via F16 like e4m3_values; the value is 2^7 times that
 * of the F16. 0x80 is the only NaN. */
INLINE f32x16 e4m3fnuz_values(u8x16 codes)
{
    const u16x16 half = u16_and(u16_sll(u16_of_s8(codes), 7), u16_set1(0xbfff));
    const u16x16 nan = u16_keep(u16_eq(half, u16_set1(0x8000)), u16_set1(0x7fff));
    return f32_mul(f16_widen(u16_or(half, nan)), f32_set1(128));
}

/* Returns the values of 16 codes of FP8 E5M2, which is the upper byte of an F16. */
INLINE f32x16 e5m2_values(u8x16 codes) { return f16_widen(u16_sll(u16_of_s8(codes), 8)); }

/* Returns the values of 16 codes of FP8 E5M2FNUZ. F16 cannot represent them: its largest exponent means infinity or
 * NaN, but in E5M2FNUZ that exponent belongs to numbers. So the exponent and fraction of a code are moved to the
 * corresponding bits of an FP32, and the bias is corrected. Adding 111 to the exponent gives `once`, which is correct
 * if the code's exponent is not 0. If the exponent is 0, the code has no implicit leading one: adding 112 instead
 * gives `twice`, and subtracting 2^-15 from it removes the leading one. For all other codes twice - 2^-15 is not
 * below `once`, so the minimum of the two is correct for every code. No intermediate result is subnormal, because
 * subnormals cost dozens of cycles. */
INLINE f32x16 e5m2fnuz_values(u8x16 codes)
{
    const u32x16 word = u32_sll(u16_widen(u16_of_s8(codes)), 16), sign = u32_and(word, u32_set1(0x80000000));
    const u32x16 magnitude = u32_and(u32_sll(word, 5), u32_set1(0x0fe00000));
    const u32x16 nan = u32_keep(u32_eq(word, u32_set1(0xff800000)), u32_set1(0x7fc00000));
    const f32x16 once = f32_of_bits(u32_add(magnitude, u32_set1(111u << 23))),
                 twice = f32_of_bits(u32_add(magnitude, u32_set1(112u << 23)));
    return f32_of_bits(u32_or(u32_or(f32_bits(f32_min(once, f32_sub(twice, f32_set1(0x1p-15f)))), sign), nan));
}

/* The table for u16_lookup has the values of E2M1 or U4 as BF16. */
INLINE u16x16 nibble_words(const organ_code code)
{
    static const uint16_t words[2][16] = {{0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00,
                                           0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0},
                                          {0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110,
                                           0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170}};
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
        return element_values(u16_lookup(nibble_words(code), codes), BF16);
    }
}

/* ---- decoding ---- */
/* 4-bit codes are read from 16 bytes, the low nibble first. */
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

/* The value is (value of the code - zero) x scale. */
INLINE f32x16 scale_codes(u8x16 codes, f32x16 scale, f32x16 zero, const organ_code code)
{
    return f32_mul(f32_sub(code_values(codes, code), zero), scale);
}

/* Every NaN becomes the positive quiet one. */
INLINE u16x16 narrow_one_nan(f32x16 a, const enum element_type type)
{
    return type == BF16 ? u32_tops(bf16_rounded(a, u32_set1(0x7fc00000))) : f16_narrow(one_nan(a));
}

INLINE void put_words(uint16_t *values, u16x16 a, u16x16 b, const int streams)
{
    if (streams) {
        u16_stream(values, a, b);
    } else {
        u16_store(values, a);
        u16_store(values + 16, b);
    }
}

INLINE void decode_pair(const uint8_t *codes, const factor_pair *f, void *values, const organ_code code,
                        const enum element_type type, const int streams)
{
    float *const wide = values;
    u8x16 pair[2];
    load_code_pair(codes, code, pair);
    const f32x16 a = scale_codes(pair[0], f->scale[0], f->zero[0], code),
                 b = scale_codes(pair[1], f->scale[1], f->zero[1], code);
    const u32x16 nan = u32_set1(0x7fc00000);
    if (type == F32 && streams) {
        f32_stream(wide, one_nan(a));
        f32_stream(wide + 16, one_nan(b));
    } else if (type == F32) {
        f32_store(wide, one_nan(a));
        f32_store(wide + 16, one_nan(b));
    } else if (type == BF16 && streams) {
        u16_stream_tops(values, bf16_rounded(a, nan), bf16_rounded(b, nan));
    } else if (type == BF16) {
        u16_store_tops(values, bf16_rounded(a, nan), bf16_rounded(b, nan));
    } else {
        put_words(values, narrow_one_nan(a, type), narrow_one_nan(b, type), streams);
    }
}

/* Computes and rounds the 16 possible values once; each code is then a table lookup. */
INLINE void decode_nibbles(const uint8_t *codes, float scale, float zero, uint16_t *values, size_t n,
                           const organ_code code, const enum element_type type, const int streams)
{
    const f32x16 exact = element_values(nibble_words(code), BF16);
    const u16x16 table = narrow_one_nan(f32_mul(f32_sub(exact, f32_set1(zero)), f32_set1(scale)), type);
    for (size_t at = 0; at < n; at += PAIR) {
        u8x16 pair[2];
        load_code_pair(codes + at / 2, ORGAN_CODE_U4, pair);
        put_words(values + at, u16_lookup(table, pair[0]), u16_lookup(table, pair[1]), streams);
    }
}

/* Returns nonzero if the exponent field of the scale is 27 to 227. That is so far from the limits of FP32 that products
 * of the scale with the values of codes, and the differences between adjacent products, are normal numbers. */
INLINE int is_moderate(float scale)
{
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    return (bits >> 23 & 255) - 27 <= 200;
}

/* Returns a table of 16 BF16 with which fp8_words converts FP8 codes that share `scale`. Codes that differ only in
 * their nonzero exponent fields have products with the same fraction, so the products of the smallest two exponent
 * fields suffice. Entry f is the product of the code with exponent field 0 and fraction f. Entry 8 + f (E5M2: 4 + f) is
 * half the product for exponent field 1: half, because fp8_words adds the whole field, 1, to the exponent of the entry.
 * counts[wide] has the entries in units of the smallest subnormal, before they are multiplied by the scale. */
INLINE u16x16 fp8_table(float scale, const organ_code code)
{
    const int wide = code == ORGAN_CODE_E5M2 || code == ORGAN_CODE_E5M2FNUZ; /* 5 exponent bits */
    const int fnuz = code == ORGAN_CODE_E4M3FNUZ || code == ORGAN_CODE_E5M2FNUZ;
    const float unit = (wide ? 0x1p-16f : 0x1p-9f) * (fnuz ? 0.5f : 1.0f); /* the smallest subnormal value */
    static const float counts[2][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 4, 4.5f, 5, 5.5f, 6, 6.5f, 7, 7.5f},
                                        {0, 1, 2, 3, 2, 2.5f, 3, 3.5f}};
    return narrow_one_nan(f32_mul(f32_mul(f32_load(counts[wide]), f32_set1(unit)), f32_set1(scale)), BF16);
}

/* Converts 16 FP8 codes to BF16 with a table of fp8_table: looks up the entry for the code's fraction and its exponent
 * field, reduced to at most 1. Then adds the whole exponent field of the code, shifted to the exponent of the BF16, and
 * the sign. */
INLINE u16x16 fp8_words(u8x16 codes, u16x16 table, const organ_code code)
{
    const int wide = code == ORGAN_CODE_E5M2 || code == ORGAN_CODE_E5M2FNUZ;
    const u8x16 normal = u8_min(u8_field(codes, 0, wide ? 0x7c : 0x78), u8_set1(wide ? 4 : 8));
    const u16x16 product = u16_lookup(table, u8_or(u8_field(codes, 0, wide ? 3 : 7), normal));
    return u16_add(product, u16_and(u16_sll(u16_of_s8(codes), wide ? 5 : 4), u16_set1(wide ? 0x8f80 : 0x8780)));
}

/* Returns a rank for each of 16 FP8 codes; decode_fp8 compares it with special_from to find infinities and NaN. In the
 * FNUZ types only the code 0x80 (NaN) gets the rank 0xff. In the other types the rank is the code without its sign bit,
 * so that infinities and NaN have the largest ranks. */
INLINE u8x16 special_rank(u8x16 codes, const organ_code code)
{
    const int fnuz = code == ORGAN_CODE_E4M3FNUZ || code == ORGAN_CODE_E5M2FNUZ;
    return fnuz ? u8_sub(u8_set1(0x7f), codes) : u8_field(codes, 0, 0x7f);
}

/* Decodes a run of n FP8 codes that share a moderate scale (is_moderate) to BF16; `codes` and `values` point to its
 * first element. Returns 0 if a code is infinite or NaN, else nonzero; after 0 the values written are wrong. */
INLINE int decode_fp8(const uint8_t *codes, float scale, uint16_t *values, size_t n, const organ_code code,
                      const int streams)
{
    const int fnuz = code == ORGAN_CODE_E4M3FNUZ || code == ORGAN_CODE_E5M2FNUZ;
    const uint8_t not_finite = code == ORGAN_CODE_E4M3 ? 0x7f : 0x7c, special_from = fnuz ? 0xff : not_finite;
    const u16x16 table = fp8_table(scale, code);
    u8x16 rank = u8_set1(0);
    for (size_t at = 0; at < n; at += PAIR) {
        const u8x16 a = u8_load(codes + at), b = u8_load(codes + at + 16);
        rank = u8_max(rank, u8_max(special_rank(a, code), special_rank(b, code)));
        put_words(values + at, fp8_words(a, table, code), fp8_words(b, table, code), streams);
    }
    return !u8_any_ge(rank, u8_set1(special_from));
}

/* ---- E2M1 in groups of 16 or 32 codes, to BF16 ---- */
/* The scales of 16 groups times 1 and times 1.5, rounded to BF16. e2m1_table makes the values of all codes of a group
 * from these two products, because nonzero magnitudes of E2M1 are 1 or 1.5 times a power of two. */
typedef struct e2m1_products {
    uint16_t one[16], three_halves[16];
} e2m1_products;

/* Sets *products from the scales of 16 groups. Returns 0 if a scale is so large or small that products with codes could
 * leave the range of normal numbers (is_moderate), else 1. */
INLINE int e2m1_multiply(const float *scales, e2m1_products *products)
{
    int moderate = 1;
    for (int g = 0; g < 16; g++)
        moderate &= is_moderate(scales[g]);
    u16_store(products->one, narrow_one_nan(f32_load(scales), BF16));
    u16_store(products->three_halves, narrow_one_nan(f32_mul(f32_load(scales), f32_set1(1.5f)), BF16));
    return moderate;
}

/* Returns a table for u16_lookup: the values of the 16 codes of E2M1 times the scale of group `group`, 0 to 15, as
 * BF16. Selects one of the two rounded products for each code by masks, and multiplies it by a signed power of two,
 * which is an integer addition to its exponent and sign. For +0 and -0 keeps only the sign of the product. */
INLINE u16x16 e2m1_table(const e2m1_products *products, size_t group)
{
    /* masks (SIGN, ALL), and what to add to a BF16 to multiply it by -1 (SIGN), 1/2 (LESS), 2 (TWO) or 4 (FOUR) */
    enum { SIGN = 0x8000, ALL = 0xffff, LESS = 0xff80, TWO = 0x80, FOUR = 0x100 };
    static const uint16_t of_one[16] = {SIGN, ALL, ALL, 0, ALL, 0, ALL, 0, SIGN, ALL, ALL, 0, ALL, 0, ALL, 0};
    static const uint16_t of_three_halves[16] = {0, 0, 0, ALL, 0, ALL, 0, ALL, 0, 0, 0, ALL, 0, ALL, 0, ALL};
    static const uint16_t factor[16] = {0,          LESS,       0,           0,           TWO,  TWO,
                                        FOUR,       FOUR,       SIGN,        SIGN ^ LESS, SIGN, SIGN,
                                        SIGN + TWO, SIGN + TWO, SIGN + FOUR, SIGN + FOUR};
    const u16x16 one = u16_and(u16_set1(products->one[group]), u16_load(of_one));
    const u16x16 other = u16_and(u16_set1(products->three_halves[group]), u16_load(of_three_halves));
    return u16_add(u16_or(one, other), u16_load(factor));
}

/* Decodes 16 groups of E2M1 codes, of `group` (16 or 32) codes each, to BF16. All pointers are to the first element or
 * group. Returns 1, or writes nothing and returns 0 if e2m1_multiply rejects one of the 16 scales. */
INLINE int decode_e2m1_groups(const uint8_t *codes, const float *scales, const size_t group, uint16_t *values,
                              const int streams)
{
    e2m1_products products;
    if (!e2m1_multiply(scales, &products))
        return 0;
    for (size_t at = 0; at < 16 * group; at += PAIR) {
        const u16x16 first = e2m1_table(&products, at / group);
        u8x16 pair[2];
        load_code_pair(codes + at / 2, ORGAN_CODE_E2M1, pair);
        const u16x16 second = group == 16 ? e2m1_table(&products, at / 16 + 1) : first;
        put_words(values + at, u16_lookup(first, pair[0]), u16_lookup(second, pair[1]), streams);
    }
    return 1;
}

/* Decodes sets of 16 groups of E2M1 codes, of f->group (16 or 32) codes each, to BF16 from the position f on, the start
 * of a group, as long as whole sets are among the n elements. Stops early at a set with a scale that e2m1_multiply
 * rejects. Moves f past the decoded elements and returns their number. */
SHARED size_t decode_small_groups(const uint8_t *codes, code_factors *f, uint16_t *values, size_t n, const int streams)
{
    size_t at = 0;
    for (; at + 16 * f->group <= n; at += 16 * f->group, f->scales += 16)
        if (!(f->group == 16 ? decode_e2m1_groups(codes + at / 2, f->scales, 16, values + at, streams)
                             : decode_e2m1_groups(codes + at / 2, f->scales, 32, values + at, streams)))
            break;
    return at;
}

/* ---- whole arrays ---- */
/* Limit of the elements of a run: if decode_fp8 finds an infinity or NaN, the whole run is decoded a second time. */
enum { MAX_RUN = 4096 };

/* n elements of one group, a multiple of PAIR. 4-bit codes to 16 bits, and FP8 to BF16 if the zero point is 0, the
 * scale is moderate and all codes are finite, are decoded by a table of products. */
INLINE void decode_run(const uint8_t *codes, const code_factors *f, void *values, size_t n, const organ_code code,
                       const enum element_type type, const int streams)
{
    const float scale = *f->scales, zero = f->zeros ? *f->zeros : 0.0f;
    const factor_pair factors = {{f32_set1(scale), f32_set1(scale)}, {f32_set1(zero), f32_set1(zero)}};
    if (is_nibble(code) && type != F32) {
        decode_nibbles(codes, scale, zero, values, n, code, type, streams);
        return;
    }
    if (code <= ORGAN_CODE_E5M2FNUZ && type == BF16 && zero == 0 && is_moderate(scale) &&
        decode_fp8(codes, scale, values, n, code, streams))
        return;
    for (size_t at = 0; at < n; at += PAIR)
        decode_pair(codes + code_bytes(at, code), &factors, (uint8_t *)values + at * element_size(type), code, type,
                    streams);
}

/* Decodes n <= PAIR elements that may belong to several groups. Fewer pass through buffers, so that no code after them
 * is read. */
INLINE void decode_part(const uint8_t *codes, code_factors *f, void *values, size_t n, const organ_code code,
                        const enum element_type type)
{
    uint8_t some[PAIR] = {0};
    float results[PAIR];
    factor_pair factors;
    factors_by_element(f, n, &factors);
    if (n < PAIR)
        memcpy(some, codes, code_bytes(n, code));
    decode_pair(n < PAIR ? some : codes, &factors, n < PAIR ? results : values, code, type, /*streams=*/0);
    if (n < PAIR)
        memcpy(values, results, n * element_size(type));
}

/* decode_part for one format of codes and type of values. */
typedef void decode_some(const uint8_t *codes, code_factors *f, void *values, size_t n);

/* Small groups of E2M1 are decoded 16 at a time, larger groups in runs. `head` elements are decoded first; the values
 * after them begin a cache line if `streams`. */
INLINE void decode_codes(const uint8_t *codes, code_factors f, void *values, size_t n, size_t head,
                         const organ_code code, const enum element_type type, const int streams, decode_some *part)
{
    for (size_t at = 0, run; at < n; at += run) {
        const uint8_t *const from = codes + code_bytes(at, code);
        void *const to = (uint8_t *)values + at * element_size(type);
        const size_t left = (at < head ? head : n) - at;
        if (code == ORGAN_CODE_E2M1 && type == BF16 && !f.zeros && f.group_left == f.group &&
            (f.group == 16 || f.group == 32)) {
            code_factors after = f; /* so that f stays in registers */
            run = decode_small_groups(from, &after, to, left, streams);
            f = after;
            if (run > 0)
                continue;
        }
        run = min_size(min_size(left, f.group_left), MAX_RUN) / PAIR * PAIR;
        if (run > 0) {
            decode_run(from, &f, to, run, code, type, streams);
            pass_factors(&f, run);
        } else {
            run = min_size(left, PAIR);
            code_factors after = f;
            part(from, &after, to, run);
            f = after;
        }
    }
}

/* Returns nonzero if so many values are written with non-temporal stores. They start *head elements later, at a cache
 * line; for 4-bit codes only where a code begins a byte. */
INLINE int should_stream(const void *values, size_t n, size_t size, int nibbles, size_t *head)
{
    *head = elements_to_line(values, size, n);
    return n * size >= STREAM_BYTES && (!nibbles || *head % 2 == 0) && ((uintptr_t)values + *head * size) % 64 == 0;
}

/* Defines the kernels decode_NAME_REAL for one format of codes. */
#define DECODE(name, code, real, type)                                                                                 \
    SHARED void name##_part_##real(const uint8_t *codes, code_factors *f, void *values, size_t n)                      \
    {                                                                                                                  \
        decode_part(codes, f, values, n, code, type);                                                                  \
    }                                                                                                                  \
    void KERNEL(decode_##name##_##real)(const void *codes, const float *scales, const float *zeros, size_t group,      \
                                        void *values, size_t n)                                                        \
    {                                                                                                                  \
        const code_factors f = {scales, zeros, group, group};                                                          \
        size_t head;                                                                                                   \
        if (should_stream(values, n, element_size(type), is_nibble(code), &head)) {                                    \
            decode_codes(codes, f, values, n, head, code, type, 1, name##_part_##real);                                \
            stream_end();                                                                                              \
        } else {                                                                                                       \
            decode_codes(codes, f, values, n, 0, code, type, 0, name##_part_##real);                                   \
        }                                                                                                              \
    }
#define DECODE_ALL(name, code)                                                                                         \
    DECODE(name, code, f32, F32)                                                                                       \
    DECODE(name, code, bf16, BF16)                                                                                     \
    DECODE(name, code, f16, F16)
DECODE_ALL(e4m3, ORGAN_CODE_E4M3)
DECODE_ALL(e5m2, ORGAN_CODE_E5M2)
DECODE_ALL(e4m3fnuz, ORGAN_CODE_E4M3FNUZ)
DECODE_ALL(e5m2fnuz, ORGAN_CODE_E5M2FNUZ)
DECODE_ALL(i8, ORGAN_CODE_I8)
DECODE_ALL(u8, ORGAN_CODE_U8)
DECODE_ALL(e2m1, ORGAN_CODE_E2M1)
DECODE_ALL(u4, ORGAN_CODE_U4)

/* ---- 4-bit codes of 16 levels ---- */
/* The products of the levels and a scale, as the words of FP32 numbers or as numbers of 16 bits. */
typedef struct level_table {
    u16x16 words[2]; /* the upper and the lower words of FP32; or the numbers and nothing */
} level_table;

INLINE level_table make_level_table(const float *levels, float scale, const enum element_type type)
{
    const f32x16 products = f32_mul(f32_load(levels), f32_set1(scale));
    level_table table = {{narrow_one_nan(products, type == F16 ? F16 : BF16), u16_set1(0)}};
    if (type == F32) {
        const u32x16 bits = f32_bits(one_nan(products));
        table.words[0] = u32_tops(bits);
        table.words[1] = u32_tops(u32_sll(bits, 16));
    }
    return table;
}

INLINE f32x16 level_values(const level_table *table, u8x16 codes)
{
    const u32x16 upper = u32_sll(u16_widen(u16_lookup(table->words[0], codes)), 16);
    return f32_of_bits(u32_or(upper, u16_widen(u16_lookup(table->words[1], codes))));
}

INLINE void decode_level_pair(const uint8_t *codes, const level_table *table, void *values,
                              const enum element_type type)
{
    u8x16 pair[2];
    load_code_pair(codes, ORGAN_CODE_U4, pair);
    if (type == F32) {
        f32_store(values, level_values(table, pair[0]));
        f32_store((float *)values + 16, level_values(table, pair[1]));
    } else {
        put_words(values, u16_lookup(table->words[0], pair[0]), u16_lookup(table->words[0], pair[1]), /*streams=*/0);
    }
}

/* The codes after the last whole pair of vectors pass through buffers, so that nothing after them is read or written.
 */
INLINE void decode_levels(const uint8_t *codes, const float *levels, const float *scales, size_t group, void *values,
                          size_t n, const enum element_type type)
{
    uint8_t some[PAIR / 2] = {0};
    float results[PAIR];
    for (size_t at = 0; at < n; scales++) {
        const level_table table = make_level_table(levels, *scales, type);
        const size_t end = min_size(n, at + group);
        for (; at + PAIR <= end; at += PAIR)
            decode_level_pair(codes + at / 2, &table, (uint8_t *)values + at * element_size(type), type);
        if (at < end) {
            memcpy(some, codes + at / 2, code_bytes(end - at, ORGAN_CODE_U4));
            decode_level_pair(some, &table, results, type);
            memcpy((uint8_t *)values + at * element_size(type), results, (end - at) * element_size(type));
            at = end;
        }
    }
}

#define DECODE_LEVELS(real, type)                                                                                      \
    void KERNEL(decode_levels_##real)(const void *codes, const float *levels, const float *scales, size_t group,       \
                                      void *values, size_t n)                                                          \
    {                                                                                                                  \
        decode_levels(codes, levels, scales, group, values, n, type);                                                  \
    }
DECODE_LEVELS(f32, F32)
DECODE_LEVELS(bf16, BF16)
DECODE_LEVELS(f16, F16)

#endif
