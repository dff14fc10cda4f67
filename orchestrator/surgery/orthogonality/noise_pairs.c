/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/orthogonality/noise_pairs_job.h"

#include "formats/base/path.h"
#include "orchestrator/surgery/orthogonality/inputs.h"
#include "orchestrator/surgery/output/output_reports.h"
#include "orchestrator/surgery/output/report_end.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the inputs ---- */

/* A directory with adapter_config.json, or the weights of an adapter themselves. */
static bool is_adapter(const char *path)
{
    char *config = NULL;
    struct stat status;
    bool adapter = strcmp(organ_path_name(path), ORGAN_ADAPTER_WEIGHTS) == 0;
    if (!adapter && stat(path, &status) == 0 && S_ISDIR(status.st_mode) &&
        asprintf(&config, "%s/" ORGAN_ADAPTER_CONFIG, path) >= 0)
        adapter = access(config, F_OK) == 0;
    free(config);
    return adapter;
}

static bool is_same(const organ_model *a, const organ_model *b)
{
    if (strcmp(a->path, b->path) == 0)
        return true;
    return a->file_count && b->file_count && !a->files[0].remote && !b->files[0].remote &&
           a->files[0].device == b->files[0].device && a->files[0].inode == b->files[0].inode;
}

/* Two names for one model make numbers that look like findings. A tuned model may be one of the second pair: it is what
 * was made of A. */
static organ_status refuse_same(const organ_pairs_job *job, organ_error *error)
{
    static const char *const names[] = {"CLEAN of the first --pair", "NOISY of the first --pair",
                                        "CLEAN of the second --pair", "NOISY of the second --pair", "the tuned model"};
    for (size_t b = 1; b < job->sources; b++)
        for (size_t a = 0; a < b; a++)
            if (is_same(job->model[a], job->model[b]) && !(b == ORGAN_TUNED && a == ORGAN_CLEAN_B))
                return organ_fail(error, ORGAN_USAGE, "%s and %s are the same model: %s%s", names[a], names[b],
                                  job->model[b]->path,
                                  a == ORGAN_CLEAN_A && b == ORGAN_CLEAN_B
                                      ? "; two quantisations of one model are held beside each other by --noisy2"
                                      : "");
    return ORGAN_OK;
}

static organ_status open_inputs(organ_pairs_job *job, organ_error *error)
{
    const organ_noise_pairs_options *const o = job->options;
    const organ_compared_inputs in = {o->access, o->output, job->progress};
    const char *const paths[ORGAN_PAIR_SOURCES] = {o->clean[0], o->noisy[0], o->clean[1], o->noisy[1], o->change};
    job->change = !o->change ? ORGAN_CHANGE_BETWEEN : is_adapter(o->change) ? ORGAN_CHANGE_ADAPTER : ORGAN_CHANGE_TUNED;
    job->sources = job->change == ORGAN_CHANGE_TUNED ? ORGAN_PAIR_SOURCES : ORGAN_TUNED;
    if (o->draws < 2)
        return organ_fail(error, ORGAN_USAGE, "%u draws have no deviation: at least 2 are needed", o->draws);
    if (o->output)
        organ_output_check(o->output, NULL, o->force, error);
    if (!error->status && job->change == ORGAN_CHANGE_ADAPTER)
        organ_compared_adapter_open(&in, o->change, &job->adapter, error);
    for (size_t k = 0; k < job->sources && !error->status; k++)
        organ_compared_model_open(&in, paths[k], &job->model[k], &job->weights[k], error);
    return error->status || refuse_same(job, error) ? error->status : organ_pairs_match(job, error);
}

/* ---- the run ---- */

static void tell_module(const organ_pairs_job *job, const organ_pairs_module *m)
{
    char remark[64] = "no cosine";
    const double norms = sqrt(m->sums.noise[0]) * sqrt(m->sums.noise[1]);
    if (norms > 0)
        snprintf(remark, sizeof remark, "cosine %.5f, remains %.3g x N_A", m->sums.between / norms,
                 sqrt(m->sums.rest / m->sums.noise[0]));
    organ_progress_advance(job->progress, 0, m->name, remark);
}

static uint64_t noise_pairs_bytes_of(const void *context, size_t k)
{
    const organ_pairs_job *const job = context;
    uint64_t bytes = 0;
    for (size_t n = 0; n < job->sources; n++)
        bytes += organ_weight_bytes(job->modules[k].weight[n]);
    return bytes;
}

static organ_status measure_module(void *context, size_t k, organ_error *error)
{
    organ_pairs_job *const job = context;
    if (organ_pairs_measure(job, &job->modules[k], error) == ORGAN_OK)
        tell_module(job, &job->modules[k]);
    return error->status;
}

static organ_status noise_pairs_measure_all(organ_pairs_job *job, organ_error *error)
{
    const organ_compared_modules modules = {.engine = job->engine,
                                            .progress = job->progress,
                                            .count = job->count,
                                            .job = job,
                                            .bytes = noise_pairs_bytes_of,
                                            .measure = measure_module,
                                            .found = &job->modules->sums,
                                            .found_bytes = sizeof *job->modules - offsetof(organ_pairs_module, sums),
                                            .stride = sizeof *job->modules};
    organ_compared_modules_measure(&modules, &job->seconds, &job->bytes, error);
    for (size_t n = 0; n < job->sources && !error->status; n++)
        organ_model_unchanged(job->model[n], error);
    return error->status || !job->adapter ? error->status : organ_model_unchanged(job->adapter->model, error);
}

static void close_pairs(organ_pairs_job *job)
{
    for (size_t k = 0; k < job->count; k++)
        free(job->modules[k].name);
    free(job->modules);
    for (size_t k = 0; k < ORGAN_PAIR_SOURCES; k++) {
        organ_weights_free(job->weights[k]);
        organ_model_close(job->model[k]);
    }
    organ_adapter_close(job->adapter);
}

static organ_status compare_pairs(organ_pairs_job *job, json_t **report, organ_error *error)
{
    static const organ_report_files files = {"noise_pairs.json", "NOISE_PAIRS_REPORT.md", NULL};
    if (open_inputs(job, error) || organ_pairs_check_memory(job, error) || noise_pairs_measure_all(job, error) ||
        !(*report = organ_pairs_document(job)) || !job->options->output)
        return error->status;
    return organ_reports_make(
        &(organ_output){.path = job->options->output, .force = job->options->force, .ranks = job->engine->ranks},
        &files, NULL, *report, error);
}

organ_status organ_noise_pairs(const organ_noise_pairs_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    organ_pairs_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_memory_work memory = organ_memory_work_begin();
    *report = NULL;
    compare_pairs(&job, report, error);
    close_pairs(&job);
    return organ_report_end(&memory, report, options->clean[0], error);
}
