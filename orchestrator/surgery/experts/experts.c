/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/experts/experts_job.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/output/experiment.h"
#include "orchestrator/surgery/output/operation.h"
#include "orchestrator/surgery/output/targets.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is asked ---- */

/* How many of so many experts "50%" or "8" is. */
static organ_status read_keep(const char *text, uint32_t experts, uint32_t used, uint32_t *keep, organ_error *error)
{
    char *end;
    const double number = strtod(text, &end);
    const bool percent = strcmp(end, "%") == 0;
    const double count = percent ? (double)(uint32_t)(number * experts / 100 + 0.5) : number;
    if (end == text || (*end && !percent) || !(number > 0) || (!percent && number != (double)(uint32_t)number))
        return organ_fail(error, ORGAN_USAGE, "--keep %s: is neither a number of experts nor a share of them, such as 50%%", text);
    if (!(count < experts))
        return organ_fail(error, ORGAN_USAGE, "--keep %s: each layer has %u experts: nothing would be cut", text, experts);
    if (count < used)
        return organ_fail(error, ORGAN_USAGE, "--keep %s: %u experts work on each token, and no fewer can stay", text, used);
    *keep = (uint32_t)count;
    return ORGAN_OK;
}

static organ_status check_options(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (!o->calibration && !o->scores)
        return organ_fail(error, ORGAN_USAGE, "name a text to measure experts on, --calibration TEXT, or what was measured, --scores FILE");
    job->global = o->per_layer && strcmp(o->per_layer, "global") == 0;
    if (o->per_layer && !job->global && strcmp(o->per_layer, "uniform") != 0)
        return organ_fail(error, ORGAN_USAGE, "--per-layer %s: is neither uniform nor global", o->per_layer);
    return organ_expert_score_named(o->score ? o->score : "loss", &job->score, error);
}

/* ---- scores ---- */

/* What scores of a file belong to where no text is named: this model, whatever they were measured on. NULL without memory. */
static json_t *identity_of_model(const organ_experts_job *job, organ_error *error)
{
    char model[17];
    if (organ_model_fingerprint(job->model, model, error) != ORGAN_OK)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("definition", ORGAN_EXPERT_SCORES_DEFINITION), SET_TEXT("model", model));
}

static organ_status read_only(organ_experts_job *job, organ_error *error)
{
    job->identity = identity_of_model(job, error);
    if (!error->status && !job->identity)
        organ_fail_memory(error, job->model->path);
    if (error->status || organ_expert_scores_read(&job->scores, job->identity, job->options->scores, &job->known, error) != ORGAN_OK)
        return error->status;
    if (!job->known)
        return organ_fail(error, ORGAN_USAGE, "%s: has not the scores of all layers: --calibration TEXT measures them",
                          job->options->scores);
    return ORGAN_OK;
}

static organ_status measure(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_expert_measure_options measuring = {.model = job->model,
                                                    .text = o->calibration,
                                                    .samples = o->samples,
                                                    .context = o->context,
                                                    .scratch = o->scratch,
                                                    .engine = job->engine,
                                                    .progress = job->progress};
    organ_expert_measure *along = NULL;
    if (organ_expert_measure_open(&measuring, &job->scores, &along, error) == ORGAN_OK) {
        job->identity = json_deep_copy(organ_expert_measure_identity(along));
        job->needs = organ_expert_measure_needs(along);
        if (!job->identity || !job->needs)
            organ_fail_memory(error, job->model->path);
        if (o->scores && !error->status)
            organ_expert_scores_read(&job->scores, job->identity, o->scores, &job->known, error);
        if (!error->status && !job->known && !o->dry_run) {
            organ_expert_measure_run(along, o->scores, error);
            job->known = !error->status;
        }
    }
    organ_expert_measure_close(along);
    return error->status;
}

/* ---- the choice ---- */

static organ_status choose(organ_experts_job *job, organ_error *error)
{
    const organ_expert_scores *const s = &job->scores;
    uint32_t each = 0;
    job->layer_count = organ_cut_layers(job->model);
    job->layers = calloc(job->layer_count + 1, sizeof *job->layers);
    job->counts = calloc(s->layers + 1, sizeof *job->counts);
    job->kept = calloc(s->layers * s->experts + 1, sizeof *job->kept);
    if (!job->layers || !job->counts || !job->kept)
        return organ_fail_memory(error, job->model->path);
    if (read_keep(job->options->keep, s->experts, s->used, &each, error))
        return error->status;
    job->keep = each;
    for (size_t l = 0; l < s->layers; l++)
        job->counts[l] = each;
    if (job->global && job->known)
        organ_expert_scores_divide(s, (uint64_t)each * s->layers, job->counts);
    for (size_t l = 0; l < s->layers && l < job->layer_count; l++) {
        uint32_t *const kept = job->kept + l * s->experts;
        for (uint32_t k = 0; k < job->counts[l]; k++)
            kept[k] = k;
        if (job->known)
            organ_expert_scores_choose(s, l, job->score, job->counts[l], kept);
        job->layers[l].experts = (organ_cut_keep){kept, job->counts[l]};
    }
    return ORGAN_OK;
}

/* ---- the run ---- */

static organ_status cut(organ_experts_job *job, json_t **report, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_cut_out all = {.model = job->model,
                               .layers = job->layers,
                               .layer_count = job->layer_count,
                               ORGAN_REMAKE_ASKED(o),
                               .most = o->most,
                               ORGAN_REMAKE_BY(job),
                               .definition = ORGAN_EXPERT_SCORES_DEFINITION,
                               .schema = "organ.experts/1",
                               .name = "experts.json",
                               .markdown_name = "EXPERTS_REPORT.md",
                               .stage = "cutting",
                               .parameters = organ_experts_parameters,
                               .document = organ_experts_document};
    return organ_cut_make(&all, report, error);
}

/* Whether the output can be made is seen before the text is gone along. */
static organ_status open_all(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (check_options(job, error) || organ_donor_open(o->model, "cut", job->progress, &job->model, error) ||
        organ_output_spares(o->output, job->model, error) || organ_output_check(o->output, organ_output_like(job->model), o->force, error))
        return error->status;
    return organ_expert_scores_open(job->model, job->score == ORGAN_EXPERT_LOSS || job->global, &job->scores, error);
}

static organ_status work(void *context, json_t **report, organ_error *error)
{
    organ_experts_job *const job = context;
    if (open_all(job, error) || (job->options->calibration ? measure(job, error) : read_only(job, error)) || choose(job, error))
        return error->status;
    return cut(job, report, error);
}

static void release(void *context)
{
    organ_experts_job *const job = context;
    organ_expert_scores_release(&job->scores);
    json_decref(job->identity);
    json_decref(job->needs);
    free(job->layers);
    free(job->counts);
    free(job->kept);
    organ_model_close(job->model);
}

organ_status organ_experts_cut(const organ_experts_options *options, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    organ_experts_job job = {.options = options, .engine = engine, .progress = progress};
    return organ_operation_run(&(organ_operation){options->model, &job, work, release, true}, report, error);
}
