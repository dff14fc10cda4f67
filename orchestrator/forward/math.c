/* SPDX-License-Identifier: MIT
 * Norms, activations and the online softmax on rows of numbers. Loops are written for vectorisation by the compiler;
 * exp and tanh are computed by kernels. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>
#include <string.h>

/* Adds by halves in the order of the kernels, so that bits do not depend on vectorisation. */
static float math_fold_lanes(const float lanes[16])
{
    float sums[16];
    memcpy(sums, lanes, sizeof sums);
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            sums[l] += sums[l + half];
    return sums[0];
}

/* The squares are summed in 16 lanes in a fixed order, so the bits are the same with all instruction sets. */
float organ_forward_mean_square(const float *x, size_t n)
{
    float lanes[16] = {0};
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += x[k + l] * x[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += x[k] * x[k];
    return math_fold_lanes(lanes) / (float)n;
}

void organ_forward_norm(const float *x, const float *w, float plus, double eps, size_t n, float *y)
{
    const float scale = 1.0f / sqrtf(organ_forward_mean_square(x, n) + (float)eps);
    size_t k;
    for (k = 0; !w && k < n; k++)
        y[k] = x[k] * scale;
    for (k = 0; w && k < n; k++)
        y[k] = x[k] * scale * (plus + w[k]);
}

/* Sums (x - *mean)^2, or x if `mean` is NULL, in the order of organ_forward_mean_square. */
static float sum_about(const float *x, size_t n, const float *mean)
{
    float lanes[16] = {0};
    for (size_t k = 0; k < n; k++) {
        const float off = mean ? x[k] - *mean : 0;
        lanes[k % 16] += mean ? off * off : x[k];
    }
    return math_fold_lanes(lanes);
}

/* y = (x - mean) / sqrt(variance + eps) x (plus + weight) + bias; without weights the factor is 1. */
static void layer_norm(const forward_norm *norm, const float *x, size_t n, float *y)
{
    const float mean = sum_about(x, n, NULL) / (float)n;
    const float scale = 1.0f / sqrtf(sum_about(x, n, &mean) / (float)n + (float)norm->eps);
    for (size_t k = 0; k < n; k++) {
        const float unit = (x[k] - mean) * scale, weight = norm->weights ? norm->plus + norm->weights[k] : 1;
        y[k] = norm->biases ? unit * weight + norm->biases[k] : unit * weight;
    }
}

void organ_forward_norm_by(const forward_norm *norm, const float *x, size_t n, float *y)
{
    if (norm->kind == ORGAN_NORM_LAYER)
        layer_norm(norm, x, n, y);
    else
        organ_forward_norm(x, norm->weights, norm->plus, norm->eps, n, y);
}

/* Only the largest activations remain (Gemma 3n). */
void organ_forward_cut(float *x, size_t n, float cut)
{
    float lanes[16] = {0};
    for (size_t k = 0; k < n; k++)
        lanes[k % 16] += x[k];
    const float mean = math_fold_lanes(lanes) / (float)n;
    memset(lanes, 0, sizeof lanes);
    for (size_t k = 0; k < n; k++)
        lanes[k % 16] += (x[k] - mean) * (x[k] - mean);
    const float from = mean + sqrtf(math_fold_lanes(lanes) / (float)n) * cut;
    for (size_t k = 0; k < n; k++)
        x[k] = x[k] > from ? x[k] - from : 0;
}

void organ_forward_gate(const organ_kernels *kernels, organ_activation activation, float *gate, const float *up,
                        size_t n)
{
    if (activation == ORGAN_SILU)
        kernels->gate_silu(gate, up, n);
    else if (activation == ORGAN_GELU_TANH)
        kernels->gate_gelu_tanh(gate, up, n);
    else if (activation == ORGAN_RELU || activation == ORGAN_RELU_SQUARED)
        for (size_t k = 0; k < n; k++) {
            const float positive = gate[k] < 0 ? 0 : gate[k];
            gate[k] = (activation == ORGAN_RELU ? positive : positive * positive) * up[k];
        }
    else
        kernels->gate_gelu(gate, up, n);
}

/* Uses the kernel of SiLU: g logistic(alpha g) is silu(alpha g) / alpha, so gate is set to alpha g and up to (up +
 * 1) / alpha first. A NaN stays a NaN. */
void organ_forward_gate_clamped(const organ_kernels *kernels, float limit, float alpha, float *gate, float *up,
                                size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const float g = gate[k] > limit ? limit : gate[k], below = up[k] > limit ? limit : up[k];
        gate[k] = alpha * g;
        up[k] = ((below < -limit ? -limit : below) + 1) / alpha;
    }
    kernels->gate_silu(gate, up, n);
}

/* A NaN is never larger. Independent lanes let the compiler use vectors. */
static float largest_of(const float *x, size_t n, float most)
{
    float lanes[16];
    size_t k = 0;
    for (size_t l = 0; l < 16; l++)
        lanes[l] = most;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] = x[k + l] > lanes[l] ? x[k + l] : lanes[l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] = x[k] > lanes[l] ? x[k] : lanes[l];
    for (size_t l = 0; l < 16; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

void organ_forward_softmax_block(const forward_softmax *softmax, float *scores, size_t lo, size_t hi, size_t n,
                                 float *top, float *sum, float *out)
{
    const organ_kernels *const kernels = softmax->kernels;
    float *const s = scores + lo;
    const size_t count = hi - lo;
    memset(scores, 0, lo * sizeof *scores);
    memset(scores + hi, 0, (n - hi) * sizeof *scores);
    for (size_t k = 0; k < count; k++)
        s[k] *= softmax->scale;
    if (softmax->cap > 0)
        kernels->softcap(s, count, softmax->cap);
    const float max = largest_of(s, count, *top);
    if (max > *top) {
        float less = *top;
        kernels->exp_below(&less, 1, max);
        *sum *= less;
        for (size_t k = 0; k < softmax->dim; k++)
            out[k] *= less;
        *top = max;
    }
    *sum += kernels->exp_below(s, count, max);
}

/* ---- feed-forwards without a gate ----
 * down(act(up(x))). relu2 is max(x, 0)^2 [So et al. 2021]. xIELU [Huang and Schlag 2024, arXiv:2411.13010], with
 * a = softplus(alpha_p) and b = beta + softplus(alpha_n), is
 *     x > 0: a x^2 + beta x
 *     else:  b (expm1(min(x, eps)) - x) + beta x */

#define VALUES_AT_ONCE ((size_t)256) /* numbers for which activations have buffers on the stack */

/* Uses a gated kernel, whose factor up is 1 and changes no bit. */
static void activate_by_gate(const organ_kernels *kernels, organ_activation activation, float *x, size_t n)
{
    float ones[VALUES_AT_ONCE];
    for (size_t k = 0; k < VALUES_AT_ONCE; k++)
        ones[k] = 1;
    for (size_t first = 0; first < n; first += VALUES_AT_ONCE)
        organ_forward_gate(kernels, activation, x + first, ones, organ_min(VALUES_AT_ONCE, n - first));
}

/* The series for -0.5 <= t <= 0 goes up to t^9 / 9!; the next term is below 2^-30 of the result. */
static float brief_expm1(float t)
{
    float sum = 1;
    for (int k = 9; k > 1; k--)
        sum = 1 + sum * t / (float)k;
    return t * sum;
}

/* The equation is above; `positive` is a, `negative` is b, and n is at most VALUES_AT_ONCE. For t >= -0.5, e^t - 1
 * is computed by its series, because the difference would lose digits. */
static void xielu_activate(const organ_kernels *kernels, const forward_xielu *p, float *x, size_t n)
{
    float powers[VALUES_AT_ONCE];
    for (size_t k = 0; k < n; k++)
        powers[k] = fminf(x[k], p->eps);
    kernels->exp_below(powers, n, 0);
    for (size_t k = 0; k < n; k++) {
        const float t = fminf(x[k], p->eps), below = t < -0.5F ? powers[k] - 1 : brief_expm1(t);
        const float nonlinear = x[k] > 0 ? p->positive * x[k] * x[k] : (below - x[k]) * p->negative;
        x[k] = nonlinear + p->beta * x[k];
    }
}

void organ_forward_activate(const organ_kernels *kernels, organ_activation activation, const forward_xielu *p, float *x,
                            size_t n)
{
    if (activation == ORGAN_XIELU)
        for (size_t first = 0; first < n; first += VALUES_AT_ONCE)
            xielu_activate(kernels, p, x + first, organ_min(VALUES_AT_ONCE, n - first));
    else if (activation == ORGAN_RELU || activation == ORGAN_RELU_SQUARED)
        for (size_t k = 0; k < n; k++) {
            const float positive = x[k] < 0 ? 0 : x[k];
            x[k] = activation == ORGAN_RELU ? positive : positive * positive;
        }
    else
        activate_by_gate(kernels, activation, x, n);
}

void organ_forward_rates(const organ_kernels *kernels, const organ_recurrent_config *sizes, const float *stored,
                         float *rates, size_t count)
{
    if (rates != stored)
        memcpy(rates, stored, count * sizeof *rates);
    if (sizes->exp_stored)
        return;
    kernels->exp_below(rates, count, 0);
    for (size_t k = 0; k < count; k++)
        rates[k] = -rates[k];
}
