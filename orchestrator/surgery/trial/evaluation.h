/* SPDX-License-Identifier: MIT
 * --evaluate of an operation that writes a model: what the operation cost, as perplexity before and after on one text,
 * KL divergence and top-1 agreement. The operation fills in the first members and calls the functions in their order;
 * where options are NULL they do nothing.
 */
#ifndef ORGAN_EVALUATION_H
#define ORGAN_EVALUATION_H

#include "orchestrator/forward/forward.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/trial/evaluate_options.h"

#include <jansson.h>

typedef struct organ_evaluation {
    const organ_experiment_options *options; /* NULL: nothing is evaluated */
    const organ_engine *engine;
    const organ_progress *progress;
    const char *before,
        *before_is;        /* path of the model to compare with, and what it is to the operation: "donor", "base" */
    const char *output;    /* as the user named it */
    organ_made_as made_as; /* what the operation makes of the weights */
    /* Its own. */
    json_t *document, *run;
    organ_error fault; /* why there are no figures although the output is whole */
} organ_evaluation;

/* Before anything is written: opens the model before, its tokenizer and its forward pass, reads the text, lays out the
 * windows and sees that they fit the memory. The same errors as organ_perplexity. */
organ_status organ_evaluation_prepare(organ_evaluation *evaluation, organ_error *error);

/* Scores the model before and the finished output, which lies at `path`. A fault, also an interruption, does not become
 * the operation's: it is kept for organ_evaluation_end, so that the finished output is not lost for it. */
void organ_evaluation_run(organ_evaluation *evaluation, const char *path);

/* Adds "evaluation" to a report as it is made, and to its "run" what varies from run to run: `report` again, or NULL,
 * released, without memory. */
json_t *organ_evaluated_json(const organ_evaluation *evaluation, json_t *report);

/* After the output has its name: the status of a fault, with a message that says that the output is whole. */
organ_status organ_evaluation_end(const organ_evaluation *evaluation, organ_error *error);

void organ_evaluation_release(organ_evaluation *evaluation);

#endif
