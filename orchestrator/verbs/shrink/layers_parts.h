/* SPDX-License-Identifier: MIT
 * State and functions shared by the files of this room: layers.c runs the verb, choose_blocks.c searches the blocks to
 * drop. */
#ifndef ORGAN_VERBS_SHRINK_LAYERS_PARTS_H
#define ORGAN_VERBS_SHRINK_LAYERS_PARTS_H

#include "orchestrator/output/cache.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/verbs/shrink/cut_parts.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/cut.h>
#include <organ/forward.h>
#include <organ/models.h>
#include <stdbool.h>
#include <stddef.h>

/* Searches for the set of blocks to drop: the caller's function judges sets, and a local search replaces the best set
 * by a better one that differs in one block. The loss of a block depends on the other dropped blocks, so the best set
 * of n + 1 blocks need not contain the best set of n. */

#define ORGAN_LAYERS_ROUND ((size_t)16) /* upper bound of the sets that are judged in a round */
#define ORGAN_LAYERS_ALL   ((size_t)64) /* if there are at most this many sets, a search judges all */

/* A set of blocks that was judged. */
typedef struct organ_layers_set {
    size_t round;      /* round that judged it; 0: the first set */
    double divergence; /* KL divergence from the donor, in nats per token */
    bool *dropped;     /* a flag for each block: true if the set drops it; owned by organ_layers_found */
} organ_layers_set;

/* Arguments of a search. */
typedef struct organ_layers_search {
    size_t layers, requested; /* number of blocks, and how many to drop: 1 .. layers - 1 */
    const double
        *influence; /* of each block (organ_layers_sets_influence); blocks with little influence are tried first */
    size_t rounds;  /* upper bound of rounds; 0: only the first set is judged */
    size_t all;     /* ORGAN_LAYERS_ALL, or less in a test */
    void *context;  /* passed to the functions below */
    /* Sets divergence[k] to the divergence of set k of `count` sets. `dropped` has their flags, one set after another.
     */
    organ_status (*judge)(void *context, const bool *dropped, size_t count, double *divergence, organ_error *error);
    /* Returns ORGAN_BAD_INPUT with the reason if no configuration can describe the model without these blocks; such a
     * set is not judged. NULL: all sets can be described. */
    organ_status (*describes)(void *context, const bool *dropped, organ_error *error);
    /* Called after each round: `judged` sets were judged so far, and `best` is the best of them. NULL: not called. */
    void (*on_round)(void *context, size_t round, size_t judged, const organ_layers_set *best);
} organ_layers_search;

/* The result of a search. */
typedef struct organ_layers_found {
    organ_layers_set *sets; /* all judged sets, in the order in which they were judged */
    size_t count;
    size_t best; /* index of the set with the least divergence; of equals the first */
    /* Indices of the sets that were the best so far when they were judged: the first set, ..., the best. */
    size_t *path;
    size_t steps, rounds; /* entries of `path`; rounds that judged sets */
    bool whole;           /* all sets that can be described were judged */
    bool locally_optimal; /* no exchange of one block gives a better set; always true with `whole` */
} organ_layers_found;

/* Searches the set of dropped blocks with the least divergence. Starts with the blocks of least influence or, if no
 * configuration can describe the model without these, with the run of consecutive blocks of least influence. If there
 * are at most `all` sets and `rounds` is not 0, judges all sets in one round. Otherwise each round judges sets that
 * exchange one dropped block of the best set for a kept one; exchanges that add least influence are judged first. If
 * one of these sets has a lower divergence than the best set, it becomes the best set. The search ends when all
 * exchanges of the best set were judged, or after the last round. Divergences that `judge` has stored from earlier runs
 * do not change the result. Release `found` whatever this returns. Returns ORGAN_BAD_INPUT if no first set can be
 * described, ORGAN_IO if memory runs out, or the error of `judge`. */
organ_status organ_layers_search_run(const organ_layers_search *search, organ_layers_found *found, organ_error *error);
void organ_layers_found_release(organ_layers_found *found);

/* ---- the option --drop: the numbers of the blocks to drop, or how many ---- */

/* The parsed option --drop. */
typedef struct organ_layers_drop {
    size_t count;  /* number of blocks to drop, 1 .. layers - 1 */
    bool named;    /* --drop gives the numbers of the blocks; false: only how many, so they must be searched */
    bool *dropped; /* a flag for each block, true for the named blocks; the caller frees it, also after an error */
} organ_layers_drop;

/* Parses block numbers, from 0 on as in tensor names, and ranges of them, separated by commas: "5-8", "3,7,9-11",
 * "8-8", "8,". A number without a comma is the number of blocks to drop. `layers` is the number of blocks of the model,
 * and `model` its path for messages. Returns ORGAN_USAGE for any other text, for a block past the last one or named
 * twice, and if no block would be dropped or none would be left; ORGAN_IO if memory runs out. */
organ_status organ_layers_drop_parse(const char *text, size_t layers, const char *model, organ_layers_drop *drop,
                                     organ_error *error);

/* ---- kinds of a model's layers, for the report ---- */

#define ORGAN_LAYERS_KIND_ROOM 64 /* bytes of the name of a kind */

/* The kind of each layer: how it mixes tokens, and its feed-forward. */
typedef struct organ_layers_kinds {
    char (*names)[ORGAN_LAYERS_KIND_ROOM]; /* name of each layer's kind: "delta net, mixture" */
    size_t layers;
} organ_layers_kinds;

/* Names the kind of each layer: from config.json or, if the forward pass does not support the model, from the roles of
 * the layer's tensors. Returns ORGAN_IO if memory runs out. The caller calls organ_layers_kinds_release in any case. */
organ_status organ_layers_kinds_find(const organ_model *model, size_t layers, organ_layers_kinds *kinds,
                                     organ_error *error);
void organ_layers_kinds_release(organ_layers_kinds *kinds);

/* Returns [{"kind", "layers", "dropped"}] with the numbers of all and of the dropped layers of each kind, in the order
 * in which the kinds first occur. `dropped` has a flag for each layer. NULL if memory runs out. */
json_t *organ_layers_kinds_json(const organ_layers_kinds *kinds, const bool *dropped);

/* ---- scores of a search ---- */

/* Keeps the scores of a search, in memory and in the file of --scores: the influence of each block, and the divergence
 * of each judged set of blocks. An interrupted search continues with the journal or the file; a search for another
 * number of blocks reuses the influences. */

#define ORGAN_LAYERS_SCORES_SCHEMA "organ.layers_scores/1"

/* The scores of a search. It is empty if all members except `layers` are zero. */
typedef struct organ_layers_known {
    size_t layers, count, capacity; /* layers of the model; stored sets; sets for which there is memory */
    double *influence;              /* influence of each layer; NULL: not measured yet */
    bool *dropped;                  /* flags of the sets, `layers` for each */
    double *divergence;             /* divergence of each set, in nats per token */
} organ_layers_known;

/* Returns an array of the numbers of the blocks whose flags are set, for a report. NULL if memory runs out. */
json_t *organ_layers_numbers_json(const bool *flags, size_t layers);

/* ---- healing a model ---- */

/* Heals a model without some of its blocks: refits the blocks around the gaps (runs of dropped blocks), so that the
 * smaller model's hidden states approximate those of the whole model. Proceeds block by block on a calibration text, by
 * least squares with a ridge. Held-out windows judge every solution by the KL divergence of the smaller model from the
 * whole one; a solution that does not lower it is discarded. */

/* Kinds of parts. A part is a group of matrices of a block that are refitted together. */
typedef enum organ_layers_kind {
    ORGAN_HEAL_ATTENTION_INPUTS, /* q, k, v: their outputs should equal those in the whole model */
    ORGAN_HEAL_ATTENTION_OUTPUT, /* o: the hidden state after the block, or after the gap that follows it, should equal
                                    that of the whole model */
    ORGAN_HEAL_FFN_INPUTS,       /* gate, up and router: their outputs should equal those in the whole model */
    ORGAN_HEAL_FFN_OUTPUT,       /* down (of all routed experts together): target as for the attention output */
    ORGAN_HEAL_KINDS,            /* number of kinds in a block */
    ORGAN_HEAL_FINAL = ORGAN_HEAL_KINDS /* the norm before the output head, multiplied by one number */
} organ_layers_kind;

/* The solution of one part. */
typedef struct organ_layers_solved {
    int32_t layer; /* block of the whole model; -1: the final norm */
    organ_layers_kind kind;
    double times;        /* factor of the final norm; 0 for other parts */
    double lambda, step; /* chosen ridge, and fraction of the change that is applied; step 0: weights unchanged */
    /* The hidden state is no linear function of these matrices, even with the scale of their norm held: no equations
     * were solved. */
    bool skipped;
    /* KL divergence of the smaller model from the donor on the held-out windows before and with this solution, in nats
     * per token. */
    double before, after;
} organ_layers_solved;

/* Arguments of a heal. */
typedef struct organ_layers_healing {
    organ_calibration_run_options walk; /* the calibration text */
    const organ_model *model;
    const bool *dropped; /* a flag for each of the model's blocks: true if it is dropped */
    size_t layers;       /* number of blocks */
    const organ_engine *engine;
    const organ_progress *progress;
} organ_layers_healing;

typedef struct organ_layers_heal organ_layers_heal;

/* Opens the text, and sets refitted[t] for each tensor t of the model that may get other values
 * (organ_cut_out.refitted). All arguments must outlive *heal, which the caller closes whatever this returns.
 *
 * Returns ORGAN_USAGE if
 *   - there are fewer than four windows, or --memory is too small (the message names the least that is enough);
 *   - a matrix to refit has a type in which new values cannot be stored (organ_cut_takes), or is stored transposed;
 *   - the model keeps more than one vector per token;
 *   - attention and feed-forward read the same hidden state, or the final norm has a bias or no weights.
 * Returns ORGAN_BAD_INPUT if a block lacks a matrix to refit, and the errors of organ_calibration_run_open. */
organ_status organ_layers_heal_open(const organ_layers_healing *healing, bool *refitted, organ_layers_heal **heal,
                                    organ_error *error);
/* Adds the memory and the work of the heal to a plan. */
void organ_layers_heal_estimate(organ_layers_heal *heal, organ_plan *plan);
void organ_layers_heal_close(organ_layers_heal *heal); /* NULL is allowed */

/* Implements organ_cut_out.refit: refits the blocks in one pass over the text, and writes the refitted tensors into the
 * output of `run`. Tensors that an interrupted run has written are read back instead, except for quantised blocks.
 * Returns ORGAN_IO if memory or a file fails, ORGAN_INTERRUPTED if a stop was requested, and errors of the forward
 * pass. */
organ_status organ_layers_heal_run(void *heal, organ_cut_run *run, organ_error *error);

/* Implement organ_cut_out.results and .recall. organ_layers_heal_results returns the solution of a tensor's part for
 * the journal; organ_layers_heal_recall restores it from the journal, and returns false if the object is malformed. */
json_t *organ_layers_heal_results(void *heal, const organ_tensor *tensor);
bool organ_layers_heal_recall(void *heal, const organ_tensor *tensor, const json_t *results);

const char *organ_layers_kind_name(organ_layers_kind kind); /* returns the name in the report: "attention inputs" */

/* ---- the divergence of a model without some of its blocks ---- */

/* Measures the divergence of a model without some of its blocks from the whole model, on windows of a text. Many sets
 * of dropped blocks are judged together, so that each layer is loaded once for all of them and hidden states that sets
 * have in common are computed once. Results have the same bits for any number of threads, of ranks and of sets judged
 * together. */

typedef struct organ_layers_sets organ_layers_sets;

/* Runs the windows through the donor. Spare memory is used to judge up to `max` sets together and to keep hidden states
 * of the donor between its layers. All arguments must outlive *sets, which is NULL on error. Returns ORGAN_USAGE if the
 * engine's memory is too small (the message names the least that is enough), ORGAN_IO if memory runs out,
 * ORGAN_INTERRUPTED if a stop was requested, and errors of organ_forward_embed and organ_layer_load. */
organ_status organ_layers_sets_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                    size_t max, organ_layers_sets **sets, organ_error *error);
void organ_layers_sets_close(organ_layers_sets *sets); /* NULL is allowed */

/* Returns the least sufficient --memory in bytes. */
uint64_t organ_layers_sets_enough(const organ_forward *forward, const organ_windows *windows);

/* Returns the error with which organ_layers_sets_open would reject the engine's memory. Opens nothing. */
organ_status organ_layers_sets_check(const organ_forward *forward, const organ_engine *engine,
                                     const organ_windows *windows, organ_error *error);

/* Returns the influence of each layer: 1 - the mean over all tokens of the cosine between the hidden states before and
 * after it. Owned by `sets`. */
const double *organ_layers_sets_influence(const organ_layers_sets *sets);

/* Sets divergence[k] to the mean over all tokens of KL(donor || model without the blocks of set k), in nats. `dropped`
 * has the flags of `count` sets one after another, one flag for each layer. All ranks of the engine call it, and each
 * runs its share. Returns ORGAN_BAD_INPUT if logits are not finite, and errors of the forward pass. */
organ_status organ_layers_sets_judge(organ_layers_sets *sets, const bool *dropped, size_t count, double *divergence,
                                     organ_error *error);

#define ORGAN_LAYERS_DEFINITION "layers/2"

/* The search for blocks on a part of the calibration text. */
typedef struct organ_layers_choice {
    organ_calibration_run_options walk;
    organ_calibration_run *calib;
    json_t *identity;         /* model and text, as the file of --scores names them */
    organ_layers_known known; /* influences and divergences measured so far or read from the file of --scores */
    organ_layers_sets *sets;  /* measures influences and divergences; NULL until one is needed that `known` lacks */
    organ_layers_found found; /* result of the search */
    size_t judged;            /* sets judged by this run; others were in the file or the journal */
    organ_writing *writing;   /* its journal gets the scores */
    bool done;                /* the search is complete; false in a dry run */
} organ_layers_choice;

/* State of organ layers. */
typedef struct organ_layers_job {
    organ_plan plan; /* predicted work of a dry run, in addition to reading and writing */
    const organ_layers_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    size_t layers;            /* number of blocks; after the text is opened, those of the forward pass */
    organ_layers_kinds kinds; /* names of the kinds of blocks, for the report */
    organ_layers_drop drop;   /* --drop, and the dropped blocks: those it names, or the result of the search */
    organ_layers_choice choice;
    organ_cut_layer *kept;   /* for each block of the donor, what the output keeps of it */
    bool *refitted;          /* a flag for each tensor of the model that --refit may change; NULL: no --refit */
    organ_layers_heal *heal; /* NULL: no --refit */
} organ_layers_job;

/* ---- choose_blocks.c ---- */

/* Opens the text and the forward pass of the search, checks that --memory is enough, reads the scores file, and sets
 * job->layers to the blocks of the forward pass. Returns ORGAN_USAGE if --drop leaves none of them, and the errors of
 * organ_calibration_run_open, organ_layers_sets_check and organ_cache_read, and ORGAN_BAD_INPUT for a scores
 * file with a row that is not a set or not an influence. */
organ_status organ_layers_choice_open(organ_layers_job *job, organ_error *error);
/* Adds the memory and the work of the search to job->plan. */
void organ_layers_choice_estimate(organ_layers_job *job);
/* Searches the blocks to drop and sets their flags in job->drop.dropped. Scores that the journal of `writing` has are
 * not measured again; it gets the others. Errors are those of organ_layers_search_run
 * and organ_layers_sets_open, and ORGAN_IO if the scores file cannot be written. */
organ_status organ_layers_choice_run(organ_layers_job *job, organ_writing *writing, organ_error *error);
/* Closes the text and the forward pass. The results stay until organ_layers_choice_release, which frees all of
 * job->choice. */
void organ_layers_choice_close(organ_layers_job *job);
void organ_layers_choice_release(organ_layers_job *job);

/* ---- heal_parts.c, heal_solve.c ---- */

/* State and functions shared by the files of healing: layers_heal.c runs the text through both models, heal_parts.c
 * lists the matrices to refit, heal_solve.c collects inputs and targets of one part of a block and solves for its
 * weights. */

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

    uint32_t *judged_tokens; /* memory of judged.tokens and judged.begin */
    size_t *judged_begin;
    organ_windows judged;     /* the first judged_length tokens of the held-out windows (HEAL_CHOICES) */
    organ_variants *variants; /* compares the logits of candidates with the donor's */
    size_t together, pending; /* number of candidates that fit in memory together; number of candidates that wait to be
                               judged */
    double *results[HEAL_TOGETHER]; /* for each pending candidate, where its divergence will be stored */
    /* KL divergence of the smaller model from the donor on the held-out windows, in nats per token: before the heal,
     * and with the solutions so far; 0 until organ_layers_heal_run. */
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
    organ_buffers buffers;
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

/* ---- heal_parts.c ---- */

/* Copies the held-out windows to heal->judged. Returns ORGAN_IO if memory runs out. */
organ_status organ_layers_heal_take_judged(organ_layers_heal *heal, organ_error *error);
/* Returns the bytes for judging `together` candidates at a time. */
uint64_t organ_layers_heal_judge_memory(const organ_layers_heal *heal, size_t together);
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

/* Chooses the factor of the final norm and writes the norm to the output, or takes its solution from heal->known if an
 * interrupted run has written it. Called after both streams have passed the last block. */
organ_status organ_layers_heal_final(organ_layers_heal *heal, organ_error *error);

#endif
