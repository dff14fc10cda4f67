/* SPDX-License-Identifier: MIT
 * Perplexity: the choice of windows and scored tokens of a text (the protocol), the negative log-likelihoods that
 * models assign to them (the scores), and the figures computed from these. */
#ifndef ORGAN_PERPLEXITY_H
#define ORGAN_PERPLEXITY_H

#include "formats/base/api.h"
#include "orchestrator/forward/forward.h"

ORGAN_API_BEGIN

/* ---- the protocol ---- */

/* How a text is cut into windows. A token is scored by the probability that the model gives it after the preceding
 * tokens of its window.
 *
 * hf: BOS once before the text if the model's tokenizer adds one. Adjacent windows of `context` tokens, the last one
 * shorter. All tokens but the first of a window are scored.
 *
 * llama.cpp: BOS as above, and in place of the first token of every window. Whole windows of `context` tokens, at
 * least two; the remainder is not used. The predictions from positions context / 2 .. context - 2 are scored.
 *
 * lm-eval: BOS (EOS if there is none) before the text. Every token is scored once, in windows of `context` inputs. The
 * first input of a window is the last token that the previous window predicts. The last window is filled from the front
 * with tokens that were scored already. */
typedef enum organ_perplexity_style {
    ORGAN_STYLE_HF,
    ORGAN_STYLE_LLAMA_CPP,
    ORGAN_STYLE_LM_EVAL
} organ_perplexity_style;

/* Returns "hf", "llama.cpp" or "lm-eval". */
const char *organ_perplexity_style_name(organ_perplexity_style style);
/* Returns false if no style has that name. */
bool organ_perplexity_style_parse(const char *name, organ_perplexity_style *style);

/* How a text is scored: settings that must be equal for a comparison. */
typedef struct organ_perplexity_protocol {
    organ_perplexity_style style;
    size_t context;   /* at least 4 */
    int64_t bos, eos; /* -1: none */
    bool adds_bos;
    bool whole; /* hf, llama.cpp: the last token of a window is an input as well, although no token follows it */
} organ_perplexity_protocol;

/* The windows of a text and the predictions to score. */
typedef struct organ_perplexity_plan {
    uint32_t *tokens; /* inputs of all windows, concatenated */
    size_t *begin;    /* windows + 1 */
    size_t windows;
    size_t *rows;      /* indices in `tokens` of the inputs whose predictions are scored; ascending */
    uint32_t *targets; /* for each of these inputs, the token that follows it in the text */
    size_t scored;     /* number of these inputs */
} organ_perplexity_plan;

/* Applies the protocol to the tokens of a text, without BOS. Returns ORGAN_BAD_INPUT, with `text` (its name) in the
 * message, if the text is too short, or if the protocol needs a BOS that the tokenizer does not have. The caller frees
 * *plan. */
organ_status organ_perplexity_plan_make(const organ_perplexity_protocol *protocol, const uint32_t *tokens, size_t count,
                                        const char *text, organ_perplexity_plan *plan, organ_error *error);
void organ_perplexity_plan_free(organ_perplexity_plan *plan);

/* ---- the scores ---- */

/* A model that computes logits. */
typedef struct organ_logit_source {
    void *context;
    uint64_t vocabulary;
    const char *name; /* name of the model in messages */
    /* Runs the windows through the model and keeps the hidden states until the next call. */
    organ_status (*carry)(void *context, const organ_windows *windows, organ_error *error);
    /* Computes the logits of `count` tokens of the windows of the last call of `carry`, like organ_forward_logits. */
    organ_status (*logits)(void *context, const size_t *rows, size_t count, void *receiver,
                           void (*each)(void *receiver, size_t k, float *logits), organ_error *error);
} organ_logit_source;

/* Scores of one model, one value for each scored token of the plan. */
typedef struct organ_token_scores {
    double *nll;        /* -ln of the token's probability */
    double *divergence; /* KL(first model || this model) of the two distributions, in nats; NULL for the first model */
    unsigned char *agrees; /* 1 if both models have the same most likely token (lowest id among equals); NULL for the
                              first model */
} organ_token_scores;

/* Scores the plan with `count` models; scores[m] has arrays for the values to compute, NULL for the others. Processes
 * windows in batches of at most `batch_tokens` inputs (but at least one window). With several models, keeps the logits
 * of `tile_rows` tokens of the first model at a time. Neither batch_tokens nor tile_rows changes the results.
 * Probabilities are computed in FP64 from FP32 logits, summed over 16 lanes. Returns ORGAN_BAD_INPUT if the
 * vocabularies of the models differ in size, a target is outside of them, or logits are not finite; ORGAN_INTERRUPTED
 * if `stop` asks. */
organ_status organ_perplexity_score(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                    const organ_logit_source *sources, size_t count, size_t batch_tokens,
                                    size_t tile_rows, organ_token_scores *scores, const organ_stop *stop,
                                    const organ_progress *progress, organ_error *error);

/* Returns the number of batches of organ_perplexity_score. */
size_t organ_perplexity_batches(const organ_perplexity_plan *plan, size_t batch_tokens);

/* Returns the index of the largest of `count` logits, the lowest among equals. */
size_t organ_logits_top(const float *logits, size_t count);

/* Returns ln of the sum of exp of all logits; not finite if a logit is not. */
double organ_logits_log_sum(const organ_kernels *kernels, const float *logits, size_t count);

/* ---- the figures: sums in FP64 in the order of the tokens ---- */

/* Mean and its standard error if tokens were independent: sqrt(sum (x - mean)^2 / (n - 1) / n); NaN for n < 2. */
typedef struct organ_mean {
    double mean, error;
} organ_mean;
organ_mean organ_mean_of(const double *values, size_t count);

/* The figures of one model on a text. */
typedef struct organ_perplexity_figures {
    organ_mean nll;
    double perplexity, perplexity_error; /* exp(nll.mean); its error is that times nll.error */
    double total;                        /* sum of nll */
} organ_perplexity_figures;
organ_perplexity_figures organ_perplexity_sum(const double *nll, size_t count);

/* A model compared with the first one, token by token: differences on the same token exclude the variation between
 * tokens from the error. */
typedef struct organ_perplexity_comparison {
    double difference, difference_error; /* perplexity of the model less that of the first */
    /* perplexity of the model divided by that of the first: exp of the mean difference of nll */
    double ratio, ratio_error;
    organ_mean nll; /* difference of nll */
    organ_mean divergence;
    double agreement, agreement_error; /* 0 .. 1 */
} organ_perplexity_comparison;
/* Compares the scores of `count` tokens under two models. Returns ORGAN_IO if there is no memory. */
organ_status organ_perplexity_compare(const organ_token_scores *first, const organ_token_scores *other, size_t count,
                                      organ_perplexity_comparison *comparison, organ_error *error);

/* Returns the number of words as Python's re.split(r"\s+", text) counts them: runs of white space plus one. */
uint64_t organ_perplexity_words(const char *text, size_t bytes);

ORGAN_API_END

#endif
