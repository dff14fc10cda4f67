/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of healing: layers_heal.c runs the text through both models, heal_parts.c
 * lists the matrices to refit, heal_solve.c collects inputs and targets of one part of a block and solves for its
 * weights, heal_final.c scales the final norm, heal_judge.c judges each solution by the whole model. */
#ifndef ORGAN_LAYERS_HEAL_JOB_H
#define ORGAN_LAYERS_HEAL_JOB_H

#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/allocate/variants.h"
#include "orchestrator/surgery/calibration/states.h"
#include "orchestrator/surgery/layers/layers_heal.h"

/* At most one window of this many is held out to choose solutions; also the least number of windows. */
#define HEAL_HELD     ((size_t)4)
#define HEAL_MANY     ((size_t)32) /* from this many windows on, at most one of 2 HEAL_HELD is held out */
#define HEAL_APART    ((size_t)16) /* one window of this many is used only to fit the final norm */
#define HEAL_TOGETHER ((size_t)6)  /* upper bound of solutions that are judged together */

/* Use of a window: to refit blocks, to choose lambda and step (held out), to fit the final norm. */
typedef enum heal_use { HEAL_BLOCKS, HEAL_CHOICES, HEAL_NORM, HEAL_USES } heal_use;

/* A matrix that is refitted. */
typedef struct heal_matrix {
    const organ_tensor *tensor;
    uint64_t matrix, rows, cols; /* its index in a stack, and its shape */
    char name[400];              /* its name in the forward pass */
    size_t expert;               /* number of a routed expert; else 0 */
} heal_matrix;

/* A part: the matrices of a block that one set of equations refits. */
typedef struct heal_part {
    heal_matrix *matrices;
    size_t count;
    size_t blocks, width, used, outputs; /* sizes of the equations, as in organ_ridge_shape */
} heal_part;

struct organ_layers_heal {
    organ_layers_healing options;
    organ_calibration_run *calib;
    organ_forward *forward;
    organ_windows windows;
    organ_calibration_chunks chunks;
    /* Hidden states of the donor and of the smaller model before the current block; cut NULL: both are equal so far. */
    organ_calibration_states *donor, *cut;
    organ_cut_run *run;
    organ_layers_solved *known; /* solution of each part (organ_layers_heal_number), of this or of an interrupted run */
    organ_layers_solved *solved; /* solutions in the order of the heal */
    size_t solved_count;
    /* heal_judge.c: */
    uint32_t *judged_tokens; /* tokens and begins of `judged` */
    size_t *judged_begin;
    organ_windows judged;           /* held-out windows (HEAL_CHOICES) */
    organ_variants *variants;       /* compares the logits of candidates with the donor's */
    size_t together, tried;         /* number of candidates that fit in memory together; number of pending ones */
    double *results[HEAL_TOGETHER]; /* where the divergences of pending candidates are stored */
    double before,
        divergence; /* divergence of the smaller model from the donor: before the heal, and with the solutions so far */
    /* The part that is being refitted: */
    int32_t layer;
    organ_layers_kind kind;
    heal_part part;
    organ_layer *loaded, *loaded_donor; /* the block with its present weights, and the donor's */
    organ_ridge *ridge;
    /* `donor` has the states before the next kept block, not before the current one. */
    bool ahead;
    float *inputs, *target, *donor_inputs; /* recorded inputs and targets of a chunk */
    uint32_t *blocks;                      /* experts of each token, tokens x used, ascending, */
    float *gates;                          /* and the weights that the router gave them */
    size_t *routed, *begin;                /* rows of `inputs` sorted by expert, and where each expert's rows begin */
};

/* Returns whether a block's matrices of that kind are refitted. */
bool organ_layers_heal_is_refitted(const organ_layers_heal *heal, int32_t layer, organ_layers_kind kind);
/* Lists the matrices of a part and sets the sizes of its equations. Returns ORGAN_BAD_INPUT if the layer has none,
 * ORGAN_USAGE if one is stored transposed. Release the part also after an error. */
organ_status organ_layers_heal_part_list(const organ_layers_heal *heal, int32_t layer, organ_layers_kind kind,
                                         heal_part *part, organ_error *error);
void organ_layers_heal_part_release(heal_part *part);
/* Returns the index in `known` of the solution that a tensor belongs to. */
size_t organ_layers_heal_number(const organ_layers_heal *heal, const organ_tensor *tensor);
/* Returns whether the block after `layer` is dropped. */
bool organ_layers_heal_before_gap(const organ_layers_heal *heal, int32_t layer);
/* Returns whether the target of that kind is the projection's own output (q, k, v, gate, up) instead of the hidden
 * state. */
bool organ_layers_heal_is_inputs(organ_layers_kind kind);

/* Return the number of tokens of a chunk, the sizes of the equations of a part, and the bytes that refitting a part
 * needs in addition to the hidden states (`scratch`: with --scratch). */
size_t organ_layers_heal_chunk_tokens(const organ_layers_heal *heal);
organ_ridge_shape organ_layers_heal_shape(const organ_layers_heal *heal, const heal_part *part);
uint64_t organ_layers_heal_memory(const organ_layers_heal *heal, const heal_part *part, bool scratch);

/* Return the windows of a chunk, and the use of one of its windows: to refit blocks, to choose solutions or to fit the
 * final norm. */
organ_windows organ_layers_heal_chunk_at(const organ_layers_heal *heal, size_t chunk);
heal_use organ_layers_heal_use_of(const organ_layers_heal *heal, size_t window); /* `window`: index in the whole text */
heal_use organ_layers_heal_use(const organ_layers_heal *heal, size_t chunk, size_t window);
/* Records inputs and targets of all chunks, solves for heal->part, and stores the best solution in the loaded layer and
 * in the output. */
organ_status organ_layers_heal_solve(organ_layers_heal *heal, organ_error *error);
/* ---- heal_judge.c ---- */

/* Copies the held-out windows to heal->judged. Returns ORGAN_IO without memory. */
organ_status organ_layers_heal_take_judged(organ_layers_heal *heal, organ_error *error);
/* Returns the bytes for judging `together` candidates at a time. */
uint64_t organ_layers_heal_judge_memory(const organ_layers_heal *heal, size_t together);
/* Opens heal->variants, which runs the held-out windows through the donor. The caller closes it with
 * organ_variants_close. */
organ_status organ_layers_heal_judge_open(organ_layers_heal *heal, organ_error *error);
/* Judges heal->loaded with its present weights as a candidate. Sets *divergence to the KL divergence from the donor of
 * the smaller model with this block, in nats, averaged over the held-out tokens. *divergence is set when the candidate
 * is judged, at the latest when organ_layers_heal_finish returns. */
organ_status organ_layers_heal_try(organ_layers_heal *heal, double *divergence, organ_error *error);
organ_status organ_layers_heal_finish(organ_layers_heal *heal, organ_error *error);
/* Sets *divergence to the divergence of the smaller model with all refits so far. The stream of the smaller model must
 * have reached block `layer`; from this block on, the kept blocks have the donor's weights. */
organ_status organ_layers_heal_judge_rest(organ_layers_heal *heal, size_t layer, double *divergence,
                                          organ_error *error);
/* Sets *divergence to the divergence of the smaller model with its final norm multiplied by `times`. Called after the
 * last block. */
organ_status organ_layers_heal_judge_final(organ_layers_heal *heal, double times, double *divergence,
                                           organ_error *error);

/* Chooses the factor of the final norm and writes the norm, after both streams have passed the last block. */
organ_status organ_layers_heal_final(organ_layers_heal *heal, organ_error *error);

#endif
