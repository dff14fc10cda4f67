/* SPDX-License-Identifier: MIT
 * Quantisers to q3_k, iq4_xs, iq4_nl, mxfp4 and nvfp4 with a search for scales (organ_fit_blocks). */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit_breakpoints.h"
#include "kernels/half_floats.h"

/* ---- q3_k and iq4_xs: groups whose scales are codes of 6 bits times the block's factor d ---- */

/* A type whose blocks of 256 values have groups of 16 or 32. */
typedef struct fit_coded_type {
    fit_kind kind;
    int size; /* values in a group */
} fit_coded_type;

/* Least and greatest code of a scale. */
#define FIT_CODE_LOW  -32.0f
#define FIT_CODE_HIGH 31.0f

/* Rounds of the search; each first fits the codes of the scales with d fixed, then d with the codes fixed. */
enum { FIT_CODED_ROUNDS = 2 };

/* The parameters of one block (16 groups of 16) or of two (8 groups of 32 each): d of each lane's block, an exact F16
 * value, and the code of each group's scale. */
typedef struct fit_coded {
    float d[16];
    f32x16 codes;
} fit_coded;

INLINE f32x16 fit_coded_scale(const fit_coded *c) { return f32_mul(f32_load(c->d), c->codes); }

/* The numbers that are tried for the quotient of a block's scale of largest magnitude and d, 16 in a batch; those of
 * the second half are the negative ones of the first half. */
enum { FIT_UNITS = 128, FIT_BATCH = 16 };
#define FIT_UNIT_MOST 33.0f
#define FIT_UNIT_STEP 0.328125f

INLINE float fit_unit(int number)
{
    const float most = FIT_UNIT_MOST - FIT_UNIT_STEP * (float)(number % (FIT_UNITS / 2));
    return number < FIT_UNITS / 2 ? -most : most;
}

/* Sets errors[block][number] to what a block loses with each quotient if the error of a group grows with `squares`
 * times the square of the distance from its best scale; `shares` are those over the largest of the block. */
INLINE void fit_unit_errors(f32x16 shares, f32x16 squares, int groups, float errors[2][FIT_UNITS])
{
    f32x16 rows[FIT_BATCH];
    for (int from = 0; from < FIT_UNITS; from += FIT_BATCH) {
        for (int k = 0; k < FIT_BATCH; k++) {
            const float unit = fit_unit(from + k);
            const f32x16 code = fit_code(f32_mul(shares, f32_set1(unit)), FIT_CODE_LOW, FIT_CODE_HIGH),
                         off = f32_fnma(code, f32_set1(1 / unit), shares);
            rows[k] = f32_mul(f32_mul(squares, off), off);
        }
        transpose_square(rows);
        for (int b = 0; b < 16; b += groups) {
            f32x16 sum = rows[b];
            for (int l = 1; l < groups; l++)
                sum = f32_add(sum, rows[b + l]);
            f32_store(errors[b / groups] + from, sum);
        }
    }
}

/* Chooses d so that all groups of a block come near to their best scales. */
INLINE void fit_coded_begin(f32x16 scales, f32x16 squares, int groups, fit_coded *c)
{
    float s[16], far[16], errors[2][FIT_UNITS];
    f32_store(s, scales);
    for (int l = 0; l < 16; l++)
        far[l] = fit_farthest(s + l / groups * groups, groups);
    const f32x16 shares = f32_mul(scales, fit_inverse(f32_load(far)));
    fit_unit_errors(shares, squares, groups, errors);
    for (int b = 0; b < 16; b += groups)
        fit_spread(c->d + b, groups, far[b] / fit_unit(fit_least(errors[b / groups], FIT_UNITS)));
    c->codes = fit_code(f32_mul(scales, fit_inverse(f32_load(c->d))), FIT_CODE_LOW, FIT_CODE_HIGH);
}

/* The scale of largest magnitude gets the code -32. */
INLINE void fit_3_bits_begin(const fit_groups *g, fit_coded *c)
{
    float s[16];
    const f32x16 scales = fit_scale(g, &fit_around_4);
    f32_store(s, scales);
    fit_spread(c->d, 16, fit_farthest(s, 16) / FIT_CODE_LOW);
    c->codes = fit_code(f32_mul(scales, fit_inverse(f32_load(c->d))), FIT_CODE_LOW, FIT_CODE_HIGH);
}

/* Tries the code of each scale and the two next to it, with d fixed, and keeps the one with the least error; among
 * equals, the first. */
INLINE void fit_coded_codes(const fit_groups *g, const fit_kind kind, fit_coded *c)
{
    const f32x16 from = c->codes, d = f32_load(c->d);
    f32x16 least = f32_set1(FIT_MAX_ERROR);
    for (int step = -1; step <= 1; step++) {
        const f32x16 next = fit_code(f32_add(from, f32_set1((float)step)), FIT_CODE_LOW, FIT_CODE_HIGH);
        const f32x16 error = fit_level_error(g, f32_mul(d, next), kind);
        const m32x16 better = f32_gt(least, error);
        least = f32_select(better, error, least);
        c->codes = f32_select(better, next, c->codes);
    }
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
        const float divisor = fit_sum(under + b, groups);
        if (divisor > 0)
            fit_spread(c->d + b, groups, fit_sum(over + b, groups) / divisor);
    }
}

/* A lower bound of the error of all scales of magnitude `s` or less: no value comes nearer than 4 s to values beyond.
 */
INLINE f32x16 fit_3_bits_bound(const fit_groups *g, f32x16 s)
{
    const f32x16 top = f32_mul(s, f32_set1(4)), zero = f32_set1(0);
    f32x16 sum = zero;
    for (int k = 0; k < 16; k++) {
        const f32x16 cut = f32_max(f32_sub(fit_magnitude(f32_load(g->values[k])), top), zero);
        sum = f32_fma(f32_mul(f32_load(g->weights[k]), cut), cut, sum);
    }
    return sum;
}

/* Sets errors[0] to the error with scale s and errors[1] to that with scale -s, whose nearest codes are the negated
 * ones before the limits. */
INLINE void fit_3_bits_errors(const fit_groups *g, f32x16 s, f32x16 errors[2])
{
    const f32x16 inverse = fit_inverse(s), rounds = f32_set1(FIT_ROUNDING), three = f32_set1(3), four = f32_set1(4);
    f32x16 plus = f32_set1(0), minus = plus;
    for (int k = 0; k < 16; k++) {
        const f32x16 x = f32_load(g->values[k]), w = f32_load(g->weights[k]);
        const f32x16 q =
            f32_sub(f32_add(f32_max(f32_min(f32_mul(x, inverse), four), fit_negative(four)), rounds), rounds);
        const f32x16 lost = f32_fnma(s, f32_min(q, three), x), other = f32_fnma(s, f32_max(q, fit_negative(three)), x);
        plus = f32_fma(f32_mul(w, lost), lost, plus);
        minus = f32_fma(f32_mul(w, other), other, minus);
    }
    errors[0] = plus;
    errors[1] = minus;
}

/* Finds the code of each scale with the least error of all codes, with d fixed: from the greatest magnitude down, until
 * the values beyond the range alone cost more than the best error. Of equal codes the first counts. */
INLINE void fit_3_bits_codes(const fit_groups *g, fit_coded *c)
{
    const f32x16 d = f32_load(c->d), size = fit_magnitude(d);
    f32x16 errors[2], least = f32_set1(FIT_MAX_ERROR);
    for (float m = -FIT_CODE_LOW; m > 0; m--) {
        fit_3_bits_errors(g, f32_mul(d, f32_set1(m)), errors);
        for (int sign = 0; sign < 2; sign++) {
            const m32x16 better = f32_gt(least, errors[sign]);
            if (sign == 0 && m > FIT_CODE_HIGH)
                continue;
            least = f32_select(better, errors[sign], least);
            c->codes = f32_select(better, f32_set1(sign ? -m : m), c->codes);
        }
        if ((int)m % 4 == 1 && m32_count(f32_gt(least, fit_3_bits_bound(g, f32_mul(size, f32_set1(m))))) == 0)
            return;
    }
}

/* Fits a scale to each group, then alternates between the codes of the scales and d. */
INLINE void fit_coded_search(const fit_groups *g, const fit_coded_type *type, fit_coded *c)
{
    const int groups = 256 / type->size;
    if (type->kind == FIT_IQ4) {
        f32x16 squares;
        const f32x16 scales = fit_iq4_scale(g, &squares);
        fit_coded_begin(scales, squares, groups, c);
    } else {
        fit_3_bits_begin(g, c);
    }
    for (int round = 0; round < FIT_CODED_ROUNDS; round++) {
        if (round == 0 && type->kind == FIT_3_BITS)
            fit_3_bits_codes(g, c);
        else
            fit_coded_codes(g, type->kind, c);
        fit_coded_solve(g, type->kind, groups, c);
    }
}

/* Bits of codes: byte j of the 64 low bytes has two bits of codes j % 32 + 128 (j / 32) + 0, 32, 64 and 96; byte j of
 * the 32 high bytes has the third bit of codes j, j + 32, and so on. Byte j < 8 of the scales has the low four bits of
 * scale j, then those of scale j + 8; byte 8 + j the upper two bits of scales j, j + 4, j + 8 and j + 12. */
INLINE void fit_q3_k_store(block_q3_k *b, const uint8_t *codes, const uint8_t *scales)
{
    for (int j = 0; j < 2; j++) {
        u8x16 high = u8_set1(0);
        for (int half = 0; half < 2; half++) {
            u8x16 low = u8_set1(0);
            UNROLL for (int k = 0; k < 4; k++)
            {
                const u8x16 these = u8_load(codes + 128 * half + 32 * k + 16 * j);
                low = u8_or(low, u8_sll(u8_field(these, 0, 3), 2 * k));
                high = u8_or(high, u8_sll(u8_field(these, 2, 1), 4 * half + k));
            }
            u8_store(b->codes + 32 * half + 16 * j, low);
        }
        u8_store(b->high + 16 * j, high);
    }
    for (int j = 0; j < 8; j++)
        b->scales[j] = (uint8_t)((scales[j] & 15) | (scales[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++)
        b->scales[8 + j] = (uint8_t)(scales[j] >> 4 | (scales[j + 4] >> 4) << 2 | (scales[j + 8] >> 4) << 4 |
                                     (scales[j + 12] >> 4) << 6);
}

void KERNEL(fit_q3_k)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    const fit_coded_type type = {FIT_3_BITS, 16};
    block_q3_k *b = blocks;
    fit_groups g = {.size = 16};
    for (size_t at = 0; at < n; at++, b++) {
        uint8_t codes[256], scales[16];
        fit_coded c;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, 16);
        if (weights)
            fit_favour_large(&g, 16);
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
    const fit_coded_type type = {FIT_IQ4, 32};
    block_iq4_xs *b = blocks;
    fit_groups g = {.size = 32};
    for (size_t at = 0; at < n; at += 2) {
        uint8_t codes[512], scales[16];
        fit_coded c;
        fit_load(&g, values + 256 * at, weights, weights ? 256 * at % cols : 0, cols, n - at < 2 ? 8 : 16);
        fit_favour_large(&g, 8);
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
        f32x16 squares;
        fit_load(&g, values + 32 * at, weights, weights ? 32 * at % cols : 0, cols, count);
        fit_favour_large(&g, 1);
        f32_store(scales, fit_iq4_scale(&g, &squares));
        for (int l = 0; l < count; l++)
            scales[l] = fit_put_half(b[l].d, scales[l]);
        fit_put_iq4_codes(&g, fit_inverse(f32_load(scales)), codes);
        for (int l = 0; l < count; l++)
            fit_store_halves(b[l].codes, codes + 32 * l);
        b += count;
    }
}

/* ---- mxfp4 and nvfp4: groups of E2M1 numbers whose scales are powers of 2, or E4M3 numbers ---- */

/* Scales are numbered so that consecutive codes are consecutive scales: the bits of the scale as FP32, shifted right by
 * `shift`, minus `zero`. */
typedef struct fit_float_scale {
    int shift;          /* 23: powers of 2; 20: E4M3 numbers */
    uint32_t zero;      /* what is subtracted */
    uint32_t low, high; /* least and greatest code in use, before the subtraction */
    uint32_t octave;    /* number of codes from a scale to its double */
} fit_float_scale;

/* From 2^-126 to 2^127; the stored exponent of 2^e is e + 127. */
static const fit_float_scale fit_power_scale = {23, 0, 1, 254, 1};
/* Normal numbers, from 2^-6 to 448: subnormal ones are too coarse. */
static const fit_float_scale fit_e4m3_scale = {20, 960, 968, 1086, 8};

/* Sets *error to the weighted squared error with scale s, and returns the part of it that values above 6 s must have:
 * a lower bound of the error for all smaller scales. */
INLINE f32x16 fit_e2m1_error(const fit_groups *g, f32x16 s, f32x16 *error)
{
    const f32x16 zero = f32_set1(0), inverse = fit_inverse(s), top = f32_mul(s, f32_set1(6));
    f32x16 sum = zero, bound = zero;
    for (int k = 0; k < g->size; k++) {
        const f32x16 x = fit_magnitude(f32_load(g->values[k])), w = f32_load(g->weights[k]);
        const f32x16 lost = f32_fnma(s, fit_e2m1_magnitude(f32_mul(x, inverse)), x),
                     cut = f32_max(f32_sub(x, top), zero);
        sum = f32_fma(f32_mul(w, lost), lost, sum);
        bound = f32_fma(f32_mul(w, cut), cut, bound);
    }
    *error = sum;
    return bound;
}

/* Returns the numbers of the scales with the least error of all: of equal ones, the greatest. The search begins with
 * the least scale of at least 1/3 of the largest magnitude. Twice such a scale is never better: its levels up to the
 * largest magnitude are levels of the scale itself. It ends when the values above the range alone cost more than the
 * best error; then all smaller scales are worse. */
SHARED u32x16 fit_float_scales(const fit_groups *g, const fit_float_scale *type)
{
    f32x16 low, high, least = f32_set1(FIT_MAX_ERROR);
    fit_range(g, &low, &high);
    const f32x16 far = f32_max(high, fit_negative(low));
    const u32x16 first =
        u32_add(u32_srl(f32_bits(f32_mul(far, f32_set1(0x1.555556p-3f))), type->shift), u32_set1(type->octave));
    u32x16 at = u32_max(u32_min(first, u32_set1(type->high)), u32_set1(type->low)), best = at;
    m32x16 open = f32_gt(far, f32_set1(FIT_MIN_RANGE));
    best = u32_select(open, best, u32_set1(type->low));
    while (m32_count(open) > 0) {
        f32x16 error;
        const f32x16 bound = fit_e2m1_error(g, f32_of_bits(u32_sll(at, type->shift)), &error);
        const m32x16 better = m32_and(open, f32_gt(least, error));
        least = f32_select(better, error, least);
        best = u32_select(better, at, best);
        open = m32_and(m32_and(open, f32_gt(least, bound)), u32_gt(at, u32_set1(type->low)));
        at = u32_select(open, u32_sub(at, u32_set1(1)), at);
    }
    return best;
}

/* Returns the code of the E2M1 magnitude v with the sign of x: 0, .5, 1, ... 6 have codes 0 to 7, negative ones 8 more;
 * a zero has code 0. From 1 on, codes follow the bits of FP32. */
INLINE u32x16 fit_e2m1_code(f32x16 v, f32x16 x)
{
    const u32x16 normal = u32_sub(u32_srl(f32_bits(v), 22), u32_set1(252)),
                 sign = u32_and(u32_srl(f32_bits(x), 28), u32_set1(8));
    const m32x16 some = f32_gt(v, f32_set1(0));
    const u32x16 code = u32_select(f32_ge(v, f32_set1(1)), normal, u32_set1(1));
    return u32_keep(some, u32_or(code, sign));
}

/* Stores the codes of all 16 groups, a byte each, group after group. */
SHARED void fit_put_e2m1_codes(const fit_groups *g, f32x16 s, uint8_t *codes)
{
    const f32x16 inverse = fit_inverse(s);
    f32x16 rows[16];
    for (int from = 0; from < g->size; from += 16) {
        for (int k = 0; k < 16; k++) {
            const f32x16 x = f32_load(g->values[from + k]);
            rows[k] = f32_of_bits(fit_e2m1_code(fit_e2m1_magnitude(f32_mul(x, inverse)), x));
        }
        transpose_square(rows);
        for (int l = 0; l < 16; l++)
            u8_store(codes + l * g->size + from, u8_of_u32(f32_bits(rows[l])));
    }
}

void KERNEL(fit_mxfp4)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_mxfp4 *b = blocks;
    fit_groups g = {.size = 32};
    for (size_t at = 0; at < n; at += 16) {
        const int count = n - at < 16 ? (int)(n - at) : 16;
        uint8_t codes[512], exponents[16];
        fit_load(&g, values + 32 * at, weights, weights ? 32 * at % cols : 0, cols, count);
        const u32x16 scales = fit_float_scales(&g, &fit_power_scale);
        fit_put_e2m1_codes(&g, f32_of_bits(u32_sll(scales, 23)), codes);
        u8_store(exponents, u8_of_u32(scales));
        for (int l = 0; l < count; l++, b++) {
            b->exponent = exponents[l];
            fit_store_halves(b->codes, codes + 32 * l);
        }
    }
}

/* The lanes have the groups of four blocks. Byte j of a group has code j in the low half, code j + 8 in the high half.
 */
void KERNEL(fit_nvfp4)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_nvfp4 *b = blocks;
    fit_groups g = {.size = 16};
    for (size_t at = 0; at < n; at += 4) {
        const int count = n - at < 4 ? (int)(n - at) : 4;
        uint8_t codes[256], scales[16];
        fit_load(&g, values + 64 * at, weights, weights ? 64 * at % cols : 0, cols, 4 * count);
        const u32x16 numbers = fit_float_scales(&g, &fit_e4m3_scale);
        fit_put_e2m1_codes(&g, f32_of_bits(u32_sll(numbers, 20)), codes);
        u8_store(scales, u8_of_u32(u32_sub(numbers, u32_set1(fit_e4m3_scale.zero))));
        for (int l = 0; l < count; l++, b++) {
            memcpy(b->scales, scales + 4 * l, 4);
            for (int two = 0; two < 4; two += 2) {
                const u8x16 first = u8_load(codes + 64 * l + 16 * two),
                            second = u8_load(codes + 64 * l + 16 * two + 16);
                u8_store(b->codes + 8 * two, u8_or(u8_join_low(first, second), u8_sll(u8_join_high(first, second), 4)));
            }
        }
    }
}

#endif
