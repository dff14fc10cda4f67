/* SPDX-License-Identifier: MIT
 * Room surgery/scoring: scores models on a text that is cut into windows (evaluate_options.h), and computes figures
 * such as perplexity. evaluation.h computes them before and after an operation that writes a model.
 *
 * This header: one scoring, which is a text, a protocol (style, window length, BOS), and models that all score the same
 * tokens. */
#ifndef ORGAN_SCORING_H
#define ORGAN_SCORING_H

#include "orchestrator/forward/perplexity.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/scoring/input_sums.h"

#include <jansson.h>

/* A model that is scored. */
typedef struct organ_scored_model {
    const char *path;
    organ_model *model;
    organ_forward *forward;
    uint64_t bytes;            /* bytes of all tensors */
    float *hidden;             /* hidden states of the windows in the current batch */
    organ_token_scores scores; /* of all scored tokens */
    const struct organ_scoring *scoring;
} organ_scored_model;

/* A scoring of several models. */
typedef struct organ_scoring {
    const organ_experiment_options *options;
    /* models[1] was made from models[0] and has its tokenizer; files that it lacks are read from models[0]. */
    bool derived;
    organ_made_as made_as; /* how models[1] will differ from models[0], if it does not exist yet */
    const organ_progress *progress;
    organ_engine engine; /* the engine of the forward passes; its memory is their share */
    uint64_t memory;     /* memory of the whole run */
    size_t count;        /* number of models */
    organ_scored_model *models;
    organ_tokenizer *tokenizer; /* tokenizer of the first model; those of the others have the same digest */
    organ_text_input text;      /* the text, until organ_scoring_fit releases it */
    size_t text_bytes;          /* its length */
    char digest[17];            /* XXH3 of the text */
    bool utf8;                  /* the whole text is valid UTF-8 */
    organ_perplexity_protocol protocol;
    size_t text_tokens, used_tokens; /* tokens of the text, and those that are used (--max-tokens) */
    organ_perplexity_plan plan;      /* windows and scored tokens */
    uint64_t scored_bytes;           /* bytes of text that the scored tokens cover */
    uint64_t words;                  /* words of that text; only for style lm-eval */
    size_t batch_tokens,
        tile_rows;          /* tokens that run through a layer together; rows of logits that are computed together */
    organ_input_sums *sums; /* sums of the first model's inputs; NULL: no importance matrix is requested */
    double seconds;         /* seconds of the scoring */
} organ_scoring;

/* Opens the models at `count` paths, tokenizers and text, plans the windows and checks that they fit in --memory. Call
 * organ_scoring_close whatever it returns. Returns the errors of organ_perplexity. */
organ_status organ_scoring_open(organ_scoring *scoring, const char *const *paths, size_t count,
                                const organ_experiment_options *options, const organ_engine *engine,
                                const organ_progress *progress, organ_error *error);
/* organ_scoring_open in two steps, for callers that plan the windows themselves. The first opens models, tokenizer and
 * text and sets scoring->protocol; the caller then fills scoring->plan from scoring->text. The second releases the text
 * and checks that the windows fit in --memory. Call organ_scoring_close whatever they return. */
organ_status organ_scoring_open_inputs(organ_scoring *scoring, const char *const *paths, size_t count,
                                       const organ_experiment_options *options, const organ_engine *engine,
                                       const organ_progress *progress, organ_error *error);
organ_status organ_scoring_fit(organ_scoring *scoring, organ_error *error);
/* Same as organ_scoring_open for a model `before` and one made from it, `after`. The second may have tensors only: a
 * missing config.json and the tokenizer are read from the first. `after` NULL: the second model does not exist yet; its
 * forward pass is checked for weights of the kind `as`, and otherwise as if it were equal to the first. */
organ_status organ_scoring_open_made(organ_scoring *scoring, const char *before, const char *after, organ_made_as as,
                                     const organ_experiment_options *options, const organ_engine *engine,
                                     const organ_progress *progress, organ_error *error);
/* Scores all windows with every model and sets models[].scores. Returns ORGAN_BAD_INPUT if logits are not finite or the
 * files of a model changed meanwhile, ORGAN_IO if out of memory, ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_scoring_run(organ_scoring *scoring, organ_error *error);
/* Return, for an open scoring, the least --memory for its windows, and the amount from which on all windows are one
 * batch, so that each layer is read once. */
uint64_t organ_scoring_min_memory(organ_scoring *scoring);
uint64_t organ_scoring_good_memory(organ_scoring *scoring);
void organ_scoring_close(organ_scoring *scoring);

/* Return members of a report; NULL without memory. Numbers that are not finite (the standard error of one token, the
 * perplexity of a destroyed model) are null. */
json_t *organ_scoring_experiment_json(const organ_scoring *scoring);
json_t *organ_scoring_figures_json(const organ_scoring *scoring, size_t m);
json_t *organ_scoring_comparison_json(const organ_scoring *scoring, size_t m,
                                      organ_error *error); /* compares model m with the first */
json_t *organ_scoring_definitions_json(const organ_scoring *scoring);
json_t *organ_scoring_run_json(const organ_scoring *scoring);

#endif
