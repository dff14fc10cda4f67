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

/* At most one window of this many is held out to choose solutions; also the least number of windows of a heal. */
#define HEAL_HELD         ((size_t)4)
#define HEAL_MANY_WINDOWS ((size_t)32) /* from this many windows on, at most one of 2 HEAL_HELD is held out */
#define HEAL_NORM_EVERY   ((size_t)16) /* one window of this many is used only to fit the factor of the final norm */
#define HEAL_LAMBDA_EVERY ((size_t)4)  /* of the windows that refit blocks, one of this many chooses lambda first */
#define HEAL_IDLE         ((size_t)3)  /* the heal behind a gap ends after this many blocks with little effect */
#define HEAL_EFFECT       0.01         /* share of the divergence by which they must lower it together to have effect */
#define HEAL_TRIALS       ((size_t)3)  /* number of solutions of a part that are judged */
#define HEAL_TOGETHER     ((size_t)2)  /* upper bound of candidates that are judged together */

/* Use of a window of the text. */
typedef enum heal_use {
    HEAL_BLOCKS,  /* refits blocks */
    HEAL_LAMBDA,  /* chooses lambda by the error on it, then refits blocks too */
    HEAL_CHOICES, /* held out: chooses the step of each solution by the divergence on it */
    HEAL_NORM,    /* fits the factor of the final norm */
    HEAL_USES     /* number of uses */
} heal_use;

/* A matrix that is refitted. */
typedef struct heal_matrix {
    const organ_tensor *tensor;
    uint64_t matrix, rows, cols; /* index in the tensor's stack of matrices, else 0; shape of the matrix */
    char name[400];              /* name in the forward pass: "NAME", or "NAME[matrix]" in a stack */
    size_t expert;               /* number of the routed expert; 0 for other matrices */
} heal_matrix;

/* A part: the matrices of a block that one set of equations refits. */
typedef struct heal_part {
    heal_matrix *matrices;
    size_t count; /* number of matrices */
    /* Sizes of the equations, as in organ_ridge_shape. `blocks` counts groups of inputs, not blocks of the model: the
     * routed experts if their down projections are refitted, else 1. */
    size_t blocks, width, used, outputs;
} heal_part;

/* State of a heal. */
struct organ_layers_heal {
    organ_layers_healing options; /* `layers`: blocks of the forward pass */
    organ_calibration_run *calib; /* the opened text, with `forward` and `windows` */
    organ_forward *forward;
    organ_windows windows;           /* all windows of the text */
    organ_calibration_chunks chunks; /* the windows that run through a block together; every rank has all chunks */
    /* Hidden states of the donor and of the smaller model before the current block; cut NULL: both are equal so far. */
    organ_calibration_states *donor, *cut;
    organ_cut_run *run; /* the output; set by organ_layers_heal_run */
    /* Solutions by number of the part (organ_layers_heal_number), of this or of an interrupted run. */
    organ_layers_solved *known;
    organ_layers_solved *solved; /* solutions in the order of the heal */
    size_t solved_count;         /* entries of `solved`; in organ_layers_heal_open the number of parts */
    heal_use *uses;              /* use of each window of the text */
    size_t judged_length;        /* tokens of a held-out window that are judged: its first ones */
    /* heal_judge.c: */
    uint32_t *judged_tokens; /* memory of judged.tokens and judged.begin */
    size_t *judged_begin;
    organ_windows judged;     /* the first judged_length tokens of the held-out windows (HEAL_CHOICES) */
    organ_variants *variants; /* compares the logits of candidates with the donor's */
    size_t together, pending; /* number of candidates that fit in memory together; number of candidates that wait to be
                               judged */
    double *results[HEAL_TOGETHER]; /* for each pending candidate, where its divergence will be stored */
    /* KL divergence of the smaller model from the donor on the held-out windows, in nats per token: before the heal,
     * and with the solutions so far. */
    double before, divergence;
    /* Behind a gap: number of blocks since the divergence was last lowered by HEAL_EFFECT, and its value then.
     * `settled`: they are HEAL_IDLE, so blocks up to the next gap keep their weights; `untried` counts their parts. */
    size_t idle;
    double idle_from;
    bool settled;
    size_t untried;
    /* The part that is being refitted: */
    int32_t layer;          /* number of the block in the donor */
    organ_layers_kind kind; /* kind of the part */
    heal_part part;
    organ_layer *loaded, *loaded_donor; /* the block with the weights so far, and with the donor's */
    organ_ridge *ridge;                 /* the equations of the part */
    bool donor_at_next; /* `donor` already has the states before the next kept block; false: before the current one */
    /* Recorded for the tokens of one chunk. A row of a mixture is a pair of token and choice: row token x used +
     * choice. */
    float *inputs;    /* inputs of the part's matrices in the smaller model: tokens x used x width */
    float *target;    /* right-hand sides of the equations: tokens x outputs */
    uint32_t *blocks; /* in a mixture, the experts of each token, ascending: tokens x used */
    float *gates;     /* the weights that the router gave these experts: tokens x used */
    size_t *routed;   /* numbers of the rows, sorted by expert */
    size_t *begin;    /* for each expert, the index in `routed` of its first row */
    float *made;      /* outputs of the part's matrix, tokens x outputs, if a norm follows it; else NULL */
};

/* Returns whether the matrices of that kind in block `layer` are refitted. A gap is a run of dropped blocks. Refitted
 * are the output projections of the block before the first gap, and all kinds in the blocks after a gap. The latter
 * blocks get other inputs than those with which they were trained. Dropped blocks have no refitted matrices. */
bool organ_layers_heal_is_refitted(const organ_layers_heal *heal, int32_t layer, organ_layers_kind kind);
/* Sets *part to the matrices of one kind in a layer and the sizes of their equations. Returns ORGAN_BAD_INPUT if the
 * layer has no such matrix, ORGAN_USAGE if one is stored transposed. Release the part also after an error. */
organ_status organ_layers_heal_part_list(const organ_layers_heal *heal, int32_t layer, organ_layers_kind kind,
                                         heal_part *part, organ_error *error);
void organ_layers_heal_part_release(heal_part *part);
/* Returns the number of the part that a tensor belongs to, its index in heal->known: layer x ORGAN_HEAL_KINDS + kind;
 * the final norm comes last. */
size_t organ_layers_heal_number(const organ_layers_heal *heal, const organ_tensor *tensor);
/* Returns whether the block after `layer` is dropped. */
bool organ_layers_heal_before_gap(const organ_layers_heal *heal, int32_t layer);
/* Returns whether the target of that kind is the output of the matrices themselves (q, k, v, gate, up, router) instead
 * of the hidden state. */
bool organ_layers_heal_is_inputs(organ_layers_kind kind);

/* Returns the largest number of tokens in a chunk. */
size_t organ_layers_heal_chunk_tokens(const organ_layers_heal *heal);
/* Returns the sizes of the equations of a part. */
organ_ridge_shape organ_layers_heal_shape(const organ_layers_heal *heal, const heal_part *part);
/* Returns the bytes that refitting a part needs in addition to the hidden states. `scratch`: the equations keep their
 * inputs in a scratch file. */
uint64_t organ_layers_heal_memory(const organ_layers_heal *heal, const heal_part *part, bool scratch);

/* Returns the windows of a chunk. */
organ_windows organ_layers_heal_chunk_at(const organ_layers_heal *heal, size_t chunk);
/* Sets heal->uses and heal->judged_length. `judged` is the number of tokens on which solutions can be judged in a
 * bounded time. Returns ORGAN_IO if memory runs out. */
organ_status organ_layers_heal_assign(organ_layers_heal *heal, double judged, organ_error *error);
/* Returns the use of window `window` of a chunk. */
heal_use organ_layers_heal_use(const organ_layers_heal *heal, size_t chunk, size_t window);
/* Returns whether the hidden state after the loaded block is a linear function of the part's matrices, if the divisor
 * of a later norm is constant. Sets *norm to that norm; its `scale` is 1 for parts that read the inputs of the
 * block. */
bool organ_layers_heal_has_equations(const organ_layers_heal *heal, organ_output_norm *norm);
/* Records inputs and targets of all chunks, solves for heal->part, and stores the best solution in heal->loaded, in the
 * output, and in heal->known and heal->solved. If no solution lowers the divergence, or if the part has no linear
 * equations (organ_layers_solved.skipped), the weights stay unchanged. */
organ_status organ_layers_heal_solve(organ_layers_heal *heal, organ_error *error);
/* Writes the donor's matrices of heal->part to the output and to heal->known, as a part that was not changed. */
organ_status organ_layers_heal_leave(organ_layers_heal *heal, organ_error *error);

/* ---- heal_judge.c ---- */

/* Copies the held-out windows to heal->judged. Returns ORGAN_IO if memory runs out. */
organ_status organ_layers_heal_take_judged(organ_layers_heal *heal, organ_error *error);
/* Returns the bytes for judging `together` candidates at a time. */
uint64_t organ_layers_heal_judge_memory(const organ_layers_heal *heal, size_t together);
/* Opens heal->variants, which runs the held-out windows through the donor. The caller closes it with
 * organ_variants_close. */
organ_status organ_layers_heal_judge_open(organ_layers_heal *heal, organ_error *error);
/* Judges heal->loaded with its present weights as a candidate: sets *divergence to the KL divergence of the smaller
 * model with this block from the donor, in nats, averaged over the held-out tokens. Several candidates are judged
 * together, so *divergence may be set later, at the latest when organ_layers_heal_finish returns. */
organ_status organ_layers_heal_try(organ_layers_heal *heal, double *divergence, organ_error *error);
/* Judges the candidates that organ_layers_heal_try has not judged yet. */
organ_status organ_layers_heal_finish(organ_layers_heal *heal, organ_error *error);
/* Sets *divergence to the divergence of the smaller model with all refits so far. heal->cut must have the states before
 * block `layer`; from this block on, the kept blocks have the donor's weights. No candidate may be pending. */
organ_status organ_layers_heal_judge_rest(organ_layers_heal *heal, size_t layer, double *divergence,
                                          organ_error *error);
/* Sets *divergence to the divergence of the smaller model with its final norm multiplied by `times`. Called after the
 * last block. */
organ_status organ_layers_heal_judge_final(organ_layers_heal *heal, double times, double *divergence,
                                           organ_error *error);

/* Chooses the factor of the final norm and writes the norm to the output, or takes its solution from heal->known if an
 * interrupted run has written it. Called after both streams have passed the last block. */
organ_status organ_layers_heal_final(organ_layers_heal *heal, organ_error *error);

#endif
