/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/orthogonality/job.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/orthogonality/inputs.h"
#include "orchestrator/surgery/orthogonality/module_match.h"
#include "orchestrator/surgery/output/output_reports.h"
#include "orchestrator/surgery/output/report_end.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what belongs together ---- */

static void match_module(organ_orthogonality_job *job, size_t index, organ_misfits *c, organ_error *error)
{
    const organ_adapter_pair *const pair = &job->adapter->pairs[index];
    const bool turned = pair->embedding || job->adapter->fan_in_fan_out;
    organ_noise_module *const m = &job->modules[job->count++];
    *m = (organ_noise_module){.pair = pair, .index = index, .transposed = turned};
    m->rows = (size_t)(turned ? pair->in_features : pair->out_features);
    m->cols = (size_t)(turned ? pair->out_features : pair->in_features);
    const organ_module_place place = {
        .module = pair->module, .anatomy = &pair->anatomy, .rows = m->rows, .cols = m->cols};
    m->clean = organ_module_weight(&place, job->clean_weights, job->clean, c, error);
    for (size_t n = 0; n < job->noises && (m->clean || n > 0); n++)
        m->noisy[n] = organ_module_weight(&place, job->noisy_weights[n], job->noisy[n], c, error);
}

static organ_status match_modules(organ_orthogonality_job *job, organ_error *error)
{
    const organ_adapter *const adapter = job->adapter;
    organ_misfits misfits = {.said_by = "the adapter"};
    organ_globs globs;
    if (organ_globs_read(job->options->modules, &globs, error))
        return error->status;
    if (!(job->modules = calloc(adapter->pair_count + 1, sizeof *job->modules)))
        organ_fail_memory(error, adapter->path);
    for (size_t k = 0; !error->status && k < adapter->pair_count; k++)
        if (organ_globs_match(&globs, adapter->pairs[k].module))
            match_module(job, k, &misfits, error);
    if (!error->status && organ_modules_all_used(&globs, adapter->path, error) == ORGAN_OK && job->count == 0)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the adapter changes no module", adapter->path);
    organ_globs_free(&globs);
    return organ_misfits_end(&misfits, adapter->path, error);
}

/* ---- the inputs ---- */

static organ_status open_inputs(organ_orthogonality_job *job, organ_error *error)
{
    const organ_orthogonality_options *const o = job->options;
    job->noises = o->noisy2 ? 2 : 1;
    if (o->draws < 2)
        return organ_fail(error, ORGAN_USAGE, "%u draws have no deviation: at least 2 are needed", o->draws);
    const organ_compared_inputs in = {o->access, o->output, job->progress};
    if ((o->output && organ_output_check(o->output, NULL, o->force, error)) ||
        organ_compared_adapter_open(&in, o->adapter, &job->adapter, error) ||
        organ_compared_model_open(&in, o->clean, &job->clean, &job->clean_weights, error) ||
        organ_compared_model_open(&in, o->noisy, &job->noisy[0], &job->noisy_weights[0], error) ||
        (o->noisy2 && organ_compared_model_open(&in, o->noisy2, &job->noisy[1], &job->noisy_weights[1], error)))
        return error->status;
    return match_modules(job, error);
}

/* ---- the run ---- */

static void tell_module(const organ_orthogonality_job *job, const organ_noise_module *m)
{
    char remark[64] = "no cosine";
    const double norms = sqrt(m->noise[0].square) * sqrt(m->change);
    if (norms > 0)
        snprintf(remark, sizeof remark, "cosine %.5f, noise %.3g x adapter", m->noise[0].dot / norms,
                 sqrt(m->noise[0].square) / sqrt(m->change));
    organ_progress_advance(job->progress, 0, m->pair->module, remark);
}

static uint64_t orthogonality_bytes_of(const void *context, size_t k)
{
    const organ_orthogonality_job *const job = context;
    uint64_t bytes = organ_weight_bytes(job->modules[k].clean);
    for (size_t n = 0; n < job->noises; n++)
        bytes += organ_weight_bytes(job->modules[k].noisy[n]);
    return bytes;
}

static organ_status measure_module(void *context, size_t k, organ_error *error)
{
    organ_orthogonality_job *const job = context;
    if (organ_orthogonality_measure(job, &job->modules[k], error) == ORGAN_OK)
        tell_module(job, &job->modules[k]);
    return error->status;
}

static organ_status orthogonality_measure_all(organ_orthogonality_job *job, organ_error *error)
{
    const organ_compared_modules modules = {.engine = job->engine,
                                            .progress = job->progress,
                                            .count = job->count,
                                            .job = job,
                                            .bytes = orthogonality_bytes_of,
                                            .measure = measure_module,
                                            .found = &job->modules->k,
                                            .found_bytes = sizeof *job->modules - offsetof(organ_noise_module, k),
                                            .stride = sizeof *job->modules};
    organ_compared_modules_measure(&modules, &job->seconds, &job->bytes, error);
    for (size_t n = 0; n <= job->noises && !error->status; n++)
        organ_model_unchanged(n ? job->noisy[n - 1] : job->clean, error);
    return error->status ? error->status : organ_model_unchanged(job->adapter->model, error);
}

static void close_inputs(organ_orthogonality_job *job)
{
    free(job->modules);
    organ_weights_free(job->clean_weights);
    organ_model_close(job->clean);
    for (size_t n = 0; n < 2; n++) {
        organ_weights_free(job->noisy_weights[n]);
        organ_model_close(job->noisy[n]);
    }
    organ_adapter_close(job->adapter);
}

static organ_status write_charts(const organ_output *output, const json_t *report, organ_error *error)
{
    for (size_t k = 0; k < ORGAN_NOISE_PLOTS && !error->status; k++) {
        char *const path = organ_publish_path(&output->publish, organ_noise_plots[k].name), *svg = NULL;
        if (!path)
            organ_fail_memory(error, output->path);
        else if (organ_panels_svg(organ_noise_plots[k].panels, report, &svg, error) == ORGAN_OK)
            organ_text_write(path, svg, error);
        free(path);
        free(svg);
    }
    return error->status;
}

static organ_status compare_noise(organ_orthogonality_job *job, json_t **report, organ_error *error)
{
    static const organ_report_files files = {"orthogonality.json", "ORTHOGONALITY_REPORT.md", NULL};
    if (open_inputs(job, error) || organ_orthogonality_check_memory(job, error) ||
        orthogonality_measure_all(job, error) || !(*report = organ_orthogonality_document(job)) ||
        !job->options->output)
        return error->status;
    return organ_reports_make(
        &(organ_output){.path = job->options->output, .force = job->options->force, .ranks = job->engine->ranks},
        &files, write_charts, *report, error);
}

organ_status organ_orthogonality(const organ_orthogonality_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_orthogonality_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_memory_work memory = organ_memory_work_begin();
    *report = NULL;
    compare_noise(&job, report, error);
    close_inputs(&job);
    return organ_report_end(&memory, report, options->adapter, error);
}
