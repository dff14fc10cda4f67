/* SPDX-License-Identifier: MIT
 * Makes the report of a dry run of perplexity: the experiment and the plan of its work. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/text/perplexity_dry_run.h"

static double products_of(const organ_scoring *scoring, const organ_scored_model *m)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    const double tokens = (double)scoring->plan.begin[scoring->plan.windows];
    double of_token = 0;
    for (unsigned l = 0; l < c->layers; l++)
        of_token += organ_calibration_token_products(m->forward, m->model, (int32_t)l, scoring->protocol.context);
    return tokens * of_token + 2 * (double)scoring->plan.scored * (double)c->hidden * (double)c->vocabulary;
}

static json_t *named_models_json(const organ_scoring *scoring)
{
    json_t *const models = json_array();
    for (size_t m = 0; m < scoring->count; m++)
        json_array_append_new(models, ORGAN_OBJECT(SET("model", organ_model_json(scoring->models[m].model))));
    return models;
}

/* In the plan, every batch of windows reads each model once. */
json_t *organ_perplexity_dry_run(organ_scoring *scoring, const organ_engine *engine)
{
    organ_plan plan = {0};
    const size_t batches = organ_perplexity_batches(&scoring->plan, scoring->batch_tokens);
    organ_plan_memory(&plan, ORGAN_PLAN_MIN, 0);
    organ_plan_memory(&plan, organ_scoring_min_memory(scoring), organ_scoring_good_memory(scoring));
    for (size_t m = 0; m < scoring->count; m++) {
        plan.products += products_of(scoring, &scoring->models[m]);
        plan.bytes += (double)scoring->models[m].bytes * (double)batches;
    }
    json_t *const run = organ_scoring_run_json(scoring);
    ORGAN_ADD(run, SET("plan", organ_plan_time_json(&plan, engine)));
    return ORGAN_OBJECT(SET_HEAD("organ.perplexity/1", "perplexity/1"), SET_FLAG("dry_run", true),
                        SET("experiment", organ_scoring_experiment_json(scoring)),
                        SET("models", named_models_json(scoring)), SET("plan", organ_plan_json(&plan)),
                        SET("definitions", organ_scoring_definitions_json(scoring)), SET("run", run));
}
