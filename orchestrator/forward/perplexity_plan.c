/* SPDX-License-Identifier: MIT
 * Choice of windows and scored tokens. */
#include <organ/forward.h>

#include "formats/base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The order is that of the enum organ_perplexity_style. */
static const char *const style_names[] = {"hf", "llama.cpp", "lm-eval"};

const char *organ_perplexity_style_name(organ_perplexity_style style) { return style_names[style]; }

bool organ_perplexity_style_parse(const char *name, organ_perplexity_style *style)
{
    for (size_t k = 0; k < sizeof style_names / sizeof *style_names; k++)
        if (strcmp(name, style_names[k]) == 0) {
            *style = (organ_perplexity_style)k;
            return true;
        }
    return false;
}

void organ_perplexity_plan_release(organ_perplexity_plan *plan)
{
    free(plan->tokens);
    free(plan->begin);
    free(plan->rows);
    free(plan->targets);
    *plan = (organ_perplexity_plan){0};
}

/* The inputs are sequence[at .. at + inputs). Each input predicts the token after it; the predictions of inputs
 * first .. inputs - 1 of the window are scored. */
static void add_window(organ_perplexity_plan *plan, const uint32_t *sequence, size_t at, size_t inputs, size_t first)
{
    const size_t begin = plan->begin[plan->windows];
    memcpy(plan->tokens + begin, sequence + at, inputs * sizeof *sequence);
    for (size_t k = first; k < inputs; k++) {
        plan->rows[plan->scored] = begin + k;
        plan->targets[plan->scored++] = sequence[at + k + 1];
    }
    plan->begin[++plan->windows] = begin + inputs;
}

/* The last input of the last window predicts `token`; only the protocol `whole` has it as an input. */
static void add_last(organ_perplexity_plan *plan, const organ_perplexity_protocol *protocol, uint32_t token)
{
    if (protocol->whole)
        plan->tokens[plan->begin[plan->windows]++] = token;
}

/* As transformers' examples score a text, windows of `context` tokens are adjacent, and all tokens but the first of
 * each window are scored. A last window of one token is left out. */
static void plan_hf(organ_perplexity_plan *plan, const organ_perplexity_protocol *protocol, const uint32_t *sequence,
                    size_t count)
{
    for (size_t at = 0, tokens; at < count; at += tokens) {
        tokens = count - at < protocol->context ? count - at : protocol->context;
        if (tokens > 1) {
            add_window(plan, sequence, at, tokens - 1, 0);
            add_last(plan, protocol, sequence[at + tokens - 1]);
        }
    }
}

/* As llama-perplexity does, only whole windows of `context` tokens count, of which the second half is scored. If the
 * model needs BOS, it replaces the first token of each window. */
static void plan_llama_cpp(organ_perplexity_plan *plan, const organ_perplexity_protocol *protocol,
                           const uint32_t *sequence, size_t count)
{
    const size_t context = protocol->context;
    for (size_t at = 0; at + context <= count; at += context) {
        add_window(plan, sequence, at, context - 1, context / 2);
        add_last(plan, protocol, sequence[at + context - 1]);
        if (protocol->adds_bos)
            plan->tokens[plan->begin[plan->windows - 1]] = (uint32_t)protocol->bos;
    }
}

/* As lm-evaluation-harness does, each window predicts the next `context` tokens, the last window the remaining ones.
 * The inputs are the last `context` tokens, or fewer, up to the one before the last predicted token. `sequence`
 * begins with the prefix (BOS or EOS). */
static void plan_lm_eval(organ_perplexity_plan *plan, size_t context, const uint32_t *sequence, size_t count)
{
    for (size_t predicted = 0; predicted + 1 < count;) {
        const size_t remaining = count - 1 - predicted, more = remaining < context ? remaining : context,
                     end = predicted + more;
        const size_t inputs = end < context ? end : context;
        add_window(plan, sequence, end - inputs, inputs, inputs - more);
        predicted = end;
    }
}

/* `count` includes the prefix of the style. Returns ORGAN_USAGE for a context below 4, else ORGAN_BAD_INPUT. */
static organ_status check_protocol(const organ_perplexity_protocol *p, size_t count, const char *text,
                                   organ_error *error)
{
    if (p->context < 4)
        return organ_fail(error, ORGAN_USAGE, "a context of %zu tokens is too short: at least 4 are needed",
                          p->context);
    if (p->style == ORGAN_STYLE_LM_EVAL && p->bos < 0 && p->eos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: style lm-eval puts BOS or EOS before the text, but the tokenizer has neither", text);
    if (p->style != ORGAN_STYLE_LM_EVAL && p->adds_bos && p->bos < 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the model needs BOS before a text, but the tokenizer has none",
                          text);
    if (p->style == ORGAN_STYLE_LLAMA_CPP && count / 2 < p->context)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s has %zu tokens, but style llama.cpp needs two windows of %zu, that is %zu tokens: reduce --context",
            text, count, p->context, 2 * p->context);
    if (count < 2)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s has %zu token%s, but at least 2 are needed, of which the second is scored: give a "
                          "longer text",
                          text, count, count == 1 ? "" : "s");
    return ORGAN_OK;
}

organ_status organ_perplexity_plan_make(const organ_perplexity_protocol *protocol, const uint32_t *tokens, size_t count,
                                        const char *text, organ_perplexity_plan *plan, organ_error *error)
{
    const organ_perplexity_style style = protocol->style;
    int64_t prefix = protocol->adds_bos ? protocol->bos : -1;
    if (style == ORGAN_STYLE_LM_EVAL)
        prefix = protocol->bos >= 0 ? protocol->bos : protocol->eos;
    const size_t all = count + (prefix >= 0);
    *plan = (organ_perplexity_plan){0};
    if (check_protocol(protocol, count ? all : 0, text, error) != ORGAN_OK)
        return error->status;
    uint32_t *const sequence = malloc(all * sizeof *sequence);
    /* Upper bounds: each token is an input once, or twice if the last window of lm-eval repeats it. */
    const size_t windows = all / protocol->context + 2, inputs = 2 * all + windows;
    plan->tokens = malloc(inputs * sizeof *plan->tokens);
    plan->begin = calloc(windows + 1, sizeof *plan->begin);
    plan->rows = malloc(all * sizeof *plan->rows);
    plan->targets = malloc(all * sizeof *plan->targets);
    if (!sequence || !plan->tokens || !plan->begin || !plan->rows || !plan->targets) {
        free(sequence);
        organ_perplexity_plan_release(plan);
        return organ_fail_memory(error, text);
    }
    if (prefix >= 0)
        sequence[0] = (uint32_t)prefix;
    memcpy(sequence + (prefix >= 0), tokens, count * sizeof *tokens);
    if (style == ORGAN_STYLE_HF)
        plan_hf(plan, protocol, sequence, all);
    else if (style == ORGAN_STYLE_LLAMA_CPP)
        plan_llama_cpp(plan, protocol, sequence, all);
    else
        plan_lm_eval(plan, protocol->context, sequence, all);
    free(sequence);
    return ORGAN_OK;
}

uint64_t organ_perplexity_words(const char *text, size_t bytes)
{
    const unsigned char *const s = (const unsigned char *)text;
    uint64_t words = 1;
    bool inside = false;
    for (size_t k = 0; k < bytes;) {
        const size_t length = organ_utf8_space(s + k);
        words += length && !inside;
        inside = length > 0;
        k += length ? length : 1;
    }
    return words;
}
