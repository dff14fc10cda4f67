/* SPDX-License-Identifier: MIT
 * Kernels for the moments of an array. Each chunk, which fits L1, is read twice: for the mean and the excluded
 * values, then for the powers of deviations. */
#define CHUNK 4096 /* values */

/* Results of the first pass over a chunk: by lane the sum, minimum and maximum of finite values, and the numbers of
 * finite values, zeros and NaN. */
typedef struct first_pass {
    f64x16 sum;
    f32x16 least, max;
    uint64_t finite, zero, nan;
} first_pass;

/* Returns a mask of the lanes that are neither infinite nor NaN. */
INLINE m32x16 finite_of(f32x16 values)
{
    return u32_gt(u32_set1(INFINITE), u32_and(f32_bits(values), u32_set1(MAGNITUDE)));
}

/* Replaces lanes n to 15 by NaN, which both passes ignore; n >= 1. */
INLINE f32x16 nan_from_lane(f32x16 values, size_t n)
{
    const m32x16 beyond = u32_gt(u32_lanes(), u32_set1((uint32_t)n - 1));
    return f32_of_bits(u32_or(f32_bits(values), u32_keep(beyond, u32_set1(MAGNITUDE))));
}

/* Adds 16 values to the results of the first pass. NaN are counted; infinities are not, because first_pass_chunk
 * computes their number. ~MAGNITUDE | INFINITE is -infinity. */
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

/* Sets the counts, mean, minimum and maximum of the chunk of n values from element `from` on. Subtracts the NaN with
 * which nan_from_lane fills the last vector. */
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

/* Sums of powers of deviations, by lane. */
typedef struct powers {
    f64x16 m2, m3, m4;
} powers;

/* Adds the second to fourth powers of 16 deviations from the mean. */
INLINE void add_powers(powers *sums, f64x16 deviation)
{
    const f64x16 square = f64_mul(deviation, deviation);
    sums->m2 = f64_add(sums->m2, square);
    sums->m3 = f64_add(sums->m3, f64_mul(square, deviation));
    sums->m4 = f64_add(sums->m4, f64_mul(square, square));
}

/* Sets m2, m3 and m4 of a chunk: sums of powers of the deviations from its mean. A second pass, because sums of raw
 * powers would cancel. If a value is not finite, every vector is masked. */
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

/* Sets *moments to the moments of n values: computes them for each chunk and merges the chunks in order. */
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

/* moments_of for each storage type: the kernels of organ_kernels. */
static void moments_bf16(const uint16_t *values, size_t n, organ_moments *moments)
{
    moments_of(values, n, moments, BF16);
}
static void moments_f16(const uint16_t *values, size_t n, organ_moments *moments)
{
    moments_of(values, n, moments, F16);
}
static void moments_f32(const float *values, size_t n, organ_moments *moments) { moments_of(values, n, moments, F32); }
