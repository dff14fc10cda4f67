/* SPDX-License-Identifier: MIT
 * --evaluate of an operation that writes a model: measures the effect of the operation as perplexity before and after
 * on one text, KL divergence and top-1 agreement. The operation sets the members of organ_evaluation up to `made_as`
 * and calls the functions below in this order; if `options` is NULL they do nothing. */
#ifndef ORGAN_EVALUATION_H
#define ORGAN_EVALUATION_H

#include <organ/forward.h>
#include <organ/stream.h>
#include <organ/options.h>

#include <jansson.h>

typedef struct organ_evaluation {
    const organ_experiment_options *options; /* NULL: no evaluation */
    const organ_engine *engine;
    const organ_progress *progress;
    const char *before;        /* path of the original model */
    const char *before_is;     /* its part in the operation, for the report: "donor", "base" */
    const char *output;        /* path of the output, as the user named it */
    organ_type_change made_as; /* how the operation changes the weights */
    /* Set by the functions below. */
    json_t *document;  /* member "evaluation" of the report; its figures are null before organ_evaluation_run */
    json_t *run;       /* member "run.evaluation" of the report; NULL without figures */
    organ_error fault; /* error of organ_evaluation_run; the output is complete nevertheless */
} organ_evaluation;

/* Called before anything is written: opens the original model, its tokenizer and its forward pass, reads the text,
 * plans the windows and checks that they fit in --memory, so that a wrong option is found before the operation runs.
 * Returns errors of organ_perplexity. */
organ_status organ_evaluation_prepare(organ_evaluation *evaluation, organ_error *error);

/* Scores the original model and the complete output at `path`. Errors and interruptions are stored for
 * organ_evaluation_end and do not end the operation, so that the output is kept. */
void organ_evaluation_run(organ_evaluation *evaluation, const char *path);

/* Adds "evaluation" to a report, and to its member "run" the values that vary between runs. Owns `report` from then on,
 * and returns it; NULL if memory runs out. */
json_t *organ_evaluated_json(const organ_evaluation *evaluation, json_t *report);

/* Called after the output has its final name: returns the status of organ_evaluation_run, and for an error sets a
 * message which also states that the output is complete. */
organ_status organ_evaluation_end(const organ_evaluation *evaluation, organ_error *error);

/* Frees the members that the functions above have set. */
void organ_evaluation_release(organ_evaluation *evaluation);

#endif
