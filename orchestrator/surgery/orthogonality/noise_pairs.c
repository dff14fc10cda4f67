/* SPDX-License-Identifier: MIT
 * Compares the noises of two pairs of models: opens and checks the inputs, measures each module, and makes the report.
 */
#include <organ/inspect.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/orthogonality/noise_pairs_job.h"

#include "formats/base/path.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the inputs ---- */

/* Returns true if `path` is a LoRA adapter: a file named adapter_model.safetensors, or a directory that has an
 * adapter_config.json. */
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

/* Returns true if both models have the same path, or if the first file of each is the same local file (device and
 * inode). */
static bool is_same_file(const organ_model *a, const organ_model *b)
{
    if (strcmp(a->path, b->path) == 0)
        return true;
    return a->file_count && b->file_count && !a->files[0].remote && !b->files[0].remote &&
           a->files[0].device == b->files[0].device && a->files[0].inode == b->files[0].inode;
}

/* Returns ORGAN_USAGE if two of the inputs are the same model, because the figures of such a comparison would look like
 * findings. A tuned model may also be the clean model of the second pair. */
static organ_status refuse_same(const organ_compared_job *job, organ_error *error)
{
    static const char *const names[] = {"CLEAN of the first --pair", "NOISY of the first --pair",
                                        "CLEAN of the second --pair", "NOISY of the second --pair", "the tuned model"};
    for (size_t b = 1; b < job->sources; b++)
        for (size_t a = 0; a < b; a++)
            if (is_same_file(job->model[a], job->model[b]) && !(b == ORGAN_TUNED && a == ORGAN_CLEAN_B))
                return organ_fail(error, ORGAN_USAGE, "%s and %s are the same model: %s%s", names[a], names[b],
                                  job->model[b]->path,
                                  a == ORGAN_CLEAN_A && b == ORGAN_CLEAN_B
                                      ? "; use --noisy2 to compare two quantisations of one model"
                                      : "");
    return ORGAN_OK;
}

/* Opens the inputs, rejects equal models, and sets job->modules, the modules that are compared. */
static organ_status pairs_open_inputs(organ_compared_job *job, organ_error *error)
{
    return organ_compared_open(job, job->pairs->access, error) || refuse_same(job, error)
               ? error->status
               : organ_compared_match(job, error);
}

/* ---- the run ---- */

/* Implements `measure` of organ_compared_measure: measures module k. The progress shows the cosine of N_A and N_B and
 * |N_A - N_B| / |N_A|, or "no cosine" if a noise is zero. */
static organ_status pairs_measure_module(void *context, size_t k, organ_error *error)
{
    organ_compared_job *const job = context;
    organ_compared_module *const m = &job->modules[k];
    char remark[64] = "no cosine";
    if (organ_pairs_measure(job, m, error))
        return error->status;
    const double norms = sqrt(m->sums.noise[0]) * sqrt(m->sums.noise[1]);
    if (norms > 0)
        organ_snprintf(remark, sizeof remark, "cosine %.5f, difference %.3g x N_A", m->sums.between / norms,
                 sqrt(m->sums.noise_difference / m->sums.noise[0]));
    organ_progress_advance(job->progress, 0, m->name, remark);
    return ORGAN_OK;
}

/* Opens and matches the inputs, checks the memory, measures all modules, and creates *report. Writes the report files
 * if job->output is not NULL. */
static organ_status compare_pairs(organ_compared_job *job, json_t **report, organ_error *error)
{
    static const organ_report_files files = {"noise_pairs.json", "NOISE_PAIRS_REPORT.md", NULL};
    if (pairs_open_inputs(job, error) || organ_pairs_check_memory(job, error) ||
        organ_compared_measure(job, pairs_measure_module, error) || !(*report = organ_pairs_document(job)) ||
        !job->output)
        return error->status;
    return organ_reports_make(&(organ_output){.path = job->output, .force = job->force, .ranks = job->engine->ranks},
                              &files, NULL, NULL, *report, error);
}

/* Compares the noises of two pairs. The change D is that of an adapter if o->change is the path of one; otherwise
 * o->change is a tuned model, or NULL for the difference of the clean models. */
organ_status organ_noise_pairs(const organ_noise_pairs_options *o, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_noise_pairs_options, o, report, error, "clean[0]", o->clean[0], "noisy[0]", o->noisy[0],
                         "clean[1]", o->clean[1], "noisy[1]", o->noisy[1]))
        return error->status;
    const organ_report_work work = organ_report_begin(report);
    const bool adapter = o->change && is_adapter(o->change), tuned = o->change && !adapter;
    organ_compared_job job = {.pairs = o,
                              .engine = engine,
                              .progress = progress,
                              .adapter_path = adapter ? o->change : NULL,
                              .path = {o->clean[0], o->noisy[0], o->clean[1], o->noisy[1], tuned ? o->change : NULL},
                              .sources = tuned ? ORGAN_TUNED + 1 : ORGAN_TUNED,
                              .output = o->output,
                              .requested = o->modules,
                              .draws = o->draws,
                              .seed = o->seed,
                              .force = o->force,
                              .change = adapter ? ORGAN_CHANGE_ADAPTER : ORGAN_CHANGE_BETWEEN};
    if (tuned)
        job.change = ORGAN_CHANGE_TUNED;
    *report = NULL;
    compare_pairs(&job, report, error);
    organ_compared_close(&job);
    return organ_report_end(&work, o->clean[0], error);
}
