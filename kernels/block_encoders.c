/* SPDX-License-Identifier: MIT
 * Encoders for q4_0, q4_1, q5_0 and q5_1 that choose scales and round like ggml's reference. If a value or a
 * reciprocal is not finite, the reference has undefined behaviour; here codes are clamped to their range and a NaN
 * gets code 0. */
#include "kernels/simd/isa.h"
#include <float.h>
#ifdef ISA
#include "kernels/fit.h"
#include "kernels/half_floats.h"
#include "kernels/six_bits.h"

/* Returns 0 for d = 0. */
INLINE float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

/* Returns 0 for a NaN. */
INLINE u8x16 code_of(f32x16 value, float top)
{
    const f32x16 zero = f32_set1(0), ends = f32_set1(top);
    const f32x16 within = f32_select(f32_ge(value, ends), ends, f32_select(f32_gt(value, zero), value, zero));
    return s8_of_f32(f32_trunc(within));
}

/* Element l is the number of elements from l to the end of a block of 32. The largest of these numbers among matches
 * belongs to the first match. */
static const uint32_t to_the_end[32] = {32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
                                        16, 15, 14, 13, 12, 11, 10, 9,  8,  7,  6,  5,  4,  3,  2,  1};

INLINE u32x16 distances_to_end(int half)
{
    return f32_bits(f32_load((const float *)(const void *)(to_the_end + 16 * half)));
}

/* Returns 0 if all values are zeros or NaN. */
INLINE float value_of_largest_magnitude(const float *values)
{
    const u32x16 low = magnitude_bits(f32_load(values)), high = magnitude_bits(f32_load(values + 16));
    const uint32_t top = u32_top(u32_max(low, high));
    const u32x16 tops = u32_set1(top);
    const u32x16 left =
        u32_max(u32_keep(u32_eq(low, tops), distances_to_end(0)), u32_keep(u32_eq(high, tops), distances_to_end(1)));
    return top ? values[32 - u32_top(left)] : 0;
}

/* The value of largest magnitude, whatever its sign, gets code 0. Returns the scale. */
INLINE float symmetric_codes(const float *values, float top, float middle, u8x16 codes[2])
{
    const float d = value_of_largest_magnitude(values) / -middle;
    const f32x16 inverse = f32_set1(reciprocal(d)), shift = f32_set1(middle + 0.5f);
    codes[0] = code_of(f32_add(f32_mul(f32_load(values), inverse), shift), top);
    codes[1] = code_of(f32_add(f32_mul(f32_load(values + 16), inverse), shift), top);
    return d;
}

/* Returns the first zero of 32 values, with its sign: ggml's minimum is the first of equal values, and +0 equals -0. */
static float first_zero_of_block(const float *values)
{
    int j = 0;
    while (j < 31 && values[j] != 0)
        j++;
    return values[j];
}

/* The smallest value gets code 0, the largest `top`. Returns the scale. Ignores NaN, as ggml does: its search starts
 * from FLT_MAX and -FLT_MAX. */
INLINE float affine_codes(const float *values, float top, u8x16 codes[2], float *minimum)
{
    const f32x16 low = f32_load(values), high = f32_load(values + 16), huge = f32_set1(FLT_MAX),
                 fewest = f32_set1(-FLT_MAX);
    const f32x16 plus[2] = {f32_add(low, f32_set1(0)), f32_add(high, f32_set1(0))}; /* adding 0 removes -0 */
    const m32x16 is[2] = {f32_ge(low, low), f32_ge(high, high)};                    /* excludes NaN */
    const f32x16 mins = f32_min(f32_select(is[0], plus[0], huge), f32_select(is[1], plus[1], huge));
    const f32x16 maxs = f32_max(f32_select(is[0], plus[0], fewest), f32_select(is[1], plus[1], fewest));
    const float min = f32_reduce_min(f32_min(mins, huge)), max = f32_reduce_max(f32_max(maxs, fewest));
    const float d = (max - min) / top;
    const f32x16 inverse = f32_set1(reciprocal(d)), from = f32_set1(min), half = f32_set1(0.5f);
    codes[0] = code_of(f32_add(f32_mul(f32_sub(low, from), inverse), half), top);
    codes[1] = code_of(f32_add(f32_mul(f32_sub(high, from), inverse), half), top);
    *minimum = min == 0 ? first_zero_of_block(values) : min;
    return d;
}

/* The first 16 codes are in the low halves, the last 16 in the high halves. */
INLINE void store_nibbles(uint8_t *bytes, const u8x16 codes[2])
{
    u8_store(bytes, u8_or(u8_field(codes[0], 0, 15), u8_sll(u8_field(codes[1], 0, 15), 4)));
}

/* The first code is in the lowest bit. */
INLINE void store_fifth_bits(uint8_t *bytes, const u8x16 codes[2])
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        const uint16_t bits = u8_to_bits(u8_field(codes[half], 4, 1));
        __builtin_memcpy(bytes + 2 * half, &bits, sizeof bits);
    }
}

/* Ties are rounded away from zero; a NaN becomes 0. */
INLINE u8x16 nearest_s8(f32x16 a)
{
    const u32x16 magnitude = u32_and(f32_bits(a), u32_set1(MAGNITUDE));
    const f32x16 any = f32_of_bits(u32_keep(f32_ge(f32_of_bits(magnitude), f32_set1(0)), magnitude)),
                 away = f32_min(any, f32_set1(127));
    const f32x16 truncated = f32_trunc(away), up = f32_add(truncated, f32_set1(1));
    const f32x16 nearest = f32_select(f32_ge(f32_sub(away, truncated), f32_set1(0.5f)), up, truncated);
    return s8_of_f32(f32_select(f32_gt(f32_set1(0), a), f32_sub(f32_set1(0), nearest), nearest));
}

/* The largest magnitude becomes 127, as in ggml. */
void KERNEL(quantize_q8_0)(const float *values, void *blocks, size_t n)
{
    block_q8_0 *b = blocks;
    for (size_t k = 0; k < n; k++, b++, values += 32) {
        const f32x16 low = f32_load(values), high = f32_load(values + 16);
        const uint32_t bits = u32_top(u32_max(magnitude_bits(low), magnitude_bits(high)));
        float farthest;
        memcpy(&farthest, &bits, sizeof farthest);
        const float d = farthest / 127, inverse = reciprocal(d);
        half_put(b->d, d);
        u8_store(b->codes, nearest_s8(f32_mul(low, f32_set1(inverse))));
        u8_store(b->codes + 16, nearest_s8(f32_mul(high, f32_set1(inverse))));
    }
}

/* The layout of a type with blocks of 32 values: scale, minimum, fifth bits, codes. */
typedef struct block_layout {
    size_t bytes;              /* size of a block */
    int affine;                /* 1: the type has a minimum */
    int fifth;                 /* 1: codes of 5 bits, whose fifth bits are stored separately */
    float high;                /* largest code of the search */
    const fit_symmetric *kind; /* range of codes and scales to try; NULL for types with a minimum */
    float plus;                /* offset added to each code before it is stored */
} block_layout;

static const block_layout of_q4_0 = {.bytes = 18, .high = 7, .kind = &fit_around_8, .plus = 8};
static const block_layout of_q4_1 = {.bytes = 20, .affine = 1, .high = 15};
static const block_layout of_q5_0 = {.bytes = 22, .fifth = 1, .high = 15, .kind = &fit_around_16, .plus = 16};
static const block_layout of_q5_1 = {.bytes = 24, .affine = 1, .fifth = 1, .high = 31};
static const block_layout of_q8_0 = {.bytes = 34, .high = 127, .kind = &fit_within_127};

/* q8_0 is the only type with codes above 100 and stores bytes; other types have nibbles. */
INLINE void store_codes(uint8_t *block, const u8x16 codes[2], const block_layout *type)
{
    uint8_t *const to = block + (type->affine ? 4 : 2);
    if (type->high > 100) {
        u8_store(to, codes[0]);
        u8_store(to + 16, codes[1]);
        return;
    }
    if (type->fifth)
        store_fifth_bits(to, codes);
    store_nibbles(to + (type->fifth ? 4 : 0), codes);
}

/* For types of nibbles. */
INLINE void quantize_blocks(const float *values, uint8_t *to, size_t n, const block_layout *type)
{
    for (size_t k = 0; k < n; k++, to += type->bytes, values += 32) {
        u8x16 codes[2];
        float least = 0;
        if (type->affine) {
            half_put(to, affine_codes(values, type->high, codes, &least));
            half_put(to + 2, least);
        } else
            half_put(to, symmetric_codes(values, type->high + type->plus, type->plus, codes));
        store_codes(to, codes, type);
    }
}

#define QUANTIZER(name)                                                                                                \
    void KERNEL(quantize_##name)(const float *values, void *blocks, size_t n)                                          \
    {                                                                                                                  \
        quantize_blocks(values, blocks, n, &of_##name);                                                                \
    }
QUANTIZER(q4_0)
QUANTIZER(q4_1)
QUANTIZER(q5_0)
QUANTIZER(q5_1)

/* ---- the same types with a search for scales (organ_fit_blocks) ---- */

/* Writes the first `count` groups as blocks. The codes are computed last, from scale and minimum as rounded to F16. */
INLINE void fit_blocks_16(const fit_groups *g, uint8_t *to, int count, const block_layout *type)
{
    const f32x16 zero = f32_set1(0);
    float s[16], m[16];
    uint8_t codes[16 * 32];
    if (type->affine) {
        const fit_line line = fit_best_line(g, type->high, /*below=*/0);
        f32_store(s, line.s);
        f32_store(m, line.m);
    } else {
        f32_store(s, fit_scale(g, type->kind));
        f32_store(m, zero);
    }
    for (int l = 0; l < count; l++) {
        uint8_t *const block = to + (size_t)l * type->bytes;
        s[l] = fit_put_half(block, s[l]);
        m[l] = type->affine ? fit_put_half(block + 2, m[l]) : 0;
    }
    const f32x16 inverse = fit_inverse(f32_load(s)), shift = f32_mul(fit_negative(f32_load(m)), inverse);
    fit_put_codes(g, inverse, shift, type->affine ? 0 : type->kind->low, type->high, type->plus, codes);
    for (int l = 0; l < count; l++) {
        const u8x16 both[2] = {u8_load(codes + 32 * l), u8_load(codes + 32 * l + 16)};
        store_codes(to + (size_t)l * type->bytes, both, type);
    }
}

/* Each lane has one of 16 blocks. `weights` repeat after `cols` values. */
SHARED void fit_blocks(const float *values, const float *weights, size_t cols, void *blocks, size_t n,
                       const block_layout *type)
{
    uint8_t *to = blocks;
    fit_groups g = {.size = 32};
    for (size_t k = 0; k < n; k += 16) {
        const int count = n - k < 16 ? (int)(n - k) : 16;
        fit_load(&g, values + 32 * k, weights, weights ? 32 * k % cols : 0, cols, count);
        fit_blocks_16(&g, to + k * type->bytes, count, type);
    }
}

#define FITTER(name)                                                                                                   \
    void KERNEL(fit_##name)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)            \
    {                                                                                                                  \
        fit_blocks(values, weights, cols, blocks, n, &of_##name);                                                      \
    }
FITTER(q4_0)
FITTER(q4_1)
FITTER(q5_0)
FITTER(q5_1)
FITTER(q8_0)

/* ---- q4_k, q5_k and q6_k, with a search for scales (organ_fit_blocks) ---- */

/* A block has 256 values; its groups' scales are stored as codes, whole multiples of the block's factor d. fit.h
 * explains lanes and weighted errors. */

/* Rounds of the search; each first fits the codes of the scales with d fixed, then d with the codes fixed. */
enum { FIT_K_ROUNDS = 2 };

/* ---- q4_k and q5_k: 8 groups of 32 with minima ---- */

/* The parameters of two blocks. Lanes 0 to 7 stand for the groups of the first block, lanes 8 to 15 for those of the
 * second. A value with code q decodes to d scale q - dmin minimum, where d and dmin belong to the block, and scale and
 * minimum are codes of the group. */
typedef struct fit_k {
    float d[16], dmin[16]; /* exact F16 values, the same in the 8 lanes of a block */
    f32x16 scales, minima; /* codes, whole numbers from 0 to 63 */
} fit_k;

/* The scale is as a decoder computes it: d times the code of the scale. */
INLINE f32x16 fit_k_scale(const fit_k *k) { return f32_mul(f32_load(k->d), k->scales); }
/* m is at most 0: -(dmin times the code of the minimum). */
INLINE f32x16 fit_k_minimum(const fit_k *k) { return fit_negative(f32_mul(f32_load(k->dmin), k->minima)); }

INLINE float fit_top(const float *values)
{
    float top = 0;
    for (int l = 0; l < 8; l++)
        top = values[l] > top ? values[l] : top;
    return top;
}

/* d of a block is 1/63 of its largest s, and dmin 1/63 of its largest -m, so that these two get the largest code,
 * 63. */
INLINE void fit_k_begin(const fit_line *line, fit_k *k)
{
    float s[16], m[16];
    const f32x16 depth = fit_negative(line->m);
    f32_store(s, line->s);
    f32_store(m, depth);
    for (int b = 0; b < 16; b += 8) {
        fit_spread(k->d + b, 8, fit_top(s + b) / 63);
        fit_spread(k->dmin + b, 8, fit_top(m + b) / 63);
    }
    k->scales = fit_code(f32_mul(line->s, fit_inverse(f32_load(k->d))), 0, 63);
    k->minima = fit_code(f32_mul(depth, fit_inverse(f32_load(k->dmin))), 0, 63);
}

/* Tries the 9 combinations of both current codes, each changed by -1, 0 or 1, with d and dmin fixed, and keeps the
 * one with the least error; among equals, the first. */
INLINE void fit_k_codes(const fit_groups *g, float high, fit_k *k)
{
    const fit_k before = *k;
    f32x16 least = f32_set1(FIT_MAX_ERROR);
    for (int step = 0; step < 9; step++) {
        fit_k next = before;
        next.scales = fit_code(f32_add(before.scales, f32_set1((float)(step / 3 - 1))), 0, 63);
        next.minima = fit_code(f32_add(before.minima, f32_set1((float)(step % 3 - 1))), 0, 63);
        const f32x16 error = fit_line_error(g, fit_k_scale(&next), fit_k_minimum(&next), high);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        k->scales = f32_select(better, next.scales, k->scales);
        k->minima = f32_select(better, next.minima, k->minima);
    }
}

/* Refits d and dmin of both blocks by weighted least squares with all codes fixed. A value x is approximated by d D +
 * dmin M, where D is the product of the codes of its group's scale and of the value, and M is minus the code of the
 * minimum. sums[DM] has the sums of weight x D x M over each group, and so on; the normal equations of a block are
 * d DD + dmin DM = DX and d DM + dmin MM = MX. If they are nearly singular (determinant up to 2^-20 of DD MM), dmin
 * stays and d is solved alone. A result that is not above 0 is discarded. */
INLINE void fit_k_solve(const fit_groups *g, float high, fit_k *k)
{
    enum { DD, DM, MM, DX, MX };
    float sums[5][16];
    fit_moments all;
    const f32x16 inverse = fit_inverse(fit_k_scale(k)), down = fit_negative(k->minima);
    fit_weigh(g, &all);
    fit_moments_of(g, inverse, f32_mul(fit_negative(fit_k_minimum(k)), inverse), high, &all);
    f32_store(sums[DD], f32_mul(f32_mul(k->scales, k->scales), all.qq));
    f32_store(sums[DM], f32_mul(f32_mul(k->scales, down), all.q));
    f32_store(sums[MM], f32_mul(f32_mul(down, down), all.w));
    f32_store(sums[DX], f32_mul(k->scales, all.qx));
    f32_store(sums[MX], f32_mul(down, all.x));
    for (int b = 0; b < 16; b += 8) {
        const float dd = fit_sum(sums[DD] + b, 8), dm = fit_sum(sums[DM] + b, 8), mm = fit_sum(sums[MM] + b, 8);
        const float dx = fit_sum(sums[DX] + b, 8), mx = fit_sum(sums[MX] + b, 8), determinant = dd * mm - dm * dm;
        const int both = determinant > 0x1p-20f * (dd * mm);
        const float alone = dd > 0 ? (dx - dm * k->dmin[b]) / dd : 0;
        const float d = both ? (mm * dx - dm * mx) / determinant : alone;
        const float dmin = both ? (dd * mx - dm * dx) / determinant : 0;
        if (d > 0)
            fit_spread(k->d + b, 8, d);
        if (dmin > 0)
            fit_spread(k->dmin + b, 8, dmin);
    }
}

/* A q5_k block (`fifth`) has 32 bytes with the highest bits first: bit j of byte i belongs to code 32 j + i. 128
 * bytes with the low four bits follow, 32 bytes for each 64 codes: the first 32 codes are in bits 0 to 3, the next
 * 32 in bits 4 to 7. */
INLINE void fit_k_store_codes(uint8_t *to, const uint8_t *codes, int fifth)
{
    for (int half = 0; half < 2 && fifth; half++) {
        u8x16 bits = u8_field(u8_load(codes + 16 * half), 4, 1);
        UNROLL for (int j = 1; j < 8; j++) bits =
            u8_or(bits, u8_sll(u8_field(u8_load(codes + 32 * j + 16 * half), 4, 1), j));
        u8_store(to + 16 * half, bits);
    }
    to += fifth ? 32 : 0;
    for (int j = 0; j < 8; j++) {
        const uint8_t *const from = codes + 64 * (j / 2) + 16 * (j % 2);
        const u8x16 low = u8_field(u8_load(from), 0, 15), high = u8_field(u8_load(from + 32), 0, 15);
        u8_store(to + 16 * j, u8_or(low, u8_sll(high, 4)));
    }
}

/* Fits a line to each group of 32, then alternates between the codes of scales and minima (fit_k_codes) and the
 * blocks' d and dmin (fit_k_solve). Computes the codes of the values last, from the rounded numbers that the block
 * stores. */
SHARED void fit_k_blocks(const float *values, const float *weights, size_t cols, void *blocks, size_t n, int fifth)
{
    const size_t bytes = fifth ? sizeof(block_q5_k) : sizeof(block_q4_k);
    const float high = fifth ? 31 : 15;
    uint8_t *to = blocks, codes[512], scales[16], minima[16];
    fit_groups g = {.size = 32};
    for (size_t at = 0; at < n; at += 2) {
        fit_k k;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        const fit_line line = fit_best_line(&g, high, /*below=*/1);
        fit_k_begin(&line, &k);
        for (int round = 0; round < FIT_K_ROUNDS; round++) {
            fit_k_codes(&g, high, &k);
            fit_k_solve(&g, high, &k);
        }
        const f32x16 inverse = fit_inverse(fit_k_scale(&k));
        fit_put_codes(&g, inverse, f32_mul(fit_negative(fit_k_minimum(&k)), inverse), 0, high, 0, codes);
        u8_store(scales, s8_of_f32(k.scales));
        u8_store(minima, s8_of_f32(k.minima));
        for (int b = 0; b < 2 && at + (size_t)b < n; b++, to += bytes) {
            fit_put_half(to, k.d[8 * b]);
            fit_put_half(to + 2, k.dmin[8 * b]);
            six_bits_pack(to + 4, scales + 8 * b, minima + 8 * b);
            fit_k_store_codes(to + 16, codes + 256 * b, fifth);
        }
    }
}

void KERNEL(fit_q4_k)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_k_blocks(values, weights, cols, blocks, n, /*fifth=*/0);
}

void KERNEL(fit_q5_k)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_k_blocks(values, weights, cols, blocks, n, /*fifth=*/1);
}

/* ---- q6_k: 16 groups of 16 around zero, a block at a time, a group in each lane ---- */

/* The error is that of s q, each with the nearest code q in kind->low .. kind->high. */
INLINE f32x16 fit_scale_error(const fit_groups *g, f32x16 s, const fit_symmetric *kind)
{
    const f32x16 inverse = fit_inverse(s);
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]),
                     error = f32_fnma(s, fit_code(f32_mul(x, inverse), kind->low, kind->high), x);
        sum = f32_fma(f32_mul(f32_load(g->weights[k]), error), error, sum);
    }
    return sum;
}

/* Tries the code of each scale in `codes` and the two next to it, from -128 to 127, with d fixed, and keeps the one
 * with the least error; among equals, the first. */
INLINE f32x16 fit_scale_codes(const fit_groups *g, float d, f32x16 codes, const fit_symmetric *kind)
{
    f32x16 least = f32_set1(FIT_MAX_ERROR), best = codes;
    for (int step = -1; step <= 1; step++) {
        const f32x16 next = fit_code(f32_add(codes, f32_set1((float)step)), -128, 127);
        const f32x16 error = fit_scale_error(g, f32_mul(f32_set1(d), next), kind);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        best = f32_select(better, next, best);
    }
    return best;
}

/* Refits d of the block by weighted least squares with all codes fixed, and returns it rounded to F16: `codes` are
 * those c of the 16 groups' scales, and the codes q of the values are the nearest ones for the old `d`. The solution is
 * sum(w c q x) / sum(w (c q)^2); if the divisor is 0, returns `d` unchanged. */
INLINE float fit_solve_d(const fit_groups *g, float d, f32x16 codes, const fit_symmetric *kind)
{
    f32x16 qx, qq;
    float sums[2][16];
    fit_sums(g, fit_inverse(f32_mul(f32_set1(d), codes)), kind, &qx, &qq);
    f32_store(sums[0], f32_mul(codes, qx));
    f32_store(sums[1], f32_mul(f32_mul(codes, codes), qq));
    const float over = fit_sum(sums[1], 8) + fit_sum(sums[1] + 8, 8);
    return over > 0 ? fit_half((fit_sum(sums[0], 8) + fit_sum(sums[0] + 8, 8)) / over) : d;
}

/* Each half of the codes has 64 of the low bytes, where byte j has code j in bits 0 to 3 and code j + 64 in bits 4
 * to 7, and 32 of the high bytes, where byte j has codes j, j + 32, j + 64 and j + 96, two bits each from bit 0 on. */
INLINE void fit_q6_k_store(uint8_t *to, const uint8_t *codes)
{
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 2; j++) {
            u8x16 strips[4];
            UNROLL for (int k = 0; k < 4; k++) strips[k] = u8_load(codes + 128 * half + 32 * k + 16 * j);
            UNROLL for (int k = 0; k < 2; k++)
            {
                const u8x16 low = u8_field(strips[k], 0, 15), high = u8_field(strips[k + 2], 0, 15);
                u8_store(to + 64 * half + 32 * k + 16 * j, u8_or(low, u8_sll(high, 4)));
            }
            const u8x16 first = u8_or(u8_field(strips[0], 4, 3), u8_sll(u8_field(strips[1], 4, 3), 2));
            const u8x16 last = u8_or(u8_sll(u8_field(strips[2], 4, 3), 4), u8_sll(u8_field(strips[3], 4, 3), 6));
            u8_store(to + 128 + 32 * half + 16 * j, u8_or(first, last));
        }
}

/* A value of a group of 16 decodes to d s (q - 32), where the code s of the group's scale is a signed byte and q is
 * 0 .. 63. Fits a scale to each group; the first d gives the scale of largest magnitude the code -128. Then
 * alternates between the codes of the scales (fit_scale_codes) and d (fit_solve_d). */
void KERNEL(fit_q6_k)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    const fit_symmetric *const kind = &fit_around_32;
    block_q6_k *b = blocks;
    fit_groups g = {.size = 16};
    for (size_t at = 0; at < n; at++, b++) {
        float scales[16];
        uint8_t codes[256];
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        f32_store(scales, fit_scale(&g, kind));
        float d = fit_put_half(b->d, fit_farthest(scales, 16) / -128);
        f32x16 of_scales = fit_code(f32_mul(f32_load(scales), fit_inverse(f32_set1(d))), -128, 127);
        for (int round = 0; round < FIT_K_ROUNDS; round++) {
            of_scales = fit_scale_codes(&g, d, of_scales, kind);
            d = fit_solve_d(&g, d, of_scales, kind);
        }
        fit_put_codes(&g, fit_inverse(f32_mul(f32_set1(d), of_scales)), f32_set1(0), kind->low, kind->high, 32, codes);
        fit_q6_k_store(b->codes, codes);
        u8_store(b->scales, s8_of_f32(of_scales));
        fit_put_half(b->d, d);
    }
}

#endif
