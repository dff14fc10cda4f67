/* SPDX-License-Identifier: MIT
 * Scores routed experts on a calibration text. The donor's hidden states pass through the model layer by layer;
 * the scores of a layer come from the inputs of its router and the outputs of its experts. Packed weights are used
 * unchanged. The scores are bit-identical on every machine, for any number of threads and ranks and for any memory
 * limit. */
#ifndef ORGAN_MEASURE_SCORES_H
#define ORGAN_MEASURE_SCORES_H

#include <organ/forward.h>
#include <organ/stream.h>
#include "orchestrator/surgery/experts/scores.h"
#include "orchestrator/surgery/plan/plan.h"
#include <organ/options.h>

/* Options of the caller. All pointers must stay valid until organ_expert_measure_close. */
typedef struct organ_expert_measure_options {
    const organ_model *model;
    organ_calibration_text calibration;
    const organ_engine *engine;
    const organ_progress *progress;
} organ_expert_measure_options;

typedef struct organ_expert_measure organ_expert_measure;

/* Reads the text and checks that --memory suffices to measure the unknown layers of `scores`, which the caller has
 * opened with organ_expert_scores_open. Sets scores->tokens and scores->calibration. Call organ_expert_measure_close
 * even after an error. Errors are those of organ_calibration_run_check and organ_calibration_run_open. */
organ_status organ_expert_measure_open(const organ_expert_measure_options *options, organ_expert_scores *scores,
                                       organ_expert_measure **measure, organ_error *error);
void organ_expert_measure_close(organ_expert_measure *measure); /* NULL is allowed */

/* Returns the identity of the scores (definition, model, text, windows) for organ_expert_scores_read and
 * organ_expert_scores_json. The measurement owns it. */
const json_t *organ_expert_measure_identity(const organ_expert_measure *measure);

/* Adds the memory and the work of the measurement to `plan`. */
void organ_expert_measure_estimate(const organ_expert_measure *measure, organ_plan *plan);
/* Returns {"memory_enough", "states_bytes", "products_bytes", "products_in_scratch"}: the smallest --memory that
 * suffices, the bytes of hidden states, the bytes of experts' inner products (0 without the loss), and whether these
 * products go to the scratch file. NULL if an allocation failed. */
json_t *organ_expert_measure_needs(const organ_expert_measure *measure);

/* Measures the layers that `scores` lacks. After each layer rank 0 writes all scores to `file` (NULL: no file is
 * written). Returns ORGAN_BAD_INPUT if a value is not finite, ORGAN_IO if memory or a file fails, or ORGAN_INTERRUPTED
 * if the engine is stopped. */
organ_status organ_expert_measure_run(organ_expert_measure *measure, const char *file, organ_error *error);

#endif
