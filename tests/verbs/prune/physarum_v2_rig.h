/* SPDX-License-Identifier: MIT
 * The layer of fixtures/make_physarum_v2_golden.py, and an engine to prune it with. */
#ifndef PHYSARUM_V2_RIG_H
#define PHYSARUM_V2_RIG_H

#include "orchestrator/verbs/prune/prune_matrix.h"

#include <check.h>
#include <jansson.h>

enum {
    LAYER_ROWS = 96,
    LAYER_COLS = 320,
    LAYER_TOKENS = 1100,
    LAYER_DEAD = 17,
    LAYER_WEIGHTS = LAYER_ROWS * LAYER_COLS
};

typedef struct layer {
    float *weights, *inputs, *donor; /* rows x cols, tokens x cols twice */
} layer;

layer make_layer(void);
void free_layer(layer *l);

/* Ends the test if the machine has no such engine. threads = 0: one per core. */
organ_engine make_engine(size_t threads, uint64_t memory);
void free_engine(organ_engine *engine);

/* Accumulates the layer's inputs in calls of that number of tokens and finishes the result. */
organ_calibration *calibrate(const organ_engine *engine, const layer *l, bool two_streams, size_t tokens_a_call);

/* Does the same with both streams and the layer's weights. */
organ_calibration *calibrate_with_weights(const organ_engine *engine, const layer *l, size_t tokens_a_call);

/* Accumulates in one call, without stability and contribution. */
organ_calibration *calibrate_moments(const organ_engine *engine, const layer *l, bool two_streams);

typedef struct pruned {
    float *weights;
    uint8_t *keep;
    organ_prune_matrix_report report;
    organ_error error;
} pruned;

/* Prunes a copy of the layer's weights. */
pruned prune_layer(const organ_engine *engine, const layer *l, const organ_calibration *calibration,
                   organ_prune_matrix_options options);
void free_pruned(pruned *p);

/* Returns the objective of physarum v2 per token, computed from the activations, with damping 0.03 of the mean
 * square. */
double objective(const layer *l, const float *weights);

/* Returns the agreement of the masks with "keep" of a golden document in percent. */
double golden_agreement(const json_t *method, const uint8_t *keep);

Suite *physarum_v2_golden_suite(void);
Suite *physarum_v2_matrix_suite(void);
Suite *physarum_v2_parts_suite(void);
Suite *admm_suite(void);

#endif
