/* SPDX-License-Identifier: MIT
 * Chooses the factors of channels with which a product of quantised weights and quantised inputs has the least
 * predicted error (docs/definitions/mixed_precision.md, "Smoothing"). */
#ifndef ORGAN_SURGERY_FOLDS_SMOOTH_SEARCH_H
#define ORGAN_SURGERY_FOLDS_SMOOTH_SEARCH_H

#include <organ/base.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_SMOOTH_EXPONENTS 16 /* factors are within 2^-16 .. 2^16 */

/* Magnitudes of weights and inputs by channel, of a sample of rows and of tokens. A channel of several columns has the
 * greatest magnitude and the sum of the squares of its columns. */
typedef struct organ_smooth_problem {
    size_t channels, rows, tokens;
    size_t group; /* number of channels of a row that share a scale of weights */
    /* Arrays, which belong to whoever made the problem. */
    float *weights;                         /* channels x rows */
    float *inputs;                          /* channels x tokens */
    double *weight_squares, *input_squares; /* by channel: sum over the rows, mean of the tokens */
    float *ranges, *greatest;               /* by channel: range of all inputs, greatest magnitude of all weights */
    uint64_t *allowed;                      /* by channel: as of organ_smooth_nearest */
    double weight_levels, input_levels;     /* greatest code; 0: codes are no whole numbers */
    bool alphas_only;                       /* too few tokens to choose channel by channel */
} organ_smooth_problem;

/* Returns the factor of SmoothQuant for a channel: its inputs have the range `range`, the readers' weights the greatest
 * magnitude `reader`. A channel without inputs is not scaled. */
double organ_smooth_factor(double alpha, double range, double reader);

/* Returns the whole number n with 2^(n / steps) nearest to `wanted` by exponent, within 2^-16 .. 2^16. `allowed`: bit
 * n + ORGAN_SMOOTH_EXPONENTS states whether 2^n may be taken, with steps 1; NULL: all may. 2^0 may always be taken. */
int organ_smooth_nearest(double wanted, int steps, const uint64_t *allowed);

/* Sets factors[0 .. channels), and *error_share to the predicted error with them divided by that without. Returns
 * ORGAN_IO if memory runs out. */
organ_status organ_smooth_search(const organ_smooth_problem *problem, float *factors, double *error_share,
                                 organ_error *error);
/* Returns the bytes that organ_smooth_search allocates. */
uint64_t organ_smooth_search_memory(uint64_t channels, uint64_t rows, uint64_t tokens, uint64_t group);

#endif
