/* SPDX-License-Identifier: MIT
 * Perplexity: which tokens of a text are scored in which windows (the protocol), how surprised one or more models are
 * at them (the scores), and what follows from that (the figures). */
#ifndef ORGAN_PERPLEXITY_H
#define ORGAN_PERPLEXITY_H

#include "formats/base/api.h"
#include "orchestrator/forward/forward.h"

ORGAN_API_BEGIN

/* ---- the protocol ---- */

/* Text is cut into windows; a token is scored by the probability that the model gives it after the tokens of its window
 *before it.
 *   hf         BOS once before the text where the model's practice puts one; windows of `context` tokens side by side,
 *              the last one
 * shorter; every token but the first of a window is scored. llama.cpp  BOS as above, and in place of the first token of
 * every window; whole
 * windows of `context` tokens, at least two, what is left over is not used; predictions from positions context / 2 ..
 * context - 2 are
 * scored. lm-eval    BOS (EOS where there is none) before the text; every token is scored once, by windows of `context`
 *                    inputs; a window
 * begins with the last token of the one before, and the last window is filled up with tokens that were scored already.
 * */
typedef enum organ_perplexity_style {
    ORGAN_STYLE_HF,
    ORGAN_STYLE_LLAMA_CPP,
    ORGAN_STYLE_LM_EVAL
} organ_perplexity_style;

/* "hf", "llama.cpp", "lm-eval" */
const char *organ_perplexity_style_name(organ_perplexity_style style);
bool organ_perplexity_style_parse(const char *name, organ_perplexity_style *style);

typedef struct organ_perplexity_protocol {
    organ_perplexity_style style;
    size_t context;   /* at least 4 */
    int64_t bos, eos; /* -1: none */
    bool adds_bos;
} organ_perplexity_protocol;

typedef struct organ_perplexity_plan {
    uint32_t *tokens; /* the inputs of all windows, one after the other */
    size_t *begin;    /* windows + 1 */
    size_t windows;
    size_t *rows;      /* the inputs whose predictions are scored, ascending */
    uint32_t *targets; /* what each should predict */
    size_t scored;
} organ_perplexity_plan;

/* `tokens` are those of the text, without BOS. ORGAN_BAD_INPUT, naming `text`, where it is too short for the protocol,
 * or the protocol needs a BOS that the tokenizer does not have. The caller frees *plan. */
organ_status organ_perplexity_plan_make(const organ_perplexity_protocol *protocol, const uint32_t *tokens, size_t count,
                                        const char *text, organ_perplexity_plan *plan, organ_error *error);
void organ_perplexity_plan_free(organ_perplexity_plan *plan);

/* ---- the scores ---- */

/* A model that answers. */
typedef struct organ_logit_source {
    void *context;
    uint64_t vocabulary;
    const char *name; /* of the model, for messages */
    /* Carries the windows through the model; what it makes of them is kept until the next call. */
    organ_status (*carry)(void *context, const organ_windows *windows, organ_error *error);
    /* As organ_forward_logits, of the windows that were carried last. */
    organ_status (*logits)(void *context, const size_t *rows, size_t count, void *receiver,
                           void (*each)(void *receiver, size_t k, float *logits), organ_error *error);
} organ_logit_source;

/* Of one model, a value per scored token of the plan. */
typedef struct organ_token_scores {
    double *nll;        /* -ln of the probability of the token, natural logarithm */
    double *divergence; /* KL(first model || this model) of the two distributions, in nats; NULL for the first model */
    unsigned char
        *agrees; /* 1 where both think the same token likeliest (the lowest id of equals); NULL for the first model */
} organ_token_scores;

/* Scores the plan with `count` models; scores[m] has room for what it does not leave NULL. Windows go through in
 * batches of at most `batch_tokens` inputs (but at least one window); with more than one model the logits of
 * `tile_rows` tokens of the first are kept at a time. Neither changes a bit of the result. Probabilities are computed
 * in FP64 from the FP32 logits, summed over 16 lanes. ORGAN_BAD_INPUT where models have vocabularies of different size,
 * a target lies beyond, or logits are not finite; ORGAN_INTERRUPTED when `stop` asks. */
organ_status organ_perplexity_score(const organ_kernels *kernels, const organ_perplexity_plan *plan,
                                    const organ_logit_source *sources, size_t count, size_t batch_tokens,
                                    size_t tile_rows, organ_token_scores *scores, const organ_stop *stop,
                                    const organ_progress *progress, organ_error *error);

/* How many batches that makes. */
size_t organ_perplexity_batches(const organ_perplexity_plan *plan, size_t batch_tokens);

/* The index of the largest of `count` logits, the lowest of equals. */
size_t organ_logits_top(const float *logits, size_t count);

/* ln of the sum of exp of all logits; not finite where they are not. */
double organ_logits_log_sum(const organ_kernels *kernels, const float *logits, size_t count);

/* ---- the figures: sums in FP64 in the order of the tokens ---- */

/* Mean and its standard error, tokens taken as independent: sqrt(sum (x - mean)^2 / (n - 1) / n); NaN for n < 2. */
typedef struct organ_mean {
    double mean, error;
} organ_mean;
organ_mean organ_mean_of(const double *values, size_t count);

typedef struct organ_perplexity_figures {
    organ_mean nll;
    double perplexity, perplexity_error; /* exp(nll.mean); that times nll.error */
    double total;                        /* sum of nll */
} organ_perplexity_figures;
organ_perplexity_figures organ_perplexity_sum(const double *nll, size_t count);

/* Of a model beside the first one, token by token, so that what both find hard does not count as error. */
typedef struct organ_perplexity_comparison {
    double difference, difference_error; /* of the perplexities, theirs less the first's */
    double ratio, ratio_error;           /* theirs over the first's: exp of the mean difference of nll */
    organ_mean nll;                      /* difference of nll */
    organ_mean divergence;
    double agreement, agreement_error; /* 0 .. 1 */
} organ_perplexity_comparison;
/* ORGAN_IO without memory. */
organ_status organ_perplexity_compare(const organ_token_scores *first, const organ_token_scores *other, size_t count,
                                      organ_perplexity_comparison *comparison, organ_error *error);

/* Words as Python's re.split(r"\s+", text) counts them: runs of white space plus one. */
uint64_t organ_perplexity_words(const char *text, size_t bytes);

ORGAN_API_END

#endif
