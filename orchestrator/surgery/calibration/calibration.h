/* SPDX-License-Identifier: MIT
 * Input statistics of a linear layer over the calibration tokens: the second moments that pruning and quantisation use.
 * Results are bit-identical on every machine, for any number of threads and ranks, and for any division of the tokens
 * into calls. */
#ifndef ORGAN_CALIBRATION_H
#define ORGAN_CALIBRATION_H

#include <organ/stream.h>
#include "orchestrator/surgery/calibration/saliency.h"

/* Features of a tile, the unit of the computation, and of a diagonal block of H if H does not fit in memory whole. */
#define ORGAN_CALIBRATION_BLOCK ORGAN_SALIENCY_BLOCK
/* The number added to the diagonal of H / tokens before the contribution is computed, as a share of the diagonal's
 * mean. */
#define ORGAN_CALIBRATION_DAMPING 0.01

/* The layer whose inputs a calibration gets, and the statistics to compute. H and C: see organ_input_moments. */
typedef struct organ_calibration_options {
    size_t features;  /* inputs of the layer, 1 .. 2^20 */
    const char *name; /* for messages; must outlive the calibration */
    uint64_t seed;    /* seed of the input noise, together with `layer` */
    uint32_t layer;
    bool moments_only;   /* do not compute stability and contribution: they are 1, and seed, layer and levels are
                          * ignored */
    bool two_streams;    /* organ_calibration_add also gets the donor's inputs, and C is summed; false: C is H */
    const float *levels; /* organ_normal_levels(), shared by several calibrations; must outlive organ_calibration_add.
                          * NULL: allocated here */
    unsigned char *scratch; /* organ_products_scratch(engine) bytes, aligned to 64, shared by calibrations that are not
                             * used at the same time; must outlive organ_calibration_finish. NULL: allocated here */
    size_t tokens;          /* upper bound of the number of tokens that will be added; 0: none is known */
    /* With two streams: the weights W, rows x features, of the matrix with these inputs, if it is the only one; else
     * weights.values is NULL. If H is whole and organ_calibration_takes_weights, W (C - H) is summed instead of C. The
     * weights must outlive the last organ_calibration_add and not change. */
    organ_product_operand weights;
    size_t rows; /* rows of W */
} organ_calibration_options;

/* Returns true if a calibration with options.weights of `rows` rows would sum W (C - H), because that is less work than
 * C: `rows` is below half of `features`. */
bool organ_calibration_takes_weights(size_t rows, size_t features);

/* Returns the bytes of the sums in FP64 and of their FP32 copies while a matrix is pruned. `undivided`: H is one
 * matrix; false: diagonal blocks. `rows`: rows of options.weights, 0 without weights. */
uint64_t organ_calibration_memory(uint64_t features, uint64_t rows, bool two_streams, bool undivided);

/* The results of organ_calibration_finish. X_p are the inputs in the pruned model, tokens x features, and X_d those in
 * the donor. H = X_p^T X_p and C = X_d^T X_p are sums over tokens, not means, in FP64. H and C are each stored as
 * consecutive blocks of the diagonal, each block row-major: one block of features x features, or blocks of
 * ORGAN_CALIBRATION_BLOCK if the whole matrix does not fit in memory. Block k begins at entry k * block * block; the
 * last block has the remaining features. */
typedef struct organ_input_moments {
    size_t features, block; /* inputs; width of a diagonal block of H and C: `features` if they are whole */
    uint64_t tokens;        /* number of tokens in the sums */
    const double *h;        /* H, only the upper triangle of each block; finite. NULL after
                             * organ_calibration_from_norms */
    const double *c;        /* C, both triangles of each block; NULL with one stream or if `drift` is set */
    const double *drift;    /* W (X_d - X_p)^T X_p, rows x features; NULL without weights, or if they were not used */
    size_t rows;            /* rows of `drift`; else 0 */
    double mean_diagonal;   /* mean of the diagonal of H / tokens */
    const float *act_norm;  /* per feature: sqrt(mean x^2) */
    /* per feature: 1 / (1 + CV^2), where CV is standard deviation / mean of |x + noise|, in (0, 1]; 1 for an input that
     * is always zero */
    const float *stability;
    const float *contribution; /* per feature j: 1 / sqrt(T_jj [T^-1]_jj), where T is the damped tile of H with feature
                                  j; in (0, 1] */
} organ_input_moments;

typedef struct organ_calibration organ_calibration;

/* Creates a calibration without tokens. H is whole if organ_calibration_memory is at most engine->memory. `engine` must
 * outlive the calibration. Returns ORGAN_USAGE if the number of features is out of range, ORGAN_IO if memory cannot be
 * allocated. */
organ_status organ_calibration_create(const organ_calibration_options *options, const organ_engine *engine,
                                      organ_calibration **calibration, organ_error *error);
void organ_calibration_destroy(organ_calibration *calibration); /* NULL is allowed */

/* Adds the inputs of the next tokens, tokens x features, row-major: those in the pruned model and those in the donor
 * (NULL with one stream). Returns ORGAN_BAD_INPUT, naming token and feature, if a value is not finite or beyond 1e15;
 * then no more tokens may be added. Returns ORGAN_USAGE after organ_calibration_finish, if donor_inputs contradict
 * `two_streams`, or if there are more tokens than `tokens`. */
organ_status organ_calibration_add(organ_calibration *calibration, const float *pruned_inputs,
                                   const float *donor_inputs, size_t tokens, organ_error *error);

/* Sends the sums of each rank to all other ranks: each rank gets all tokens, but sums only its share of the entries of
 * the moments. All ranks call it after the last token, once they have agreed that none has failed. Returns ORGAN_IO if
 * a rank cannot be reached. Does nothing with one rank. */
organ_status organ_calibration_complete(organ_calibration *calibration, organ_error *error);

/* Computes the results; called once, after the last token. Returns ORGAN_BAD_INPUT if there was no token, if all inputs
 * were zero, or if a damped tile of H has no inverse. */
organ_status organ_calibration_finish(organ_calibration *calibration, organ_error *error);

/* Creates a finished calibration that has only act_norm: no H and no C, stability and contribution 1. `norms`
 * are the act_norm of options->features features: finite, none negative, not all 0 (else ORGAN_BAD_INPUT; the message
 * names the feature). `tokens` is the number of tokens that the caller states for them. Seed, layer and streams of the
 * options are ignored. */
organ_status organ_calibration_from_norms(const organ_calibration_options *options, const float *norms, uint64_t tokens,
                                          organ_calibration **calibration, organ_error *error);

/* Returns the results, which belong to the calibration; NULL before organ_calibration_finish. */
const organ_input_moments *organ_calibration_moments(const organ_calibration *calibration);

#endif
