/* SPDX-License-Identifier: MIT
 * Room surgery/scoring: scores models on a text that is cut into windows (organ_perplexity_plan), and computes figures
 * such as perplexity. scoring.c computes them before and after an operation that writes a model.
 *
 * This header: one scoring, which is a text, a protocol (style, window length, BOS), and models that all score the same
 * tokens. The first model is models[0]; the others are compared with it. */
#ifndef ORGAN_SURGERY_SCORING_SCORING_H
#define ORGAN_SURGERY_SCORING_SCORING_H

#include "orchestrator/forward/drafting.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/surgery/scoring/input_sums.h"
#include "orchestrator/surgery/scoring/scoring_parts.h"

#include <organ/models.h>
#include <organ/options.h>
#include <organ/stream.h>

/* How the KV cache of a model is scored, if organ_forward_cache does not say it. */
typedef struct organ_scored_cache {
    char declared[64];   /* what declares a quantised cache (organ_cache_declared); "": nothing */
    const char *why_not; /* why a declared cache is not rounded; NULL: it is, or none is declared */
} organ_scored_cache;

/* Tokens that the vocabularies of two models share, in the order of their ids in the second model, 0 to count - 1. */
typedef struct organ_shared_tokens {
    const uint32_t *ids; /* their ids in the first model, ascending */
    size_t count;
} organ_shared_tokens;

typedef struct organ_scored_model {
    const char *path;
    organ_model *model;
    organ_forward *forward;
    uint64_t bytes;                      /* bytes of all tensors */
    float *hidden;                       /* hidden states of the tokens of the current batch of windows */
    organ_token_scores scores;           /* scores of all scored tokens of the plan */
    const struct organ_scoring *scoring; /* the scoring that this model belongs to */
    organ_scored_cache cache;
    bool declares;                      /* its configuration declares that servers round inputs of linear layers */
    const organ_input_rounding *inputs; /* that of the first such layer; NULL: none, or the model does not exist yet */
    size_t alone;                       /* number of the model that is the same without rounding; 0: none */
    bool drafts;                        /* its block for multi-token prediction is scored, too */
    float *drafted;                     /* with `drafts`: outputs of that block for the tokens of the current batch */
    organ_scored_block block;           /* with `drafts`: the scores of that block */
    double *dropped;     /* first model, with scoring->shared: probability of its other tokens for each scored token */
    size_t dropped_next; /* number of the scored token whose logits come next */
} organ_scored_model;

/* --mtp: whether blocks for multi-token prediction are scored, and on how many continuations of the text. */
typedef struct organ_scored_drafts {
    bool scored;
    unsigned continuations;
    const char *tokens; /* report of organ_vocabulary with the tokens that blocks propose; NULL: all */
} organ_scored_drafts;

typedef enum organ_activations {
    ORGAN_ACTIVATIONS_OFF, /* inputs are not rounded */
    ORGAN_ACTIVATIONS_ON,  /* inputs are rounded as the models declare */
    ORGAN_ACTIVATIONS_BOTH /* on, and models but the first of several are also scored without rounding */
} organ_activations;

typedef enum organ_scoring_end {
    ORGAN_SCORING_TEXT,    /* no token of the text is left, or too few for a window */
    ORGAN_SCORING_TOKENS,  /* --max-tokens */
    ORGAN_SCORING_WINDOWS, /* --max-windows */
    ORGAN_SCORING_ERROR    /* max_error was reached */
} organ_scoring_end;

/* Which windows of the text are scored: all, unless one of these numbers is greater than 0. If fewer are scored, they
 * are the first ones in the order of organ_scoring_order. */
typedef struct organ_scoring_stop {
    double max_error; /* standard error in percent that is enough, if the text is work of ORGAN_WHOLE_WORK or more */
    size_t windows;   /* number of windows that is enough */
} organ_scoring_stop;

#define ORGAN_SCORING_BLOCK ((size_t)8192) /* least tokens of a block, before they are rounded up to whole windows */
#define ORGAN_SCORING_LEAST ((size_t)16)   /* least windows of the first block: fewer have no reliable error */

typedef struct organ_scoring {
    const organ_experiment_options *options;
    organ_scored_drafts mtp;
    bool *proposed; /* for each token, whether it is one of mtp.tokens; NULL: blocks propose all tokens */
    size_t proposed_count;
    /* models[1] was made from models[0] and has its tokenizer; files that it lacks are read from models[0]. */
    bool derived;
    /* Both models score tokens that have the ids of models[1], on the logits of these tokens alone. NULL: all models
     * have one vocabulary. */
    const organ_shared_tokens *shared;
    bool without_text;         /* the caller has read the text */
    bool differ;               /* organ_scoring_open has failed because a model has another vocabulary than the first */
    organ_type_change made_as; /* how models[1] will differ from models[0], if it does not exist yet */
    bool made_rounds;          /* ... and whether its configuration will declare that inputs are rounded */
    organ_activations activations;
    const organ_progress *progress;
    organ_engine whole;  /* engine of the run */
    organ_engine engine; /* engine of the forward passes; engine.memory is their share of `memory` */
    uint64_t memory;     /* bytes that the whole run may use */
    uint64_t divided;    /* of these, the bytes that are not kept during the whole run */
    size_t shown;        /* number of models that were asked for, models[0] to models[shown - 1] */
    size_t count;        /* number of models: those, then those of `alone`, which only score */
    organ_scored_model *models;
    organ_tokenizer *tokenizer; /* tokenizer of the first model; those of the others find the same ids */
    organ_text_input text;      /* the text, until organ_scoring_fit releases it */
    size_t text_bytes;          /* length of the text */
    uint64_t beside;            /* bytes that the caller keeps during the whole scoring */
    uint64_t text_memory;       /* bytes that the text and its tokens took while the windows were planned */
    char digest[17];            /* XXH3 of the text, hexadecimal */
    bool utf8;                  /* the whole text is valid UTF-8 */
    organ_perplexity_protocol protocol;
    size_t text_tokens;         /* number of tokens of the text */
    size_t used_tokens;         /* number of tokens of the windows in `plan` */
    organ_perplexity_plan plan; /* windows and scored tokens, in the order in which they are scored */
    size_t *order;              /* number in the text of each window of the plan; NULL: 0, 1, .. */
    size_t all_windows;         /* number of windows of the text, or of its first --max-tokens */
    uint64_t scored_bytes;      /* bytes of text that the scored tokens cover */
    uint64_t words;             /* words of that text; only for style lm-eval */
    size_t batch_tokens;        /* upper bound of the tokens of a batch: windows that run through a layer together */
    size_t tile_rows;           /* number of tokens whose logits are kept together */
    size_t beside_rows;         /* organ_drafted_beside.room */
    organ_input_sums *sums;     /* sums of the first model's inputs; NULL: no importance matrix is requested */
    double seconds;             /* duration of organ_scoring_run */
    /* The scoring ends after the first block with which `error` is at most stop.max_error, or with the plan. */
    organ_scoring_stop stop;
    size_t block_windows; /* least windows of a block; 0: all windows are one block */
    /* Standard error, in percent, of the perplexity of a single model; of several models, the largest one of their
     * ratios to the perplexity of the first model. NAN before organ_scoring_run. */
    double error;
    organ_scoring_end ended; /* why no more tokens were scored */
} organ_scoring;

/* Opens the models at `count` paths, tokenizers and text, plans the windows and checks that they fit in --memory. All
 * arguments must outlive *scoring. Call organ_scoring_close also after an error. Returns the errors of
 * organ_perplexity. */
organ_status organ_scoring_open(organ_scoring *scoring, const char *const *paths, size_t count,
                                const organ_experiment_options *options, organ_scoring_stop stop,
                                organ_scored_drafts mtp, const organ_engine *engine, const organ_progress *progress,
                                organ_error *error);
/* organ_scoring_open in two steps, for callers that plan the windows themselves. organ_scoring_open_inputs opens
 * models, tokenizer and text and sets scoring->protocol. The caller then fills scoring->plan from scoring->text.
 * Finally organ_scoring_fit releases the text and checks that the windows fit in --memory. Call organ_scoring_close
 * also after an error. */
organ_status organ_scoring_open_inputs(organ_scoring *scoring, const char *const *paths, size_t count,
                                       const organ_experiment_options *options, const organ_engine *engine,
                                       const organ_progress *progress, organ_error *error);
organ_status organ_scoring_fit(organ_scoring *scoring, organ_error *error);
/* The same as organ_scoring_open_inputs for two models that share tokens, or, with `shared` NULL, for any one. The
 * text is not read: the caller fills scoring->plan with ids of the second model. */
organ_status organ_scoring_open_shared(organ_scoring *scoring, const char *const *paths, size_t count,
                                       const organ_shared_tokens *shared, const organ_experiment_options *options,
                                       const organ_engine *engine, const organ_progress *progress, organ_error *error);
/* Same as organ_scoring_open for two models: the one at path `before`, and one made from it at path `after`. The second
 * may have tensors only: a missing config.json and the tokenizer are read from the first. `after` NULL: the second
 * model does not exist yet; memory is checked as if it were the first one with its weights converted as `as` says, and
 * if `rounds` as if its configuration declared that inputs are rounded. */
organ_status organ_scoring_open_made(organ_scoring *scoring, const char *before, const char *after,
                                     organ_type_change as, bool rounds, const organ_experiment_options *options,
                                     const organ_engine *engine, const organ_progress *progress, organ_error *error);
/* Scores windows with every model and sets models[].scores. If it ends before the last window (max_error), plan,
 * used_tokens and scored_bytes become those of the scored windows: with stop.windows plan.windows another scoring
 * scores the same tokens. The windows of blocks and the order of sums depend on the protocol alone. Returns
 * ORGAN_BAD_INPUT if logits are not finite or the files of a model changed meanwhile, ORGAN_IO if out of memory,
 * ORGAN_INTERRUPTED if a stop was requested. */
organ_status organ_scoring_run(organ_scoring *scoring, organ_error *error);
/* Return, for an open scoring, two values of --memory in bytes: the least one for its windows, and the least one with
 * which all windows are one batch, so that each layer is read once. */
uint64_t organ_scoring_min_memory(organ_scoring *scoring);
uint64_t organ_scoring_good_memory(organ_scoring *scoring);
void organ_scoring_close(organ_scoring *scoring);
/* Returns the number of the first window after the block that begins with window `from`. A block has an eighth to a
 * quarter of the windows before it, so that few errors are compared with max_error: the more are compared, the likelier
 * one is too small by chance. */
size_t organ_scoring_block_end(const organ_scoring *scoring, size_t from);

/* ---- windows that are spread over the text (window_order.c) ---- */

/* Sets *order, which the caller frees, to the numbers of `windows` windows in the order in which they are scored: a
 * van der Corput sequence with scrambled digits, from window 0 on. Its beginnings are spread evenly over the text. */
organ_status organ_scoring_order(size_t windows, size_t **order, organ_error *error);
/* Puts the first `count` windows of this order into scoring->plan, which has all of the text in their order. Sets
 * `order` and `all_windows`. */
organ_status organ_scoring_spread(organ_scoring *scoring, size_t count, organ_error *error);
/* Returns the tokens of the longest block. */
size_t organ_scoring_longest_block(const organ_scoring *scoring);
/* Lists the first `count` windows of the plan, in the order of the text. The caller releases *windows. */
organ_status organ_scoring_windows(const organ_scoring *scoring, size_t count, organ_score_windows *windows,
                                   organ_error *error);

/* ---- the work of a scoring, and the windows that it scores (scoring_work.c) ---- */

/* Puts the windows of the plan that are scored into it, in their order. Sets `order`, `all_windows`, `block_windows`,
 * `used_tokens`, `scored_bytes` and `words`. The plan has all windows of the text in their order before. */
organ_status organ_scoring_order_windows(organ_scoring *scoring, organ_error *error);
/* Limits the plan to its first `windows` windows. Sets used_tokens, scored_bytes and words. */
organ_status organ_scoring_cut(organ_scoring *scoring, size_t windows, organ_error *error);
/* Returns the operations of model m for `windows` windows of the text: two for each multiply-add. Continuations of
 * --mtp are not counted. */
organ_plan_work organ_scoring_text_products(const organ_scoring *scoring, const organ_scored_model *m, size_t windows);
/* Returns the operations of the continuations of --mtp. */
organ_plan_work organ_scoring_continued_products(const organ_scored_model *m);

/* Returns the number of batches in which all `ranks` ranks score the first `windows` windows. */
size_t organ_scoring_batches(const organ_scoring *scoring, size_t windows, size_t ranks);
/* Sets scored_bytes, and for style lm-eval words: those of the whole text if all of its tokens are used, else those of
 * the joined texts of the scored tokens. */
organ_status organ_scoring_count_text(organ_scoring *scoring, organ_error *error);

/* Runs windows through a model, whose hidden states are then in m->hidden, which has room for them. The inputs of the
 * first model's matrices are added to scoring->sums, if an importance matrix is requested. */
organ_status organ_scoring_carry(organ_scored_model *m, const organ_windows *windows, organ_error *error);

/* ---- models with different vocabularies (scoring_shared.c) ---- */

/* Runs windows through the model, whose tokens are renamed if scoring->shared says so (organ_scoring_carry). */
organ_status organ_scoring_carry_shared(organ_scored_model *m, const organ_windows *windows, organ_error *error);
/* Computes logits as organ_logit_source.logits does: with scoring->shared those of the shared tokens alone. */
organ_status organ_scoring_logits(void *model, const size_t *rows, size_t count, void *receiver,
                                  void (*each)(void *receiver, size_t k, float *logits), organ_error *error);
/* Returns the number of these logits. */
size_t organ_scoring_logit_count(const organ_scored_model *m);
/* Returns the sum of exp(logit - top) over the listed ids. */
double organ_listed_exp_sum(const organ_kernels *kernels, const uint32_t *ids, size_t count, const float *logits,
                            double top);

/* ---- --mtp: blocks for multi-token prediction (acceptance.c) ---- */

/* Opens the blocks of a model before its inputs are rounded, if scoring->mtp.scored and it has any. */
organ_status organ_scoring_open_drafts(organ_scored_model *m, organ_error *error);
/* Reads mtp.tokens. Returns ORGAN_BAD_INPUT if mtp.scored is set and no model has a block that organ runs, or for a
 * malformed list; ORGAN_USAGE for a list without mtp.scored. */
organ_status organ_scoring_check_drafts(organ_scoring *scoring, organ_error *error);
/* Returns true if the continuations of scoring->mtp fit in `memory` bytes. */
bool organ_scoring_continuations_fit(const organ_scoring *scoring, uint64_t memory);
/* Upper bounds of the tokens of all continuations: run by the model, and by its block. All members are 0 without. */
typedef struct organ_continued {
    size_t context; /* tokens of a continuation with its prompt */
    double run, drafted;
} organ_continued;
organ_continued organ_scoring_continued(const organ_scored_model *m);
/* Returns organ_model_json, whose "not_run" has no blocks that are scored; for the caller to release. */
json_t *organ_scored_model_json(const organ_scored_model *m);
/* Adds "mtp" to the entry of model m, if mtp.scored; runs the continuations. Needs organ_scoring_run. */
organ_status organ_scoring_add_drafts(organ_scoring *scoring, size_t m, json_t *entry, organ_error *error);

/* ---- sums of inputs without scores (collect.c) ---- */

/* Runs all windows through the first model for scoring->sums alone; afterwards every rank has the sums of all windows.
 * All windows have scoring->protocol.context tokens (style llama.cpp with options->imatrix). All ranks call it, also
 * after an error, which every rank then returns. `directory` is that of the unfinished output, where each rank saves
 * its sums after at most 64 windows; NULL: nothing is saved. `resumed`: begin with the sums that an interrupted run
 * saved there, in any number of ranks. *done becomes the number of windows in the sums that this rank saved last.
 * Returns the errors of organ_scoring_run. */
organ_status organ_scoring_collect(organ_scoring *scoring, const char *directory, bool resumed, size_t *done,
                                   organ_error *error);
/* Removes the saved sums from the directory of a complete output. */
void organ_scoring_collect_end(const char *directory);

/* ---- parts of a report ---- */

/* Each function below returns one object of a report, which the caller releases; NULL if memory runs out. Numbers that
 * are not finite (the standard error of one token, the perplexity of a destroyed model) are null. */

/* Returns "experiment": text, tokenizer, context, style and the numbers of tokens and windows. */
json_t *organ_scoring_experiment_json(const organ_scoring *scoring);
/* Adds to the entry of model m, which has "figures", what --activations says: nothing if the model does not declare
 * that servers round inputs, else "activations", a note "rounded_activations" if organ rounded none, and
 * "weights_alone" with figures and comparison if the model was also scored without rounding. */
organ_status organ_scoring_add_activations(const organ_scoring *scoring, size_t m, json_t *entry, organ_error *error);

/* --kv-cache (scoring_cache.c). organ_scoring_check_cache returns ORGAN_USAGE for an unknown word.
 * organ_scoring_round_cache makes the opened forward pass of a model round its cache; notes why a declared one is not
 * rounded. organ_scoring_add_cache adds "kv_cache" to the entry of model m if its cache is rounded, or could be. */
organ_status organ_scoring_check_cache(const organ_scoring *scoring, organ_error *error);
organ_status organ_scoring_round_cache(const organ_scoring *scoring, organ_scored_model *m, organ_error *error);
/* Warns of sets of FP8 matrices that vLLM reads otherwise than the figures (scoring_fused.c). Returns the errors of
 * organ_weights_find, and ORGAN_IO if memory or a read fails. */
organ_status organ_scoring_warn_fused(const organ_scoring *scoring, const organ_scored_model *m, organ_error *error);
organ_status organ_scoring_add_cache(const organ_scoring *scoring, size_t m, json_t *entry, organ_error *error);

/* Returns "ended": why no more windows were scored, and the options that score these again; percentages are null where
 * there are none. Needs organ_scoring_run. */
json_t *organ_scoring_ended_json(const organ_scoring *scoring);
/* Returns "figures": perplexity and other figures of model m; needs organ_scoring_run. */
json_t *organ_scoring_figures_json(const organ_scoring *scoring, size_t m, organ_error *error);
/* Returns "comparison" of model m with the first model; needs organ_scoring_run. */
json_t *organ_scoring_comparison_json(const organ_scoring *scoring, size_t m, organ_error *error);
/* Returns "definitions" of a document with this schema: a text for each figure. */
json_t *organ_scoring_definitions_json(const organ_scoring *scoring, const char *schema);
/* Returns the members of "run" that organ_scoring_run has set: path of the text, duration, tokens per second, batches,
 * memory, engine and directory of the reports. */
json_t *organ_scoring_run_json(const organ_scoring *scoring);

/* ---- --evaluate of a verb that writes a model ---- */

/* --evaluate of an operation that writes a model: measures the effect of the operation as perplexity before and after
 * on one text, KL divergence and top-1 agreement. The operation sets the members of organ_evaluation up to `made_as`
 * and calls the functions below in this order; if `options` is NULL they do nothing. */

typedef struct organ_evaluation {
    const organ_experiment_options *options; /* NULL: no evaluation */
    const organ_engine *engine;
    const organ_progress *progress;
    const char *before;        /* path of the original model */
    const char *before_is;     /* its part in the operation, for the report: "donor", "base" */
    const char *output;        /* path of the output, as the user named it */
    organ_type_change made_as; /* how the operation changes the weights */
    bool made_rounds;          /* the output will declare that servers round inputs */
    /* Set by the functions below. */
    uint64_t memory;   /* least memory of the evaluation; 0: there is none */
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

/* ---- trying a model that a verb has written, before it gets its name ---- */

typedef struct organ_trial {
    const organ_model *model; /* the model from which the output was made */
    const char *path;         /* path by which the unfinished output opens as a model */
    const organ_engine *engine;
    const organ_progress *progress;
    /* Largest error of a layer: of the change of the hidden states by the output's layer, relative to the change by the
     * model's (ORGAN_TRIAL_ERROR_*). INFINITY: any, because the user lets values be limited. */
    double tolerance;
    bool infinite; /* the output has infinite values that the user accepts: states with such results are not compared */
} organ_trial;

/* Tolerances, by the bits of the output's values. A layer of which rows, columns or a part have another order or sign
 * has an error near 1. The tolerances of F32 and of 16 bits are far above the errors of rounding; that of fewer bits
 * allows for errors of quantisation. */
#define ORGAN_TRIAL_ERROR_32    0.01
#define ORGAN_TRIAL_ERROR_16    0.1
#define ORGAN_TRIAL_ERROR_CODES 0.6

/* Opens the output with the loader of the forward pass, which reads its configuration and finds all of its weights by
 * name and shape, and runs 16 tokens through its first and its last layer and through those of the model. The last
 * layers get the same input. The error of a layer is the median over the tokens. Layers are streamed within the
 * engine's memory.
 *
 * Some files do not store the limit of an activation, limits of time steps or the epsilon of norms in recurrent layers,
 * which the caller notes. The output is run with those of the model.
 *
 * If the forward pass cannot read the model's architecture, or a layer does not fit the memory, the layers are not run,
 * and a note gives the reason. Only rank 0 of several processes checks.
 *
 * Returns ORGAN_BAD_INPUT if the output cannot be opened, if the hidden states have another size, or if the error of a
 * layer exceeds the tolerance or is not finite; the message names the layer. Returns the errors of reading. */
organ_status organ_trial_run(const organ_trial *check, organ_error *error);

/* Returns ORGAN_BAD_INPUT, naming the key, unless the GGUF output at `path` has exactly the keys "tokenizer.*" of
 * `expected`, with the same bytes. */
organ_status organ_trial_tokenizer(const char *path, const organ_gguf *expected, organ_error *error);

/* Returns ORGAN_BAD_INPUT unless the file `name` of the output at `path` has the `size` bytes of
 * `expected`. */
organ_status organ_trial_file(const char *path, const char *name, const char *expected, size_t size,
                              organ_error *error);

/* Returns the matrices for multi-token prediction that the first model has, but that no run multiplies inputs by, so
 * that an importance matrix has no entry for them: {"matrices", "names"}, experts joined to one name; null: none. */
json_t *organ_scoring_unrun_json(const organ_scoring *scoring);

#endif
