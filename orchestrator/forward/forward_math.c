/* SPDX-License-Identifier: MIT
 * Loops without branches, which the compiler turns into vectors. */
#include "orchestrator/forward/forward_job.h"

#include <math.h>
#include <string.h>

/* e^x within 2 ulp: 2^n e^r, |r| <= ln 2 / 2, by a polynomial. Arguments are held to where the result is a normal number. */
static inline float exponential(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, in the low bits */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float moved = x * 1.44269504f + shift, n = moved - shift;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits, scale;
    memcpy(&bits, &moved, sizeof bits);
    scale = (bits + 127u) << 23;
    float power;
    memcpy(&power, &scale, sizeof power);
    return p * power;
}

/* Sums of 16 lanes, folded by halves. */
static float fold(const float lanes[16])
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
    const float scale = 1.0f / sqrtf(fold(lanes) / (float)n + (float)eps);
    for (k = 0; k < n; k++)
        y[k] = x[k] * scale * (plus + w[k]);
}

void organ_forward_gate(organ_activation activation, float *restrict gate, const float *restrict up, size_t n)
{
    if (activation == ORGAN_SILU)
        for (size_t k = 0; k < n; k++)
            gate[k] = gate[k] / (1.0f + exponential(-gate[k])) * up[k];
    else /* 0.5 (1 + tanh u) = 1 / (1 + e^-2u) */
        for (size_t k = 0; k < n; k++) {
            const float u = 0.79788456f * (gate[k] + 0.044715f * gate[k] * gate[k] * gate[k]);
            gate[k] = gate[k] / (1.0f + exponential(-2.0f * u)) * up[k];
        }
}

void organ_forward_softcap(float *values, size_t n, float cap)
{
    for (size_t k = 0; k < n; k++)
        values[k] = cap * tanhf(values[k] / cap);
}

float organ_forward_softmax(float *scores, size_t lo, size_t hi, size_t n, float scale, float cap)
{
    memset(scores, 0, lo * sizeof *scores);
    memset(scores + hi, 0, (n - hi) * sizeof *scores);
    float *s = scores + lo, most = -INFINITY, lanes[16] = {0};
    const size_t count = hi - lo;
    for (size_t k = 0; k < count; k++)
        s[k] *= scale;
    if (cap > 0)
        organ_forward_softcap(s, count, cap);
    for (size_t k = 0; k < count; k++)
        most = s[k] > most ? s[k] : most;
    for (size_t k = 0; k < count; k++)
        s[k] = exponential(s[k] - most);
    size_t k = 0;
    for (; k + 16 <= count; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += s[k + l];
    for (size_t l = 0; k < count; k++, l++)
        lanes[l] += s[k];
    return fold(lanes);
}
