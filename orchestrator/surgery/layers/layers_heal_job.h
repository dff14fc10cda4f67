/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of healing: layers_heal.c runs the text through the model, heal_parts.c
 * lists the matrices to refit, heal_solve.c collects inputs and targets of one part of a block and solves for its
 * weights, heal_final.c scales the final norm, heal_judge.c judges each solution by the whole model. */
#ifndef ORGAN_LAYERS_HEAL_JOB_H
#define ORGAN_LAYERS_HEAL_JOB_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/allocate/variants.h"
#include "orchestrator/surgery/calibration/states.h"
#include "orchestrator/surgery/layers/layers_heal.h"

#define HEAL_HELD     ((size_t)4)  /* at most one window of this many is held out to choose solutions */
#define HEAL_MANY     ((size_t)32) /* from this many windows on, half of that share is held out */
#define HEAL_APART    ((size_t)16) /* one window of this many is used only to fit the final norm */
#define HEAL_TOGETHER ((size_t)6)  /* the most solutions that are judged at a time */

typedef enum heal_use { HEAL_BLOCKS, HEAL_CHOICES, HEAL_NORM, HEAL_USES } heal_use;

/* A matrix of a block that gets other values. */
typedef struct heal_matrix {
    const organ_tensor *tensor;
    uint64_t matrix, rows, cols;
    char name[400]; /* in the forward pass */
    size_t expert;  /* of a routed one; else 0 */
} heal_matrix;

/* The matrices of a block that are solved for together. */
typedef struct heal_part {
    heal_matrix *matrices;
    size_t count;
    size_t blocks, width, used, outputs; /* of the ridge */
} heal_part;

struct organ_layers_heal {
    organ_layers_healing options;
    organ_calibration_run *calib;
    organ_forward *forward;
    organ_windows windows;
    organ_calibration_chunks chunks;
    organ_calibration_states *donor, *cut; /* cut NULL: both are the same up to this layer */
    organ_cut_run *run;
    organ_layers_solved
        *known; /* of each kind of each block, and of the final norm: solved by now, or by an earlier run */
    organ_layers_solved *solved;
    size_t solved_count;
    /* heal_judge.c: */
    uint32_t *judged_tokens;
    size_t *judged_begin;
    organ_windows judged; /* the held-out windows (HEAL_CHOICES) */
    organ_variants *variants;
    size_t together, tried;         /* streams that fit the memory, and streams in use */
    double *results[HEAL_TOGETHER]; /* where the divergences of the streams in use are stored */
    double before,
        divergence; /* KL from the donor: of the smaller model before the heal, and with the solutions taken so far */
    /* The part that is being refitted: */
    int32_t layer;
    organ_layers_kind kind;
    heal_part part;
    organ_layer *loaded, *loaded_donor; /* the block with its present weights, and the donor's */
    organ_ridge *ridge;
    bool ahead;                            /* the donor's states have reached the next kept block */
    float *inputs, *target, *donor_inputs; /* of a chunk */
    uint32_t *blocks;                      /* which experts a token has, tokens x used, ascending, */
    float *gates;                          /* and their weights */
    size_t *routed, *begin;                /* row numbers of `inputs` grouped by expert, and where each group begins */
};

/* Returns whether a block's matrices of that kind are refitted. */
bool organ_layers_heal_is_refitted(const organ_layers_heal *heal, int32_t layer, organ_layers_kind kind);
/* Lists the matrices of a part; part->count may be 0. The caller releases the part also after an error. */
organ_status organ_layers_heal_part_list(const organ_layers_heal *heal, int32_t layer, organ_layers_kind kind,
                                         heal_part *part, organ_error *error);
void organ_layers_heal_part_release(heal_part *part);
/* Returns the index in `known` of the solution that a tensor belongs to. */
size_t organ_layers_heal_number(const organ_layers_heal *heal, const organ_tensor *tensor);
bool organ_layers_heal_before_gap(const organ_layers_heal *heal, int32_t layer);
/* Returns whether the target of that kind is the projection's own output (q, k, v, gate, up) instead of the hidden
 * state. */
bool organ_layers_heal_is_inputs(organ_layers_kind kind);

size_t organ_layers_heal_chunk_tokens(const organ_layers_heal *heal);
organ_ridge_shape organ_layers_heal_shape(const organ_layers_heal *heal, const heal_part *part);
uint64_t organ_layers_heal_memory(const organ_layers_heal *heal, const heal_part *part, bool scratch);

/* Return the windows of a chunk, and the use of one of its windows: to refit blocks, to choose solutions or to fit the
 * final norm. */
organ_windows organ_layers_heal_chunk_at(const organ_layers_heal *heal, size_t chunk);
heal_use organ_layers_heal_use_of(const organ_layers_heal *heal,
                                  size_t window); /* `window`: number in the whole text */
heal_use organ_layers_heal_use(const organ_layers_heal *heal, size_t chunk, size_t window);
/* Collects all chunks, solves for heal->part, and stores the result in the loaded layer and in the output. */
organ_status organ_layers_heal_solve(organ_layers_heal *heal, organ_error *error);
/* ---- heal_judge.c ---- */

/* Lists the held-out windows (HEAL_CHOICES). */
organ_status organ_layers_heal_take_judged(organ_layers_heal *heal, organ_error *error);
uint64_t organ_layers_heal_judge_memory(const organ_layers_heal *heal, size_t together);
/* Runs the held-out windows through the donor. The caller releases heal->variants with organ_variants_close. */
organ_status organ_layers_heal_judge_open(organ_layers_heal *heal, organ_error *error);
/* Judges heal->loaded with its present weights. Sets *divergence to the mean KL divergence of the model with this block
 * over the held-out tokens, in nats, at the latest when organ_layers_heal_finish returns. */
organ_status organ_layers_heal_try(organ_layers_heal *heal, double *divergence, organ_error *error);
organ_status organ_layers_heal_finish(organ_layers_heal *heal, organ_error *error);
/* Judges the donor's kept blocks from `layer` on, the block that the stream has reached. */
organ_status organ_layers_heal_judge_rest(organ_layers_heal *heal, size_t layer, double *divergence,
                                          organ_error *error);
/* Judges the final norm multiplied by `times`; called after the last block. */
organ_status organ_layers_heal_judge_final(organ_layers_heal *heal, double times, double *divergence,
                                           organ_error *error);

/* Refits the final norm, after both streams have passed the last block. */
organ_status organ_layers_heal_final(organ_layers_heal *heal, organ_error *error);

#endif
