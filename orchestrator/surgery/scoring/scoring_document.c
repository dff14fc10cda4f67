/* SPDX-License-Identifier: MIT
 * Makes the members of reports about a scoring: experiment, figures, comparison, definitions. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/weights/served.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/pass_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static json_t *scoring_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static const char *bos_policy(const organ_scoring *scoring)
{
    const organ_perplexity_protocol *const p = &scoring->protocol;
    if (p->style == ORGAN_STYLE_LM_EVAL)
        return p->bos >= 0 ? "BOS before the text" : "EOS before the text: the tokenizer has no BOS";
    if (!p->adds_bos)
        return "no BOS: the model's tokenizer puts none before a text";
    return p->style == ORGAN_STYLE_HF ? "BOS once before the text"
                                      : "BOS before the text and in place of the first token of every window";
}

json_t *organ_scoring_experiment_json(const organ_scoring *scoring)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(scoring->tokenizer);
    const char *const slash = strrchr(scoring->options->text, '/');
    return ORGAN_OBJECT(
        SET("text", ORGAN_OBJECT(SET_BYTES("name", slash ? slash + 1 : scoring->options->text),
                                 SET_COUNT("bytes", scoring->text_bytes), SET_TEXT("xxh3", scoring->digest),
                                 SET_FLAG("utf8", scoring->utf8), SET_COUNT("tokens", scoring->text_tokens))),
        SET("tokenizer", ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary),
                                      SET_TEXT("digest", facts->digest))),
        SET_TEXT("style", organ_perplexity_style_name(scoring->protocol.style)),
        SET_COUNT("context", scoring->protocol.context), SET_COUNT("tokens_used", scoring->used_tokens),
        SET_COUNT("windows", scoring->plan.windows), SET_COUNT("text_windows", scoring->all_windows),
        SET_COUNT("tokens_scored", scoring->plan.scored), SET_COUNT("bytes_scored", scoring->scored_bytes),
        SET_COUNT_OF("words_scored", scoring->protocol.style == ORGAN_STYLE_LM_EVAL, scoring->words),
        SET_TEXT("bos", bos_policy(scoring)), SET_TEXT("compute", organ_compute_name(scoring->engine.compute)),
        SET_BYTES_OF("compute_isa", scoring->engine.dots ? scoring->engine.dots->isa : NULL));
}

/* The options that score the same windows of this text again. */
static json_t *repeat_json(const organ_scoring *scoring)
{
    const bool part = scoring->plan.windows < scoring->all_windows;
    const unsigned tokens = scoring->options->max_tokens;
    char windows[40] = "--max-error 0", first[40] = "";
    if (part)
        snprintf(windows, sizeof windows, "--max-windows %zu", scoring->plan.windows);
    if (tokens && tokens < scoring->text_tokens)
        snprintf(first, sizeof first, " --max-tokens %u", tokens);
    return organ_json_sprintf("--style %s --context %zu %s%s", organ_perplexity_style_name(scoring->protocol.style),
                              scoring->protocol.context, windows, first);
}

json_t *organ_scoring_ended_json(const organ_scoring *scoring)
{
    static const char *const ends[] = {[ORGAN_SCORING_TEXT] = "text",
                                       [ORGAN_SCORING_TOKENS] = "max_tokens",
                                       [ORGAN_SCORING_WINDOWS] = "max_windows",
                                       [ORGAN_SCORING_ERROR] = "max_error"};
    return ORGAN_OBJECT(SET_TEXT("by", ends[scoring->ended]),
                        SET_REAL_OF("max_error_percent", scoring->stop.max_error > 0, scoring->stop.max_error),
                        SET_REAL_OF("error_percent", isfinite(scoring->error), scoring->error),
                        SET("repeat", repeat_json(scoring)));
}

/* nll is in nats per token; bits per byte = total nll / ln 2 / bytes. */
json_t *organ_scoring_figures_json(const organ_scoring *scoring, size_t m, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (organ_scoring_windows(scoring, scoring->plan.windows, &windows, error) != ORGAN_OK)
        return NULL;
    const organ_perplexity_figures f = organ_perplexity_sum_windows(scoring->models[m].scores.nll, &windows);
    const double bytes = (double)scoring->scored_bytes, count = (double)scoring->plan.scored, bits = f.total / M_LN2;
    const bool lm_eval = scoring->protocol.style == ORGAN_STYLE_LM_EVAL;
    return ORGAN_OBJECT(
        SET("perplexity", scoring_number(f.perplexity)), SET("perplexity_error", scoring_number(f.perplexity_error)),
        SET("nll", scoring_number(f.nll.mean)), SET("nll_error", scoring_number(f.nll.error)),
        SET("bits_per_byte", scoring_number(bits / bytes)),
        SET("bits_per_byte_error", scoring_number(f.nll.error * count / M_LN2 / bytes)),
        SET("word_perplexity", lm_eval ? scoring_number(exp(f.total / (double)scoring->words)) : json_null()),
        SET("byte_perplexity", lm_eval ? scoring_number(exp(f.total / bytes)) : json_null()));
}

json_t *organ_scoring_comparison_json(const organ_scoring *scoring, size_t m, organ_error *error)
{
    organ_perplexity_comparison c;
    ORGAN_RELEASED_BY(organ_score_windows_release) organ_score_windows windows = {0};
    if (organ_scoring_windows(scoring, scoring->plan.windows, &windows, error) ||
        organ_perplexity_compare_windows(&scoring->models[0].scores, &scoring->models[m].scores, &windows, &c, error))
        return NULL;
    return ORGAN_OBJECT(
        SET("difference", scoring_number(c.difference)), SET("difference_error", scoring_number(c.difference_error)),
        SET("ratio", scoring_number(c.ratio)), SET("ratio_error", scoring_number(c.ratio_error)),
        SET("rise_percent", scoring_number(100 * (c.ratio - 1))), SET("nll_difference", scoring_number(c.nll.mean)),
        SET("nll_difference_error", scoring_number(c.nll.error)),
        SET("kl_divergence", scoring_number(c.divergence.mean)),
        SET("kl_divergence_error", scoring_number(c.divergence.error)),
        SET("top1_agreement", scoring_number(c.agreement)),
        SET("top1_agreement_error", scoring_number(c.agreement_error)));
}

/* ---- models whose servers round the inputs of linear layers ---- */

#define WEIGHTS_ALONE                                                                                                  \
    "The settings of the model declare that servers round activations, too. organ rounded none (--activations off): "  \
    "its figures are the loss of the weights alone, and the model as served loses more."

static json_t *alone_json(const organ_scoring *scoring, size_t alone, organ_error *error)
{
    json_t *const comparison = scoring->shown > 1 ? organ_scoring_comparison_json(scoring, alone, error) : json_null();
    return ORGAN_OBJECT(SET("figures", organ_scoring_figures_json(scoring, alone, error)),
                        SET("comparison", comparison));
}

organ_status organ_scoring_add_activations(const organ_scoring *scoring, size_t m, json_t *entry, organ_error *error)
{
    const organ_scored_model *const model = &scoring->models[m];
    const bool rounded = scoring->activations != ORGAN_ACTIVATIONS_OFF;
    char inputs[ORGAN_INPUT_TEXT];
    if (!model->inputs || error->status)
        return error->status;
    organ_input_text(model->inputs, inputs, sizeof inputs);
    const organ_served_inputs *const some = organ_served_undeclared(model->inputs);
    json_t *const activations = ORGAN_OBJECT(SET_TEXT("inputs", inputs), SET_FLAG("rounded", rounded),
                                             SET_IF(some, "servers", json_string(some ? some->loaders : "")));
    if (!ORGAN_ADD(entry, SET("activations", activations),
                   SET_IF(!rounded, "rounded_activations", json_string(WEIGHTS_ALONE)),
                   SET_IF(model->alone, "weights_alone", alone_json(scoring, model->alone, error))))
        return organ_fail_memory(error, model->path);
    return error->status;
}

static bool rounds_any(const organ_scoring *scoring)
{
    bool any = false;
    for (size_t m = 0; m < scoring->shown; m++)
        any = any || scoring->models[m].declares;
    return any && scoring->activations != ORGAN_ACTIVATIONS_OFF;
}

static bool rounds_cache(const organ_scoring *scoring)
{
    bool any = false;
    for (size_t m = 0; m < scoring->shown; m++)
        any = any || organ_forward_cache(scoring->models[m].forward);
    return any;
}

json_t *organ_scoring_definitions_json(const organ_scoring *scoring, const char *schema)
{
    const bool lm_eval = scoring->protocol.style == ORGAN_STYLE_LM_EVAL;
    json_t *const facts = ORGAN_OBJECT(
        SET_TEXT("style", organ_perplexity_style_name(scoring->protocol.style)),
        SET_FLAG("part", scoring->plan.windows < scoring->all_windows),
        SET_FLAG("whole", lm_eval && scoring->used_tokens == scoring->text_tokens),
        SET_FLAG("rounds", rounds_any(scoring)), SET_FLAG("mtp", scoring->mtp.scored),
        SET_FLAG("reduced", scoring->engine.dots), SET_TEXT("compute", organ_compute_name(scoring->engine.compute)),
        SET_FLAG("cache", rounds_cache(scoring)), SET_FLAG("models", scoring->shown > 1));
    return organ_sentences(schema, "definitions", facts);
}

/* Tokens per second count the tokens of all windows, times the number of models. The directory of the reports is
 * null if there is none. */
json_t *organ_scoring_run_json(const organ_scoring *scoring)
{
    const double inputs = (double)scoring->plan.begin[scoring->plan.windows] * (double)scoring->count;
    return ORGAN_OBJECT(
        SET_BYTES("text", scoring->options->text), SET_REAL("seconds", organ_rounded_seconds(scoring->seconds)),
        SET_REAL("tokens_per_second", scoring->seconds > 0 ? round(inputs / scoring->seconds * 10) / 10 : 0.0),
        SET_COUNT("batches", organ_scoring_batches(scoring, scoring->plan.windows, /*ranks=*/1)),
        SET_COUNT("batch_tokens", scoring->batch_tokens), SET_ENGINE(&scoring->whole),
        SET_BYTES_OF("output", scoring->options->output));
}

/* ---- --evaluate: the original model and the output, and the member "evaluation" ---- */

static json_t *plan_json(const organ_evaluation *e, const organ_scoring *scoring)
{
    return ORGAN_OBJECT(
        SET_TEXT("definition", "perplexity/1"), SET("experiment", organ_scoring_experiment_json(scoring)),
        SET("before", ORGAN_OBJECT(SET_TEXT("is", e->before_is),
                                   SET("model", organ_scored_model_json(&scoring->models[0])), SET_NULL("figures"))),
        SET("after", ORGAN_OBJECT(SET_BYTES_OF("output", e->output), SET_NULL("figures"))), SET_NULL("comparison"),
        SET_NULL("not_evaluated"),
        SET("definitions", organ_json_joined(organ_scoring_definitions_json(scoring, "organ.perplexity/1"),
                                             organ_sentences("organ.perplexity/1", "evaluation_terms", NULL))));
}

/* The scoring is planned as if the output existed. Only e->document is kept. */
organ_status organ_evaluation_prepare(organ_evaluation *e, organ_error *error)
{
    organ_scoring scoring;
    organ_error found = {0};
    if (!e->options)
        return ORGAN_OK;
    if (organ_scoring_open_made(&scoring, e->before, NULL, e->made_as, e->made_rounds, e->options, e->engine,
                                e->progress, &found) == ORGAN_OK &&
        !(e->document = plan_json(e, &scoring)))
        organ_fail_memory(&found, e->output);
    e->memory = found.status ? 0 : organ_scoring_min_memory(&scoring);
    organ_scoring_close(&scoring);
    return found.status ? organ_fail(error, found.status, "`evaluate`: %s", found.message) : ORGAN_OK;
}

static organ_status check_text_unchanged(const organ_evaluation *e, const organ_scoring *scoring, organ_error *error)
{
    const char *const before = organ_json_text(e->document, "experiment.text.xxh3");
    if (strcmp(before, scoring->digest) == 0)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: was changed during the run: its digest was %s and is now %s",
                      e->options->text, before, scoring->digest);
}

static organ_status add_figures(organ_evaluation *e, const organ_scoring *scoring, organ_error *error)
{
    json_t *const comparison = organ_scoring_comparison_json(scoring, 1, error);
    e->run = organ_scoring_run_json(scoring);
    if (!ORGAN_ADD(e->document, SET("comparison", comparison)) || !e->run ||
        !ORGAN_ADD(json_object_get(e->document, "before"),
                   SET("figures", organ_scoring_figures_json(scoring, 0, error))) ||
        !ORGAN_ADD(json_object_get(e->document, "after"),
                   SET("figures", organ_scoring_figures_json(scoring, 1, error))))
        return organ_fail_memory(error, e->output);
    organ_scoring_add_cache(scoring, 1, json_object_get(e->document, "after"), error);
    organ_scoring_add_activations(scoring, 0, json_object_get(e->document, "before"), error);
    return organ_scoring_add_activations(scoring, 1, json_object_get(e->document, "after"), error);
}

/* The message of an error becomes the member "not_evaluated" of the evaluation. `path` is NULL if the caller had no
 * memory for it. */
void organ_evaluation_run(organ_evaluation *e, const char *path)
{
    organ_scoring scoring;
    organ_error *const fault = &e->fault;
    if (!e->options)
        return;
    if (!path)
        organ_fail_memory(fault, e->output);
    else {
        if (organ_scoring_open_made(&scoring, e->before, path, e->made_as, e->made_rounds, e->options, e->engine,
                                    e->progress, fault) == ORGAN_OK &&
            check_text_unchanged(e, &scoring, fault) == ORGAN_OK && organ_scoring_run(&scoring, fault) == ORGAN_OK)
            add_figures(e, &scoring, fault);
        organ_scoring_close(&scoring);
    }
    if (fault->status)
        ORGAN_ADD(e->document, SET_BYTES("not_evaluated", fault->message));
}

json_t *organ_evaluated_json(const organ_evaluation *e, json_t *report)
{
    json_t *const run = json_object_get(report, "run");
    if (!e->options)
        return report;
    ORGAN_ADD(run, SET_IF(e->run, "evaluation", json_incref(e->run)));
    return organ_json_joined(report, ORGAN_OBJECT(SET("evaluation", json_incref(e->document))));
}

organ_status organ_evaluation_end(const organ_evaluation *e, organ_error *error)
{
    if (!e->fault.status)
        return ORGAN_OK;
    /* Without the words that organ_error_set_output put first: this message says the same. */
    *error = (organ_error){0};
    return organ_fail(error, e->fault.status, "%s is complete, but it could not be evaluated: %s", e->output,
                      e->fault.message);
}

void organ_evaluation_release(organ_evaluation *e)
{
    json_decref(e->document);
    json_decref(e->run);
    e->document = e->run = NULL;
}
