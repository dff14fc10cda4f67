/* SPDX-License-Identifier: MIT
 * What a linear layer's inputs are like over the calibration tokens: the second moments that pruning and quantising by
 * activations stand on. The same bits on every machine, for any number of threads and ranks, and however the tokens are
 * cut into calls. */
#ifndef ORGAN_CALIBRATION_H
#define ORGAN_CALIBRATION_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/along_text/saliency.h"

/* Columns of a tile, and of a block of H where it is block-diagonal. */
#define ORGAN_CALIBRATION_BLOCK   ORGAN_SALIENCY_BLOCK
#define ORGAN_CALIBRATION_DAMPING 0.01 /* of the mean of the diagonal, for the contribution */

typedef struct organ_calibration_options {
    size_t features;  /* inputs of the layer, 1 .. 2^20 */
    const char *name; /* for messages; must outlive the calibration */
    uint64_t seed;    /* of the input noise, together with `layer` */
    uint32_t layer;
    bool moments_only;   /* stability and contribution are not wanted: they are 1, and seed, layer and levels have no
                            meaning */
    bool two_streams;    /* the inputs in the donor are given as well and C is summed; else C is H */
    const float *levels; /* organ_normal_levels() of somebody who makes many; must outlive the tokens. NULL: its own */
    /* With two streams, the weights W of the only matrix behind these inputs, rows x features, or without values: where
     * it is less work and H is whole, W (C - H) is summed in place of C. They must outlive the last
     * organ_calibration_add and not change. */
    organ_factor weights;
    size_t rows;
} organ_calibration_options;

/* Whether weights of so many rows would be used. */
bool organ_calibration_takes_weights(size_t rows, size_t features);

/* Bytes of its sums, and of the FP32 copies while a matrix is pruned: with H whole or in blocks, and for the weights of
 * so many rows (0: without). */
uint64_t organ_calibration_memory(uint64_t features, uint64_t rows, bool two_streams, bool whole);

/* What is known after organ_calibration_finish. H and C are sums over tokens, not means, in FP64. They lie as blocks
 * along the diagonal, each row by row, one behind the other: one block of features x features, or blocks of
 * ORGAN_CALIBRATION_BLOCK where the whole does not fit the memory. Block k begins at k * block * block and is
 * min(block, features - k * block) wide. */
typedef struct organ_input_moments {
    size_t features, block;
    uint64_t tokens;
    const double *h;    /* X_p^T X_p: of a block only what is on or above the diagonal; a finite number. NULL where only
                           norms are known */
    const double *c;    /* X_d^T X_p, whole; NULL with one stream or where `bent` is there */
    const double *bent; /* W (X_d - X_p)^T X_p, rows x features; NULL without weights, or where they were not used */
    size_t rows;        /* of bent; else 0 */
    double mean_diagonal;      /* of H / tokens */
    const float *act_norm;     /* per feature: sqrt(mean x^2) */
    const float *stability;    /* 1 / (1 + CV^2) of |x + noise|, in (0, 1]; 1 for an input that is always zero */
    const float *contribution; /* 1 / sqrt(H_jj [H^-1]_jj) within its tile, in (0, 1] */
} organ_input_moments;

typedef struct organ_calibration organ_calibration;

/* H is whole where organ_calibration_memory fits the engine's memory. `engine` must outlive the calibration.
 * ORGAN_USAGE for an impossible number of features, ORGAN_IO without memory. */
organ_status organ_calibration_create(const organ_calibration_options *options, const organ_engine *engine,
                                      organ_calibration **calibration, organ_error *error);
void organ_calibration_destroy(organ_calibration *calibration); /* NULL is allowed */

/* Takes the inputs of the next tokens, tokens x features row by row: behind pruned layers and in the donor (NULL with
 * one stream). ORGAN_BAD_INPUT for a value that is not finite or beyond 1e15, named by token and feature; then no more
 * may be added. ORGAN_USAGE after organ_calibration_finish, or where donor_inputs are given or missing against
 * `two_streams`. */
organ_status organ_calibration_add(organ_calibration *calibration, const float *pruned_inputs,
                                   const float *donor_inputs, size_t tokens, organ_error *error);

/* Among the engine's ranks all are given all tokens, and each sums its share of the moments. Here, after the last
 * token, all get the sums of all; to be called by all once they have agreed that no fault has kept one from it.
 * ORGAN_IO where they cannot be reached. Without ranks there is nothing to do. */
organ_status organ_calibration_complete(organ_calibration *calibration, organ_error *error);

/* To be called once, after the last token. ORGAN_BAD_INPUT where there was no token or all inputs were zero: there is
 * nothing to go by. */
organ_status organ_calibration_finish(organ_calibration *calibration, organ_error *error);

/* A finished calibration of which nothing is known but act_norm: no H and no C, stability and contribution 1. `norms`
 * are features numbers, finite, none negative, not all 0 (ORGAN_BAD_INPUT, named by feature); `tokens` is what they
 * were taken over, as somebody says. Seed, layer and streams of the options have no meaning. */
organ_status organ_calibration_from_norms(const organ_calibration_options *options, const float *norms, uint64_t tokens,
                                          organ_calibration **calibration, organ_error *error);

/* NULL before it is finished. Belongs to the calibration. */
const organ_input_moments *organ_calibration_moments(const organ_calibration *calibration);

#endif
