/* SPDX-License-Identifier: MIT
 * Vector operations of matrix decompositions, and the solution of small positive definite systems. */
#include "kernels/simd/isa.h"
#include "kernels/half_floats.h"

#include <math.h>
#include <string.h>
#ifdef ISA

INLINE f64x16 f64_load_part(const double *p, size_t n)
{
    double some[16] = {0};
    memcpy(some, p, n * sizeof *p);
    return f64_load(some);
}

/* Each lane has a sum. */
double KERNEL(dot_f64)(const double *a, const double *b, size_t n)
{
    f64x16 sum = f64_set1(0);
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        sum = f64_fma(f64_load(a + k), f64_load(b + k), sum);
    if (k < n)
        sum = f64_fma(f64_load_part(a + k, n - k), f64_load_part(b + k, n - k), sum);
    return f64_fold(sum);
}

void KERNEL(add_scaled_f64)(double *y, double factor, const double *x, size_t n)
{
    const f64x16 factors = f64_set1(factor);
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        f64_store(y + k, f64_fma(factors, f64_load(x + k), f64_load(y + k)));
    if (k < n) {
        double some[16];
        f64_store(some, f64_fma(factors, f64_load_part(x + k, n - k), f64_load_part(y + k, n - k)));
        memcpy(y + k, some, (n - k) * sizeof *y);
    }
}

/* Replaces the upper triangle of A (n x n, row by row) by U with A = U^T U (Cholesky). Ends at the first pivot that
 * is not above 0, which the caller finds on the diagonal. */
void KERNEL(cholesky_f32)(float *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *const row = a + i * n;
        for (size_t j = i; j < n; j += 16) {
            f32x16 left = f32_load_first(row + j, n - j);
            for (size_t k = 0; k < i; k++)
                left = f32_fma(f32_set1(-a[k * n + i]), f32_load_first(a + k * n + j, n - j), left);
            f32_store_first(row + j, left, n - j);
        }
        if (!(row[i] > 0))
            return;
        const float root = sqrtf(row[i]);
        for (size_t j = i; j < n; j++)
            row[j] = row[j] / root;
    }
}

/* Replaces x by the solution of U^T U y = x, with the factor U of cholesky_f32: forward with U^T, then backward with
 * U. */
void KERNEL(solve_f32)(const float *factor, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) {
        const float *const row = factor + i * n;
        x[i] = x[i] / row[i];
        for (size_t j = i + 1; j < n; j += 16)
            f32_store_first(
                x + j, f32_fma(f32_set1(-x[i]), f32_load_first(row + j, n - j), f32_load_first(x + j, n - j)), n - j);
    }
    for (size_t i = n; i-- > 0;) {
        const float *const row = factor + i * n;
        f32x16 sum = f32_set1(0);
        for (size_t j = i + 1; j < n; j += 16)
            sum = f32_fma(f32_load_first(row + j, n - j), f32_load_first(x + j, n - j), sum);
        x[i] = (x[i] - f32_fold(sum)) / row[i];
    }
}

void KERNEL(transpose)(const float *from, size_t from_stride, float *to, size_t to_stride, size_t rows, size_t cols)
{
    for (size_t row = 0; row < rows; row += 16)
        for (size_t column = 0; column < cols; column += 16) {
            const size_t down = min_size(16, rows - row), across = min_size(16, cols - column);
            f32x16 square[16];
            for (size_t l = 0; l < 16; l++)
                square[l] = l < down ? f32_load_first(from + (row + l) * from_stride + column, across) : f32_set1(0);
            transpose_square(square);
            for (size_t l = 0; l < across; l++)
                f32_store_first(to + (column + l) * to_stride + row, square[l], down);
        }
}

/* ---- purification of a row by Haar wavelets ---- */

/* Decomposes the row into levels of details, estimates the noise of each level, attenuates details that are noise or
 * have no significant parent, and reconstructs the row. All operations are FP32 on single elements; medians are exact.
 */

#define HAAR_LEVELS 5           /* levels of the decomposition, at most */
#define HAAR_SCALE  0.70710678f /* 1 / sqrt 2 */
#define HAAR_SIGMA  0.6745f     /* median of |d| divided by the standard deviation, for normally distributed d */

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

INLINE u32x16 haar_magnitudes(f32x16 values) { return u32_and(f32_bits(values), u32_set1(MAGNITUDE)); }

/* Bit patterns of magnitudes have the order of their values. */
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

/* Returns the median of n > 0 magnitudes; for even n, the mean of the two in the middle. The upper one of
 * the two equals the lower one, `low`, if more than k + 1 magnitudes are at most `low`. */
static float haar_median(const float *values, size_t n)
{
    const size_t k = (n - 1) / 2;
    const uint32_t low = haar_kth(values, n, k);
    if (n % 2 == 1 || haar_count_below(values, n, low + 1) > k + 1)
        return float_of_bits(low);
    return (float_of_bits(low) + float_of_bits(haar_kth(values, n, k + 1))) * 0.5f;
}

INLINE int haar_is_significant(const haar_level *level, size_t at)
{
    return __builtin_fabsf(level->details[at]) > level->limit;
}

INLINE f32x16 haar_shrink(f32x16 details, m32x16 significant, f32x16 factor)
{
    return f32_select(significant, details, f32_mul(details, factor));
}

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
void KERNEL(haar_purify)(float *row, size_t n, float threshold, float strength, float *scratch)
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

/* ---- linear recurrences (organ_recurrence) ---- */

/* A strip of columns of the state is processed for all tokens before the next strip, so that it stays in the cache
 * closest to the core. One pass over its rows ends a token and begins the next one. */

#define RECURRENCE_VECTORS 2 /* width of a strip, in vectors */

/* The decays, key and query of a token, which are the same for all columns of the state. */
typedef struct recurrence_token {
    const float *decays, *key, *query;
    size_t step; /* distance in `decays` between two rows of the state: 1, or 0 if all rows have the same decay */
} recurrence_token;

INLINE recurrence_token recurrence_at(const organ_recurrence *r, size_t t)
{
    return (recurrence_token){.decays = r->decays + t * r->decay_stride,
                              .key = r->keys + t * r->key_stride,
                              .query = r->queries + t * r->query_stride,
                              .step = r->decay_by_key};
}

typedef f32x16 recurrence_strip[RECURRENCE_VECTORS];

/* Processes row i of a strip of the state, whose numbers begin at `row`: the write and the output of the token `now`,
 * then the decay and the read of the token `next`. `now` or `next` may be NULL. The last of `vectors` vectors has
 * `last` columns. */
INLINE void recurrence_row(const recurrence_token *now, const recurrence_token *next, size_t i, float *row,
                           const recurrence_strip writes, recurrence_strip outs, recurrence_strip reads,
                           const int vectors, const size_t last)
{
    UNROLL for (int v = 0; v < vectors; v++)
    {
        const size_t n = v + 1 < vectors ? 16 : last;
        f32x16 s = f32_load_first(row + 16 * v, n);
        if (now) {
            s = f32_fma(f32_set1(now->key[i]), writes[v], s);
            outs[v] = f32_fma(f32_set1(now->query[i]), s, outs[v]);
        }
        if (next) {
            s = f32_mul(f32_set1(next->decays[i * next->step]), s);
            reads[v] = f32_fma(f32_set1(next->key[i]), s, reads[v]);
        }
        f32_store_first(row + 16 * v, s, n);
    }
}

INLINE void recurrence_rows(const organ_recurrence *r, const recurrence_token *now, const recurrence_token *next,
                            float *state, const recurrence_strip writes, recurrence_strip outs, recurrence_strip reads,
                            const int vectors, const size_t last)
{
    for (size_t i = 0; i < r->key_dim; i++)
        recurrence_row(now, next, i, state + i * r->state_stride, writes, outs, reads, vectors, last);
}

/* Runs all tokens through the columns of the state S from `from` on: `vectors` x 16 columns, where the last vector has
 * `last` columns. There is at least one token. For each token: S = decay S; reads = key^T S; writes = strength (value -
 * reads), the gated delta rule (Yang et al. 2024, arXiv:2412.06464), or strength value without `delta`; S = S + key
 * writes^T; out = query^T S. The next token's decay and read need only the row just written, so one pass over the rows
 * of S ends a token and begins the next. */
INLINE void recurrence_columns(const organ_recurrence *r, size_t from, const int vectors, const size_t last)
{
    float *const state = r->state + from;
    recurrence_strip reads, outs, writes;
    UNROLL for (int v = 0; v < vectors; v++) reads[v] = writes[v] = outs[v] = f32_set1(0);
    recurrence_token now = recurrence_at(r, 0);
    recurrence_rows(r, NULL, &now, state, writes, outs, reads, vectors, last);
    for (size_t t = 0; t < r->tokens; t++) {
        const f32x16 strength = f32_set1(r->strengths[t * r->strength_stride]);
        const float *const values = r->values + t * r->value_stride + from;
        float *const to = r->outs + t * r->out_stride + from;
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const f32x16 value = f32_load_first(values + 16 * v, v + 1 < vectors ? 16 : last);
            writes[v] = f32_mul(strength, r->delta ? f32_sub(value, reads[v]) : value);
            reads[v] = outs[v] = f32_set1(0);
        }
        if (t + 1 < r->tokens) {
            const recurrence_token next = recurrence_at(r, t + 1);
            recurrence_rows(r, &now, &next, state, writes, outs, reads, vectors, last);
            now = next;
        } else
            recurrence_rows(r, &now, NULL, state, writes, outs, reads, vectors, last);
        UNROLL for (int v = 0; v < vectors; v++) f32_store_first(to + 16 * v, outs[v], v + 1 < vectors ? 16 : last);
    }
}

void KERNEL(recurrence)(const organ_recurrence *r)
{
    size_t from = 0;
    for (; r->tokens && from + 16 * RECURRENCE_VECTORS <= r->value_dim; from += 16 * RECURRENCE_VECTORS)
        recurrence_columns(r, from, RECURRENCE_VECTORS, 16);
    for (; r->tokens && from + 16 <= r->value_dim; from += 16)
        recurrence_columns(r, from, 1, 16);
    if (r->tokens && from < r->value_dim)
        recurrence_columns(r, from, 1, r->value_dim - from);
}

#endif
