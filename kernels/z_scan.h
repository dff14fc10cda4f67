/* SPDX-License-Identifier: MIT
 * Bodies of the Z-measure: histograms of codes and of standardised values, pairwise means, and the spread of what they leave. */

/* A code that repeats waits for its own count. */
INLINE void count_four(const uint16_t *codes, uint64_t *counts)
{
    uint64_t four;
    __builtin_memcpy(&four, codes, sizeof four);
    counts[four & 0xffff]++;
    counts[four >> 16 & 0xffff]++;
    counts[four >> 32 & 0xffff]++;
    counts[four >> 48]++;
}

/* Whether 64 codes are one. Mostly their ends say no. */
INLINE int is_run(const uint16_t *codes)
{
    const u16x16 first = u16_set1(codes[0]);
    if (codes[0] != codes[63])
        return 0;
    const m16x16 low = m16_and(u16_eq(u16_load(codes), first), u16_eq(u16_load(codes + 16), first));
    const m16x16 high = m16_and(u16_eq(u16_load(codes + 32), first), u16_eq(u16_load(codes + 48), first));
    return m16_count(m16_and(low, high)) == 16;
}

/* Runs of one code, as pruning leaves them, are counted at once: one by one they would wait for each other. */
static void count_codes(const uint16_t *codes, size_t n, uint64_t *counts)
{
    size_t at = 0;
    for (; at + 64 <= n; at += 64)
        if (is_run(codes + at))
            counts[codes[at]] += 64;
        else
            for (size_t l = 0; l < 64; l += 4)
                count_four(codes + at + l, counts);
    for (; at + 4 <= n; at += 4)
        count_four(codes + at, counts);
    for (; at < n; at++)
        counts[codes[at]]++;
}

INLINE void pair_means_of(const void *values, float *means, size_t n, const enum element_type type)
{
    const f32x16 half = f32_set1(0.5f);
    size_t at = 0;
    for (; at + 16 <= n; at += 16) {
        const f32x16 a = load_elements(values, 2 * at, type), b = load_elements(values, 2 * at + 16, type);
        f32_store(means + at, f32_mul(f32_add(f32_evens(a, b), f32_odds(a, b)), half));
    }
    if (at < n) {
        const size_t left = 2 * (n - at);
        const f32x16 a = left < 16 ? load_elements_part(values, 2 * at, left, type) : load_elements(values, 2 * at, type);
        const f32x16 b = left > 16 ? load_elements_part(values, 2 * at + 16, left - 16, type) : f32_set1(0);
        f32_store_part(means + at, f32_mul(f32_add(f32_evens(a, b), f32_odds(a, b)), half), n - at);
    }
}

static void pair_means_bf16(const uint16_t *values, float *means, size_t n) { pair_means_of(values, means, n, BF16); }
static void pair_means_f16(const uint16_t *values, float *means, size_t n) { pair_means_of(values, means, n, F16); }
static void pair_means_f32(const float *values, float *means, size_t n) { pair_means_of(values, means, n, F32); }

/* n <= CHUNK values, which stay in L1 between the two passes. Lanes past the end add nothing. */
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

static void spread(const float *values, size_t n, organ_spread *result)
{
    organ_spread all = {0};
    for (size_t from = 0; from < n; from += CHUNK) {
        const organ_spread chunk = spread_chunk(values + from, n - from < CHUNK ? n - from : CHUNK);
        organ_spread_merge(&all, &chunk);
    }
    *result = all;
}

/* Clamped before it is rounded down, so that what is far out converts as well; both steps are exact. */
INLINE u32x16 z_bins_of(f32x16 values, f64x16 mean, f64x16 per_bin)
{
    const f64x16 place = f64_mul(f64_sub(f64_of_f32(values), mean), per_bin);
    const f64x16 within = f64_min(f64_max(place, f64_set1(-ORGAN_Z_BINS / 2)), f64_set1(ORGAN_Z_BINS / 2 - 1));
    return u32_of_f64(f64_add(f64_floor(within), f64_set1(ORGAN_Z_BINS / 2)));
}

/* Neighbours that fall into one bin do not wait for each other: each of four has counts of its own. */
static void z_bins(const float *values, size_t n, double mean, double std, uint64_t *counts)
{
    uint64_t *const one = counts, *const two = one + ORGAN_Z_BINS, *const three = two + ORGAN_Z_BINS, *const four = three + ORGAN_Z_BINS;
    const f64x16 means = f64_set1(mean), per_bin = f64_set1(ORGAN_Z_BINS_PER_STD / std);
    uint16_t bins[16];
    size_t at = 0;
    for (; at + 16 <= n; at += 16) {
        u16_store(bins, u32_narrow(z_bins_of(f32_load(values + at), means, per_bin)));
        for (size_t l = 0; l < 16; l += 4) {
            uint64_t next;
            __builtin_memcpy(&next, bins + l, sizeof next);
            one[next & 0xffff]++;
            two[next >> 16 & 0xffff]++;
            three[next >> 32 & 0xffff]++;
            four[next >> 48]++;
        }
    }
    if (at < n)
        u16_store(bins, u32_narrow(z_bins_of(f32_load_part(values + at, n - at), means, per_bin)));
    for (size_t l = 0; at + l < n; l++)
        counts[l % 4 * ORGAN_Z_BINS + bins[l]]++;
}
