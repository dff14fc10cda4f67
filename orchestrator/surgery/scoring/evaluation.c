/* SPDX-License-Identifier: MIT
 * --evaluate: scores the original model and the output of an operation (scoring.h), and makes the member "evaluation"
 * of the report. */
#include "orchestrator/surgery/scoring/evaluation.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/scoring/scoring.h"

#include <string.h>

static json_t *plan_json(const organ_evaluation *e, const organ_scoring *scoring)
{
    json_t *const definitions = organ_scoring_definitions_json(scoring);
    ORGAN_ADD(definitions, SET_TEXT("arithmetic", "Both models compute in FP32 on their dequantised weights; "
                                                  "activations are not quantised."));
    return ORGAN_OBJECT(
        SET_TEXT("definition", "perplexity/1"), SET("experiment", organ_scoring_experiment_json(scoring)),
        SET("before", ORGAN_OBJECT(SET_TEXT("is", e->before_is),
                                   SET("model", organ_model_json(scoring->models[0].model)), SET_NULL("figures"))),
        SET("after", ORGAN_OBJECT(SET_BYTES("output", e->output), SET_NULL("figures"))), SET_NULL("comparison"),
        SET_NULL("not_evaluated"), SET("definitions", definitions));
}

/* The scoring is planned as if the output existed. Only e->document is kept. */
organ_status organ_evaluation_prepare(organ_evaluation *e, organ_error *error)
{
    organ_scoring scoring;
    organ_error found = {0};
    if (!e->options)
        return ORGAN_OK;
    if (organ_scoring_open_made(&scoring, e->before, NULL, e->made_as, e->options, e->engine, e->progress, &found) ==
            ORGAN_OK &&
        !(e->document = plan_json(e, &scoring)))
        organ_fail_memory(&found, e->output);
    organ_scoring_close(&scoring);
    return found.status ? organ_fail(error, found.status, "--evaluate: %s", found.message) : ORGAN_OK;
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
        !ORGAN_ADD(json_object_get(e->document, "before"), SET("figures", organ_scoring_figures_json(scoring, 0))) ||
        !ORGAN_ADD(json_object_get(e->document, "after"), SET("figures", organ_scoring_figures_json(scoring, 1))))
        return organ_fail_memory(error, e->output);
    return error->status;
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
        if (organ_scoring_open_made(&scoring, e->before, path, e->made_as, e->options, e->engine, e->progress, fault) ==
                ORGAN_OK &&
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
