/* SPDX-License-Identifier: MIT
 * The plan of a scoring: memory, work and time, for dry runs of perplexity, evaluate and imatrix, and as a note before
 * a long run. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <math.h>
#include <stdio.h>

/* Usual standard deviations of a token, in nats: of its negative log-likelihood, and of the difference of two models of
 * which one is the other in 4 bits. SmolLM2-135M has 3.0 on 8,188 tokens, its differences from copies in IQ4_XS, Q4_K_M
 * and FP8 have 0.58, 0.31 and 0.16. docs/definitions/perplexity.md */
#define DEVIATION_ALONE  3.0
#define DEVIATION_PAIRED 0.4

#define LONG_PRODUCTS 1e11 /* operations of a run that is announced: seconds of a processor */

/* ---- amounts ---- */

double organ_scoring_max_error(double requested, const organ_experiment_options *o, bool paired)
{
    const double usual = paired ? ORGAN_MAX_ERROR_PAIRED : ORGAN_MAX_ERROR;
    if (requested < 0)
        return o->max_tokens || o->imatrix ? 0 : usual;
    return requested;
}

size_t organ_scoring_expected_windows(const organ_scoring *scoring)
{
    const double deviation = scoring->shown > 1 ? DEVIATION_PAIRED : DEVIATION_ALONE,
                 roots = 100 * deviation / scoring->max_error;
    const organ_perplexity_plan *const plan = &scoring->plan;
    size_t windows = 0, k = 0;
    if (!(scoring->max_error > 0) || !(roots * roots < (double)plan->scored))
        return plan->windows;
    while (k < plan->scored && (double)k < roots * roots) {
        windows = organ_scoring_block_end(scoring, windows);
        while (k < plan->scored && plan->rows[k] < plan->begin[windows])
            k++;
    }
    return windows;
}

static double layers_of(const organ_scored_model *m, size_t context)
{
    double of_token = 0;
    for (unsigned l = 0; l < organ_forward_describe(m->forward)->layers; l++)
        of_token += organ_calibration_token_products(m->forward, m->model, (int32_t)l, context);
    return of_token;
}

/* A block for multi-token prediction is counted as the last layer, with its projection. */
static double block_of(const organ_scored_model *m, size_t context)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    return m->drafts ? organ_calibration_token_products(m->forward, m->model, (int32_t)c->layers - 1, context) +
                           4 * (double)c->hidden * (double)c->hidden
                     : 0;
}

static double products_of(const organ_scoring *scoring, const organ_scored_model *m, size_t windows)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    const organ_continued more = organ_scoring_continued(m);
    const size_t context = scoring->protocol.context;
    const double share = (double)windows / (double)scoring->plan.windows,
                 head = 2 * (double)c->hidden * (double)c->vocabulary;
    const double tokens = share * (double)scoring->plan.begin[scoring->plan.windows],
                 scored = share * (double)scoring->plan.scored;
    return tokens * (layers_of(m, context) + block_of(m, context)) + scored * head * (m->drafts ? 2 : 1) +
           more.run * (layers_of(m, more.context) + head) + more.drafted * (block_of(m, more.context) + head);
}

/* In the plan, every batch of windows reads each model once. */
static void plan_windows(organ_scoring *scoring, size_t windows, organ_plan *plan)
{
    const size_t batches = organ_scoring_batches(scoring, windows, /*ranks=*/1);
    for (size_t m = 0; m < scoring->count; m++) {
        plan->products += products_of(scoring, &scoring->models[m], windows);
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
              SET_IF(scoring->max_error > 0, "max_error_percent", json_real(scoring->max_error)),
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
                                    organ_scoring_definitions_json(scoring), engine);
    return *report ? ORGAN_OK : organ_fail_memory(error, scoring->options->text);
}

/* ---- the note before a run ---- */

static void describe_end(const organ_scoring *scoring, size_t windows, char *out, size_t size)
{
    *out = '\0';
    if (scoring->max_error > 0)
        organ_snprintf(out, size,
                       ", until the standard error is %g %% (`max_error`), expected after %zu windows; `max_error` 0 "
                       "scores all",
                       scoring->max_error, windows);
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
