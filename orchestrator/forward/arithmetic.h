/* SPDX-License-Identifier: MIT
 * Arithmetic of the forward pass on rows of numbers: norms, activations, softmax (linear.c). */
#ifndef ORGAN_FORWARD_ARITHMETIC_H
#define ORGAN_FORWARD_ARITHMETIC_H

#include "formats/architecture/families.h"

#include <organ/kernels.h>

/* Computes the RMSNorm of n values: y = x / sqrt(mean(x^2) + eps) * (plus + w), or without the last factor if w is
 * NULL. y may be x. */
void organ_forward_norm(const float *x, const float *w, float plus, double eps, size_t n, float *y);
/* A norm: multiplies by plus + weight (`weights` NULL: by 1); a LayerNorm also adds `biases` (NULL: none). */
typedef struct forward_norm {
    organ_norm kind;
    const float *weights, *biases;
    float plus;
    double eps;
} forward_norm;
/* Computes the norm of n values, an RMSNorm or a LayerNorm by norm->kind; y may be x. */
void organ_forward_norm_by(const forward_norm *norm, const float *x, size_t n, float *y);
/* Returns the mean of the squares of n values. */
float organ_forward_mean_square(const float *x, size_t n);
/* Computes x = max(x - (mean + cut x standard deviation), 0), with mean and deviation (over n) of the n numbers. */
void organ_forward_cut(float *x, size_t n, float cut);
/* Computes rates[k] = -e^stored[k] for `count` numbers of the tensor A_log, or copies them if the file already has
 * -e^A_log (sizes->exp_stored). `stored` may be `rates`. */
void organ_forward_rates(const organ_kernels *kernels, const organ_recurrent_config *sizes, const float *stored,
                         float *rates, size_t count);
/* Limits n values to +-limit; `limit` 0 means no limit. */
void organ_forward_clip(float limit, float *values, size_t n);
/* Replaces each value by 1 / (1 + e^-x). */
void organ_forward_logistic(const organ_kernels *kernels, float *values, size_t n);
/* Computes gate = min(act(gate), limit) * u, with u the value of up within +-limit (Step3p7MLP of transformers). */
void organ_forward_gate_limited(const organ_kernels *kernels, organ_activation activation, float limit, float *gate,
                                const float *up, size_t n);
/* Computes gate = (clamp(up) + 1) * g * logistic(alpha * g), with g the smaller of gate and limit, and up within
 * +-limit: the clamped SwiGLU of gpt-oss (transformers, GptOssExperts._apply_gate). `up` is changed. */
void organ_forward_gate_clamped(const organ_kernels *kernels, float limit, float alpha, float *gate, float *up,
                                size_t n);
/* The parameters of xIELU: a, b, beta and eps of the equation in linear.c. */
typedef struct forward_xielu {
    float positive, negative, beta, eps;
} forward_xielu;
/* Computes x = act(x), for a feed-forward without a gate; only ORGAN_XIELU uses `xielu`. */
void organ_forward_activate(const organ_kernels *kernels, organ_activation activation, const forward_xielu *xielu,
                            float *x, size_t n);
/* Computes gate = act(gate) * up. */
void organ_forward_gate(const organ_kernels *kernels, organ_activation activation, float *gate, const float *up,
                        size_t n);
/* The scale and soft cap (0: none) of attention scores, and the width of a value. */
typedef struct forward_softmax {
    const organ_kernels *kernels;
    float scale, cap;
    size_t dim;
} forward_softmax;

/* One step of the online softmax, for a block of n keys: scores[lo .. hi) become exp(cap(scale * score) - *top), the
 * other scores 0. *top is the largest score so far, initially -infinity. If it rises, *sum and out[0 .. dim), computed
 * with the old maximum, are multiplied by exp(old - new). The block's scores, now exp(...), are added to *sum.
 * Subtracting the maximum prevents overflow of exp. */
void organ_forward_softmax_block(const forward_softmax *softmax, float *scores, size_t lo, size_t hi, size_t n,
                                 float *top, float *sum, float *out);

#endif
