/* SPDX-License-Identifier: MIT
 * The statistics of inputs by which physarum scores weights: levels of noise, stability and contribution. */
#include "orchestrator/surgery/calibration/saliency.h"

#include "orchestrator/surgery/algebra/algebra.h"

#include <math.h>
#include <stdlib.h>

#define LEVELS 65536 /* number of values that the noise can have: one for each 16-bit index */

/* Returns x with P(normal < x) = p, for p in (0, 1/2). Newton's method on log P, which is concave in x, starts from
 * the bound P(normal < x) <= exp(-x^2 / 2) / 2. */
static double normal_quantile_below(double p)
{
    double x = -sqrt(-2 * log(2 * p));
    for (int step = 0; step < 60; step++) {
        const double below = 0.5 * erfc(-x * M_SQRT1_2), density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
        const double move = below / density * log(below / p);
        x -= move;
        if (fabs(move) < 1e-13)
            break;
    }
    return x;
}

/* The quantiles have the probabilities (k + 1/2) / LEVELS: the quantile at a random index is normal noise. */
float *organ_normal_levels(void)
{
    float *levels = malloc(LEVELS * sizeof *levels);
    for (size_t k = 0; levels && k < LEVELS / 2; k++) {
        levels[k] = (float)normal_quantile_below(((double)k + 0.5) / LEVELS);
        levels[LEVELS - 1 - k] = -levels[k];
    }
    return levels;
}

void organ_saliency_noise(uint64_t seed, uint32_t layer, uint64_t token, size_t first, uint16_t *noise, size_t n)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[4] = {0};
    for (size_t k = 0; k < n; k++) {
        if (k % 8 == 0) {
            const uint32_t counter[4] = {(uint32_t)((first + k) / 8), layer, (uint32_t)token, (uint32_t)(token >> 32)};
            organ_philox4x32(counter, key, words);
        }
        noise[k] = (uint16_t)(words[k % 8 / 2] >> 16 * (k % 2));
    }
}

/* The sums are those of x^2, x e, e^2, s x and s e, for inputs x and noise e, where s is the sign of x + scale e.
 * The scale is computed from the root mean square of all inputs so far, so tokens must be added in order. */
void organ_saliency_add(const organ_saliency_sums *sums, const organ_input_noise *noise, uint64_t token, size_t tokens,
                        const float *inputs, size_t stride, size_t first, size_t n)
{
    double scale[ORGAN_SALIENCY_BLOCK];
    uint16_t drawn[ORGAN_SALIENCY_BLOCK];
    for (size_t t = 0; t < tokens; t++)
        for (size_t k = 0; k < n; k++) {
            const double x = (double)inputs[t * stride + first + k];
            sums->xx[first + k] += x * x;
        }
    for (size_t k = 0; k < n; k++)
        scale[k] = ORGAN_INPUT_NOISE * sqrt(sums->xx[first + k] / (double)(token + tokens));
    for (size_t t = 0; t < tokens; t++) {
        organ_saliency_noise(noise->seed, noise->layer, token + t, first, drawn, n);
        for (size_t k = 0; k < n; k++) {
            const double x = (double)inputs[t * stride + first + k], e = (double)noise->levels[drawn[k]];
            const double sign = x + scale[k] * e < 0 ? -1.0 : 1.0;
            sums->xn[first + k] += x * e;
            sums->nn[first + k] += e * e;
            sums->sx[first + k] += sign * x;
            sums->sn[first + k] += sign * e;
        }
    }
}

void organ_saliency_finish(const organ_saliency_sums *sums, size_t feature, uint64_t tokens, float *act_norm,
                           float *stability)
{
    const double act = sqrt(sums->xx[feature] / (double)tokens), scale = ORGAN_INPUT_NOISE * act;
    const double mean = (sums->sx[feature] + scale * sums->sn[feature]) / (double)tokens;
    const double square =
        (sums->xx[feature] + 2 * scale * sums->xn[feature] + scale * scale * sums->nn[feature]) / (double)tokens;
    *act_norm = (float)act;
    /* With V the variance, 1 + V / mean^2 = (mean of squares) / mean^2. */
    *stability = square > 0 ? (float)fmin(1, mean * mean / square) : 1.0f;
}

/* The contribution is 1 / sqrt(H_ii (H^-1)_ii): 1 for an input that other inputs do not predict, and smaller the
 * better they predict it. */
bool organ_saliency_contribution(const organ_kernels *kernels, const double *h, size_t stride, size_t width,
                                 uint64_t tokens, double damping, float *contribution)
{
    double *const scratch = malloc((2 * width * width + width) * sizeof *scratch), *const diagonal =
                                                                                       scratch + 2 * width * width;
    bool done = scratch != NULL;
    for (size_t i = 0; done && i < width; i++)
        for (size_t j = i; j < width; j++)
            scratch[j * width + i] = h[i * stride + j] / (double)tokens + (i == j ? damping : 0);
    done = done && organ_inverse_diagonal(kernels, scratch, width, scratch + width * width, diagonal);
    for (size_t i = 0; done && i < width; i++) {
        const double own = h[i * stride + i] / (double)tokens + damping;
        contribution[i] = (float)fmin(1, 1 / sqrt(own * diagonal[i]));
    }
    free(scratch);
    return done;
}
