/* SPDX-License-Identifier: MIT
 * Finds, without the original, one wrong factor of all scales of a model: the model then predicts a text better if its
 * scales are multiplied by another factor. */
#include "orchestrator/surgery/health/autopsy_job.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/scoring/scoring.h"

#define TOKENS  512  /* tokens of the text that are scored */
#define CONTEXT 256  /* tokens in a window */
#define BETTER  0.05 /* smallest gain of a better factor in nats per token */
#define SURELY  5    /* smallest gain of a better factor in standard errors */

/* The first factor stands for the stored scales. */
static const float factors[] = {1, 0.25F, 0.5F, 2, 4};
static const char *const names[] = {"1", "1/4", "1/2", "2", "4"};
#define COUNT (sizeof factors / sizeof *factors)

bool organ_autopsy_has_scales(const organ_autopsy_job *job)
{
    for (size_t k = 0; k < job->weights->count; k++)
        if (job->weights->weights[k].scale)
            return true;
    return false;
}

/* For k > 0 *c has the difference of the loss from that with the stored scales, and the standard error of this
 * difference. */
static json_t *scoring_json(const organ_scoring *scoring, size_t k, const organ_perplexity_comparison *c)
{
    const double perplexity = organ_perplexity_sum(scoring->models[k].scores.nll, scoring->plan.scored).perplexity;
    return ORGAN_OBJECT(SET_REAL("factor", (double)factors[k]), SET_TEXT("scales", names[k]),
                        SET_REAL_OF("perplexity", true, perplexity), SET_REAL_OF("nll_difference", k > 0, c->nll.mean),
                        SET_REAL_OF("nll_difference_error", k > 0, c->nll.error));
}

static void print_best(organ_autopsy_job *job, const organ_scoring *scoring, size_t best,
                       const organ_perplexity_comparison *c)
{
    static const organ_weight all = {.name = "*", .anatomy = {.layer = -1}};
    const organ_verdict verdict = {
        "scale_factor", "all scales wrong by one factor", "a text is predicted best with the stored scales",
        "Every scale of the model was multiplied by about the inverse of the better factor: largest values divided "
        "by another largest code than that of the type, a global factor applied twice or left out.",
        true};
    organ_autopsy_report(job, true, &all, &verdict,
                         "with all scales %s times as large perplexity is %.4g, as stored %.4g (%.3g +- %.2g nats per "
                         "token over %zu tokens)",
                         names[best],
                         organ_perplexity_sum(scoring->models[best].scores.nll, scoring->plan.scored).perplexity,
                         organ_perplexity_sum(scoring->models[0].scores.nll, scoring->plan.scored).perplexity,
                         c->nll.mean, c->nll.error, scoring->plan.scored);
}

/* A factor is better if its loss is lower than that of the stored scales by more than BETTER nats per token and by
 * more than SURELY standard errors. */
static organ_status compare_factors(organ_autopsy_job *job, const organ_scoring *scoring, organ_error *error)
{
    organ_perplexity_comparison all[COUNT] = {{0}};
    json_t *const trials = json_array();
    size_t best = 0;
    for (size_t k = 0; k < COUNT && !error->status; k++) {
        if (k > 0 && organ_perplexity_compare(&scoring->models[0].scores, &scoring->models[k].scores,
                                              scoring->plan.scored, &all[k], error))
            break;
        const bool better = k > 0 && all[k].nll.mean < -BETTER && all[k].nll.mean < -SURELY * all[k].nll.error;
        if (better && all[k].nll.mean < all[best].nll.mean)
            best = k;
        job->broken = json_array_append_new(trials, scoring_json(scoring, k, &all[k])) || job->broken;
    }
    job->scale_test = ORGAN_OBJECT(SET_BYTES("text", job->options->text), SET_COUNT("tokens", scoring->plan.scored),
                                   SET("trials", trials));
    if (best > 0 && !error->status)
        print_best(job, scoring, best, &all[best]);
    return error->status;
}

organ_status organ_autopsy_judge_text(organ_autopsy_job *job, organ_error *error)
{
    const organ_experiment_options options = {
        .text = job->options->text, .context = CONTEXT, .max_tokens = TOKENS, .access = job->options->access};
    const char *const model = job->options->model, *const paths[COUNT] = {model, model, model, model, model};
    organ_scoring scoring = {0};
    if (organ_scoring_open(&scoring, paths, COUNT, &options, job->engine, job->progress, error) == ORGAN_OK) {
        for (size_t k = 0; k < COUNT; k++)
            scoring.models[k].model->scale_times = factors[k];
        if (organ_scoring_run(&scoring, error) == ORGAN_OK)
            compare_factors(job, &scoring, error);
    }
    organ_scoring_close(&scoring);
    return error->status;
}
