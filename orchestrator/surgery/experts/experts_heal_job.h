/* SPDX-License-Identifier: MIT
 * State of --heal, shared by its sources: experts_heal.c runs the calibration text through the layers (the walk;
 * organ_calibration_run), heal_chunk.c collects the rows of the regression, heal_layer.c solves it and writes the
 * matrices. */
#ifndef ORGAN_EXPERTS_HEAL_JOB_H
#define ORGAN_EXPERTS_HEAL_JOB_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/experts/experts_heal.h"

/* Rows of the regression for the tokens of a chunk, as organ_ridge_add takes them. `used` is the number of experts that
 * the router chooses for a token, `width` their number of hidden channels. */
typedef struct organ_heal_rows {
    uint32_t *blocks; /* tokens x used: the token's experts, as indices among the kept experts of the layer */
    float *inputs;    /* tokens x used x width: inputs of these experts' down projections times their router weights */
    float *target; /* tokens x hidden: what must be added to the state after the layer with kept experts, to reach the
                    * weighted mean of states that ORGAN_EXPERT_HEAL_DONOR_SHARE defines */
} organ_heal_rows;

/* A layer of the donor. Arrays are NULL if it has no experts. */
typedef struct organ_heal_layer {
    bool cut;                     /* the layer loses experts */
    bool known;                   /* `choice` is set: by the regression, or from the journal of an interrupted run */
    bool *kept;                   /* for each expert of the donor, whether it is kept; all false unless `cut` */
    uint32_t *kept_index;         /* for each expert of the donor that is kept, its index among the kept ones */
    size_t count;                 /* number of kept experts */
    const organ_tensor **tensors; /* for each expert of the donor, the tensor of its down projection */
    uint64_t *matrices;           /* for each expert, the index of its matrix in that tensor */
    organ_ridge_choice choice;    /* the chosen lambda, and the held-out errors before and after */
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
    bool *refitted;           /* a flag for each tensor of the model: its values change */
    organ_cut_run *run;       /* the output; valid during organ_expert_heal_run */
    /* Set while a layer is refitted: */
    bool refitting; /* the current layer is refitted; false: it loses no experts, or its refitted matrices are read back
                     */
    organ_ridge *ridge; /* the regression of the layer; NULL unless `refitting` */
    /* Buffers for the tokens of one chunk: */
    float *normed;   /* normalised inputs of router and experts: tokens x hidden */
    float *logits;   /* router logits: tokens x experts; routing overwrites them */
    float *unpruned; /* states after the layer with all experts, computed from the refitted layers before it: tokens x
                      * hidden */
    float *gathered; /* inputs of the tokens that the router sends to one expert: at most tokens x hidden */
    float *inner;    /* inputs of this expert's down projection for these tokens: at most tokens x width */
    organ_expert_choice *chosen; /* the kept experts that the router chooses for each token: tokens x used */
    size_t *choice_indices;      /* for each row of `gathered`, the index in `chosen` of its token and expert */
    organ_heal_rows rows[2]; /* rows of this rank's chunk; rows received from another rank, allocated only if there are
                              * several ranks */
};

/* Implements organ_calibration_work.compare: passes the donor's states of a chunk through the layer. If the layer is
 * refitted, also adds the rows of the chunks of all ranks to the regression. */
organ_status organ_heal_compare(void *context, const organ_calibration_layer *layer, const organ_windows *windows,
                                size_t chunk, float *donor, float *changed, organ_error *error);

/* Implements organ_calibration_work.leave, after all chunks have passed through the layer: solves the regression and
 * writes the refitted down projections to the output, or reads back those of an interrupted run. The loaded layer then
 * has the weights and the kept experts of the output. */
organ_status organ_heal_finish(void *context, const organ_calibration_layer *layer, organ_error *error);

#endif
