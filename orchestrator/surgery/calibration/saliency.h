/* SPDX-License-Identifier: MIT
 * Importance of an input, apart from its weight: strength, stability under noise, and the share that the other inputs
 * cannot explain. */
#ifndef ORGAN_SALIENCY_H
#define ORGAN_SALIENCY_H

#include <organ/kernels.h>

#define ORGAN_INPUT_NOISE    0.1           /* sigma: the deviation of the noise as a share of act_norm, the RMS of x */
#define ORGAN_SALIENCY_BLOCK ((size_t)256) /* greatest number of features per call */

/* The noise of a layer's inputs: for each token and feature a value of `levels`, at the index that organ_saliency_noise
 * computes. */
typedef struct organ_input_noise {
    const float *levels; /* organ_normal_levels() */
    uint64_t seed;
    uint32_t layer; /* index of the layer; layers with different indices have different noise */
} organ_input_noise;

/* Sums over tokens, one for each feature, in FP64. x is the input, n its noise of deviation 1, and e = sigma act_norm n
 * the scaled noise. The sum of (x + e)^2 follows from xx, xn and nn for any act_norm, so one pass suffices although
 * act_norm is known only at the end. |x + e| is s (x + e) with s the sign of x + e. The sign is computed with the
 * act_norm of the tokens so far: the error of sx and sn is of second order in the later change of act_norm. */
typedef struct organ_saliency_sums {
    double *xx, *xn, *nn, *sx, *sn; /* sums of x^2, x n, n^2, s x and s n: a value for each feature */
} organ_saliency_sums;

/* Divides the normal distribution of mean 0 and deviation 1 into 65,536 equal shares and returns a value for each
 * share, ascending. The caller frees them; NULL if memory cannot be allocated. */
float *organ_normal_levels(void);

/* Computes the noise of features first .. first + n - 1 for a token, as indices of the levels: Philox4x32-10 with key =
 * seed and counter = (feature / 8, layer, token, token >> 32), 16 bits each, low half of a word first. `first` is a
 * multiple of 8. */
void organ_saliency_noise(uint64_t seed, uint32_t layer, uint64_t token, size_t first, uint16_t *noise, size_t n);

/* Adds tokens [token, token + tokens) to the sums of features [first, first + n), n <= ORGAN_SALIENCY_BLOCK and first a
 * multiple of it. `inputs` has a row of `stride` features for each of these tokens, from feature 0 on. Tokens must be
 * added in order. */
void organ_saliency_add(const organ_saliency_sums *sums, const organ_input_noise *noise, uint64_t token, size_t tokens,
                        const float *inputs, size_t stride, size_t first, size_t n);

/* Computes act_norm and stability of one feature from its sums over `tokens` tokens. */
void organ_saliency_finish(const organ_saliency_sums *sums, size_t feature, uint64_t tokens, float *act_norm,
                           float *stability);

/* Computes the contribution (organ_input_moments in calibration.h) of `width` inputs, at most ORGAN_SALIENCY_BLOCK,
 * from the upper triangle of their H, a sum over `tokens` tokens. A row of H has `stride` values. `damping` is added to
 * the diagonal of H / tokens. Returns false if the damped matrix is not positive definite, or memory cannot be
 * allocated. */
bool organ_saliency_contribution(const organ_kernels *kernels, const double *h, size_t stride, size_t width,
                                 uint64_t tokens, double damping, float *contribution);

#endif
