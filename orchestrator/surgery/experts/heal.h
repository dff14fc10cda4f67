/* SPDX-License-Identifier: MIT
 * What is left of a mixture is healed: the down projections of a layer's kept experts are solved anew together, so that
 * the layer gives again what it gave with all of them. Layer by layer along a text, each on what it sees behind those
 * that are healed already. The same bytes on every machine, for any number of threads and ranks and any memory. */
#ifndef ORGAN_EXPERT_HEAL_H
#define ORGAN_EXPERT_HEAL_H

#include "orchestrator/forward/forward.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/cut/cut.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

#include <jansson.h>

/* Of so many windows that follow one another the last is held back. */
#define ORGAN_EXPERT_HEAL_WINDOWS 4
/* What is aimed at is the state behind the layer: this share of that in the donor, the rest of that which all experts
 * would give. */
#define ORGAN_EXPERT_HEAL_DONOR_SHARE 0.75

/* What the caller says. Everything must outlive the heal. */
typedef struct organ_expert_heal_options {
    const organ_model *model;
    const organ_cut_layer *layers; /* of each layer of the donor: its kept experts */
    organ_calibration_text
        calibration; /* text must not be NULL; also for inputs of experts that are refitted in turn */
    size_t largest;  /* as organ_ridge_shape has it; 0 but in tests */
    const organ_engine *engine;
    const organ_progress *progress;
} organ_expert_heal_options;

typedef struct organ_expert_heal organ_expert_heal;

/* Reads the text and looks whether the memory is enough. To be closed whatever it returns. ORGAN_USAGE for fewer
 * windows than ORGAN_EXPERT_HEAL_WINDOWS, and for a down projection whose type cannot take other values, by name; else
 * errors of organ_along_open. */
organ_status organ_expert_heal_open(const organ_expert_heal_options *options, organ_expert_heal **heal,
                                    organ_error *error);
void organ_expert_heal_close(organ_expert_heal *heal); /* NULL is allowed */

/* The least --memory that would do. */
uint64_t organ_expert_heal_enough(const organ_expert_heal *heal);
/* Adds the memory and the work of the heal to a plan. */
void organ_expert_heal_foresee(const organ_expert_heal *heal, organ_plan *plan);

/* A flag for each tensor of the model: it gets other values. For organ_cut.resolved. */
const bool *organ_expert_heal_resolved(const organ_expert_heal *heal);

/* For organ_cut.resolve: heals layer by layer, and puts the matrices. Layers that an earlier run has put are read back.
 */
organ_status organ_expert_heal_run(organ_expert_heal *heal, organ_cut_run *run, organ_error *error);

/* For organ_cut_out.results and .recall: what is known of the layer of such a tensor. */
json_t *organ_expert_heal_results(const organ_expert_heal *heal, const organ_tensor *tensor);
bool organ_expert_heal_recall(organ_expert_heal *heal, const organ_tensor *tensor, const json_t *results);

/* {"held_windows", "healed_layers", "calibration", "layers": [{"layer", "inputs", "solved_by", "before", "after",
 * "lambda", "healed"}]}: of layers that lose experts; before and after are squared and per token, over the windows held
 * back, null where nothing was run. NULL without memory. */
json_t *organ_expert_heal_json(const organ_expert_heal *heal);

#endif
