/* SPDX-License-Identifier: MIT
 * Kernels that decode codes of 8 and 4 bits with a scale for each group (organ_decode_codes). They process pairs of
 * vectors, 32 elements: one cache line of 16-bit values, or 16 bytes of 4-bit codes. Outputs of STREAM_BYTES or more
 * are written with non-temporal stores, as in convert_types.h. In the functions below, nonzero `streams` selects these
 * stores; `at` is the index of an element in the whole array, whose first code and value `codes` and `values` point to.
 */
enum { PAIR = 32 }; /* elements of two vectors */

/* ---- scales and zero points by element ---- */
/* The factors (scales and zero points) of an array of codes, with the position of the next element to decode. */
typedef struct code_factors {
    const float *scales, *zeros; /* of the current group and those after it; zeros may be NULL */
    size_t group, group_left;    /* elements of a group; elements of the current group from the position on */
} code_factors;

/* Scale and zero point of each of 32 elements. */
typedef struct factor_pair {
    f32x16 scale[2], zero[2];
} factor_pair;

/* Moves the position past n elements, n <= group_left; after the last element of a group to the next group. */
INLINE void pass_factors(code_factors *f, size_t n)
{
    f->group_left -= n;
    if (f->group_left == 0) {
        f->group_left = f->group;
        f->scales++;
        f->zeros = f->zeros ? f->zeros + 1 : NULL;
    }
}

/* Loads scale and zero point of each of the next n <= 16 elements, which may belong to several groups, and moves past
 * them. Further lanes have no meaning. Reads no factor after that of the last element. */
INLINE void next_factors(code_factors *f, size_t n, f32x16 *scale, f32x16 *zero)
{
    if (n > 0 && f->group_left >= n) {
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

/* Loads scale and zero point of each of the next n <= 32 elements, and moves past them. */
INLINE void next_factor_pair(code_factors *f, size_t n, factor_pair *pair)
{
    const size_t first = n < 16 ? n : 16;
    next_factors(f, first, &pair->scale[0], &pair->zero[0]);
    next_factors(f, n - first, &pair->scale[1], &pair->zero[1]);
}

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

/* Returns nonzero for codes of 4 bits. */
INLINE int is_nibble(const organ_code code) { return code == ORGAN_CODE_E2M1 || code == ORGAN_CODE_U4; }

/* Returns a table for u16_lookup: the values of codes 0 to 15 of E2M1 or U4, as BF16. */
INLINE u16x16 nibble_words(const organ_code code)
{
    static const uint16_t words[2][16] = {{0, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00,
                                           0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0},
                                          {0, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0, 0x4100, 0x4110,
                                           0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170}};
    return u16_load(words[code == ORGAN_CODE_U4]);
}

/* Returns the values of 16 codes, one in each byte, before zero point and scale are applied. */
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

/* ---- storing values ---- */
/* Rounds to BF16 in the upper half of each lane; every NaN becomes the positive quiet one. */
INLINE u32x16 bf16_tops_one_nan(f32x16 a) { return bf16_rounded(a, u32_set1(0x7fc00000)); }
/* Rounds to BF16 or F16 (`type`); every NaN becomes the positive quiet one. */
INLINE u16x16 narrow_one_nan(f32x16 a, const enum element_type type)
{
    return type == BF16 ? u32_tops(bf16_tops_one_nan(a)) : f16_narrow(one_nan(a));
}

/* Stores the 32 words of 16 bits in a and b from `values` on, which with `streams` must be aligned to 64 bytes. */
INLINE void put_words(uint16_t *values, u16x16 a, u16x16 b, const int streams)
{
    if (streams) {
        u16_stream(values, a, b);
    } else {
        u16_store(values, a);
        u16_store(values + 16, b);
    }
}

/* Rounds the 32 values in a and b to `type` and stores them from element `at` on; with `streams` the address of this
 * element must be aligned to 64 bytes. */
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
    } else if (type == BF16 && streams) {
        u16_stream_tops(narrow, bf16_tops_one_nan(a), bf16_tops_one_nan(b));
    } else if (type == BF16) {
        u16_store_tops(narrow, bf16_tops_one_nan(a), bf16_tops_one_nan(b));
    } else {
        put_words(narrow, narrow_one_nan(a, type), narrow_one_nan(b, type), streams);
    }
}

/* ---- decoding ---- */
/* Returns the bytes of n codes. */
INLINE size_t code_bytes(size_t n, const organ_code code) { return is_nibble(code) ? n / 2 + n % 2 : n; }

/* Loads 32 codes into the bytes of pair[0] and pair[1]. 4-bit codes are read from 16 bytes, the low nibble first. */
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

/* Returns (value of the code - zero) x scale for 16 codes. */
INLINE f32x16 scale_codes(u8x16 codes, f32x16 scale, f32x16 zero, const organ_code code)
{
    return f32_mul(f32_sub(code_values(codes, code), zero), scale);
}

/* Decodes 32 codes with the factors `f`, and stores them in `values` from element `at` on. Here `codes` is the first of
 * the 32 codes. */
INLINE void decode_pair(const uint8_t *codes, const factor_pair *f, void *values, size_t at, const organ_code code,
                        const enum element_type type, const int streams)
{
    u8x16 pair[2];
    load_code_pair(codes, code, pair);
    put_pair(values, at, scale_codes(pair[0], f->scale[0], f->zero[0], code),
             scale_codes(pair[1], f->scale[1], f->zero[1], code), type, streams);
}

/* Decodes n <= 31 elements from element `at` on, which is the position of f and must be even for 4-bit codes. Moves f
 * past them. Reads no code and writes no value after these elements, because it copies both through buffers of 32. */
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

/* ---- runs: n consecutive elements of one group, n a multiple of PAIR ---- */
/* Decodes n 4-bit codes that share a scale and zero point, to BF16 or F16. `codes` and `values` point to the first of
 * these. Computes and rounds the 16 possible values once; each code is then a table lookup. */
INLINE void decode_nibbles_by_table(const uint8_t *codes, float scale, float zero, uint16_t *values, size_t n,
                                    const organ_code code, const enum element_type type, const int streams)
{
    const f32x16 exact = element_values(nibble_words(code), BF16);
    const u16x16 table = narrow_one_nan(f32_mul(f32_sub(exact, f32_set1(zero)), f32_set1(scale)), type);
    for (size_t at = 0; at < n; at += PAIR) {
        u8x16 pair[2];
        load_code_pair(codes + at / 2, code, pair);
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

/* Decodes a run of n elements from element `at` on, all in the current group of f. Uses a table of products if 4-bit
 * codes become 16-bit values, or if FP8 becomes BF16, the zero point is 0, the scale is moderate and all codes are
 * finite. */
INLINE void decode_run(const uint8_t *codes, const code_factors *f, void *values, size_t at, size_t n,
                       const organ_code code, const enum element_type type, const int streams)
{
    const float scale = *f->scales, zero = f->zeros ? *f->zeros : 0.0f;
    const factor_pair factors = {{f32_set1(scale), f32_set1(scale)}, {f32_set1(zero), f32_set1(zero)}};
    uint16_t *words = (uint16_t *)values + at;
    if (is_nibble(code) && type != F32) {
        decode_nibbles_by_table(codes + at / 2, scale, zero, words, n, code, type, streams);
        return;
    }
    if (code <= ORGAN_CODE_E5M2FNUZ && type == BF16 && zero == 0 && is_moderate(scale) &&
        decode_fp8(codes + at, scale, words, n, code, streams))
        return;
    for (size_t end = at + n; at < end; at += PAIR)
        decode_pair(codes + code_bytes(at, code), &factors, values, at, code, type, streams);
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
INLINE int decode_e2m1_groups(const uint8_t *codes, const float *scales, size_t group, uint16_t *values,
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

/* Decodes sets of 16 groups of E2M1 codes, of f->group (16 or 32) codes each, to BF16 from element `at` on, the first
 * of a group, as long as whole sets are left before element n. Stops early at a set with a scale that e2m1_multiply
 * rejects. Moves f past the decoded sets and returns the index of the first element that was not decoded. */
INLINE size_t decode_small_groups(const uint8_t *codes, code_factors *f, uint16_t *values, size_t at, size_t n,
                                  const int streams)
{
    const size_t group = f->group;
    for (; at + 16 * group <= n; at += 16 * group, f->scales += 16) {
        const uint8_t *from = codes + at / 2;
        if (!(group == 16 ? decode_e2m1_groups(from, f->scales, 16, values + at, streams)
                          : decode_e2m1_groups(from, f->scales, 32, values + at, streams)))
            return at;
    }
    return at;
}

/* ---- whole arrays ---- */
/* Limit of the elements of a run: if decode_fp8 finds an infinity or NaN, the whole run is decoded a second time. */
enum { MAX_RUN = 4096 };

/* Decodes whole pairs of vectors from element `at` on, the position of f, as long as PAIR elements are left before
 * element n. Moves f past them and returns the index of the first element that was not decoded. Small groups of E2M1
 * are decoded 16 at a time, larger groups in runs; a pair of vectors that spans several groups is decoded with factors
 * for each element. */
INLINE size_t decode_pairs(const uint8_t *codes, code_factors *f, void *values, size_t at, size_t n,
                           const organ_code code, const enum element_type type, const int streams)
{
    while (at + PAIR <= n) {
        size_t run = n - at < f->group_left ? n - at : f->group_left;
        run = (run < MAX_RUN ? run : MAX_RUN) / PAIR * PAIR;
        if (code == ORGAN_CODE_E2M1 && type == BF16 && !f->zeros && f->group_left == f->group &&
            (f->group == 16 || f->group == 32)) {
            const size_t from = at;
            at = decode_small_groups(codes, f, values, at, n, streams);
            if (at > from)
                continue;
        }
        if (run > 0) {
            decode_run(codes, f, values, at, run, code, type, streams);
            pass_factors(f, run);
            at += run;
        } else {
            factor_pair factors;
            next_factor_pair(f, PAIR, &factors);
            decode_pair(codes + code_bytes(at, code), &factors, values, at, code, type, streams);
            at += PAIR;
        }
    }
    return at;
}

/* Decodes n codes (organ_decode_codes) to `type`. Outputs of STREAM_BYTES or more are written with non-temporal stores
 * from the first 64-byte boundary on, if an element begins there (`lines`) and, for 4-bit codes, its index is even
 * (`even`), so that its code begins a byte. */
INLINE void decode_codes(const void *codes, const float *scales, const float *zeros, size_t group, void *values,
                         size_t n, const organ_code code, const enum element_type type)
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

/* Defines the kernel decode_NAME_REAL for one format of codes and one type of values; DECODE_ALL defines those of one
 * format for all types. */
#define DECODE(name, code, real, type)                                                                                 \
    static void decode_##name##_##real(const void *codes, const float *scales, const float *zeros, size_t group,       \
                                       void *values, size_t n)                                                         \
    {                                                                                                                  \
        decode_codes(codes, scales, zeros, group, values, n, code, type);                                              \
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
