/* SPDX-License-Identifier: MIT
 * The document of a dry run of perplexity: the experiment and the plan of its work. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/calibration/calibration_run.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/plan/plan.h"
#include "orchestrator/surgery/text/perplexity_dry_run.h"

/* Operations of all windows in the layers of a model, and of its output head for each scored token. */
static double products_of(const organ_trial *trial, const organ_trial_model *m)
{
    const organ_forward_config *const c = organ_forward_describe(m->forward);
    const double tokens = (double)trial->plan.begin[trial->plan.windows];
    double of_token = 0;
    for (unsigned l = 0; l < c->layers; l++)
        of_token += organ_calibration_token_products(m->forward, m->model, (int32_t)l, trial->protocol.context);
    return tokens * of_token + 2 * (double)trial->plan.scored * (double)c->hidden * (double)c->vocabulary;
}

static json_t *named_models_json(const organ_trial *trial)
{
    json_t *const models = json_array();
    for (size_t m = 0; m < trial->count; m++)
        json_array_append_new(models, ORGAN_OBJECT(SET("model", organ_model_json(trial->models[m].model))));
    return models;
}

json_t *organ_perplexity_foresee(organ_trial *trial, const organ_engine *engine)
{
    organ_plan plan = {0};
    const size_t batches = organ_perplexity_batches(&trial->plan, trial->batch_tokens);
    organ_plan_memory(&plan, ORGAN_PLAN_MIN, 0);
    organ_plan_memory(&plan, organ_trial_enough(trial), organ_trial_good(trial));
    for (size_t m = 0; m < trial->count; m++) {
        plan.products += products_of(trial, &trial->models[m]);
        plan.bytes += (double)trial->models[m].bytes * (double)batches;
    }
    json_t *const run = organ_trial_run_json(trial);
    ORGAN_ADD(run, SET("plan", organ_plan_time_json(&plan, engine)));
    return ORGAN_OBJECT(SET_HEAD("organ.perplexity/1", "perplexity/1"), SET_FLAG("dry_run", true),
                        SET("experiment", organ_trial_experiment_json(trial)), SET("models", named_models_json(trial)),
                        SET("plan", organ_plan_json(&plan)), SET("definitions", organ_trial_definitions_json(trial)),
                        SET("run", run));
}
