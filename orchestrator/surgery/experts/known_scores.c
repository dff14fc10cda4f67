/* SPDX-License-Identifier: MIT
 * Reads the scores from a file, or measures them. Without --scores the file is a temporary one next to the output; it
 * is removed when the output is complete.
 *
 * Ranks: all ranks read the file. With --force the first rank removes the file of an interrupted run, and all ranks
 * wait for the removal before they read. */
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/publish.h"
#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/surgery/experts/experts_job.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdio.h>
#include <unistd.h>

static organ_status name_unfinished(organ_experts_job *job, organ_error *error)
{
    const char *const path = job->options->write.output, *const name = organ_path_name(path);
    const size_t length = organ_path_length(path) - (size_t)(name - path);
    job->unfinished = organ_format("%.*s.%.*s" ORGAN_SCORES_ENDING, (int)(name - path), path, (int)length, name);
    return job->unfinished ? ORGAN_OK : organ_fail_memory(error, path);
}

/* --resume, --dry-run and a run that gives a finished output its name keep the file; --force sets *remove. */
static organ_status check_unfinished(const organ_experts_job *job, bool *remove, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (!job->unfinished || o->write.resume || o->write.dry_run || access(job->unfinished, F_OK) != 0)
        return ORGAN_OK;
    if (organ_publish_waits(o->write.output))
        return ORGAN_OK;
    if (!o->write.force)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: belongs to a run that was interrupted during the measurement; --resume continues it, "
                          "--force starts over",
                          job->unfinished);
    *remove = true;
    return ORGAN_OK;
}

/* The message names the --samples and --context of the file, because only the same windows can complete the file. */
static organ_status fail_incomplete_scores(const organ_experts_job *job, organ_error *error)
{
    const json_t *const of = job->scores.calibration;
    const json_t *const samples = json_object_get(of, "samples"), *const context = json_object_get(of, "context");
    char windows[80] = "";
    if (json_is_integer(samples) && json_is_integer(context))
        snprintf(windows, sizeof windows, " --samples %lld --context %lld", (long long)json_integer_value(samples),
                 (long long)json_integer_value(context));
    return organ_fail(error, ORGAN_USAGE,
                      "%s: does not have the scores of all layers: --calibration TEXT%s measures the others",
                      job->options->scores, windows);
}

/* Scores of any text are accepted, but they must be complete and of this model. */
static organ_status read_stored_scores(organ_experts_job *job, organ_error *error)
{
    char model[17];
    if (organ_model_fingerprint(job->model, model, error) != ORGAN_OK)
        return error->status;
    job->identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_EXPERT_SCORES_DEFINITION), SET_TEXT("model", model));
    if (!job->identity)
        return organ_fail_memory(error, job->model->path);
    if (organ_expert_scores_read(&job->scores, job->identity, job->options->scores,
                                 "to measure it, give --calibration TEXT and another file for --scores", &job->known,
                                 error) == ORGAN_OK &&
        !job->known)
        fail_incomplete_scores(job, error);
    return error->status;
}

static organ_status known_scores_measure(organ_experts_job *job, organ_expert_measure *measure, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const char *const file = o->scores ? o->scores : job->unfinished;
    const char *const advice =
        o->scores ? "to measure again, give another file with --scores" : "--force without --resume measures again";
    bool remove = false;
    job->identity = json_deep_copy(organ_expert_measure_identity(measure));
    if (!job->identity)
        return organ_fail_memory(error, file);
    if (check_unfinished(job, &remove, error) != ORGAN_OK ||
        organ_cache_start(remove ? job->unfinished : NULL, job->engine->ranks, error) != ORGAN_OK ||
        organ_expert_scores_read(&job->scores, job->identity, file, advice, &job->known, error) != ORGAN_OK)
        return error->status;
    if (!job->known && o->write.dry_run && !(job->needs = organ_expert_measure_needs(measure)))
        return organ_fail_memory(error, file);
    if (!job->known && o->write.dry_run)
        organ_expert_measure_estimate(measure, &job->plan);
    if (job->known || o->write.dry_run || organ_expert_measure_run(measure, file, error) != ORGAN_OK)
        return error->status;
    job->known = true;
    return ORGAN_OK;
}

/* The caller closes *walk even after an error. */
static organ_status open_measure(organ_experts_job *job, organ_expert_measure **walk, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_expert_measure_options options = {
        .model = job->model, .calibration = o->calibration, .engine = job->engine, .progress = job->progress};
    return organ_expert_measure_open(&options, &job->scores, walk, error);
}

/* Opening the measurement sets job->scores.calibration, which is released here because organ_experts_load_scores
 * sets it again. */
organ_status organ_experts_try(organ_experts_job *job, organ_error *error)
{
    organ_expert_measure *walk = NULL;
    open_measure(job, &walk, error);
    organ_expert_measure_close(walk);
    json_decref(job->scores.calibration);
    job->scores.calibration = NULL;
    return error->status;
}

organ_status organ_experts_load_scores(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    organ_expert_measure *walk = NULL;
    if (!o->calibration.text)
        return read_stored_scores(job, error);
    if (!o->scores && name_unfinished(job, error) != ORGAN_OK)
        return error->status;
    if (open_measure(job, &walk, error) == ORGAN_OK)
        known_scores_measure(job, walk, error);
    organ_expert_measure_close(walk);
    return error->status;
}

/* After an ORGAN_USAGE before all scores were known there is no note, because the message of that error has named
 * the remedy. */
void organ_experts_remove_scores(const organ_experts_job *job, organ_status status)
{
    const bool is_resumable = status == ORGAN_INTERRUPTED || status == ORGAN_IO || status == ORGAN_USAGE;
    if (!job->unfinished || job->options->write.dry_run || !organ_ranks_first(job->engine->ranks))
        return;
    if (!is_resumable)
        unlink(job->unfinished);
    else if ((job->known || status != ORGAN_USAGE) &&
             access(job->unfinished, F_OK) == 0) /* after ORGAN_USAGE the message has already named the remedy */
        organ_progress_note(job->progress, "the measurements are kept in %s: --resume continues", job->unfinished);
}
