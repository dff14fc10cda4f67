/* SPDX-License-Identifier: MIT
 * Kernels for the moments of an array. Each chunk, which fits L1, is read twice: for the mean and the excluded
 * values, then for the powers of deviations. */
#include "kernels/simd/isa.h"
#include <math.h>
#ifdef ISA

#define CHUNK 4096 /* values */

/* Results of the first pass over a chunk: by lane the sum, minimum and maximum of finite values, and the numbers of
 * finite values, zeros and NaN. */
typedef struct first_pass {
    f64x16 sum;
    f32x16 least, max;
    uint64_t finite, zero, nan;
} first_pass;

INLINE m32x16 finite_of(f32x16 values)
{
    return u32_gt(u32_set1(INFINITE), u32_and(f32_bits(values), u32_set1(MAGNITUDE)));
}

/* Both passes ignore NaN; n >= 1. */
INLINE f32x16 nan_from_lane(f32x16 values, size_t n)
{
    const m32x16 beyond = u32_gt(u32_lanes(), u32_set1((uint32_t)n - 1));
    return f32_of_bits(u32_or(f32_bits(values), u32_keep(beyond, u32_set1(MAGNITUDE))));
}

/* NaN are counted; infinities are not, because first_pass_chunk computes their number. ~MAGNITUDE | INFINITE is
 * -infinity. */
INLINE void first_pass_vector(first_pass *pass, f32x16 values)
{
    const u32x16 magnitude = u32_and(f32_bits(values), u32_set1(MAGNITUDE));
    const m32x16 finite = finite_of(values);
    const unsigned count = m32_count(finite);
    /* adding +0 turns -0 into +0, because the minimum of -0 and +0 differs between ISAs */
    const f32x16 unsigned_zeros = f32_add(values, f32_set1(0.0f));

    pass->finite += count;
    if (count < 16)
        pass->nan += m32_count(u32_gt(magnitude, u32_set1(INFINITE)));
    pass->zero += m32_count(u32_eq(magnitude, u32_set1(0)));
    pass->sum = f64_add(pass->sum, f64_of_f32(f32_of_bits(u32_keep(finite, f32_bits(values)))));
    pass->least = f32_min(pass->least, f32_select(finite, unsigned_zeros, f32_of_bits(u32_set1(INFINITE))));
    pass->max = f32_max(pass->max, f32_select(finite, unsigned_zeros, f32_of_bits(u32_set1(~MAGNITUDE | INFINITE))));
}

INLINE void first_pass_chunk(organ_moments *chunk, const void *values, size_t from, size_t n,
                             const enum element_type type)
{
    first_pass pass = {
        f64_set1(0), f32_of_bits(u32_set1(INFINITE)), f32_of_bits(u32_set1(~MAGNITUDE | INFINITE)), 0, 0, 0};
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        first_pass_vector(&pass, load_elements(values, from + at, type));
    if (at < n) {
        first_pass_vector(&pass, nan_from_lane(load_elements_part(values, from + at, n - at, type), n - at));
        pass.nan -= 16 - (n - at);
    }
    chunk->n = pass.finite;
    chunk->zero = pass.zero;
    chunk->nan = pass.nan;
    chunk->inf = n - pass.finite - pass.nan;
    chunk->mean = pass.finite > 0 ? f64_fold(pass.sum) / (double)pass.finite : 0;
    chunk->min = f32_reduce_min(pass.least);
    chunk->max = f32_reduce_max(pass.max);
}

typedef struct powers {
    f64x16 m2, m3, m4;
} powers;

INLINE void add_powers(powers *sums, f64x16 deviation)
{
    const f64x16 square = f64_mul(deviation, deviation);
    sums->m2 = f64_add(sums->m2, square);
    sums->m3 = f64_add(sums->m3, f64_mul(square, deviation));
    sums->m4 = f64_add(sums->m4, f64_mul(square, square));
}

/* A second pass, because sums of raw powers would cancel. If a value is not finite, every vector is masked. */
INLINE void second_pass_chunk(organ_moments *chunk, const void *values, size_t from, size_t n,
                              const enum element_type type)
{
    const f64x16 mean = f64_set1(chunk->mean);
    const int all_finite = chunk->n == n;
    powers sums = {f64_set1(0), f64_set1(0), f64_set1(0)};
    size_t at = 0;
    if (all_finite)
        for (; at + 16 <= n; at += 16)
            add_powers(&sums, f64_sub(f64_of_f32(load_elements(values, from + at, type)), mean));
    for (; at < n; at += 16) {
        const f32x16 v = at + 16 <= n ? load_elements(values, from + at, type)
                                      : nan_from_lane(load_elements_part(values, from + at, n - at, type), n - at);
        add_powers(&sums, f64_keep(finite_of(v), f64_sub(f64_of_f32(v), mean)));
    }
    chunk->m2 = f64_fold(sums.m2);
    chunk->m3 = f64_fold(sums.m3);
    chunk->m4 = f64_fold(sums.m4);
}

INLINE void moments_of(const void *values, size_t n, organ_moments *moments, const enum element_type type)
{
    organ_moments total = {.min = __builtin_inff(), .max = -__builtin_inff()};
    for (size_t from = 0; from < n; from += CHUNK) {
        const size_t length = n - from < CHUNK ? n - from : CHUNK;
        organ_moments chunk;
        first_pass_chunk(&chunk, values, from, length, type);
        second_pass_chunk(&chunk, values, from, length, type);
        organ_moments_merge(&total, &chunk);
    }
    *moments = total;
}

void KERNEL(moments_bf16)(const uint16_t *values, size_t n, organ_moments *moments)
{
    moments_of(values, n, moments, BF16);
}
void KERNEL(moments_f16)(const uint16_t *values, size_t n, organ_moments *moments)
{
    moments_of(values, n, moments, F16);
}
void KERNEL(moments_f32)(const float *values, size_t n, organ_moments *moments) { moments_of(values, n, moments, F32); }

/* ---- the Z-measure: histograms of codes and of standardised values, means of pairs, and the spread of values ---- */

/* Equal neighbours are slow: each increment of a counter waits for the one before. */
INLINE void count_four(const uint16_t *codes, uint64_t *counts)
{
    uint64_t four;
    __builtin_memcpy(&four, codes, sizeof four);
    counts[four & 0xffff]++;
    counts[four >> 16 & 0xffff]++;
    counts[four >> 32 & 0xffff]++;
    counts[four >> 48]++;
}

/* Compares the first and the last before all, because they usually differ. */
INLINE int is_run_of_one_code(const uint16_t *codes)
{
    const u16x16 first = u16_set1(codes[0]);
    if (codes[0] != codes[63])
        return 0;
    const m16x16 low = m16_and(u16_eq(u16_load(codes), first), u16_eq(u16_load(codes + 16), first));
    const m16x16 high = m16_and(u16_eq(u16_load(codes + 32), first), u16_eq(u16_load(codes + 48), first));
    return m16_count(m16_and(low, high)) == 16;
}

/* A run of one code, common after pruning, is counted in one addition, because single increments of the same counter
 * depend on each other. */
void KERNEL(count_codes)(const uint16_t *codes, size_t n, uint64_t *counts)
{
    size_t at = 0;
    for (; at + 64 <= n; at += 64)
        if (is_run_of_one_code(codes + at))
            counts[codes[at]] += 64;
        else
            for (size_t l = 0; l < 64; l += 4)
                count_four(codes + at + l, counts);
    for (; at + 4 <= n; at += 4)
        count_four(codes + at, counts);
    for (; at < n; at++)
        counts[codes[at]]++;
}

/* A 32-bit word contains a pair of BF16, so no transposition is needed. */
INLINE f32x16 pair_means_at(const void *values, size_t at, const enum element_type type)
{
    if (type == BF16) {
        const u32x16 pairs = f32_bits(f32_load((const float *)((const uint16_t *)values + at)));
        const f32x16 even = f32_of_bits(u32_sll(pairs, 16)), odd = f32_of_bits(u32_and(pairs, u32_set1(0xffff0000)));
        return f32_mul(f32_add(even, odd), f32_set1(0.5f));
    }
    const f32x16 a = load_elements(values, at, type), b = load_elements(values, at + 16, type);
    return f32_mul(f32_add(f32_evens(a, b), f32_odds(a, b)), f32_set1(0.5f));
}

INLINE void pair_means_of(const void *values, float *means, size_t n, const enum element_type type)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(means + at, pair_means_at(values, 2 * at, type));
    if (at < n) {
        const size_t remaining = 2 * (n - at);
        const f32x16 a =
            remaining < 16 ? load_elements_part(values, 2 * at, remaining, type) : load_elements(values, 2 * at, type);
        const f32x16 b = remaining > 16 ? load_elements_part(values, 2 * at + 16, remaining - 16, type) : f32_set1(0);
        f32_store_part(means + at, f32_mul(f32_add(f32_evens(a, b), f32_odds(a, b)), f32_set1(0.5f)), n - at);
    }
}

/* pair_means_of for each storage type: the kernels of organ_kernels. */
void KERNEL(pair_means_bf16)(const uint16_t *values, float *means, size_t n) { pair_means_of(values, means, n, BF16); }
void KERNEL(pair_means_f16)(const uint16_t *values, float *means, size_t n) { pair_means_of(values, means, n, F16); }
void KERNEL(pair_means_f32)(const float *values, float *means, size_t n) { pair_means_of(values, means, n, F32); }

/* The n <= CHUNK values stay in L1 between the two passes. Lanes past the end add nothing. */
INLINE organ_spread spread_chunk(const float *values, size_t n)
{
    f64x16 sum = f64_set1(0), square = f64_set1(0);
    const size_t whole = n / 16 * 16;
    for (size_t at = 0; at < whole; at += 16)
        sum = f64_add(sum, f64_of_f32(f32_load(values + at)));
    if (whole < n)
        sum = f64_add(sum, f64_of_f32(f32_load_part(values + whole, n - whole)));
    const double mean = f64_fold(sum) / (double)n;
    const f64x16 means = f64_set1(mean);
    for (size_t at = 0; at < whole; at += 16) {
        const f64x16 deviation = f64_sub(f64_of_f32(f32_load(values + at)), means);
        square = f64_add(square, f64_mul(deviation, deviation));
    }
    if (whole < n) {
        const m32x16 there = u32_gt(u32_set1((uint32_t)(n - whole)), u32_lanes());
        const f64x16 deviation = f64_keep(there, f64_sub(f64_of_f32(f32_load_part(values + whole, n - whole)), means));
        square = f64_add(square, f64_mul(deviation, deviation));
    }
    return (organ_spread){n, mean, f64_fold(square)};
}

void KERNEL(spread)(const float *values, size_t n, organ_spread *result)
{
    organ_spread all = {0};
    for (size_t from = 0; from < n; from += CHUNK) {
        const organ_spread chunk = spread_chunk(values + from, n - from < CHUNK ? n - from : CHUNK);
        organ_spread_merge(&all, &chunk);
    }
    *result = all;
}

/* Clamps before rounding down, so that values far outside the histogram do not overflow the integer; both steps are
 * exact. */
INLINE u32x16 z_bins_of(f32x16 values, f64x16 mean, f64x16 per_bin)
{
    const f64x16 place = f64_mul(f64_sub(f64_of_f32(values), mean), per_bin);
    const f64x16 within = f64_min(f64_max(place, f64_set1(-ORGAN_Z_BINS / 2)), f64_set1(ORGAN_Z_BINS / 2 - 1));
    return u32_of_f64(f64_add(f64_floor(within), f64_set1(ORGAN_Z_BINS / 2)));
}

/* Constants of the bins in FP32. The position of a value is mapped to the binade from 256 to 512: of the 23 fraction
 * bits, the upper 8 are the bin, and the lower PLACE_BITS the position in it, in units of 2^-15 bins. The bin equals
 * that of FP64 if the position is PLACE_DOUBT units or more from an edge, because its error is smaller: the fma rounds
 * by up to 0.5 units, the factor in FP32 contributes up to 0.76 and the offset up to 1.25, for a mean of up to 256
 * bins. Vectors with a value closer to an edge are computed in FP64. */
#define PLACE_BITS  15
#define PLACE_DOUBT 3
_Static_assert(ORGAN_Z_BINS == 1 << (23 - PLACE_BITS) && ORGAN_Z_BINS == 256,
               "one binade has all bins, and a byte says which");

typedef struct bin_places {
    f64x16 mean, per_bin;
    f32x16 factor, offset;
    int narrow; /* FP32 is precise enough */
} bin_places;

/* For FP32 the position is value x factor + offset, where the offset also adds ORGAN_Z_BINS to reach the binade from
 * 256 to 512; `narrow` is set if FP32 is precise enough: the factor is far from the limits of FP32, and the mean at
 * most 256 bins from 0. */
INLINE bin_places bin_places_of(double mean, double per_bin)
{
    const double offset = ORGAN_Z_BINS + ORGAN_Z_BINS / 2 - mean * per_bin;
    const int narrow = per_bin > 1e-30 && per_bin < 1e30 && fabs(mean * per_bin) <= 256;
    return (bin_places){f64_set1(mean), f64_set1(per_bin), f32_set1(narrow ? (float)per_bin : 0),
                        f32_set1(narrow ? (float)offset : 0), narrow};
}

/* Returns the bins of 16 values, in FP32 if possible. Values outside the histogram are clamped to the middle of the
 * first and the last bin, because a value in the middle of a bin is never recomputed in FP64. `within` is below
 * 2 PLACE_DOUBT - 1 for positions less than PLACE_DOUBT units from an edge. */
INLINE u8x16 z_bins_near(f32x16 values, const bin_places *p)
{
    const f32x16 place = f32_fma(values, p->factor, p->offset), least = f32_set1(ORGAN_Z_BINS + 0.5f),
                 max = f32_set1(2 * ORGAN_Z_BINS - 0.5f);
    const u32x16 bits = f32_bits(f32_min(f32_max(place, least), max)), mask = u32_set1((1 << PLACE_BITS) - 1);
    const u32x16 within = u32_and(u32_add(bits, u32_set1(PLACE_DOUBT - 1)), mask);
    if (!p->narrow || m32_count(u32_gt(u32_set1(2 * PLACE_DOUBT - 1), within)) > 0)
        return u8_of_u32(z_bins_of(values, p->mean, p->per_bin));
    return u8_of_u32(u32_and(u32_srl(bits, PLACE_BITS), u32_set1(ORGAN_Z_BINS - 1)));
}

/* Adds eight bins to four histograms in turn, so that neighbours in one bin do not wait for each other's increment. */
INLINE void count_eight_bins(const uint8_t *bins, uint64_t *counts)
{
    uint64_t eight;
    __builtin_memcpy(&eight, bins, sizeof eight);
    UNROLL for (int l = 0; l < 8; l++) counts[l % 4 * ORGAN_Z_BINS + (eight >> 8 * l & 0xff)]++;
}

/* Adds n values to four histograms of their distance from the mean in standard deviations: value k to the ORGAN_Z_BINS
 * counters from k % 4 x ORGAN_Z_BINS on. All bins of a chunk are stored before counting: a load from bytes that were
 * stored just before would stall. */
void KERNEL(z_bins)(const float *values, size_t n, double mean, double std, uint64_t *counts)
{
    const bin_places places = bin_places_of(mean, ORGAN_Z_BINS_PER_STD / std);
    uint8_t bins[CHUNK];
    for (size_t from = 0; from < n; from += CHUNK) {
        const size_t count = n - from < CHUNK ? n - from : CHUNK;
        size_t at = 0;
        for (; at + 16 <= count; at += 16)
            u8_store(bins + at, z_bins_near(f32_load(values + from + at), &places));
        if (at < count)
            u8_store(bins + at, z_bins_near(f32_load_part(values + from + at, count - at), &places));
        for (at = 0; at + 8 <= count; at += 8)
            count_eight_bins(bins + at, counts);
        for (; at < count; at++)
            counts[at % 4 * ORGAN_Z_BINS + bins[at]]++;
    }
}

#endif
