/* SPDX-License-Identifier: MIT
 * organ evaluate of models with different vocabularies: bits per byte on the same bytes, and, if a model has some of
 * the donor's tokens, the divergence of the distributions over these tokens. */
#include "orchestrator/verbs/evaluate/across.h"

#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/stream/compute.h"

#include "orchestrator/surgery/scoring/scoring.h"

#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

static organ_status check_options(const organ_evaluate_options *o, organ_error *error)
{
    static const char why[] = "compares models with one vocabulary, and these have different ones";
    const char *const style = o->experiment.style;
    if (o->mtp || o->draft_tokens)
        return organ_fail(error, ORGAN_USAGE, "%s %s", o->mtp ? "`mtp`" : "`draft_tokens`", why);
    if (o->targets || o->experiment_count)
        return organ_fail(error, ORGAN_USAGE, "%s %s", o->targets ? "`targets`" : "`experiments`", why);
    if (style && strcmp(style, "hf") != 0)
        return organ_fail(error, ORGAN_USAGE, "`style` %s %s", style, why);
    if (o->max_error > 0)
        return organ_fail(error, ORGAN_USAGE, "`max_error` %s: give `max_windows` N", why);
    return ORGAN_OK;
}

/* ---- one scoring ---- */

/* Fills the plan of an open scoring with the tokens of a model. */
static organ_status plan_scoring(const across_job *job, const across_model *m, organ_scoring *s, organ_error *error)
{
    if (organ_across_plan(job, m, &s->plan, error) ||
        (!s->shared &&
         organ_forward_check_tokens(s->models->forward, s->plan.tokens, s->plan.begin[s->plan.windows], error)))
        return error->status;
    s->beside = organ_across_memory(job);
    s->protocol.context = job->context;
    s->text_tokens = s->used_tokens = m->tokens;
    s->all_windows = job->windows;
    if (job->order && !(s->order = malloc(job->windows * sizeof *s->order)))
        return organ_fail_memory(error, m->path);
    if (job->order)
        memcpy(s->order, job->order, job->windows * sizeof *s->order);
    return organ_scoring_fit(s, error);
}

static organ_status run_scoring(across_job *job, organ_scoring *s, organ_error *error)
{
    if (job->options->dry_run)
        organ_scoring_plan(s, &job->plan);
    else
        organ_scoring_run(s, error);
    job->seconds += s->seconds;
    job->compute = organ_compute_name(s->engine.compute);
    job->compute_isa = s->engine.dots ? s->engine.dots->isa : NULL;
    json_decref(job->run);
    job->run =
        ORGAN_OBJECT(SET_BYTES("text", job->experiment.text), SET_REAL("seconds", organ_rounded_seconds(job->seconds)),
                     SET_ENGINE(&s->whole), SET_BYTES_OF("output", job->experiment.output));
    return error->status;
}

/* ---- a model ---- */

static organ_status add_up(const across_job *job, across_model *m, const organ_scoring *s, organ_error *error)
{
    if (!(m->nll = calloc(job->chosen + 1, sizeof *m->nll)))
        return organ_fail_memory(error, m->path);
    m->scored = s->plan.scored;
    for (size_t k = 0, w = 0; k < m->scored; k++) {
        while (s->plan.rows[k] >= s->plan.begin[w + 1])
            w++;
        m->nll[w] += s->models->scores.nll[k];
    }
    return ORGAN_OK;
}

static json_t *tokenizer_json(const organ_tokenizer_facts *facts)
{
    return ORGAN_OBJECT(SET_TEXT("kind", facts->kind), SET_COUNT("vocabulary", facts->vocabulary),
                        SET_TEXT("digest", facts->digest));
}

static organ_status describe(const across_job *job, across_model *m, const organ_scoring *s, organ_error *error)
{
    m->entry = ORGAN_OBJECT(SET("model", organ_scored_model_json(s->models)),
                            SET("tokenizer", tokenizer_json(organ_tokenizer_describe(m->tokenizer))),
                            SET_COUNT("tokens", m->tokens));
    if (!m->entry)
        return organ_fail_memory(error, m->path);
    if (!job->options->dry_run &&
        (add_up(job, m, s, error) || !ORGAN_ADD(m->entry, SET("figures", organ_across_figures(job, m)))))
        organ_fail_memory(error, m->path);
    organ_scoring_add_activations(s, 0, m->entry, error);
    return organ_scoring_add_cache(s, 0, m->entry, error);
}

static organ_status score_model(across_job *job, across_model *m, organ_error *error)
{
    organ_scoring s;
    if (organ_scoring_open_shared(&s, &m->path, 1, NULL, &job->experiment, job->engine, &job->quiet, error) ==
            ORGAN_OK &&
        plan_scoring(job, m, &s, error) == ORGAN_OK) {
        if (job->options->announce && !job->options->dry_run && m == job->models)
            organ_scoring_announce(&s, job->engine);
        if (run_scoring(job, &s, error) == ORGAN_OK)
            describe(job, m, &s, error);
    }
    organ_scoring_close(&s);
    return error->status;
}

/* ---- a model with tokens of the donor ---- */

static bool has_rows(const organ_scoring *s, across_model *m)
{
    const organ_shared_tokens *const shared = &m->shared;
    const uint64_t donor = organ_forward_describe(s->models[0].forward)->vocabulary,
                   own = organ_forward_describe(s->models[1].forward)->vocabulary;
    if (shared->ids[shared->count - 1] < donor && shared->count <= own)
        return true;
    snprintf(m->why_not, sizeof m->why_not, "a token has no row");
    return false;
}

/* Tokens beyond the last with a text have no counterpart: BOS, and padding that the text names. */
static bool has_counterparts(const organ_scoring *s, across_model *m)
{
    const organ_perplexity_plan *const plan = &s->plan;
    bool all = true;
    for (size_t k = 0; k < plan->begin[plan->windows]; k++)
        all = all && plan->tokens[k] < m->shared.count;
    for (size_t k = 0; k < plan->scored; k++)
        all = all && plan->targets[k] < m->shared.count;
    if (!all)
        snprintf(m->why_not, sizeof m->why_not, "its windows have a token without a text");
    return all;
}

/* The donor runs the tokens of the model, so that both have read the same when their distributions are compared. */
static organ_status compare_shared(across_job *job, across_model *m, json_t **divergence, organ_error *error)
{
    const char *const paths[2] = {job->models->path, m->path};
    organ_scoring s;
    if (organ_scoring_open_shared(&s, paths, 2, &m->shared, &job->experiment, job->engine, &job->quiet, error) ==
            ORGAN_OK &&
        has_rows(&s, m) && plan_scoring(job, m, &s, error) == ORGAN_OK && has_counterparts(&s, m) &&
        run_scoring(job, &s, error) == ORGAN_OK && !job->options->dry_run) {
        json_decref(*divergence);
        *divergence = organ_across_divergence(&s, m, error);
    }
    organ_scoring_close(&s);
    return error->status;
}

static organ_status compare_model(across_job *job, across_model *m, organ_error *error)
{
    json_t *divergence = json_null(), *comparison = json_null();
    if (m > job->models) {
        if (organ_across_share(job, m, error) == ORGAN_OK && m->shared.count)
            compare_shared(job, m, &divergence, error);
        if (!error->status && !job->options->dry_run)
            comparison = organ_across_comparison(job, m, divergence, error);
        else
            json_decref(divergence);
    }
    if (!error->status && !job->options->dry_run && !ORGAN_ADD(m->entry, SET("comparison", comparison)))
        organ_fail_memory(error, m->path);
    return error->status;
}

/* ---- the run ---- */

static void release_job(across_job *job)
{
    for (size_t k = 0; k < job->count; k++) {
        across_model *const m = &job->models[k];
        organ_tokenizer_close(m->tokenizer);
        json_decref(m->entry);
        ORGAN_FREE_ARRAYS(m->ids, m->first, m->lead, m->nll, m->shared_ids);
    }
    organ_score_windows_release(&job->sums);
    json_decref(job->run);
    ORGAN_FREE_ARRAYS(job->models, job->bytes, job->order);
}

static organ_status run_job(across_job *job, json_t **report, organ_error *error)
{
    const organ_experiment_options *const o = &job->experiment;
    if (check_options(job->options, error) || organ_across_read(job, error))
        return error->status;
    for (size_t k = 0; k < job->count && !error->status; k++)
        if (score_model(job, &job->models[k], error) == ORGAN_OK)
            compare_model(job, &job->models[k], error);
    if (error->status || !(*report = organ_across_document(job)))
        return error->status ? error->status : organ_fail_memory(error, o->text);
    if (!o->output || job->options->dry_run)
        return ORGAN_OK;
    return organ_reports_make(&(organ_output){.path = o->output, .force = o->force, .ranks = job->engine->ranks}, NULL,
                              NULL, *report, error);
}

organ_status organ_evaluate_across(const organ_evaluate_options *options, const char *const *paths, size_t count,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error)
{
    across_job job = {.options = options, .experiment = options->experiment, .engine = engine, .progress = progress};
    if (progress)
        job.quiet = (organ_progress){.context = progress->context,
                                     .begin = progress->begin,
                                     .advance = progress->advance,
                                     .end = progress->end,
                                     .follows = progress->follows};
    if (!job.experiment.activations || strcmp(job.experiment.activations, "both") == 0)
        job.experiment.activations = "on";
    if (!(job.models = calloc(count, sizeof *job.models)))
        return organ_fail_memory(error, paths[0]);
    job.count = count;
    for (size_t k = 0; k < count; k++)
        job.models[k].path = paths[k];
    run_job(&job, report, error);
    release_job(&job);
    return error->status;
}
