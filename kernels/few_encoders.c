/* SPDX-License-Identifier: MIT
 * Quantisers to tq1_0, tq2_0, q2_0 and q1_0, whose blocks have one scale and codes of two to four values
 * (organ_fit_blocks). Lanes are values of one block: lane l has the values l, l + 16 and so on. */
#include "kernels/simd/isa.h"
#ifdef ISA
#include "kernels/fit.h"

enum { FEW_MAX = 256, FEW_TRIES = 6, FEW_ROUNDS = 8 };

/* The codes of a type, whole numbers from `low` to `high`, and the scales that are tried: the quotients of the weighted
 * mean of the magnitudes and the numbers in `mean_code`. Negative scales count if the codes are not symmetric. */
typedef struct few_kind {
    int size; /* values in a block */
    float low, high;
    int tries;
    float mean_code[FEW_TRIES];
} few_kind;

static const few_kind of_ternary = {256, -1, 1, 4, {0.75f, 0.6f, 0.45f, 0.3f}};
static const few_kind of_q2_0 = {64, -1, 2, 6, {0.9f, 0.72f, 0.55f, -0.9f, -0.72f, -0.55f}};
static const few_kind of_q1_0 = {128, -1, 1, 0, {0}};

typedef struct few_block {
    float values[FEW_MAX], weights[FEW_MAX];
} few_block;

INLINE void few_load(few_block *b, const few_kind *kind, const float *values, const float *weights)
{
    for (int k = 0; k < kind->size; k += 16) {
        f32_store(b->values + k, fit_bounded(f32_load(values + k)));
        f32_store(b->weights + k, weights ? f32_load(weights + k) : f32_set1(1));
    }
}

/* Returns the weighted mean of the magnitudes, 0 if F16 cannot store the scale. */
INLINE float few_mean(const few_block *b, const few_kind *kind)
{
    f32x16 sum = f32_set1(0), all = sum, peak = sum;
    for (int k = 0; k < kind->size; k += 16) {
        const f32x16 a = fit_magnitude(f32_load(b->values + k)), w = f32_load(b->weights + k);
        sum = f32_fma(w, a, sum);
        all = f32_add(all, w);
        peak = f32_max(peak, a);
    }
    return f32_reduce_max(peak) > FIT_MIN_RANGE ? f32_fold(sum) / f32_fold(all) : 0;
}

/* A scale, and how much lower the weighted squared error is with it than with all codes 0. */
typedef struct few_scale {
    float d, gain;
} few_scale;

/* Computes the nearest codes with `inverse`, then the best scale for them. Returns whether it is better than *best, and
 * replaces that if so. */
INLINE int few_try(const few_block *b, const few_kind *kind, float inverse, few_scale *best)
{
    f32x16 qx = f32_set1(0), qq = qx;
    for (int k = 0; k < kind->size; k += 16) {
        const f32x16 x = f32_load(b->values + k), q = fit_code(f32_mul(x, f32_set1(inverse)), kind->low, kind->high);
        const f32x16 wq = f32_mul(f32_load(b->weights + k), q);
        qx = f32_fma(wq, x, qx);
        qq = f32_fma(wq, q, qq);
    }
    const float above = f32_fold(qx), below = f32_fold(qq), d = below > 0 ? above / below : 0, gain = d * above;
    if (!(gain > best->gain))
        return 0;
    *best = (few_scale){d, gain};
    return 1;
}

/* The best of the scales that are tried, then of those that follow from the codes of the best one, until no better one
 * follows. */
INLINE float few_search(const few_block *b, const few_kind *kind)
{
    const float mean = few_mean(b, kind);
    few_scale best = {0, 0};
    for (int t = 0; t < kind->tries && mean > 0; t++)
        few_try(b, kind, kind->mean_code[t] / mean, &best);
    for (int round = 0; round < FEW_ROUNDS; round++)
        if (!few_try(b, kind, __builtin_fabsf(best.d) > FIT_MIN ? 1 / best.d : 0, &best))
            break;
    return best.d;
}

/* Searches the scale, stores it at `to`, and sets codes[k] to the code of value k, counted from 0 on. */
INLINE void few_fit(const float *values, const float *weights, const few_kind *kind, uint8_t *to, float *codes)
{
    few_block b;
    few_load(&b, kind, values, weights);
    const float d = fit_put_half(to, few_search(&b, kind));
    const f32x16 inverse = f32_set1(d != 0 ? 1 / d : 0), low = f32_set1(kind->low);
    for (int k = 0; k < kind->size; k += 16)
        f32_store(codes + k, f32_sub(fit_code(f32_mul(f32_load(b.values + k), inverse), kind->low, kind->high), low));
}

/* ---- blocks ---- */

/* Returns the lanes, whole numbers from 0 to 255, as bytes. */
INLINE u8x16 few_bytes(f32x16 a) { return u8_of_u32(u32_and(f32_bits(f32_add(a, f32_set1(0x1p23f))), u32_set1(255))); }

/* Returns a number of base `base` with `places` digits: the codes k, k + step and so on, the last one the highest. */
INLINE f32x16 few_digits(const float *codes, int step, int places, float base)
{
    f32x16 number = f32_load(codes + step * (places - 1));
    for (int place = places - 2; place >= 0; place--)
        number = f32_fma(number, f32_set1(base), f32_load(codes + step * place));
    return number;
}

INLINE void store_tq2_0(const float *codes, block_tq2_0 *b)
{
    for (int j = 0; j < 4; j++)
        u8_store(b->codes + 16 * j, few_bytes(few_digits(codes + 128 * (j / 2) + 16 * (j % 2), 32, 4, 4)));
}

/* Returns the bytes for numbers of five ternary digits, the least b with floor(b 243 / 256) the number. Half of a unit
 * keeps the quotient off whole numbers. */
INLINE u8x16 few_trits(const float *codes, int step)
{
    f32x16 number = f32_load(codes);
    for (int place = 1; place < 5; place++)
        number = f32_fma(number, f32_set1(3), f32_load(codes + step * place));
    return few_bytes(f32_trunc(f32_mul(f32_fma(number, f32_set1(256), f32_set1(242.5f)), f32_set1(1 / 243.0f))));
}

/* The last four bytes have four digits each, and a fifth of 0. */
INLINE void store_tq1_0(const float *codes, block_tq1_0 *b)
{
    float last[5 * 16] = {0};
    uint8_t bytes[16];
    u8_store(b->fives, few_trits(codes, 32));
    u8_store(b->fives + 16, few_trits(codes + 16, 32));
    u8_store(b->fives + 32, few_trits(codes + 160, 16));
    for (int place = 0; place < 4; place++)
        memcpy(last + 16 * place, codes + 240 + 4 * place, 4 * sizeof *codes);
    u8_store(bytes, few_trits(last, 16));
    memcpy(b->fours, bytes, sizeof b->fours);
}

/* Returns number with a digit of base `base` from each two neighbours of 32 numbers. */
INLINE f32x16 few_join(f32x16 first, f32x16 second, float base)
{
    return f32_fma(f32_odds(first, second), f32_set1(base), f32_evens(first, second));
}

INLINE void store_q2_0(const float *codes, block_q2_0 *b)
{
    const f32x16 low = few_join(f32_load(codes), f32_load(codes + 16), 4),
                 high = few_join(f32_load(codes + 32), f32_load(codes + 48), 4);
    u8_store(b->codes, few_bytes(few_join(low, high, 16)));
}

#define FIT_FEW(name, kind)                                                                                            \
    void KERNEL(fit_##name)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)            \
    {                                                                                                                  \
        block_##name *b = blocks;                                                                                      \
        for (size_t at = 0; at < n; at++, b++) {                                                                       \
            const size_t first = at * (size_t)(kind).size;                                                             \
            float codes[FEW_MAX];                                                                                      \
            few_fit(values + first, weights ? weights + first % cols : NULL, &(kind), b->d, codes);                    \
            store_##name(codes, b);                                                                                    \
        }                                                                                                              \
    }
FIT_FEW(tq1_0, of_ternary)
FIT_FEW(tq2_0, of_ternary)
FIT_FEW(q2_0, of_q2_0)

/* The best scale for the signs is the weighted mean of the magnitudes. */
void KERNEL(fit_q1_0)(const float *values, const float *weights, size_t cols, void *blocks, size_t n)
{
    block_q1_0 *b = blocks;
    for (size_t at = 0; at < n; at++, b++) {
        const size_t first = at * (size_t)of_q1_0.size;
        few_block block;
        few_load(&block, &of_q1_0, values + first, weights ? weights + first % cols : NULL);
        /* with scale 0, all codes are 0, as GPTQ stores them */
        const f32x16 from = f32_set1(fit_put_half(b->d, few_mean(&block, &of_q1_0)) > 0 ? 0 : FIT_MAX_ERROR);
        for (int k = 0; k < of_q1_0.size; k += 16) {
            const unsigned signs = m32_bits(f32_ge(f32_load(block.values + k), from));
            b->signs[k / 8] = (uint8_t)signs;
            b->signs[k / 8 + 1] = (uint8_t)(signs >> 8);
        }
    }
}

#endif
