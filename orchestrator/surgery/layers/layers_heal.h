/* SPDX-License-Identifier: MIT
 * Heals a model without some of its blocks: refits the blocks around the gaps (runs of dropped blocks), so that the
 * smaller model's hidden states approximate those of the whole model. Proceeds block by block on a calibration text, by
 * least squares with a ridge. Held-out windows judge every solution by the KL divergence of the smaller model from the
 * whole one; a solution that does not lower it is discarded. */
#ifndef ORGAN_LAYERS_HEAL_H
#define ORGAN_LAYERS_HEAL_H

#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/cut/cut.h"

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

/* Refits the blocks in one pass over the text, and writes the refitted tensors into the output of `run`. Tensors that
 * an interrupted run has written are read back instead, except for quantised blocks. Returns ORGAN_IO if memory or a
 * file fails, ORGAN_INTERRUPTED if a stop was requested, and errors of the forward pass. */
organ_status organ_layers_heal_run(organ_layers_heal *heal, organ_cut_run *run, organ_error *error);

/* Implement organ_cut_out.results and .recall. organ_layers_heal_results returns the solution of a tensor's part for
 * the journal; organ_layers_heal_recall restores it from the journal, and returns false if the object is malformed. */
json_t *organ_layers_heal_results(const organ_layers_heal *heal, const organ_tensor *tensor);
bool organ_layers_heal_recall(organ_layers_heal *heal, const organ_tensor *tensor, const json_t *results);

/* Returns the calibration run that opened the text. `heal` owns it. */
const organ_calibration_run *organ_layers_heal_text(const organ_layers_heal *heal);
/* Returns the solutions of all parts refitted so far, in the order of the heal, and sets *count to their number. `heal`
 * owns them. */
const organ_layers_solved *organ_layers_heal_solved(const organ_layers_heal *heal, size_t *count);
/* Number of tokens in the held-out windows, and the KL divergences of the smaller model from the donor on them, before
 * and after the heal, in nats per token. */
typedef struct organ_layers_judged {
    size_t tokens;
    double before, after;
    size_t untried; /* parts that were not refitted because the blocks before them had little effect */
} organ_layers_judged;
/* Returns the number of held-out tokens and the divergences on them; `before` and `after` are 0 until
 * organ_layers_heal_run. */
organ_layers_judged organ_layers_heal_judged(const organ_layers_heal *heal);
const char *organ_layers_kind_name(organ_layers_kind kind); /* returns the name in the report: "attention inputs" */

#endif
