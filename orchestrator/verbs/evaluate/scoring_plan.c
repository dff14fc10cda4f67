/* SPDX-License-Identifier: MIT
 * The plan of a scoring: memory, work and time, for dry runs of perplexity, evaluate and imatrix, and as a note before
 * a long run. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"

#include <stdio.h>

/* Usual standard deviations in nats: of a token within a window, and of the means of windows in a text of one kind; of
 * the negative log-likelihood, and of the difference of two models of which one is the other in 4 bits.
 * docs/definitions/perplexity.md */
#define TOKEN_ALONE   3.0
#define WINDOW_ALONE  0.4
#define TOKEN_PAIRED  0.4
#define WINDOW_PAIRED 0.03

#define LONG_PRODUCTS 1e11 /* operations of a run that is announced: seconds of a processor */

/* ---- amounts ---- */

organ_scoring_stop organ_scoring_stop_of(double max_error, unsigned windows, const organ_experiment_options *o,
                                         bool paired)
{
    const bool fixed = windows || o->max_tokens || o->imatrix;
    organ_scoring_stop stop = {.max_error = paired ? ORGAN_MAX_ERROR_PAIRED : ORGAN_MAX_ERROR, .windows = windows};
    if (max_error >= 0 || fixed)
        stop.max_error = max_error >= 0 ? max_error : 0;
    return stop;
}

size_t organ_scoring_expected_windows(const organ_scoring *scoring)
{
    const organ_perplexity_plan *const plan = &scoring->plan;
    const bool paired = scoring->shown > 1;
    const double token = paired ? TOKEN_PAIRED : TOKEN_ALONE, window = paired ? WINDOW_PAIRED : WINDOW_ALONE,
                 tokens = (double)plan->scored / (double)plan->windows, enough = scoring->stop.max_error / 100;
    /* the error of k of N windows is that of k independent ones times sqrt(1 - k / N) */
    const double independent = (token * token / tokens + window * window) / (enough * enough),
                 needed = independent / (1 + independent / (double)scoring->all_windows);
    size_t windows = organ_scoring_block_end(scoring, 0);
    while (windows < plan->windows && (double)windows < needed)
        windows = organ_scoring_block_end(scoring, windows);
    return windows;
}

/* In the plan, every batch of windows reads each model once. */
static void plan_windows(organ_scoring *scoring, size_t windows, organ_plan *plan)
{
    const size_t batches = organ_scoring_batches(scoring, windows, /*ranks=*/1);
    for (size_t m = 0; m < scoring->count; m++) {
        const organ_plan_work text = organ_scoring_text_products(scoring, &scoring->models[m], windows),
                              more = organ_scoring_continued_products(&scoring->models[m]);
        organ_plan_compute(plan, &scoring->engine,
                           (organ_plan_work){text.all + more.all, text.multiplied + more.multiplied});
        plan->bytes += (double)scoring->models[m].bytes * (double)batches;
    }
}

void organ_scoring_plan(organ_scoring *scoring, organ_plan *plan)
{
    organ_plan_memory(plan, ORGAN_PLAN_MIN, /*good=*/0);
    organ_plan_memory(plan, organ_scoring_min_memory(scoring), organ_scoring_good_memory(scoring));
    plan_windows(scoring, organ_scoring_expected_windows(scoring), plan);
}

/* ---- documents of dry runs ---- */

json_t *organ_scored_models_json(const organ_scoring *scoring)
{
    json_t *const models = json_array();
    organ_error none = {0}; /* a failure leaves the member out */
    for (size_t m = 0; m < scoring->shown; m++) {
        json_array_append_new(models, ORGAN_OBJECT(SET("model", organ_scored_model_json(&scoring->models[m]))));
        organ_scoring_add_cache(scoring, m, json_array_get(models, m), &none);
    }
    return models;
}

/* "run.plan" is for the expected windows; the time of all windows is added. */
static json_t *time_json(const organ_scoring *scoring, const organ_plan *plan, const organ_engine *engine)
{
    const size_t windows = scoring->plan.windows, expected = organ_scoring_expected_windows(scoring);
    json_t *const time = organ_plan_time_json(plan, engine);
    const double seconds = json_number_value(json_object_get(time, "seconds"));
    ORGAN_ADD(time, SET_COUNT("windows", expected),
              SET_IF(scoring->block_windows, "max_error_percent", json_real(scoring->stop.max_error)),
              SET_IF(expected < windows, "most_seconds",
                     json_real(organ_rounded_seconds(seconds * (double)windows / (double)expected))));
    return time;
}

json_t *organ_scoring_dry_run(organ_scoring *scoring, const char *schema, const char *definition, json_t *experiment,
                              json_t *definitions, const organ_engine *engine)
{
    organ_plan plan = {0};
    organ_scoring_plan(scoring, &plan);
    json_t *const run = organ_scoring_run_json(scoring);
    ORGAN_ADD(run, SET("plan", time_json(scoring, &plan, engine)));
    return ORGAN_OBJECT(SET_HEAD(schema, definition), SET_FLAG("dry_run", true), SET("experiment", experiment),
                        SET("models", organ_scored_models_json(scoring)), SET("plan", organ_plan_json(&plan)),
                        SET("definitions", definitions), SET("run", run));
}

organ_status organ_perplexity_dry_run(organ_scoring *scoring, const char *schema, const organ_engine *engine,
                                      json_t **report, organ_error *error)
{
    *report = organ_scoring_dry_run(scoring, schema, "perplexity/1", organ_scoring_experiment_json(scoring),
                                    organ_scoring_definitions_json(scoring, "organ.perplexity/1"), engine);
    return *report ? ORGAN_OK : organ_fail_memory(error, scoring->options->text);
}

/* ---- the note before a run ---- */

static void describe_end(const organ_scoring *scoring, size_t windows, char *out, size_t size)
{
    *out = '\0';
    if (scoring->block_windows)
        organ_snprintf(out, size,
                       ", until the standard error is %g %% (`max_error`), expected after %zu windows; `max_error` 0 "
                       "scores all",
                       scoring->stop.max_error, windows);
}

void organ_scoring_announce(organ_scoring *scoring, const organ_engine *engine)
{
    const size_t windows = scoring->plan.windows, expected = organ_scoring_expected_windows(scoring);
    char end[200], most[24] = "", time[24], memory[24], all[48] = "";
    organ_plan plan = {0};
    plan_windows(scoring, expected, &plan);
    if (plan.products < LONG_PRODUCTS)
        return;
    ORGAN_OWNED_JSON json_t *const estimate = time_json(scoring, &plan, engine);
    describe_end(scoring, expected, end, sizeof end);
    if (json_object_get(estimate, "most_seconds"))
        snprintf(all, sizeof all, ", at most %s",
                 organ_duration_text(json_number_value(json_object_get(estimate, "most_seconds")), most));
    organ_progress_note_once(
        scoring->progress,
        "plan: %zu model%s, %zu windows of %zu tokens (%zu of %zu tokens)%s: about %s%s, %s of memory", scoring->shown,
        scoring->shown > 1 ? "s" : "", windows, scoring->protocol.context, scoring->used_tokens, scoring->text_tokens,
        end, organ_duration_text(json_number_value(json_object_get(estimate, "seconds")), time), all,
        organ_quantity_text(organ_engine_memory(engine), memory));
}
