/* SPDX-License-Identifier: MIT
 * --evaluate of an operation that writes a model: measures the effect of the operation as perplexity before and after
 * on one text, KL divergence and top-1 agreement. The operation sets the first members and calls the functions in their
 * order; if `options` is NULL they do nothing. */
#ifndef ORGAN_EVALUATION_H
#define ORGAN_EVALUATION_H

#include "orchestrator/forward/forward.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/scoring/evaluate_options.h"

#include <jansson.h>

typedef struct organ_evaluation {
    const organ_experiment_options *options; /* NULL: no evaluation */
    const organ_engine *engine;
    const organ_progress *progress;
    const char *before,
        *before_is;        /* path of the model to compare with, and its part in the operation: "donor", "base" */
    const char *output;    /* as the user named it */
    organ_made_as made_as; /* what the operation makes of the weights */
    /* Set by the functions below. */
    json_t *document, *run;
    organ_error fault; /* the error of a failed evaluation of a complete output */
} organ_evaluation;

/* Called before anything is written: opens the model before, its tokenizer and its forward pass, reads the text, plans
 * the windows and checks that they fit the memory. Returns the errors of organ_perplexity. */
organ_status organ_evaluation_prepare(organ_evaluation *evaluation, organ_error *error);

/* Scores the model before and the finished output at `path`. Errors and interruptions are stored for
 * organ_evaluation_end and do not end the operation, so that the finished output is kept. */
void organ_evaluation_run(organ_evaluation *evaluation, const char *path);

/* Adds "evaluation" to a new report, and to its "run" the values that vary from run to run. Takes over `report` and
 * returns it; NULL without memory. */
json_t *organ_evaluated_json(const organ_evaluation *evaluation, json_t *report);

/* Called after the output has its final name: returns the stored error, with a message that the output is complete. */
organ_status organ_evaluation_end(const organ_evaluation *evaluation, organ_error *error);

void organ_evaluation_release(organ_evaluation *evaluation);

#endif
