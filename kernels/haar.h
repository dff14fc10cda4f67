/* SPDX-License-Identifier: MIT
 * Purifies a row by Haar wavelets: decomposes it into levels of details, estimates the noise of each level,
 * attenuates details that are noise or have no significant parent, and reconstructs the row. All operations are FP32
 * on single elements; medians are exact. */
#define HAAR_LEVELS 5           /* levels of the decomposition, at most */
#define HAAR_SCALE  0.70710678f /* 1 / sqrt 2 */
#define HAAR_SIGMA  0.6745f     /* median of |d| divided by the standard deviation, for normally distributed d */

/* One level of the decomposition: n values become `pairs` details (differences of neighbours) and n - pairs
 * approximations (sums). */
typedef struct haar_level {
    float *details; /* `pairs` numbers in the scratch memory */
    size_t n, pairs;
    float limit; /* details of larger magnitude are significant */
} haar_level;

/* Replaces level->n values by their approximations and stores the details in the level. A last value without a pair
 * is copied. */
static void haar_split(const haar_level *level, float *values)
{
    const f32x16 scale = f32_set1(HAAR_SCALE);
    size_t at = 0;
    for (; at + 16 <= level->pairs; at += 16) {
        const f32x16 a = f32_load(values + 2 * at), b = f32_load(values + 2 * at + 16);
        const f32x16 even = f32_evens(a, b), odd = f32_odds(a, b);
        f32_store(level->details + at, f32_mul(f32_sub(even, odd), scale));
        f32_store(values + at, f32_mul(f32_add(even, odd), scale));
    }
    for (; at < level->pairs; at++) {
        const float even = values[2 * at], odd = values[2 * at + 1];
        level->details[at] = (even - odd) * HAAR_SCALE;
        values[at] = (even + odd) * HAAR_SCALE;
    }
    if (level->n > 2 * level->pairs)
        values[level->pairs] = values[level->n - 1];
}

/* Inverts haar_split: replaces the approximations by the level's values. Runs from the last pair to the first, so
 * that nothing is overwritten before it is read. */
static void haar_join(const haar_level *level, float *values)
{
    const f32x16 scale = f32_set1(HAAR_SCALE);
    size_t at = level->pairs;
    if (level->n > 2 * level->pairs)
        values[level->n - 1] = values[level->pairs];
    for (; at % 16 > 0; at--) {
        const float mean = values[at - 1], detail = level->details[at - 1];
        values[2 * at - 2] = (mean + detail) * HAAR_SCALE;
        values[2 * at - 1] = (mean - detail) * HAAR_SCALE;
    }
    for (; at > 0; at -= 16) {
        const f32x16 mean = f32_load(values + at - 16), detail = f32_load(level->details + at - 16);
        const f32x16 even = f32_mul(f32_add(mean, detail), scale), odd = f32_mul(f32_sub(mean, detail), scale);
        f32_store(values + 2 * at - 32, f32_zip_low(even, odd));
        f32_store(values + 2 * at - 16, f32_zip_high(even, odd));
    }
}

/* Returns the bits of the magnitudes. */
INLINE u32x16 haar_magnitudes(f32x16 values) { return u32_and(f32_bits(values), u32_set1(MAGNITUDE)); }

/* Counts magnitudes below `limit`, the bit pattern of an FP32 above 0. Bit patterns of magnitudes have the order of
 * their values. */
static size_t haar_count_below(const float *values, size_t n, uint32_t limit)
{
    const u32x16 limits = u32_set1(limit);
    size_t count = 0, at = 0;
    for (; at + 16 <= n; at += 16)
        count += m32_count(u32_gt(limits, haar_magnitudes(f32_load(values + at))));
    if (at < n)
        count += m32_count(u32_gt(limits, haar_magnitudes(f32_load_part(values + at, n - at)))) - (16 - (n - at));
    return count;
}

/* Returns the bits of the magnitude at index k < n in ascending order. Finds the bits one by one, the highest first: a
 * bit is 1 if at most k magnitudes are below the number with this bit. */
static uint32_t haar_kth(const float *values, size_t n, size_t k)
{
    uint32_t bits = 0;
    for (uint32_t bit = 0x40000000; bit > 0; bit >>= 1)
        if (haar_count_below(values, n, bits | bit) <= k)
            bits |= bit;
    return bits;
}

/* Returns the FP32 with these bits. */
INLINE float haar_float(uint32_t bits)
{
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/* Returns the median of n > 0 magnitudes; for even n, the mean of the two in the middle. The upper one of
 * the two equals the lower one, `low`, if more than k + 1 magnitudes are at most `low`. */
static float haar_median(const float *values, size_t n)
{
    const size_t k = (n - 1) / 2;
    const uint32_t low = haar_kth(values, n, k);
    if (n % 2 == 1 || haar_count_below(values, n, low + 1) > k + 1)
        return haar_float(low);
    return (haar_float(low) + haar_float(haar_kth(values, n, k + 1))) * 0.5f;
}

/* Returns nonzero if the magnitude of detail `at` of the level exceeds its limit. */
INLINE int haar_is_significant(const haar_level *level, size_t at)
{
    return __builtin_fabsf(level->details[at]) > level->limit;
}

/* Returns the details; those that are not significant are multiplied by `factor`. */
INLINE f32x16 haar_shrink(f32x16 details, m32x16 significant, f32x16 factor)
{
    return f32_select(significant, details, f32_mul(details, factor));
}

/* Returns a mask of the lanes whose magnitude exceeds `limit`. */
INLINE m32x16 significant_of(f32x16 details, float limit)
{
    return f32_gt(f32_of_bits(haar_magnitudes(details)), f32_set1(limit));
}

/* Keeps details that are significant and whose parent, detail at / 2 of the coarser level `above`, is significant
 * too, or that have no parent. Multiplies all other details by `factor`. `above` is NULL for the coarsest level. */
static void haar_shrink_level(const haar_level *level, const haar_level *above, float factor)
{
    const f32x16 factors = f32_set1(factor);
    size_t at = 0;
    for (; above && at + 32 <= level->pairs && at / 2 + 16 <= above->pairs; at += 32) {
        const f32x16 parents = f32_load(above->details + at / 2);
        const f32x16 low = f32_load(level->details + at), high = f32_load(level->details + at + 16);
        const m32x16 low_parents = significant_of(f32_zip_low(parents, parents), above->limit),
                     high_parents = significant_of(f32_zip_high(parents, parents), above->limit);
        f32_store(level->details + at,
                  haar_shrink(low, m32_and(significant_of(low, level->limit), low_parents), factors));
        f32_store(level->details + at + 16,
                  haar_shrink(high, m32_and(significant_of(high, level->limit), high_parents), factors));
    }
    for (; at < level->pairs; at++)
        if (!haar_is_significant(level, at) || (above && at / 2 < above->pairs && !haar_is_significant(above, at / 2)))
            level->details[at] *= factor;
}

/* Attenuates the noise of a row of n values in place by wavelet shrinkage (Donoho and Johnstone 1994): splits it into
 * up to HAAR_LEVELS levels and estimates the noise of each from the median of its details. Keeps a detail if it and its
 * parent each exceed `threshold` times the noise of their own level; multiplies all other details by 1 - strength. Then
 * joins the levels. `scratch` has n floats. */
static void haar_purify(float *row, size_t n, float threshold, float strength, float *scratch)
{
    haar_level levels[HAAR_LEVELS];
    int count = 0;
    for (; count < HAAR_LEVELS && n >= 2; count++) {
        haar_level *level = &levels[count];
        *level = (haar_level){.details = scratch, .n = n, .pairs = n / 2};
        haar_split(level, row);
        level->limit = threshold * (haar_median(level->details, level->pairs) / HAAR_SIGMA);
        scratch += level->pairs;
        n -= level->pairs;
    }
    /* fine levels first: a detail must compare with its parent before the parent is attenuated */
    for (int k = 0; k < count; k++)
        haar_shrink_level(&levels[k], k + 1 < count ? &levels[k + 1] : NULL, 1.0f - strength);
    for (int k = count; k > 0; k--)
        haar_join(&levels[k - 1], row);
}
