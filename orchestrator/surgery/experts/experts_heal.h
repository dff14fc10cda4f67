/* SPDX-License-Identifier: MIT
 * Refits the down projections of the kept experts (--heal). For each layer that loses experts, a ridge regression
 * on the calibration text fits them so that the hidden states after the layer approximate those with all experts.
 * Layers are refitted in order; the inputs of each are the outputs of the refitted layers before it. The result is
 * bit-identical on every machine, for any number of threads and ranks and for any memory limit. */
#ifndef ORGAN_EXPERTS_HEAL_H
#define ORGAN_EXPERTS_HEAL_H

#include <organ/forward.h>
#include <organ/stream.h>
#include "orchestrator/surgery/cut/cut.h"
#include <organ/options.h>

#include <jansson.h>

/* Every fourth window of the text is held out, to choose the ridge and to test whether the refit helps. */
#define ORGAN_EXPERT_HEAL_WINDOWS 4
/* The target of the regression is a weighted mean of two hidden states after the layer: the donor's, with this weight,
 * and the state that the layer with all experts computes from the outputs of the refitted layers before it. */
#define ORGAN_EXPERT_HEAL_DONOR_SHARE 0.75

/* Options of the caller. All pointers must stay valid until organ_expert_heal_close. */
typedef struct organ_expert_heal_options {
    const organ_model *model;
    const organ_cut_layer *layers;      /* for each layer of the donor, the experts to keep */
    organ_calibration_text calibration; /* text must not be NULL */
    size_t largest;                     /* see organ_ridge_shape.largest; 0 except in tests */
    const organ_engine *engine;
    const organ_progress *progress;
} organ_expert_heal_options;

typedef struct organ_expert_heal organ_expert_heal;

/* Reads the text and checks that --memory suffices for the refit. Call organ_expert_heal_close even after an error.
 * Returns ORGAN_USAGE for fewer windows than ORGAN_EXPERT_HEAL_WINDOWS; for a model whose output is not linear in the
 * down projections of its experts, or whose router factors multiply the inputs of experts; and for a down projection
 * whose type cannot be rewritten (the message names the tensor). Other errors are those of organ_calibration_run_check
 * and organ_calibration_run_open. */
organ_status organ_expert_heal_open(const organ_expert_heal_options *options, organ_expert_heal **heal,
                                    organ_error *error);
void organ_expert_heal_close(organ_expert_heal *heal); /* NULL is allowed */

/* Adds the memory and the work of the refit to `plan`. */
void organ_expert_heal_estimate(const organ_expert_heal *heal, organ_plan *plan);

/* Returns the value of organ_cut_out.refitted: a flag for each tensor of the model, true if it has down projections
 * that are refitted. `heal` owns the array. */
const bool *organ_expert_heal_refitted(const organ_expert_heal *heal);

/* Refits layer by layer and writes the matrices to the output; called from organ_write.fill. If an interrupted run has
 * written all matrices of a layer, they are read back instead; layers with quantised blocks are always refitted. */
organ_status organ_expert_heal_run(organ_expert_heal *heal, organ_cut_run *run, organ_error *error);

/* Implement organ_cut_out.results and .recall. The journal's object for a refitted tensor is {"before", "after",
 * "lambda"}, the regression's choice (organ_ridge_choice) for the layer of `tensor`. organ_expert_heal_recall returns
 * false if the object is malformed. */
json_t *organ_expert_heal_results(const organ_expert_heal *heal, const organ_tensor *tensor);
bool organ_expert_heal_recall(organ_expert_heal *heal, const organ_tensor *tensor, const json_t *results);

/* Returns {"held_windows", "healed_layers", "calibration", "layers": [{"layer", "inputs", "solved_by", "before",
 * "after", "lambda", "healed"}]} with a row for each layer that loses experts. "before" and "after" are squared errors
 * per token over the held-out windows. "before", "after", "lambda" and "healed" are null for layers that were not
 * refitted yet. NULL if out of memory. */
json_t *organ_expert_heal_json(const organ_expert_heal *heal);

#endif
