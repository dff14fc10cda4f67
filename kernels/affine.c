/* SPDX-License-Identifier: MIT
 * The search for scale and minimum of a group of values (organ_affine_fit). A lane of the vectors `scales` and `minima`
 * stands for a try: each value is compared with all tries at once, so a group may have any number of values. */
#include "kernels/simd/isa.h"
#ifdef ISA

enum { AFFINE_TRIES = 16, AFFINE_ROUNDS = 2 }; /* rounds of least squares before numbers are rounded */
#define AFFINE_ROUNDING 0x1.8p23f              /* adding it rounds to whole numbers, ties to even */
#define AFFINE_F16      65504.0f
/* Groups whose greatest and least value differ by no more get scale 1 and the least value as minimum. */
#define AFFINE_MIN 0x1p-100f
#define AFFINE_EPS 1e-7f /* the least scale of mlx */

typedef struct affine_tries {
    f32x16 scales, minima;
} affine_tries;

/* Where the tries begin: the least code stands for the least value plus a share of the step between codes, the greatest
 * code for the greatest value minus a share. */
static const float affine_low[AFFINE_TRIES] = {0, 0.25f, 0.5f,  0.75f, 1,     0,    0.5f, 0,
                                               1, 0.3f,  0.75f, 1.25f, -0.2f, 1.5f, 0.5f, 0.1f};
static const float affine_high[AFFINE_TRIES] = {0, 0.25f, 0.5f, 0.75f, 1,     0.5f, 0,    1,
                                                0, 0.75f, 0.3f, 1.25f, -0.2f, 0.5f, 1.5f, 0.1f};
/* The tries around the best one, in steps of their stored types. */
static const float affine_scale_steps[AFFINE_TRIES] = {0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, 0};
static const float affine_minimum_steps[AFFINE_TRIES] = {0, 1, -1, 2, -2, 0, 1, -1, 2, -2, 0, 1, -1, 2, -2, 0};

INLINE f32x16 affine_stored(organ_scale_store stored, f32x16 a)
{
    const f32x16 most = f32_set1(AFFINE_F16);
    if (stored == ORGAN_STORE_F16)
        return f16_widen(f16_narrow(f32_max(f32_min(a, most), f32_sub(f32_set1(0), most))));
    if (stored == ORGAN_STORE_BF16)
        return f32_of_bits(u32_and(bf16_rounded(a, u32_set1(0x7fc00000)), u32_set1(0xffff0000)));
    return a;
}

/* Returns 0 for a scale of 0: all codes are then 0. */
INLINE f32x16 affine_inverse(f32x16 scale)
{
    const m32x16 some = u32_gt(u32_and(f32_bits(scale), u32_set1(MAGNITUDE)), u32_set1(0));
    return f32_select(some, f32_div(f32_set1(1), f32_select(some, scale, f32_set1(1))), f32_set1(0));
}

INLINE f32x16 affine_code(f32x16 x, f32x16 minimum, f32x16 inverse, f32x16 top)
{
    const f32x16 rounds = f32_set1(AFFINE_ROUNDING), exact = f32_mul(f32_sub(x, minimum), inverse);
    const f32x16 within = f32_max(f32_min(exact, top), f32_set1(0));
    return f32_sub(f32_add(within, rounds), rounds);
}

/* Replaces the numbers of each try by those with the least error for its codes c: the line of weighted least squares,
 * with the sums c1 of the codes, cc of their squares, cx of code x value, x1 of the values, and n of the weights. */
INLINE void affine_refit(const organ_affine_fit *fit, const float *values, const float *weights, affine_tries *t)
{
    const f32x16 inverse = affine_inverse(t->scales), minimum = t->minima, zero = f32_set1(0),
                 top = f32_set1((float)((1u << fit->bits) - 1));
    f32x16 c1 = zero, cc = zero, cx = zero;
    float all = 0, sum = 0;
    for (size_t k = 0; k < fit->group; k++) {
        const float weight = weights ? weights[k] : 1, by = weight * values[k];
        const f32x16 code = affine_code(f32_set1(values[k]), minimum, inverse, top),
                     weighed = weights ? f32_mul(code, f32_set1(weight)) : code;
        c1 = f32_add(c1, weighed);
        cc = f32_fma(weighed, code, cc);
        cx = f32_fma(code, f32_set1(by), cx);
        all += weight;
        sum += by;
    }
    const f32x16 n = f32_set1(all), x1 = f32_set1(sum), det = f32_fnma(c1, c1, f32_mul(n, cc));
    const m32x16 some = f32_gt(det, zero);
    const f32x16 scale = f32_div(f32_fnma(c1, x1, f32_mul(n, cx)), f32_select(some, det, f32_set1(1)));
    t->scales = f32_select(some, scale, t->scales);
    t->minima = f32_select(some, f32_div(f32_fnma(scale, c1, x1), n), t->minima);
}

/* Stores the weighted error of each try in `errors`. */
INLINE void affine_errors(const organ_affine_fit *fit, const float *values, const float *weights, const affine_tries *t,
                          float *errors)
{
    const f32x16 inverse = affine_inverse(t->scales), top = f32_set1((float)((1u << fit->bits) - 1));
    f32x16 error = f32_set1(0);
    for (size_t k = 0; k < fit->group; k++) {
        const f32x16 x = f32_set1(values[k]), code = affine_code(x, t->minima, inverse, top),
                     lost = f32_fnma(code, t->scales, f32_sub(x, t->minima));
        error = f32_fma(weights ? f32_mul(lost, f32_set1(weights[k])) : lost, lost, error);
    }
    f32_store(errors, error);
}

/* Returns the number of the first try with the least error; 0 if all are NaN. */
INLINE int affine_best(const float *errors)
{
    int best = 0;
    for (int k = 1; k < AFFINE_TRIES; k++)
        best = errors[k] < errors[best] ? k : best;
    return best;
}

/* The numbers of mlx, before they are rounded to their stored type: the end of larger magnitude is a code's value. */
INLINE void affine_of_mlx(const organ_affine_fit *fit, float low, float high, float *scale, float *minimum)
{
    const float top = (float)((1u << fit->bits) - 1), step = (high - low) / top;
    const int below = __builtin_fabsf(low) > __builtin_fabsf(high);
    const float least = step > AFFINE_EPS ? step : AFFINE_EPS, edge = below ? low : high,
                signed_step = below ? least : -least;
    const float quotient = edge / signed_step, zero = (quotient + AFFINE_ROUNDING) - AFFINE_ROUNDING;
    *scale = zero != 0 ? edge / zero : signed_step;
    *minimum = zero != 0 ? edge : 0;
}

/* Returns the error of mlx, whose codes belong to the numbers before they are rounded. */
INLINE double affine_error_of_mlx(const organ_affine_fit *fit, const float *values, float scale, float minimum)
{
    const f32x16 stored = affine_stored(fit->stored, f32_set1(scale)),
                 lowest = affine_stored(fit->stored, f32_set1(minimum)), top = f32_set1((float)((1u << fit->bits) - 1)),
                 rounds = f32_set1(AFFINE_ROUNDING);
    f32x16 error = f32_set1(0);
    for (size_t k = 0; k < fit->group; k += 16) {
        const f32x16 x = f32_load(values + k), exact = f32_div(f32_sub(x, f32_set1(minimum)), f32_set1(scale)),
                     within = f32_max(f32_min(exact, top), f32_set1(0)),
                     code = f32_sub(f32_add(within, rounds), rounds), lost = f32_fnma(code, stored, f32_sub(x, lowest));
        error = f32_fma(lost, lost, error);
    }
    return (double)f32_fold(error);
}

/* Sets the tries to the neighbours of one, if their types have fewer bits than FP32. */
INLINE void affine_around(const organ_affine_fit *fit, float scale, float minimum, affine_tries *t)
{
    /* 0.6 of the distance from 1 to the next stored number: this share of any number is 0.6 to 1.2 of the distance to
     * its own next one, and the sum rounds to that */
    const f32x16 step = f32_set1(fit->stored == ORGAN_STORE_F16 ? 0x1.333334p-11f : 0x1.333334p-8f);
    const f32x16 s = f32_set1(scale), m = f32_set1(minimum);
    t->scales = affine_stored(fit->stored, f32_fma(f32_mul(s, step), f32_load(affine_scale_steps), s));
    t->minima = affine_stored(fit->stored, f32_fma(f32_mul(m, step), f32_load(affine_minimum_steps), m));
}

/* Returns the error of mlx. */
SHARED double affine_group(const organ_affine_fit *fit, const float *values, const float *weights, float *scale,
                           float *minimum)
{
    float low = values[0], high = values[0], of_mlx[2], scales[AFFINE_TRIES], minima[AFFINE_TRIES],
          errors[AFFINE_TRIES];
    for (size_t k = 1; k < fit->group; k++) {
        low = values[k] < low ? values[k] : low;
        high = values[k] > high ? values[k] : high;
    }
    affine_of_mlx(fit, low, high, &of_mlx[0], &of_mlx[1]);
    const double mlx_error = affine_error_of_mlx(fit, values, of_mlx[0], of_mlx[1]);
    if (!(high - low > AFFINE_MIN)) {
        f32_store(minima, affine_stored(fit->stored, f32_set1(low)));
        *scale = 1;
        *minimum = minima[0];
        return mlx_error;
    }
    const float step = (high - low) / (float)((1u << fit->bits) - 1);
    const f32x16 low_shares = f32_load(affine_low), high_shares = f32_load(affine_high),
                 parts = f32_set1((float)((1u << fit->bits) - 1));
    affine_tries t = {.scales =
                          f32_mul(f32_set1(step), f32_div(f32_sub(f32_sub(parts, low_shares), high_shares), parts)),
                      .minima = f32_fma(low_shares, f32_set1(step), f32_set1(low))};
    for (int round = 0; round < AFFINE_ROUNDS; round++)
        affine_refit(fit, values, weights, &t);
    /* try 0 is the one of mlx */
    f32_store(scales, t.scales), f32_store(minima, t.minima);
    scales[0] = of_mlx[0], minima[0] = of_mlx[1];
    t.scales = affine_stored(fit->stored, f32_load(scales));
    t.minima = affine_stored(fit->stored, f32_load(minima));
    affine_errors(fit, values, weights, &t, errors);
    f32_store(scales, t.scales), f32_store(minima, t.minima);
    int best = affine_best(errors);
    if (fit->stored != ORGAN_STORE_F32) {
        affine_around(fit, scales[best], minima[best], &t);
        affine_errors(fit, values, weights, &t, errors);
        f32_store(scales, t.scales), f32_store(minima, t.minima);
        best = affine_best(errors);
    }
    *scale = scales[best];
    *minimum = minima[best];
    return mlx_error;
}

double KERNEL(fit_affine)(const organ_affine_fit *fit, const float *values, const float *weights, size_t cols,
                          float *scales, float *minima)
{
    double mlx_error = 0;
    for (size_t from = 0, g = 0; from + fit->group <= cols; from += fit->group, g++)
        mlx_error += affine_group(fit, values + from, weights ? weights + from : NULL, &scales[g], &minima[g]);
    return mlx_error;
}

#endif
