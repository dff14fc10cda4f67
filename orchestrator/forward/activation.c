/* SPDX-License-Identifier: MIT
 * Activations of a feed-forward without a gate: down(act(up(x))).
 *
 * relu2 is max(x, 0)^2 [So et al. 2021]. xIELU [Huang and Schlag 2024, arXiv:2411.13010], with
 * a = softplus(alpha_p) and b = beta + softplus(alpha_n), is
 *     x > 0: a x^2 + beta x
 *     else:  b (expm1(min(x, eps)) - x) + beta x */
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>
#include <string.h>

#define VALUES_AT_ONCE ((size_t)256)

/* Applies a gated kernel with up = 1, which does not change a bit of act(x). */
static void activate_by_gate(const organ_kernels *kernels, organ_activation activation, float *x, size_t n)
{
    float ones[VALUES_AT_ONCE];
    for (size_t k = 0; k < VALUES_AT_ONCE; k++)
        ones[k] = 1;
    for (size_t first = 0; first < n; first += VALUES_AT_ONCE)
        organ_forward_gate(kernels, activation, x + first, ones, organ_lesser(VALUES_AT_ONCE, n - first));
}

/* e^t - 1 for -0.5 <= t <= 0 by its series; the first term that is left out is below 2^-31 of the result. */
static float brief_expm1(float t)
{
    float sum = 1;
    for (int k = 9; k > 1; k--)
        sum = 1 + sum * t / (float)k;
    return t * sum;
}

static void xielu(const organ_kernels *kernels, const forward_xielu *p, float *x, size_t n)
{
    float powers[VALUES_AT_ONCE];
    for (size_t k = 0; k < n; k++)
        powers[k] = fminf(x[k], p->eps);
    kernels->exp_below(powers, n, 0);
    for (size_t k = 0; k < n; k++) {
        const float t = fminf(x[k], p->eps), below = t < -0.5F ? powers[k] - 1 : brief_expm1(t);
        const float bent = x[k] > 0 ? p->positive * x[k] * x[k] : (below - x[k]) * p->negative;
        x[k] = bent + p->beta * x[k];
    }
}

void organ_forward_activate(const organ_kernels *kernels, organ_activation activation, const forward_xielu *p, float *x,
                            size_t n)
{
    if (activation == ORGAN_XIELU)
        for (size_t first = 0; first < n; first += VALUES_AT_ONCE)
            xielu(kernels, p, x + first, organ_lesser(VALUES_AT_ONCE, n - first));
    else if (activation == ORGAN_RELU || activation == ORGAN_RELU_SQUARED)
        for (size_t k = 0; k < n; k++) {
            const float positive = x[k] < 0 ? 0 : x[k];
            x[k] = activation == ORGAN_RELU ? positive : positive * positive;
        }
    else
        activate_by_gate(kernels, activation, x, n);
}
