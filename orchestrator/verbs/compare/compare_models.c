/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/results.h"
#include "formats/names/hub_requests.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"

#include <string.h>

/* The base is one of the models, or follows them. */
static organ_status list_models(compare_job *job, organ_error *error)
{
    const organ_compare_options *const o = job->options;
    for (size_t k = 0; k < o->model_count && k < COMPARE_MODELS; k++)
        job->models[k].name = o->models[k];
    job->count = o->model_count;
    job->base = COMPARE_NONE;
    for (size_t k = 0; o->base && k < o->model_count && k < COMPARE_MODELS; k++)
        if (strcmp(o->models[k], o->base) == 0)
            job->base = k;
    if (o->base && job->base == COMPARE_NONE) {
        if (job->count < COMPARE_MODELS)
            job->models[job->count].name = o->base;
        job->base = job->count++;
    }
    if (job->count < 2)
        return organ_fail(error, ORGAN_USAGE, "needs at least two models");
    if (job->count > COMPARE_MODELS)
        return organ_fail(error, ORGAN_USAGE, "compares at most %zu models, with the base, not %zu", COMPARE_MODELS,
                          job->count);
    return ORGAN_OK;
}

/* Counts values of matrices. */
static bool is_coarse(const organ_weights *weights)
{
    uint64_t coarse = 0, all = 0;
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const weight = &weights->weights[k];
        if (weight->rank < 2)
            continue;
        all += weight->elements;
        coarse += organ_weight_bytes(weight) < weight->elements * 12 / 8 ? weight->elements : 0;
    }
    return 2 * coarse > all;
}

static organ_status open_model(compare_job *job, compare_model *m, organ_error *error)
{
    const char *adapter;
    if (organ_adapted_split(m->name, &job->arena, &m->path, &adapter, error) ||
        (adapter && organ_hub_find(m->path, &job->access, &job->arena, &m->path, error)) ||
        organ_model_open_with(m->path, &job->access, &m->model, error) ||
        organ_weights_find(m->model, &m->weights, error) ||
        (adapter && organ_adapted_open(adapter, m->model, m->weights, /*keep_tied=*/false, job->engine, job->progress,
                                       &m->adapted, error)))
        return error->status;
    organ_progress_warn_of_model(job->progress, m->model);
    for (size_t k = 0; k < m->weights->note_count; k++)
        organ_progress_note_once(job->progress, "%s: %s", m->path, m->weights->notes[k]);
    m->coarse = is_coarse(m->weights);
    return ORGAN_OK;
}

/* The first model with an adapter, which changes weights of its own layout; else the first that is not GGUF. */
static void choose_form(compare_job *job)
{
    for (size_t k = job->count; k-- > 0;)
        if (!job->models[k].model->gguf && (job->models[k].adapted.adapter || !job->models[job->form].adapted.adapter))
            job->form = k;
}

static organ_status run(compare_job *job, json_t **report, organ_error *error)
{
    job->only = json_array();
    job->shapes = json_array();
    job->vocabularies = json_array();
    job->clashes = json_array();
    job->notes = json_array();
    job->patches = json_array();
    if (job->options->access)
        job->access = *job->options->access;
    if (list_models(job, error))
        return error->status;
    for (size_t k = 0; k < job->count; k++)
        if (open_model(job, &job->models[k], error))
            return error->status;
    choose_form(job);
    if (job->options->patch && organ_compare_check_patches(job, error))
        return error->status;
    if (organ_compare_pair_up(job, error) || organ_compare_settings(job, error) ||
        organ_compare_vocabularies(job, error) || organ_compare_read(job, error) ||
        (job->options->patch && organ_compare_patches(job, error)))
        return error->status;
    for (size_t k = 0; k < job->count; k++)
        if (organ_model_unchanged(job->models[k].model, error) ||
            organ_adapted_unchanged(&job->models[k].adapted, error))
            return error->status;
    *report = organ_compare_document(job);
    return ORGAN_OK;
}

static void release(compare_job *job)
{
    for (size_t k = 0; k < COMPARE_MODELS; k++)
        organ_across_free(job->models[k].across);
    for (size_t k = 0; k < COMPARE_MODELS; k++) {
        organ_adapted_close(&job->models[k].adapted);
        organ_weights_free(job->models[k].weights);
        organ_model_close(job->models[k].model);
    }
    ORGAN_FREE_ARRAYS(job->items, job->cells, job->matches, job->orders);
    organ_name_table_release(&job->names);
    ORGAN_DECREF(job->only, job->shapes, job->vocabularies, job->clashes, job->notes, job->patches);
    organ_arena_release(&job->arena);
}

organ_status organ_compare(const organ_compare_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_compare_options, options, report, error, "models",
                         options->model_count ? options->models[0] : NULL))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    ORGAN_RELEASED_BY(release)
    compare_job job = {.options = options,
                       .engine = engine,
                       .progress = organ_warnings_begin(&work.kept, progress),
                       .started = organ_seconds_now()};
    run(&job, report, error);
    return organ_report_end(&work, options->model_count ? options->models[0] : "compare", error);
}
