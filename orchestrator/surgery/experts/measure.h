/* SPDX-License-Identifier: MIT
 * The scores of routed experts along a text: the donor's hidden states go through it layer by layer, and each layer is
 * measured on what its router and experts see. Packed weights are measured as they are. The same bits on every machine,
 * for any number of threads and ranks and any memory. */
#ifndef ORGAN_EXPERT_MEASURE_H
#define ORGAN_EXPERT_MEASURE_H

#include "orchestrator/forward/forward.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/experts/scores.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/along_text/calibration_text.h"

/* What the caller says. Everything must outlive the measurement. */
typedef struct organ_expert_measure_options {
    const organ_model *model;
    organ_calibration_text calibration;
    const organ_engine *engine;
    const organ_progress *progress;
} organ_expert_measure_options;

typedef struct organ_expert_measure organ_expert_measure;

/* Reads the text and takes what memory it needs to make the scores, opened by the caller, known. To be closed whatever
 * it returns. Errors are those of organ_along_open. */
organ_status organ_expert_measure_open(const organ_expert_measure_options *options, organ_expert_scores *scores,
                                       organ_expert_measure **measure, organ_error *error);
void organ_expert_measure_close(organ_expert_measure *measure); /* NULL is allowed */

/* What its scores belong to, for organ_expert_scores_read and _json. */
const json_t *organ_expert_measure_identity(const organ_expert_measure *measure);

/* {"memory_enough", "states_bytes", "products_bytes", "products_in_scratch"}: the least --memory that would do, and
 * what takes most of it beside a layer. NULL without memory. */
/* Adds the memory and the work of the measurement to a plan. */
void organ_expert_measure_foresee(const organ_expert_measure *measure, organ_plan *plan);
json_t *organ_expert_measure_needs(const organ_expert_measure *measure);

/* Makes known the layers that are not. After each all scores are written to `file`, by the first rank; NULL: nowhere.
 * ORGAN_BAD_INPUT for values that are not finite; ORGAN_IO; ORGAN_INTERRUPTED. */
organ_status organ_expert_measure_run(organ_expert_measure *measure, const char *file, organ_error *error);

#endif
