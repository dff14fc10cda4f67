/* SPDX-License-Identifier: MIT
 * The screen of the search for whole codes in one short row: lower bounds of the errors of all tries, from fixed-point
 * numbers of 16 bits. A value over a scale, in units of 2^-bits, is a product modulo 2^16; shifted left by 16 - bits,
 * it is its distance from the nearest whole number as a signed fraction of 2^16. For values beyond the outer codes that
 * is less than their error: exact for the least and the greatest value, and a lower bound for others. */
#include "kernels/search_screens.h"

/* Values of a group, a multiple of 16: at most, and at least for codes of 8 bits. */
enum { WHOLE_MOST = 128, WHOLE_LEAST = 32, WHOLE_LEAST_OF_BYTES = 48 };
#define WHOLE_GREATEST 32760.0f   /* fixed-point number of the greatest magnitude */
#define WHOLE_RMS      3.4641017f /* 1 over the root mean square of a distance, which is 12^-1/2 */
enum { WHOLE_DROP = 6 };          /* last bits that are left out of each sum of 4 squares, below 2^32 */

/* Returns the binary exponent, rounded down, of more than the greatest quotient of a value and a scale. */
INLINE int whole_exponent(const organ_scale_search *search)
{
    const u32x16 peaks = u32_and(f32_bits(f32_load(search->peaks)), u32_set1(MAGNITUDE));
    return (int)((u32_top(peaks) + 0x20000) >> 23) - 127; /* 1/64 more; BF16 scales are within 1/256 of the quotients */
}

/* Returns the bits after the point of quotients, or 0 if screens take longer than all tries: they do where many values
 * are beyond the outer codes, which those of 2 and 3 bits cut off. */
INLINE int whole_bits(const organ_scale_search *search, size_t rows, size_t n)
{
    const int exponent = whole_exponent(search), is_byte = exponent > 3,
              least = is_byte ? WHOLE_LEAST_OF_BYTES : WHOLE_LEAST;
    if (rows != 1 || n % 16 || n < (size_t)least || n > WHOLE_MOST || search->stepped || exponent < 3 || exponent > 7)
        return 0;
    return is_byte ? 7 : 11;
}

/* The fixed-point numbers of a group and, in both halves of each lane, of the inverses of the scales. */
typedef struct whole_numbers {
    _Alignas(64) uint16_t values[WHOLE_MOST];
    uint32_t inverses[SEARCH_TRIES];
} whole_numbers;

INLINE void set_numbers(const float *values, const size_t n, const scale_tries *t, const int bits, whole_numbers *w)
{
    const f32x16 by = f32_set1(t->farthest * (0x1p15f / WHOLE_GREATEST) * (float)(1 << bits)),
                 each = f32_set1(WHOLE_GREATEST / t->farthest);
    const u32x16 inverses = fixed_product(f32_load(t->inverses), by);
    u32_put(w->inverses, u32_or(inverses, u32_sll(inverses, 16)));
    for (size_t at = 0; at < n; at += 16)
        u16_store(w->values + at, u32_narrow(fixed_product(f32_load(values + at), each)));
}

/* Returns two values for each lane. */
INLINE u32x16 two_values(const uint16_t *values)
{
    uint32_t two;
    memcpy(&two, values, sizeof two);
    return u32_set1(two);
}

/* Returns the sums of the squares of distances, one for each try, rounded down: units of 2^(WHOLE_DROP - 32). A lane
 * has the products of two values with a try. A sum of 4 squares is below 2^32 or, for four distances of 1/2, 0. */
INLINE u32x16 sum_distances(const whole_numbers *w, const size_t n, const int bits)
{
    const u32x16 inverses = u32_get(w->inverses);
    u32x16 sums = u32_set1(0);
    for (size_t at = 0; at < n; at += 4) {
        const u32x16 a = s16_sll(s16_multiply(two_values(w->values + at), inverses), 16 - bits),
                     b = s16_sll(s16_multiply(two_values(w->values + at + 2), inverses), 16 - bits);
        sums = u32_add(sums, u32_srl(u32_add(s16_squares(a), s16_squares(b)), WHOLE_DROP));
    }
    return sums;
}

/* Returns how much larger the error of x is than the square of its distance, in units of the squares of scales. */
INLINE f32x16 clipped_more(const organ_scale_search *search, float x, f32x16 inverses)
{
    const f32x16 rounds = f32_set1(SEARCH_ROUNDING), quotient = f32_mul(f32_set1(x), inverses);
    const f32x16 whole = f32_sub(f32_add(quotient, rounds), rounds);
    const f32x16 code = f32_min(f32_max(whole, f32_set1(search->low)), f32_set1(search->high));
    const f32x16 lost = f32_sub(quotient, code), distance = f32_sub(quotient, whole);
    return f32_fnma(distance, distance, f32_mul(lost, lost));
}

/* Returns by how much a distance may be wrong: by half a unit of the values (times a quotient), of the inverses (times
 * at most 1) and of the product, and a little for FP32. */
INLINE float whole_off(const int bits)
{
    return 1.02f / (float)(1 << bits) + 1.02f / WHOLE_GREATEST * (float)(1 << (14 - bits));
}

/* Each lane has a try; `sum` is that of sum_distances. The root of the sum is wrong by at most off sqrt(n), so that for
 * every r the sum is at least s (1 - r) - n off^2 / r, here with r = off WHOLE_RMS. */
INLINE f32x16 least_errors(const organ_scale_search *search, const size_t n, const scale_tries *t, u32x16 sum,
                           const int bits)
{
    const float off = whole_off(bits);
    const f32x16 inverses = f32_load(t->inverses), scales = f32_load(t->scales);
    const f32x16 sums = f32_mul(f32_of_u32(sum), f32_set1(0x1p-32f * (1 << WHOLE_DROP)));
    const f32x16 less = f32_fma(sums, f32_set1(WHOLE_RMS * off), f32_set1((float)n * off / WHOLE_RMS));
    const f32x16 more = f32_add(clipped_more(search, t->ends[0], inverses), clipped_more(search, t->ends[1], inverses));
    return f32_mul(f32_add(f32_sub(sums, less), more), f32_mul(scales, scales));
}

/* Sets the sums of tries a and b, which may be the same, by column. */
INLINE void sum_two(const organ_scale_search *search, const float *values, const size_t n, const scale_tries *t, int a,
                    int b, f32x16 sums[2])
{
    const float inverses[2] = {t->inverses[a], t->inverses[b]}, scales[2] = {t->scales[a], t->scales[b]};
    sum_tries(search, values, values, n, 1, n, inverses, scales, sums, 2, SEARCH_INTEGERS, 0);
}

/* Returns the number of the least lane, or any if one of them is NaN. */
INLINE int number_of_least(f32x16 a)
{
    const unsigned least = m32_bits(f32_ge(f32_set1(f32_reduce_min(a)), a));
    return least ? __builtin_ctz(least) : 0;
}

/* The tries of a group that bounds leave: the one with the least bound other than try 0, and the bounds of all. */
typedef struct whole_screen {
    _Alignas(64) float bounds[SEARCH_TRIES];
    int least;
} whole_screen;

INLINE int least_of_others(const whole_screen *s)
{
    const m32x16 others = u32_gt(u32_lanes(), u32_set1(0));
    return number_of_least(f32_select(others, f32_load(s->bounds), f32_of_bits(u32_set1(INFINITE))));
}

/* Returns the tries, try k by bit k, that need errors besides those of tries 0 and s->least: those whose bounds do not
 * exclude them. A bound and an error have relative errors below 2^-17, and errors count as equal if their first 20 bits
 * are. Groups of very small or great values have no bounds. */
INLINE uint64_t left_tries(const scale_tries *t, const whole_screen *s, const float *errors)
{
    const float best = errors[s->least] < errors[0] ? errors[s->least] : errors[0];
    const unsigned left = m32_bits(f32_ge(f32_set1(best * (1 + 0x1p-15f)), f32_load(s->bounds))),
                   tries = t->farthest > SCREEN_LEAST && t->farthest < SCREEN_GREATEST ? left : 0xffff;
    return tries & ~(1u | 1u << s->least);
}

/* Sets the errors of the tries of some groups, try k of group g by bit 16 g + k. */
INLINE void set_errors(const organ_scale_search *search, const float *values, const size_t n, const scale_tries *t,
                       uint64_t tries, tried_errors *errors)
{
    for (; tries; tries &= tries - 1) {
        const size_t bit = (size_t)__builtin_ctzll(tries), g = bit / SEARCH_TRIES, k = bit % SEARCH_TRIES;
        f32x16 sum;
        sum_tries(search, values + g * n, values, n, 1, n, t[g].inverses + k, t[g].scales + k, &sum, 1, SEARCH_INTEGERS,
                  0);
        errors[g][k] = f32_fold(sum);
    }
}
