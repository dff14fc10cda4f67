/* SPDX-License-Identifier: MIT
 * Norms, in loops without branches, which the compiler vectorises; functions with an exponential are kernels. */
#include "orchestrator/forward/job.h"

#include <math.h>
#include <string.h>

/* Sums of 16 lanes, folded by halves. */
static float fold_lanes(const float lanes[16])
{
    float sums[16];
    memcpy(sums, lanes, sizeof sums);
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            sums[l] += sums[l + half];
    return sums[0];
}

void organ_forward_norm(const float *x, const float *w, float plus, double eps, size_t n, float *y)
{
    float lanes[16] = {0};
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += x[k + l] * x[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += x[k] * x[k];
    const float scale = 1.0f / sqrtf(fold_lanes(lanes) / (float)n + (float)eps);
    for (k = 0; k < n; k++)
        y[k] = x[k] * scale * (plus + w[k]);
}

void organ_forward_gate(const organ_kernels *kernels, organ_activation activation, float *gate, const float *up, size_t n)
{
    if (activation == ORGAN_SILU)
        kernels->gate_silu(gate, up, n);
    else if (activation == ORGAN_GELU_TANH)
        kernels->gate_gelu_tanh(gate, up, n);
    else
        kernels->gate_gelu(gate, up, n);
}

float organ_forward_softmax(const organ_kernels *kernels, float *scores, size_t lo, size_t hi, size_t n, float scale, float cap)
{
    memset(scores, 0, lo * sizeof *scores);
    memset(scores + hi, 0, (n - hi) * sizeof *scores);
    float *s = scores + lo, most = -INFINITY;
    const size_t count = hi - lo;
    for (size_t k = 0; k < count; k++)
        s[k] *= scale;
    if (cap > 0)
        kernels->softcap(s, count, cap);
    for (size_t k = 0; k < count; k++)
        most = s[k] > most ? s[k] : most;
    return kernels->exp_below(s, count, most);
}
