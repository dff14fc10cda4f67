/* SPDX-License-Identifier: MIT
 * Quantisers to q3_k, iq4_xs, iq4_nl, mxfp4 and nvfp4 with a search for scales (organ_fit_blocks). */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit_levels.h"
#include "kernels/half.h"

/* ---- q3_k and iq4_xs: groups whose scales are codes of 6 bits times the block's factor d ---- */

/* A type whose blocks of 256 values have groups of 16 or 32. */
typedef struct fit_coded_type {
    fit_kind kind;
    int size; /* values in a group */
    const float *peaks;
} fit_coded_type;

/* Least and greatest code of a scale. */
#define FIT_CODE_LOW  -32.0f
#define FIT_CODE_HIGH 31.0f

/* Rounds of the search; each first fits the codes of the scales with d fixed, then d with the codes fixed. */
enum { FIT_CODED_ROUNDS = 2, FIT_CODE_REACH = 3 };

/* The parameters of one block (16 groups of 16) or of two (8 groups of 32 each): d of each lane's block, an exact F16
 * value, and the code of each group's scale. */
typedef struct fit_coded {
    float d[16];
    f32x16 codes;
} fit_coded;

INLINE f32x16 fit_coded_scale(const fit_coded *c) { return f32_mul(f32_load(c->d), c->codes); }

/* The block stores d as F16. `groups` lanes belong to the block. */
INLINE void fit_coded_spread(float *lanes, int groups, float value)
{
    uint8_t stored[2];
    const float half = fit_put_half(stored, value);
    for (int l = 0; l < groups; l++)
        lanes[l] = half;
}

INLINE float fit_farthest(const float *values, int n)
{
    float far = 0;
    for (int l = 0; l < n; l++)
        far = __builtin_fabsf(values[l]) > __builtin_fabsf(far) ? values[l] : far;
    return far;
}

/* The scale of largest magnitude gets the code -32. */
INLINE void fit_coded_begin(f32x16 scales, int groups, fit_coded *c)
{
    float s[16];
    f32_store(s, scales);
    for (int b = 0; b < 16; b += groups)
        fit_coded_spread(c->d + b, groups, fit_farthest(s + b, groups) / FIT_CODE_LOW);
    c->codes = fit_code(f32_mul(scales, fit_inverse(f32_load(c->d))), FIT_CODE_LOW, FIT_CODE_HIGH);
}

/* Tries the codes of each scale up to FIT_CODE_REACH from the present one, with d fixed, and keeps the one with the
 * least error; among equals, the first. */
INLINE void fit_coded_codes(const fit_groups *g, const fit_kind kind, fit_coded *c)
{
    const f32x16 from = c->codes, d = f32_load(c->d);
    f32x16 least = f32_set1(FIT_MAX_ERROR);
    for (int step = -FIT_CODE_REACH; step <= FIT_CODE_REACH; step++) {
        const f32x16 next = fit_code(f32_add(from, f32_set1((float)step)), FIT_CODE_LOW, FIT_CODE_HIGH);
        const f32x16 error = fit_level_error(g, f32_mul(d, next), kind);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        c->codes = f32_select(better, next, c->codes);
    }
}

INLINE float fit_coded_sum(const float *values, int n)
{
    float sum = 0;
    for (int l = 0; l < n; l++)
        sum += values[l];
    return sum;
}

/* Refits d of each block by weighted least squares with all codes fixed: sum(w c v x) / sum(w (c v)^2), where c is the
 * code of the scale and v the level of x. If the divisor is 0, d stays. */
INLINE void fit_coded_solve(const fit_groups *g, const fit_kind kind, int groups, fit_coded *c)
{
    f32x16 vx, vv;
    float over[16], under[16];
    fit_level_sums(g, fit_inverse(fit_coded_scale(c)), kind, &vx, &vv);
    f32_store(over, f32_mul(c->codes, vx));
    f32_store(under, f32_mul(f32_mul(c->codes, c->codes), vv));
    for (int b = 0; b < 16; b += groups) {
        const float divisor = fit_coded_sum(under + b, groups);
        if (divisor > 0)
            fit_coded_spread(c->d + b, groups, fit_coded_sum(over + b, groups) / divisor);
    }
}

/* Fits a scale to each group, then alternates between the codes of the scales and d. */
INLINE void fit_coded_search(const fit_groups *g, const fit_coded_type *type, fit_coded *c)
{
    const int groups = 256 / type->size;
    fit_coded_begin(fit_level_scale(g, type->peaks, type->kind), groups, c);
    for (int round = 0; round < FIT_CODED_ROUNDS; round++) {
        fit_coded_codes(g, type->kind, c);
        fit_coded_solve(g, type->kind, groups, c);
    }
}

/* Bits of codes: byte j of the 64 low bytes has two bits of codes j % 32 + 128 (j / 32) + 0, 32, 64 and 96; byte j of
 * the 32 high bytes has the third bit of codes j, j + 32, and so on. Byte j < 8 of the scales has the low four bits of
 * scale j, then those of scale j + 8; byte 8 + j the upper two bits of scales j, j + 4, j + 8 and j + 12. */
INLINE void fit_q3_k_store(block_q3_k *b, const uint8_t *codes, const uint8_t *scales)
{
    memset(b->high, 0, sizeof b->high);
    memset(b->codes, 0, sizeof b->codes);
    memset(b->scales, 0, sizeof b->scales);
    for (int k = 0; k < 256; k++) {
        b->codes[k / 128 * 32 + k % 32] |= (uint8_t)((codes[k] & 3) << k % 128 / 32 * 2);
        b->high[k % 32] |= (uint8_t)((codes[k] >> 2) << k / 32);
    }
    for (int j = 0; j < 16; j++) {
        b->scales[j % 8] |= (uint8_t)((scales[j] & 15) << j / 8 * 4);
        b->scales[8 + j % 4] |= (uint8_t)((scales[j] >> 4) << j / 4 * 2);
    }
}

void KERNEL(fit_q3_k)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    const fit_coded_type type = {FIT_3_BITS, 16, fit_peaks_3_bits};
    block_q3_k *b = blocks;
    fit_groups g = {.size = 16};
    for (size_t at = 0; at < n; at++, b++) {
        uint8_t codes[256], scales[16];
        fit_coded c;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        fit_coded_search(&g, &type, &c);
        fit_put_codes(&g, fit_inverse(fit_coded_scale(&c)), f32_set1(0), -4, 3, 4, codes);
        u8_store(scales, s8_of_f32(f32_add(c.codes, f32_set1(32))));
        fit_q3_k_store(b, codes, scales);
        fit_put_half(b->d, c.d[0]);
    }
}

/* Stores the indices of the levels of all 16 groups in `codes`, a byte each, group after group. */
SHARED void fit_put_iq4_codes(const fit_groups *g, f32x16 inverse, uint8_t *codes)
{
    f32x16 rows[16];
    for (int from = 0; from < g->size; from += 16) {
        for (int k = 0; k < 16; k++)
            rows[k] =
                f32_of_bits(u32_and(fit_iq4_index(f32_mul(f32_load(g->values[from + k]), inverse)), u32_set1(15)));
        transpose_square(rows);
        for (int l = 0; l < 16; l++)
            u8_store(codes + l * g->size + from, u8_of_u32(f32_bits(rows[l])));
    }
}

/* Byte j has code j in the low half and code j + 16 in the high half. */
INLINE void fit_store_halves(uint8_t *to, const uint8_t *codes)
{
    u8_store(to, u8_or(u8_load(codes), u8_sll(u8_load(codes + 16), 4)));
}

void KERNEL(fit_iq4_xs)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    const fit_coded_type type = {FIT_IQ4, 32, fit_peaks_iq4};
    block_iq4_xs *b = blocks;
    fit_groups g = {.size = 32};
    for (size_t at = 0; at < n; at += 2) {
        uint8_t codes[512], scales[16];
        fit_coded c;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        fit_coded_search(&g, &type, &c);
        fit_put_iq4_codes(&g, fit_inverse(fit_coded_scale(&c)), codes);
        u8_store(scales, s8_of_f32(f32_add(c.codes, f32_set1(32))));
        for (int k = 0; k < 2 && at + (size_t)k < n; k++, b++) {
            fit_put_half(b->d, c.d[8 * k]);
            memset(b->scales_high, 0, sizeof b->scales_high);
            memset(b->scales_low, 0, sizeof b->scales_low);
            for (int j = 0; j < 8; j++) {
                b->scales_low[j / 2] |= (uint8_t)((scales[8 * k + j] & 15) << j % 2 * 4);
                b->scales_high[j / 4] |= (uint8_t)((scales[8 * k + j] >> 4) << j % 4 * 2);
                fit_store_halves(b->codes + 16 * j, codes + 256 * k + 32 * j);
            }
        }
    }
}

void KERNEL(fit_iq4_nl)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_q4_0 *b = blocks;
    fit_groups g = {.size = 32};
    for (size_t at = 0; at < n; at += 16) {
        const int count = n - at < 16 ? (int)(n - at) : 16;
        uint8_t codes[512];
        float scales[16];
        fit_load(&g, values + 32 * at, weights, weights ? 32 * at % cols : 0, cols, count);
        f32_store(scales, fit_level_scale(&g, fit_peaks_iq4, FIT_IQ4));
        for (int l = 0; l < count; l++)
            scales[l] = fit_put_half(b[l].d, scales[l]);
        fit_put_iq4_codes(&g, fit_inverse(f32_load(scales)), codes);
        for (int l = 0; l < count; l++)
            fit_store_halves(b[l].codes, codes + 32 * l);
        b += count;
    }
}

#endif
