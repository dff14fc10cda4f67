/* SPDX-License-Identifier: MIT
 * Inside of heal.h: heal.c walks along the text, heal_chunk.c gathers what is solved for, heal_layer.c solves and puts.
 */
#ifndef ORGAN_EXPERT_HEAL_JOB_H
#define ORGAN_EXPERT_HEAL_JOB_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/experts/heal.h"

/* The tokens of a chunk: for each the experts that work on it, among the kept ones, what their down projections get,
 * times their weights, and what its hidden state lacks. */
typedef struct organ_heal_rows {
    uint32_t *blocks;
    float *inputs, *wanted;
} organ_heal_rows;

typedef struct organ_heal_layer {
    bool cut;                     /* it loses experts */
    bool known;                   /* `choice` is */
    bool *kept;                   /* a flag for each expert, */
    uint32_t *place;              /* and its number among those kept */
    size_t count;                 /* of these */
    const organ_tensor **tensors; /* the down projection of each expert of the donor, */
    uint64_t *matrices;           /* and its number in a stack */
    organ_ridge_choice choice;
} organ_heal_layer;

struct organ_expert_heal {
    organ_expert_heal_options options;
    organ_along_options walk;
    organ_along_work work;
    organ_targets targets; /* none: layers are worked on as a whole */
    organ_along_text *along;
    const organ_forward_config *config;
    organ_heal_layer *layers; /* of the donor, */
    size_t layer_count;       /* those of next-token prediction too */
    bool *resolved;
    organ_cut_run *run;
    /* While a layer is healed: */
    bool open;
    organ_ridge *ridge;
    /* Of a chunk: */
    float *normed, *logits, *dense, *gathered, *inner;
    organ_choice *chosen;
    size_t *turn;            /* of the rows of an expert: which of the choices of all tokens each is */
    organ_heal_rows rows[2]; /* of this rank's chunk, and of another one's; the latter only among ranks */
};

organ_ridge_shape organ_heal_shape(const organ_expert_heal *heal, const organ_heal_layer *layer);

/* As organ_along_work has it. */
organ_status organ_heal_compare(void *context, const organ_along_layer *layer, const organ_windows *windows,
                                size_t chunk, float *donor, float *changed, organ_error *error);

/* All chunks went through the layer: solves it, or takes what was put, and leaves it as the smaller model has it. */
organ_status organ_heal_settle(void *context, const organ_along_layer *layer, organ_error *error);

#endif
