/* SPDX-License-Identifier: MIT
 * State of --heal, shared by its sources: experts_heal.c runs the calibration text, heal_chunk.c collects the rows of
 * the regression, heal_layer.c solves it and writes the matrices. */
#ifndef ORGAN_EXPERTS_HEAL_JOB_H
#define ORGAN_EXPERTS_HEAL_JOB_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/experts/experts_heal.h"

/* Regression rows of the tokens of a chunk. For each token: `blocks`, the indices of its experts among the kept ones
 * (`used` numbers); `inputs`, the inputs of their down projections times the gates (used x width); and `target`, the
 * target state minus the hidden state with kept experts (hidden). */
typedef struct organ_heal_rows {
    uint32_t *blocks;
    float *inputs, *target;
} organ_heal_rows;

/* A layer of the donor. Arrays are NULL if it has no experts. */
typedef struct organ_heal_layer {
    bool cut;                     /* the layer loses experts */
    bool known;                   /* `choice` is set */
    bool *kept;                   /* a flag for each expert of the donor */
    uint32_t *place;              /* for each kept expert of the donor, its index among the kept ones */
    size_t count;                 /* number of kept experts */
    const organ_tensor **tensors; /* for each expert of the donor, the tensor of its down projection */
    uint64_t *matrices;           /* for each expert, the index of its matrix in that tensor */
    organ_ridge_choice choice;
} organ_heal_layer;

/* The refit of the kept experts of all layers. */
struct organ_expert_heal {
    organ_expert_heal_options options;
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_targets targets; /* empty: layers are processed as a whole, without target matrices */
    organ_calibration_run *calib;
    const organ_forward_config *config;
    organ_heal_layer *layers; /* layers of the donor */
    size_t layer_count;       /* includes layers of multi-token prediction */
    bool *resolved;           /* a flag for each tensor of the model: its values change */
    organ_cut_run *run;       /* the output; valid during organ_expert_heal_run */
    /* Set while a layer is refitted: */
    bool open; /* the current layer is refitted; false: it is unchanged, or read back */
    organ_ridge *ridge;
    /* Buffers for one chunk: normalised inputs and router logits of its tokens; their state after the layer with all
     * experts; and inputs and hidden channels of the tokens of one expert. */
    float *normed, *logits, *dense, *gathered, *inner;
    organ_choice *chosen;    /* `used` kept experts of each token */
    size_t *turn;            /* for each gathered row of an expert: its index in `chosen` */
    organ_heal_rows rows[2]; /* of this rank's chunk, and of the chunk of another rank (only if there are several
                              * ranks) */
};

/* Implements organ_calibration_work.compare: adds the rows of a chunk to the regression. */
organ_status organ_heal_compare(void *context, const organ_calibration_layer *layer, const organ_windows *windows,
                                size_t chunk, float *donor, float *changed, organ_error *error);

/* Implements organ_calibration_work.leave: solves for the matrices after all chunks have passed through the layer, or
 * reads back those of an interrupted run. Leaves the loaded layer with the weights of the pruned model. */
organ_status organ_heal_finish(void *context, const organ_calibration_layer *layer, organ_error *error);

#endif
