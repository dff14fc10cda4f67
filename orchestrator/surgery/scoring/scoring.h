/* SPDX-License-Identifier: MIT
 * Room surgery/scoring: scores models on a text. Input: models, a text and the way it is cut into windows
 * (evaluate_options.h). Output: figures. evaluation.h computes them before and after an operation that writes a model.
 *
 * This header: one experiment, which is a text, a protocol, and models that all score the same tokens. */
#ifndef ORGAN_SCORING_H
#define ORGAN_SCORING_H

#include "orchestrator/forward/perplexity.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/scoring/input_sums.h"

#include <jansson.h>

typedef struct organ_scored_model {
    const char *path;
    organ_model *model;
    organ_forward *forward;
    uint64_t bytes; /* of all tensors */
    float *hidden;  /* of the windows in the last batch */
    organ_token_scores scores;
    const struct organ_scoring *scoring;
} organ_scored_model;

typedef struct organ_scoring {
    const organ_experiment_options *options;
    bool derived; /* models[1] was made of models[0] and has its tokenizer; files that it lacks are read from models[0]
                   */
    organ_made_as made_as; /* what models[1] will be, if it does not exist yet */
    const organ_progress *progress;
    organ_engine engine; /* its memory is the share of the forward pass */
    uint64_t memory;     /* memory of the whole run */
    size_t count;
    organ_scored_model *models;
    organ_tokenizer *tokenizer; /* of the first; the others have the same digest */
    organ_text_input text;      /* until the windows are planned */
    size_t text_bytes;
    char digest[17]; /* XXH3 of the text */
    bool utf8;       /* all of the text is UTF-8 */
    organ_perplexity_protocol protocol;
    size_t text_tokens, used_tokens; /* used: limited by --max-tokens */
    organ_perplexity_plan plan;
    uint64_t scored_bytes; /* bytes of text that the scored tokens cover */
    uint64_t words;        /* of that text; style lm-eval alone */
    size_t batch_tokens, tile_rows;
    organ_input_sums *sums; /* of the first model's inputs; NULL: no importance matrix is made */
    double seconds;         /* of the scoring */
} organ_scoring;

/* Opens models, tokenizers and text, plans the windows and checks that they fit the memory. organ_scoring_close must
 * follow whatever it returns. */
organ_status organ_scoring_open(organ_scoring *scoring, const char *const *paths, size_t count,
                                const organ_experiment_options *options, const organ_engine *engine,
                                const organ_progress *progress, organ_error *error);
/* organ_scoring_open in two steps, for callers that plan the windows themselves. The first opens models, tokenizer and
 * text and sets trial->protocol; the caller then fills trial->plan from trial->text. The second releases the text and
 * checks that the windows fit the memory. organ_scoring_close must follow whatever they return. */
organ_status organ_scoring_open_inputs(organ_scoring *scoring, const char *const *paths, size_t count,
                                       const organ_experiment_options *options, const organ_engine *engine,
                                       const organ_progress *progress, organ_error *error);
organ_status organ_scoring_fit(organ_scoring *scoring, organ_error *error);
/* Like organ_scoring_open, for a model and another one made of it. The second may consist of tensors alone: a missing
 * config.json and the tokenizer are read from the model before. With `after` NULL the second model does not exist yet:
 * its forward pass is checked for the kind of weights `as`, and otherwise as if it were equal to the model before. */
organ_status organ_scoring_open_made(organ_scoring *scoring, const char *before, const char *after, organ_made_as as,
                                     const organ_experiment_options *options, const organ_engine *engine,
                                     const organ_progress *progress, organ_error *error);
organ_status organ_scoring_run(organ_scoring *scoring, organ_error *error);
/* Return the least --memory for the windows of an open trial, and the amount from which on all windows are one batch,
 * so that each layer is read once. */
uint64_t organ_scoring_min_memory(organ_scoring *scoring);
uint64_t organ_scoring_good_memory(organ_scoring *scoring);
void organ_scoring_close(organ_scoring *scoring);

/* Parts of a report; NULL without memory. Numbers that are not finite (the error of one token, the perplexity of a
 * ruin) are null. */
json_t *organ_scoring_experiment_json(const organ_scoring *scoring);
json_t *organ_scoring_figures_json(const organ_scoring *scoring, size_t m);
json_t *organ_scoring_comparison_json(const organ_scoring *scoring, size_t m,
                                      organ_error *error); /* of model m with the first */
json_t *organ_scoring_definitions_json(const organ_scoring *scoring);
json_t *organ_scoring_run_json(const organ_scoring *scoring);

#endif
