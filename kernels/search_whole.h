/* SPDX-License-Identifier: MIT
 * The screen of the search for whole codes in one short row: lower bounds of the errors of all tries, from fixed-point
 * numbers of 16 bits. A value over a scale, in units of 2^-bits, is a product modulo 2^16; shifted left by 16 - bits,
 * it is its distance from the nearest whole number as a signed fraction of 2^16. For values beyond the outer codes that
 * is less than their error: exact for the least and the greatest value, and a lower bound for others. */
#include "kernels/search_screens.h"

enum { WHOLE_LEAST = 48, WHOLE_MOST = 128 }; /* values of a group, a multiple of 16; fewer take longer than all tries */
#define WHOLE_GREATEST 32760.0f              /* fixed-point number of the greatest magnitude */
#define WHOLE_ROUNDING 0x1.8p23f             /* added to a number below 2^15, it has the number in its last 16 bits */
#define WHOLE_RMS      3.4641017f            /* 1 over the root mean square of a distance, which is 12^-1/2 */

typedef struct whole_numbers {
    u16x16 values[WHOLE_MOST / 16];
    _Alignas(64) uint16_t inverses[SEARCH_TRIES];
} whole_numbers;

/* Returns the last 16 bits of a times b, rounded to a whole number. */
INLINE u16x16 fixed_product(f32x16 a, f32x16 b)
{
    return u32_narrow(u32_and(f32_bits(f32_fma(a, b, f32_set1(WHOLE_ROUNDING))), u32_set1(0xffff)));
}

/* Returns the binary exponent, rounded down, of more than the greatest quotient of a value and a scale. */
INLINE int whole_exponent(const organ_scale_search *search)
{
    const u32x16 peaks = u32_and(f32_bits(f32_load(search->peaks)), u32_set1(MAGNITUDE));
    return (int)((u32_top(peaks) + 0x20000) >> 23) - 127; /* 1/64 more; BF16 scales are within 1/256 of the quotients */
}

INLINE int can_screen_whole(const organ_scale_search *search, size_t rows, size_t n, const scale_tries *t)
{
    const int exponent = whole_exponent(search);
    return rows == 1 && n % 16 == 0 && n >= WHOLE_LEAST && n <= WHOLE_MOST && !search->stepped && exponent >= 0 &&
           exponent <= 7 && t->farthest > SCREEN_LEAST && t->farthest < SCREEN_GREATEST;
}

/* Returns the sums of the squares of distances, one for each try, rounded down: units of 2^(drop - 16). A distance is
 * at most 2^15, its square over 2^16 at most 2^14, so sums of 4 vectors are below 2^16 (or vanish), and so are those of
 * the 16 lanes of each without the last `drop` bits. */
INLINE f32x16 sum_distances(const whole_numbers *w, const size_t n, const int bits, const int drop)
{
    u16x16 sums[SEARCH_TRIES];
    for (int k = 0; k < SEARCH_TRIES; k++) {
        const u16x16 inverse = u16_set1(w->inverses[k]);
        sums[k] = u16_set1(0);
        UNROLL for (size_t first = 0; first < n / 16; first += 4)
        {
            u16x16 sum = u16_set1(0);
            UNROLL for (size_t v = first; v < min_size(first + 4, n / 16); v++) sum =
                u16_add(sum, s16_square(u16_sll(s16_multiply(w->values[v], inverse), 16 - bits)));
            sums[k] = u16_add(sums[k], u16_srl(sum, drop));
        }
    }
    return f32_of_u32(u16_widen(u16_fold_rows(sums)));
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

/* Each lane has a try. A distance is wrong by at most `off`: by half a unit of the values (times a quotient), of the
 * inverses (times at most 1) and of the product, and a little for FP32. The root of the sum is then wrong by at most
 * off sqrt(n), so that for every r the sum is at least s (1 - r) - n off^2 / r, here with r = off WHOLE_RMS. */
INLINE f32x16 least_errors(const organ_scale_search *search, const float *values, const size_t n, const scale_tries *t)
{
    const int exponent = whole_exponent(search), bits = 14 - exponent, drop = n > 64 ? 5 : 4;
    const float unit = 1 / (float)(1 << bits), off = 1.02f * unit + 1.02f / WHOLE_GREATEST * (float)(1 << exponent);
    const f32x16 inverses = f32_load(t->inverses), scales = f32_load(t->scales),
                 by = f32_set1(t->farthest * (0x1p15f / WHOLE_GREATEST) * (float)(1 << bits)),
                 each = f32_set1(WHOLE_GREATEST / t->farthest);
    whole_numbers w;
    for (size_t at = 0; at < n; at += 16)
        w.values[at / 16] = fixed_product(f32_load(values + at), each);
    u16_store(w.inverses, fixed_product(inverses, by));
    const f32x16 sums = f32_mul(sum_distances(&w, n, bits, drop), f32_set1((float)(1 << drop) * 0x1p-16f));
    const f32x16 less = f32_fma(sums, f32_set1(WHOLE_RMS * off), f32_set1((float)n * off / WHOLE_RMS));
    const f32x16 more = f32_add(clipped_more(search, t->ends[0], inverses), clipped_more(search, t->ends[1], inverses));
    return f32_mul(f32_add(f32_sub(sums, less), more), f32_mul(scales, scales));
}

/* Sets the errors of tries a and b, which may be the same. */
INLINE void set_two(const organ_scale_search *search, const float *values, const size_t n, const scale_tries *t, int a,
                    int b, float *errors)
{
    const float inverses[2] = {t->inverses[a], t->inverses[b]}, scales[2] = {t->scales[a], t->scales[b]};
    f32x16 sums[2];
    sum_tries(search, values, values, n, 1, n, inverses, scales, sums, 2, SEARCH_INTEGERS, 0);
    errors[a] = f32_fold(sums[0]);
    errors[b] = f32_fold(sums[1]);
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
    int usable, least;
} whole_screen;

INLINE void begin_screen(const organ_scale_search *search, const float *values, const size_t n, const scale_tries *t,
                         whole_screen *s)
{
    const f32x16 bounds = least_errors(search, values, n, t), none = f32_of_bits(u32_set1(INFINITE));
    f32_store(s->bounds, bounds);
    s->least = number_of_least(f32_select(u32_gt(u32_lanes(), u32_set1(0)), bounds, none));
}

/* Sets the errors of tries other than 0 and s->least whose bounds do not exclude them: a bound and an error have
 * relative errors below 2^-17, and errors count as equal if their first 20 bits are. */
INLINE void end_screen(const organ_scale_search *search, const float *values, const size_t n, const scale_tries *t,
                       const whole_screen *s, float *errors)
{
    const float best = errors[s->least] < errors[0] ? errors[s->least] : errors[0];
    unsigned left = m32_bits(f32_ge(f32_set1(best * (1 + 0x1p-15f)), f32_load(s->bounds))) & ~(1u | 1u << s->least);
    while (left) {
        const int a = __builtin_ctz(left);
        left &= left - 1;
        const int b = left ? __builtin_ctz(left) : a;
        left &= left - 1;
        set_two(search, values, n, t, a, b, errors);
    }
}
