/* SPDX-License-Identifier: MIT
 * Refits the blocks around dropped blocks, so that the smaller model's hidden states approximate those of the whole
 * model: block by block on a calibration text, by least squares with a ridge. Held-out windows judge every solution by
 * the KL divergence of the smaller model from the whole one: a solution that does not lower it is discarded. */
#ifndef ORGAN_LAYERS_HEAL_H
#define ORGAN_LAYERS_HEAL_H

#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/cut/cut.h"

/* What is solved for. */
typedef enum organ_layers_kind {
    ORGAN_HEAL_ATTENTION_INPUTS, /* q, k, v: they get from the smaller model's inputs what they got from the whole one's
                                  */
    ORGAN_HEAL_ATTENDED,         /* o: the hidden state behind its block is that of the whole model */
    ORGAN_HEAL_FEED_INPUTS,      /* gate, up and router, as q, k and v */
    ORGAN_HEAL_FED, /* down, of routed experts all together: the hidden state behind the block, or behind the gap after
                       it */
    ORGAN_HEAL_KINDS,                   /* of a block */
    ORGAN_HEAL_FINAL = ORGAN_HEAL_KINDS /* the norm before the output head, all of it times one number */
} organ_layers_kind;

/* A solution. */
typedef struct organ_layers_solved {
    int32_t layer; /* of the whole model; -1: none, the final norm */
    organ_layers_kind kind;
    double times;         /* of the final norm: what it is taken times; else 0 */
    double lambda, step;  /* what was chosen, and how much of the solution was taken; step 0: nothing was better, the
                             weights stay */
    double before, after; /* KL divergence of the smaller model from the donor on the held-out windows, nats a token */
} organ_layers_solved;

typedef struct organ_layers_healing {
    organ_along_options walk;
    const organ_model *model;
    const bool *dropped; /* a flag for each of the model's blocks */
    size_t layers;
    const organ_engine *engine;
    const organ_progress *progress;
} organ_layers_healing;

typedef struct organ_layers_heal organ_layers_heal;

/* Opens the text and says what gets other values: resolved, a flag for each tensor of the model. Everything must
 * outlive it; to be closed whatever it returns. Errors of organ_along_open; ORGAN_USAGE for fewer than four windows,
 * for memory that is too little (the least is named), for weights that are not plain floats and for models that norm
 * what projections give, whose outputs are not linear in them. */
organ_status organ_layers_heal_open(const organ_layers_healing *healing, bool *resolved, organ_layers_heal **heal,
                                    organ_error *error);
/* Adds the memory and the work of the heal to a plan. */
void organ_layers_heal_foresee(organ_layers_heal *heal, organ_plan *plan);
void organ_layers_heal_close(organ_layers_heal *heal); /* NULL is allowed */

/* Goes along the text, once. */
organ_status organ_layers_heal_run(organ_layers_heal *heal, organ_cut_run *run, organ_error *error);

/* For organ_cut_out.results and .recall: what is known of the solution that such a tensor is of. */
json_t *organ_layers_heal_results(const organ_layers_heal *heal, const organ_tensor *tensor);
bool organ_layers_heal_recall(organ_layers_heal *heal, const organ_tensor *tensor, const json_t *results);

const organ_along_text *organ_layers_heal_text(const organ_layers_heal *heal);
const organ_layers_solved *organ_layers_heal_solved(const organ_layers_heal *heal, size_t *count);
/* The number of tokens in the held-out windows, and the KL divergences on them before and after the heal. */
typedef struct organ_layers_judged {
    size_t tokens;
    double before, after;
} organ_layers_judged;
organ_layers_judged organ_layers_heal_judged(const organ_layers_heal *heal);
const char *organ_layers_kind_name(organ_layers_kind kind); /* "attention inputs" */

#endif
