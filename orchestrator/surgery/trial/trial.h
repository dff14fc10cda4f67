/* SPDX-License-Identifier: MIT
 * Room surgery/trial: what models make of a text. In go models, a text and how it is cut (evaluate_options.h), out come
 * figures; evaluation.h takes them before and after an operation that writes a model.
 *
 * Here: one experiment: a text, a protocol, and models that all score the same tokens. */
#ifndef ORGAN_TRIAL_H
#define ORGAN_TRIAL_H

#include "orchestrator/forward/perplexity.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/output/text_input.h"
#include "orchestrator/surgery/trial/evaluate_options.h"

#include <jansson.h>

typedef struct organ_trial_model {
    const char *path;
    organ_model *model;
    organ_forward *forward;
    uint64_t bytes; /* of all tensors */
    float *hidden;  /* of the windows that were carried last */
    organ_token_scores scores;
    const struct organ_trial *trial;
} organ_trial_model;

typedef struct organ_trial {
    const organ_experiment_options *options;
    bool made; /* models[1] was made of models[0]: it has the same tokenizer, and what is not beside its tensors is
                  beside those */
    organ_made_as made_as; /* what models[1] will be, where it is not there yet */
    const organ_progress *progress;
    organ_engine engine; /* its memory is what a forward pass may take */
    uint64_t memory;     /* of the whole run */
    size_t count;
    organ_trial_model *models;
    organ_tokenizer *tokenizer; /* of the first; the others have the same digest */
    organ_text_input text;      /* until the windows are laid out */
    size_t text_bytes;
    char digest[17]; /* XXH3 of the text */
    bool utf8;       /* all of it is */
    organ_perplexity_protocol protocol;
    size_t text_tokens, used_tokens; /* used: as --max-tokens leaves */
    organ_perplexity_plan plan;
    uint64_t scored_bytes; /* of text that the scored tokens stand for */
    uint64_t words;        /* of that text; style lm-eval alone */
    size_t batch_tokens, tile_rows;
    double seconds; /* of the scoring */
} organ_trial;

/* Opens everything, lays out the windows and sees that they fit the memory. organ_trial_close is to be called whatever
 * it returns. */
organ_status organ_trial_open(organ_trial *trial, const char *const *paths, size_t count,
                              const organ_experiment_options *options, const organ_engine *engine,
                              const organ_progress *progress, organ_error *error);
/* The same with a model and what was just made of it, of which nothing but tensors need be there: config.json, where it
 * has none, and the tokenizer are those of the model before. With `after` NULL what is to be made does not exist yet:
 * all that can be known is checked, by `as` and else as if it were like the model before. */
organ_status organ_trial_open_made(organ_trial *trial, const char *before, const char *after, organ_made_as as,
                                   const organ_experiment_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_error *error);
organ_status organ_trial_run(organ_trial *trial, organ_error *error);
void organ_trial_close(organ_trial *trial);

/* Parts of a report; NULL without memory. Numbers that are not finite (the error of one token, the perplexity of a
 * ruin) are null. */
json_t *organ_trial_experiment_json(const organ_trial *trial);
json_t *organ_trial_figures_json(const organ_trial *trial, size_t m);
json_t *organ_trial_comparison_json(const organ_trial *trial, size_t m,
                                    organ_error *error); /* of model m with the first */
json_t *organ_trial_definitions_json(const organ_trial *trial);
json_t *organ_trial_run_json(const organ_trial *trial);

#endif
