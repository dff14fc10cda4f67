/* SPDX-License-Identifier: MIT
 * Screens of the search for a scale: bounds of the errors of all tries, which cost less than the errors. Only tries
 * whose bounds do not exclude them are computed as search_tries.h does, so the results have the same bits as without
 * screens. A screen sets estimates[k] so that the error of try k is from estimates[k] (1 - spread) to
 * estimates[k] (1 + spread) + more, up to a factor that all tries share. */
#include "kernels/search_tries.h"

/* Screens compare only groups whose greatest magnitude is between these: squares neither overflow nor vanish. */
#define SCREEN_LEAST    0x1p-40f
#define SCREEN_GREATEST 0x1p40f

/* Sums of FP32 are exact to one part in 2^24 for each number added. */
#define SCREEN_ROUNDING 0x1p-24f

typedef struct screened {
    _Alignas(64) float estimates[SEARCH_TRIES];
    float spread, more;
} screened;

/* Returns the last 16 bits of a times b, rounded to a whole number. With SEARCH_ROUNDING added, a number below 2^15 is
 * in the last 16 bits. */
INLINE u32x16 fixed_product(f32x16 a, f32x16 b)
{
    return u32_and(f32_bits(f32_fma(a, b, f32_set1(SEARCH_ROUNDING))), u32_set1(0xffff));
}

typedef float error_of(const organ_scale_search *search, const float *values, size_t stride, size_t rows, size_t n,
                       const scale_tries *t, int try);
#define ERROR_BY(name, codes)                                                                                          \
    SHARED float name(const organ_scale_search *search, const float *values, size_t stride, size_t rows, size_t n,     \
                      const scale_tries *t, int try)                                                                   \
    {                                                                                                                  \
        f32x16 sum;                                                                                                    \
        sum_tries(search, values, values, stride, rows, n, t->inverses + try, t->scales + try, &sum, 1, codes, 0);     \
        return f32_fold(sum);                                                                                          \
    }
ERROR_BY(error_by_e4m3, SEARCH_E4M3)

/* Sets the errors of try 0, for the report, and of the tries that the screen leaves; those of others to infinity. A try
 * that is left alone needs no error. */
INLINE void errors_of_left(const organ_scale_search *search, const float *values, size_t stride, size_t rows, size_t n,
                           const scale_tries *t, const screened *s, float *errors, error_of *error_by)
{
    const f32x16 estimates = f32_load(s->estimates);
    const float least = f32_reduce_min(estimates), most = least * (1 + 3 * s->spread + 0x1p-17f) + 2 * s->more;
    const m32x16 left = f32_ge(f32_set1(most), estimates);
    const int alone = m32_count(left) == 1;
    f32_store(errors, f32_select(left, f32_set1(0), f32_of_bits(u32_set1(INFINITE))));
    for (int k = 0; k < SEARCH_TRIES; k++)
        if (k == 0 || (errors[k] == 0 && !alone))
            errors[k] = error_by(search, values, stride, rows, n, t, k);
}

/* ---- E4M3 codes of many BF16 values ---- */

/* A normal code of a value is that of half the value but for its exponent, so the error of a mantissa with a scale
 * needs to be computed only once, for all powers of 2. */
enum { MANTISSAS = 128, OCTAVES = 8, BINS = MANTISSAS * OCTAVES, COUNTED_LEAST = 1024, COUNTED_MOST = 1 << 22 };

/* The last bin has the smaller values. Two tables, because a bin cannot be counted up twice at the same time. */
typedef struct value_counts {
    _Alignas(64) uint32_t bins[2][BINS + 16];
} value_counts;

/* Sets the bins of n values, a multiple of 16 or fewer than 16. Returns the bits that any of the values has. */
INLINE u32x16 find_bins(const float *values, size_t n, u32x16 base, uint16_t *bins)
{
    u32x16 any = u32_set1(0);
    for (size_t at = 0; at < n; at += 16) {
        const u32x16 x = f32_bits(f32_load_first(values + at, n - at)),
                     top = u32_srl(u32_and(x, u32_set1(MAGNITUDE)), 16);
        any = u32_or(any, x);
        u16_store(bins + at, u32_narrow(u32_min(u32_sub(top, base), u32_set1(BINS))));
    }
    return any;
}

/* Counts the bits of magnitudes above `base`, that of the least bin. Returns whether all values are BF16. The bins of
 * some values are written before they are read: moving each from a vector to a counter's address takes longer. */
INLINE int count_values(const float *values, size_t stride, size_t rows, size_t n, uint32_t base, value_counts *counts)
{
    enum { SOME = 128 };
    _Alignas(64) uint16_t bins[SOME];
    u32x16 any = u32_set1(0);
    memset(counts, 0, sizeof *counts);
    for (size_t r = 0; r < rows; r++)
        for (size_t at = 0, some; at < n; at += some) {
            some = n - at < 16 ? n - at : min_size(n - at, SOME) / 16 * 16;
            any = u32_or(any, find_bins(values + r * stride + at, some, u32_set1(base), bins));
            for (size_t k = 0; k < some; k += 16)
                UNROLL for (size_t l = 0; l < 16; l++) counts->bins[l % 2][bins[k + l]]++;
        }
    return u32_top(u32_and(any, u32_set1(0xffff))) == 0;
}

/* Sets weights[m] to the sum of 4^octave over the values with mantissa m; the top octave is 0. */
INLINE void weigh_mantissas(const value_counts *counts, float *weights)
{
    const float whole = 0x1p23f; /* added to a smaller number, it has the number in its last bits */
    for (int m = 0; m < MANTISSAS; m += 16) {
        f32x16 weight = f32_set1(0);
        for (int octave = 0; octave < OCTAVES; octave++) {
            const float *const one = (const float *)(const void *)(counts->bins[0] + octave * MANTISSAS + m),
                               *const two = (const float *)(const void *)(counts->bins[1] + octave * MANTISSAS + m);
            const u32x16 count = u32_add(f32_bits(f32_load(one)), f32_bits(f32_load(two)));
            const f32x16 number = f32_of_bits(u32_or(count, f32_bits(f32_set1(whole))));
            weight = f32_fma(weight, f32_set1(0.25f), f32_sub(number, f32_set1(whole)));
        }
        f32_store(weights + m, weight);
    }
}

INLINE int can_screen_e4m3(const organ_scale_search *search, size_t count, const scale_tries *t)
{
    return count >= COUNTED_LEAST && count <= COUNTED_MOST && t->farthest > SCREEN_LEAST &&
           t->farthest < SCREEN_GREATEST && f32_reduce_min(f32_load(search->peaks)) >= 128;
}

/* Returns 0 if the values are not BF16. Smaller values than those of the bins have errors of at most a sixteenth of
 * them, and at most a 32nd of the least bin where their codes are subnormal. */
INLINE int screen_e4m3(const organ_scale_search *search, const float *values, size_t stride, size_t rows, size_t n,
                       const scale_tries *t, screened *s)
{
    value_counts counts;
    float weights[MANTISSAS], mantissas[MANTISSAS];
    uint32_t bits;
    memcpy(&bits, &t->farthest, sizeof bits);
    const uint32_t octave = (bits & INFINITE) - (2u << 23); /* any whose codes are normal */
    if (!count_values(values, stride, rows, n, ((bits & INFINITE) >> 16) - (OCTAVES - 1) * MANTISSAS, &counts))
        return 0;
    weigh_mantissas(&counts, weights);
    for (uint32_t m = 0; m < MANTISSAS; m += 16)
        f32_store(mantissas + m, f32_of_bits(u32_add(u32_set1(octave | m << 16), u32_sll(u32_lanes(), 16))));
    f32_store(s->estimates, sum_errors(search, mantissas, weights, MANTISSAS, 1, MANTISSAS, t, SEARCH_E4M3, 1));
    const float least = mantissas[0] / (1 << (OCTAVES - 3)),
                below = (float)(counts.bins[0][BINS] + counts.bins[1][BINS]);
    s->spread = SCREEN_ROUNDING * (float)(rows * ((n + 15) / 16) + 128);
    s->more = below * least * least * (1.1f / 256 / 16);
    return 1;
}
