/* SPDX-License-Identifier: MIT
 * Quantisers to q4_k, q5_k and q6_k with a search for scales (organ_fit_blocks). A block has 256 values; its groups'
 * scales are stored as codes, whole multiples of the block's factor d. fit.h explains lanes and weighted errors. */
#include "kernels/six_bits.h"

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

/* Returns the scale s of each group as a decoder computes it: d times the code of the scale. */
INLINE f32x16 fit_k_scale(const fit_k *k) { return f32_mul(f32_load(k->d), k->scales); }
/* Returns the m of each group, which is at most 0: -(dmin times the code of the minimum). */
INLINE f32x16 fit_k_minimum(const fit_k *k) { return fit_negative(f32_mul(f32_load(k->dmin), k->minima)); }

/* Returns for each group the weighted squared error of approximating its values by s q + m, each with the nearest code
 * q in 0 .. `high`. */
INLINE f32x16 fit_line_error(const fit_groups *g, f32x16 s, f32x16 m, float high)
{
    const f32x16 inverse = fit_inverse(s), shift = f32_mul(fit_negative(m), inverse);
    f32x16 sum = f32_set1(0);
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = f32_load(g->values[k]), q = fit_code(f32_fma(x, inverse, shift), 0, high),
                     lost = f32_fnma(s, q, f32_sub(x, m));
        sum = f32_fma(f32_mul(f32_load(g->weights[k]), lost), lost, sum);
    }
    return sum;
}

/* Rounds `value`, the d or dmin of a block, to F16, because the block stores it so, and sets lanes[0] to lanes[7], the
 * lanes of the block, to the result. */
INLINE void fit_k_spread(float *lanes, float value)
{
    uint8_t stored[2];
    const float half = fit_put_half(stored, value);
    for (int l = 0; l < 8; l++)
        lanes[l] = half;
}

/* Returns the largest of 8 values, at least 0. */
INLINE float fit_top(const float *values)
{
    float top = 0;
    for (int l = 0; l < 8; l++)
        top = values[l] > top ? values[l] : top;
    return top;
}

/* Sets *k to a first estimate from *line, which has a line s q + m for each group. d of a block is 1/63 of its largest
 * s, and dmin 1/63 of its largest -m, so that these two get the largest code, 63. */
INLINE void fit_k_begin(const fit_line *line, fit_k *k)
{
    float s[16], m[16];
    const f32x16 depth = fit_negative(line->m);
    f32_store(s, line->s);
    f32_store(m, depth);
    for (int b = 0; b < 16; b += 8) {
        fit_k_spread(k->d + b, fit_top(s + b) / 63);
        fit_k_spread(k->dmin + b, fit_top(m + b) / 63);
    }
    k->scales = fit_code(f32_mul(line->s, fit_inverse(f32_load(k->d))), 0, 63);
    k->minima = fit_code(f32_mul(depth, fit_inverse(f32_load(k->dmin))), 0, 63);
}

/* Improves the codes of scale and minimum of each group with d and dmin fixed: tries the 9 combinations of both current
 * codes, each changed by -1, 0 or 1, and keeps the one with the least error; among equals, the first. */
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

/* Returns the sum of 8 values in index order, the same on every ISA. */
INLINE float fit_sum_8(const float *values)
{
    float sum = 0;
    for (int l = 0; l < 8; l++)
        sum += values[l];
    return sum;
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
        const float dd = fit_sum_8(sums[DD] + b), dm = fit_sum_8(sums[DM] + b), mm = fit_sum_8(sums[MM] + b);
        const float dx = fit_sum_8(sums[DX] + b), mx = fit_sum_8(sums[MX] + b), determinant = dd * mm - dm * dm;
        const int both = determinant > 0x1p-20f * (dd * mm);
        const float alone = dd > 0 ? (dx - dm * k->dmin[b]) / dd : 0;
        const float d = both ? (mm * dx - dm * mx) / determinant : alone;
        const float dmin = both ? (dd * mx - dm * dx) / determinant : 0;
        if (d > 0)
            fit_k_spread(k->d + b, d);
        if (dmin > 0)
            fit_k_spread(k->dmin + b, dmin);
    }
}

/* Stores the 256 codes of a block's values, one byte each in `codes`, from `to` on. A q5_k block (`fifth`) has 32 bytes
 * with the highest bits first: bit j of byte i belongs to code 32 j + i. 128 bytes with the low four bits follow, 32
 * bytes for each 64 codes: the first 32 codes are in bits 0 to 3, the next 32 in bits 4 to 7. */
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

/* Quantises n blocks of 256 values to q4_k, or with `fifth` to q5_k, two blocks at a time; arguments as in
 * organ_fit_blocks. Fits a line to each group of 32, then alternates between the codes of scales and minima
 * (fit_k_codes) and the blocks' d and dmin (fit_k_solve). Computes the codes of the values last, from the rounded
 * numbers that the block stores. */
INLINE void fit_k_blocks(const float *values, const float *weights, size_t cols, void *blocks, size_t n, int fifth)
{
    const size_t bytes = fifth ? sizeof(block_q5_k) : sizeof(block_q4_k);
    const float high = fifth ? 31 : 15;
    uint8_t *to = blocks, codes[512], scales[16], minima[16];
    fit_groups g = {.size = 32};
    for (size_t at = 0; at < n; at += 2) {
        fit_k k;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        const fit_line line = fit_best_line(&g, high, 1);
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

/* Quantises n blocks to q4_k (organ_fit_blocks). */
static void fit_q4_k(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_k_blocks(values, weights, cols, blocks, n, 0);
}

/* Quantises n blocks to q5_k (organ_fit_blocks). */
static void fit_q5_k(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    fit_k_blocks(values, weights, cols, blocks, n, 1);
}

/* ---- q6_k: 16 groups of 16 around zero, a block at a time, a group in each lane ---- */

/* Returns for each group the weighted squared error of approximating its values by s q, each with the nearest code q in
 * kind->low .. kind->high. */
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

/* Returns better codes of the groups' scales with d fixed: tries the code of each scale in `codes` and the two next to
 * it, from -128 to 127, and keeps the one with the least error; among equals, the first. */
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
    uint8_t stored[2];
    fit_sums(g, fit_inverse(f32_mul(f32_set1(d), codes)), kind, &qx, &qq);
    f32_store(sums[0], f32_mul(codes, qx));
    f32_store(sums[1], f32_mul(f32_mul(codes, codes), qq));
    const float over = fit_sum_8(sums[1]) + fit_sum_8(sums[1] + 8);
    return over > 0 ? fit_put_half(stored, (fit_sum_8(sums[0]) + fit_sum_8(sums[0] + 8)) / over) : d;
}

/* Returns the value of largest magnitude of 16, with its sign. */
INLINE float fit_largest_of_16(const float *values)
{
    float far = 0;
    for (int l = 0; l < 16; l++)
        far = __builtin_fabsf(values[l]) > __builtin_fabsf(far) ? values[l] : far;
    return far;
}

/* Stores the 256 codes of a q6_k block, 0 .. 63 each, as 128 bytes with their low four bits, then 64 bytes with their
 * two high bits. Each half of the codes has 64 of the low bytes, where byte j has code j in bits 0 to 3 and code j + 64
 * in bits 4 to 7, and 32 of the high bytes, where byte j has codes j, j + 32, j + 64 and j + 96, two bits each from
 * bit 0 on. */
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

/* Quantises n blocks of 256 values to q6_k (organ_fit_blocks). A value of a group of 16 decodes to d s (q - 32), where
 * the code s of the group's scale is a signed byte and q is 0 .. 63. Fits a scale to each group; the first d gives the
 * scale of largest magnitude the code -128. Then alternates between the codes of the scales (fit_scale_codes) and d
 * (fit_solve_d). */
static void fit_q6_k(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    const fit_symmetric *const kind = &fit_around_32;
    block_q6_k *b = blocks;
    fit_groups g = {.size = 16};
    for (size_t at = 0; at < n; at++, b++) {
        float scales[16];
        uint8_t codes[256];
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        f32_store(scales, fit_scale(&g, kind));
        float d = fit_put_half(b->d, fit_largest_of_16(scales) / -128);
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
