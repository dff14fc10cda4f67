/* SPDX-License-Identifier: MIT
 * Functions with exp, tanh, erf, pow and log2, which come from SLEEF on every ISA: gates and soft caps of the forward
 * pass, softmax, likelihoods, entropy. An incomplete last vector is computed with zeros in the missing lanes, which
 * are neither stored nor summed. */
#include "kernels/simd/isa.h"
#ifdef ISA

INLINE m32x16 lanes_below(size_t n) { return u32_gt(u32_set1((uint32_t)n), u32_lanes()); }

/* ---- gates ---- */
enum gate { SILU, GELU_TANH, GELU };

INLINE f32x16 logistic_of(f32x16 x, f32x16 s)
{
    return f32_div(x, f32_add(f32_set1(1), f32_exp(f32_sub(f32_set1(0), s))));
}

INLINE f32x16 activation_of(f32x16 x, const enum gate kind)
{
    if (kind == SILU)
        return logistic_of(x, x);
    if (kind == GELU) {
        const f32x16 twice = f32_add(f32_set1(1), f32_erf(f32_mul(x, f32_set1(0.70710678f /* 1 / sqrt 2 */))));
        return f32_mul(f32_mul(f32_set1(0.5f), x), twice);
    }
    /* 0.5 (1 + tanh u) = 1 / (1 + e^-2u): this form does not cancel digits for tanh u near -1 */
    const f32x16 cube = f32_mul(f32_mul(f32_mul(f32_set1(0.044715f), x), x), x);
    const f32x16 u = f32_mul(f32_set1(0.79788456f /* sqrt(2 / pi) */), f32_add(x, cube));
    return logistic_of(x, f32_add(u, u));
}

INLINE void gate_of(float *gate, const float *up, size_t n, const enum gate kind)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(gate + at, f32_mul(activation_of(f32_load(gate + at), kind), f32_load(up + at)));
    if (at < n)
        f32_store_part(gate + at,
                       f32_mul(activation_of(f32_load_part(gate + at, n - at), kind), f32_load_part(up + at, n - at)),
                       n - at);
}

void KERNEL(gate_silu)(float *gate, const float *up, size_t n) { gate_of(gate, up, n, SILU); }
void KERNEL(gate_gelu_tanh)(float *gate, const float *up, size_t n) { gate_of(gate, up, n, GELU_TANH); }
void KERNEL(gate_gelu)(float *gate, const float *up, size_t n) { gate_of(gate, up, n, GELU); }

/* ---- single values ---- */
/* Replaces values[k] by cap tanh(values[k] / cap). */
void KERNEL(softcap)(float *values, size_t n, float cap)
{
    const f32x16 caps = f32_set1(cap);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(values + at, f32_mul(caps, f32_tanh(f32_div(f32_load(values + at), caps))));
    if (at < n)
        f32_store_part(values + at, f32_mul(caps, f32_tanh(f32_div(f32_load_part(values + at, n - at), caps))), n - at);
}

void KERNEL(powers_of)(float base, const float *exponents, float *values, size_t n)
{
    const f32x16 bases = f32_set1(base);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(values + at, f32_pow(bases, f32_load(exponents + at)));
    if (at < n)
        f32_store_part(values + at, f32_pow(bases, f32_load_part(exponents + at, n - at)), n - at);
}

/* Above 20 that is x in FP32. */
INLINE f32x16 softplus_of(f32x16 x) { return f32_select(f32_gt(x, f32_set1(20)), x, f32_log1p(f32_exp(x))); }

void KERNEL(softplus)(float *values, size_t n)
{
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        f32_store(values + at, softplus_of(f32_load(values + at)));
    if (at < n)
        f32_store_part(values + at, softplus_of(f32_load_part(values + at, n - at)), n - at);
}

/* ---- sums ---- */
float KERNEL(exp_below)(float *values, size_t n, float top)
{
    const f32x16 tops = f32_set1(top);
    f32x16 sum = f32_set1(0);
    size_t at = 0;
    for (; at + 16 <= n; at += 16) {
        const f32x16 e = f32_exp(f32_sub(f32_load(values + at), tops));
        f32_store(values + at, e);
        sum = f32_add(sum, e);
    }
    if (at < n) {
        const f32x16 e = f32_exp(f32_sub(f32_load_part(values + at, n - at), tops));
        f32_store_part(values + at, e, n - at);
        sum = f32_add(sum, f32_of_bits(u32_keep(lanes_below(n - at), f32_bits(e))));
    }
    return f32_fold(sum);
}

double KERNEL(exp_sum)(const float *values, size_t n, double top)
{
    const f64x16 tops = f64_set1(top);
    f64x16 sum = f64_set1(0);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        sum = f64_add(sum, f64_exp(f64_sub(f64_of_f32(f32_load(values + at)), tops)));
    if (at < n) {
        const f64x16 e = f64_exp(f64_sub(f64_of_f32(f32_load_part(values + at, n - at)), tops));
        sum = f64_add(sum, f64_keep(lanes_below(n - at), e));
    }
    return f64_fold(sum);
}

INLINE f32x16 smaller_exp(f32x16 first, f32x16 shift, f32x16 other, f32x16 top)
{
    const f32x16 a = f32_add(first, shift);
    return f32_exp(f32_sub(f32_select(f32_gt(other, a), a, other), top));
}

double KERNEL(smaller_exp_sum)(const float *first, float shift, const float *other, float top, size_t n)
{
    const f32x16 shifts = f32_set1(shift), tops = f32_set1(top);
    f64x16 sum = f64_set1(0);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        sum = f64_add(sum, f64_of_f32(smaller_exp(f32_load(first + at), shifts, f32_load(other + at), tops)));
    if (at < n) {
        const f32x16 a = f32_load_part(first + at, n - at), b = f32_load_part(other + at, n - at);
        sum = f64_add(sum, f64_keep(lanes_below(n - at), f64_of_f32(smaller_exp(a, shifts, b, tops))));
    }
    return f64_fold(sum);
}

/* p and q are log-probabilities: a logit less the logarithm of the sum of exponentials. */
INLINE f64x16 divergence_of(f32x16 first, f64x16 first_sum, f32x16 other, f64x16 other_sum)
{
    const f64x16 p = f64_sub(f64_of_f32(first), first_sum), q = f64_sub(f64_of_f32(other), other_sum);
    return f64_mul(f64_exp(p), f64_sub(p, q));
}

/* Returns the Kullback-Leibler divergence D(p || q), where p and q are the softmaxes of the logits `first` and `other`.
 * first_sum and other_sum are the logarithms of the sums of exponentials of these logits. */
double KERNEL(divergence)(const float *first, double first_sum, const float *other, double other_sum, size_t n)
{
    const f64x16 p_sum = f64_set1(first_sum), q_sum = f64_set1(other_sum);
    f64x16 sum = f64_set1(0);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        sum = f64_add(sum, divergence_of(f32_load(first + at), p_sum, f32_load(other + at), q_sum));
    if (at < n) {
        const f32x16 p = f32_load_part(first + at, n - at), q = f32_load_part(other + at, n - at);
        sum = f64_add(sum, f64_keep(lanes_below(n - at), divergence_of(p, p_sum, q, q_sum)));
    }
    return f64_fold(sum);
}

/* A softmax: the maximum of the logits, and 1 / (the sum of e^(logit - top)). */
typedef struct softmax_of {
    f64x16 top, factor;
} softmax_of;

INLINE f64x16 raised_probability(const softmax_of *of, f32x16 logits)
{
    const f64x16 e = f64_exp(f64_sub(f64_of_f32(logits), of->top));
    return f64_add(f64_mul(e, of->factor), f64_set1(1e-8));
}

INLINE f64x16 raised_divergence_of(const softmax_of *first, f32x16 a, const softmax_of *other, f32x16 b)
{
    const f64x16 p = raised_probability(first, a), q = raised_probability(other, b);
    return f64_mul(p, f64_sub(f64_log2(p), f64_log2(q)));
}

double KERNEL(raised_divergence)(const float *first, const double first_sum[2], const float *other,
                                 const double other_sum[2], size_t n)
{
    const softmax_of p = {f64_set1(first_sum[0]), f64_set1(1 / first_sum[1])},
                     q = {f64_set1(other_sum[0]), f64_set1(1 / other_sum[1])};
    f64x16 sum = f64_set1(0);
    size_t at = 0;
    for (; at + 16 <= n; at += 16)
        sum = f64_add(sum, raised_divergence_of(&p, f32_load(first + at), &q, f32_load(other + at)));
    if (at < n) {
        const f32x16 a = f32_load_part(first + at, n - at), b = f32_load_part(other + at, n - at);
        sum = f64_add(sum, f64_keep(lanes_below(n - at), raised_divergence_of(&p, a, &q, b)));
    }
    return 0.69314718055994531 /* ln 2 */ * f64_fold(sum);
}

/* For p = 0 the term takes the logarithm of the smallest normal number instead, and 0 times that is 0. */
double KERNEL(entropy)(const double *p, size_t n)
{
    f64x16 sum = f64_set1(0);
    for (size_t at = 0; at < n; at += 16) {
        double full[16] = {0};
        if (n - at < 16)
            __builtin_memcpy(full, p + at, (n - at) * sizeof *p);
        const f64x16 x = f64_load(n - at < 16 ? full : p + at);
        sum = f64_sub(sum, f64_mul(x, f64_log2(f64_max(x, f64_set1(0x1p-1022)))));
    }
    return f64_fold(sum);
}

/* ---- the selective scan (organ_selective_scan) ---- */

/* A linear recurrence whose decay differs by channel, state and token. The states of 16 channels are processed at a
 * time; the caller bounds the channels of a call so that their states stay in the cache closest to the core. */

/* Processes one token of n <= 16 channels from channel `from` on by the recurrence of Mamba (Gu and Dao 2023). For
 * each state i of a channel: h_i = exp(A_i dt) h_i + B_i dt x. Then y = sum of C_i h_i + D x, which replaces x. In
 * the structure, A is `rates`, dt `steps`, B `writes`, C `reads` and D `skip`. */
INLINE void scan_channels(const organ_selective_scan *s, size_t t, size_t from, const size_t n)
{
    float *const at = s->values + t * s->value_stride + from;
    const float *const writes = s->writes + t * s->write_stride, *const reads = s->reads + t * s->read_stride;
    const f32x16 value = f32_load_first(at, n), step = f32_load_first(s->steps + t * s->step_stride + from, n);
    const f32x16 written = f32_mul(step, value);
    f32x16 sum = f32_set1(0);
    for (size_t i = 0; i < s->states; i++) {
        float *const row = s->state + i * s->state_stride + from;
        const f32x16 decay = f32_exp(f32_mul(f32_load_first(s->rates + i * s->rate_stride + from, n), step));
        const f32x16 state = f32_fma(f32_set1(writes[i]), written, f32_mul(decay, f32_load_first(row, n)));
        f32_store_first(row, state, n);
        sum = f32_fma(f32_set1(reads[i]), state, sum);
    }
    f32_store_first(at, f32_fma(f32_load_first(s->skip + from, n), value, sum), n);
}

void KERNEL(selective_scan)(const organ_selective_scan *s)
{
    for (size_t t = 0; t < s->tokens; t++) {
        size_t from = 0;
        for (; from + 16 <= s->channels; from += 16)
            scan_channels(s, t, from, 16);
        if (from < s->channels)
            scan_channels(s, t, from, s->channels - from);
    }
}

#endif
