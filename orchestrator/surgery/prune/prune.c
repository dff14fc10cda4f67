/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/job.h"

#include "formats/base/memory_watch.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/html_report.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/output/experiment.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/run_journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* The main pass: what retire needs beside the flow. */
typedef struct writer {
    organ_prune_flow flow; /* first: organ_prune_tile takes it for the context */
    organ_prune_job *job;
    organ_model_copy *copy;
    const organ_run_journal *journal;
    XXH3_state_t *hash; /* of the tensor that is being written */
} writer;

static organ_status check_options(const organ_prune_options *o, organ_error *error)
{
    if (o->block_size < 16 || o->block_size > 4096)
        return organ_fail(error, ORGAN_USAGE, "block size %u is not in 16 .. 4096", o->block_size);
    if (o->iterations < 1 || o->iterations > 100000)
        return organ_fail(error, ORGAN_USAGE, "%u iterations are not in 1 .. 100000", o->iterations);
    if (!(o->beta > 0 && o->beta <= 64))
        return organ_fail(error, ORGAN_USAGE, "beta %g is not in (0, 64]", o->beta);
    if (!(o->coupling >= 0 && o->coupling <= 8))
        return organ_fail(error, ORGAN_USAGE, "coupling %g is not in [0, 8]", o->coupling);
    if (!(o->sparsity < 0) && !(o->sparsity > 0 && o->sparsity < 100)) /* a NaN is no sparsity either */
        return organ_fail(error, ORGAN_USAGE, "sparsity %g is not between 0 and 100 percent", o->sparsity);
    return ORGAN_OK;
}

/* An old x86 can only run what multiplies and takes square roots. */
static organ_status check_cpu(const organ_prune_options *o, organ_error *error)
{
    const organ_physarum_params params = {.beta = (float)o->beta, .coupling = (float)o->coupling};
    if (!organ_physarum_runs(organ_cpu_detect(), &params))
        return organ_fail(error, ORGAN_USAGE, "this CPU has no FMA: it runs --beta 2 with --coupling 0 or 1 only, not %g with %g", o->beta,
                          o->coupling);
    return ORGAN_OK;
}

organ_status organ_prune_job_open(organ_prune_job *job, organ_error *error)
{
    if (organ_model_open(job->options->donor, &job->donor, error) || organ_model_is_here(job->donor, "pruned", error))
        return error->status;
    const organ_model *donor = job->donor;
    if (donor->problem_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s", donor->problems[0]);
    organ_progress_warn(job->progress, donor);
    if (donor->manifest)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is an organ directory: 'organ assemble' makes the model of it that can be pruned",
                          donor->path);
    if (organ_targets_select(donor, job->options->targets, &job->targets, error) || organ_targets_are_floats(donor, &job->targets, error) ||
        organ_model_fingerprint(donor, job->fingerprint, error))
        return error->status;
    job->parts = calloc(job->targets.count, sizeof *job->parts);
    job->clocks = calloc(donor->file_count, sizeof *job->clocks);
    if (!job->parts || !job->clocks)
        return organ_fail_errno(error, ENOMEM, "%s", donor->path);
    for (size_t k = 0; k < job->targets.count; k++)
        job->parts[k] =
            (organ_prune_part){.tensor = job->targets.tensors[k], .gain = job->options->sparsity < 0 ? ORGAN_PHYSARUM_GAIN : 0.0};
    for (size_t k = 0; k < job->targets.count; k++)
        job->clocks[job->targets.tensors[k]->file].left++;
    return organ_model_other_files(donor, &job->others, error);
}

void organ_prune_job_close(organ_prune_job *job)
{
    organ_evaluation_release(&job->evaluation);
    json_decref(job->tile_map);
    json_decref(job->magnitudes);
    organ_list_free(&job->others);
    organ_targets_free(&job->targets);
    organ_model_close(job->donor);
    free(job->parts);
    free(job->clocks);
}

/* The shard of this part is through. */
static void tell_shard(const organ_prune_job *job, size_t file)
{
    char in_it[32], so_far[32], of[32];
    uint64_t here = 0, all = 0, gone_through = 0;
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_prune_part *const part = &job->parts[k];
        here += part->tensor->file == file ? part->counts.killed : 0;
        all += part->done ? part->counts.killed : 0;
        gone_through += part->done ? part->tensor->elements : 0;
    }
    organ_progress_note(job->progress, "%s is through: %s killed in it, %s so far, of %s target weights", job->donor->files[file].name,
                        organ_count_text(here, in_it), organ_count_text(all, so_far), organ_count_text(gone_through, of));
}

void organ_prune_part_done(organ_prune_job *job, organ_prune_part *part)
{
    char remark[32];
    part->done = true;
    snprintf(remark, sizeof remark, "%.2f %% killed", organ_percent(part->counts.killed, part->tensor->elements));
    organ_progress_advance(job->progress, 0, part->tensor->name, remark);
    if (--job->clocks[part->tensor->file].left == 0)
        tell_shard(job, part->tensor->file);
}

static organ_status finish_tensor(writer *w, organ_prune_part *part, organ_error *error)
{
    snprintf(part->xxh3, sizeof part->xxh3, "%016llx", (unsigned long long)XXH3_64bits_digest(w->hash));
    XXH3_64bits_reset(w->hash);
    if (organ_run_journal_add(w->journal, organ_prune_line(w->job, part), error))
        return error->status;
    organ_prune_part_done(w->job, part);
    return ORGAN_OK;
}

static organ_status retire(void *context, const organ_band *band, organ_error *error)
{
    writer *w = context;
    organ_prune_job *job = w->job;
    organ_prune_part *part = w->flow.parts[band->item];
    organ_shard_clock *clock = &job->clocks[part->tensor->file];
    if (organ_prune_fold(job, part, band, error))
        return error->status;
    XXH3_64bits_update(w->hash, band->data, band->bytes);
    if (organ_model_copy_write(w->copy, part->tensor->file, band->data, band->bytes, band->offset, error))
        return error->status;
    job->pruned_bytes += band->bytes;
    clock->bytes += band->bytes;
    clock->last = organ_seconds_now();
    organ_progress_advance(job->progress, band->bytes, NULL, NULL);
    return band->last ? finish_tensor(w, part, error) : ORGAN_OK;
}

static bool is_left(const organ_prune_part *part) { return !part->done; }

/* The clock of a shard starts when the one before it is through. */
static void start_clocks(organ_prune_job *job)
{
    for (size_t f = 0; f < job->donor->file_count; f++)
        job->clocks[f].first = job->clocks[f].last = organ_seconds_now();
}

static void settle_clocks(organ_prune_job *job)
{
    double before = 0;
    for (size_t f = 0; f < job->donor->file_count; f++)
        if (job->clocks[f].bytes) {
            job->clocks[f].first = before > job->clocks[f].first ? before : job->clocks[f].first;
            before = job->clocks[f].last;
        }
}

static organ_status run_flow(organ_prune_job *job, organ_model_copy *copy, const organ_run_journal *journal, organ_error *error)
{
    writer w = {.job = job, .copy = copy, .journal = journal, .hash = XXH3_createState()};
    organ_pass pass;
    uint64_t bytes = 0;
    start_clocks(job);
    if (organ_prune_pass_make(job, is_left, &w.flow, &pass, error) == ORGAN_OK && w.hash) {
        XXH3_64bits_reset(w.hash);
        for (size_t k = 0; k < pass.item_count; k++)
            bytes += pass.items[k].tensor->bytes;
        pass.context = &w;
        pass.retire = retire;
        organ_progress_begin(job->progress, "pruning", bytes, pass.item_count);
        organ_pass_run(&pass, job->engine, error);
        organ_progress_end(job->progress);
    } else
        organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    organ_prune_pass_free(&w.flow, &pass);
    XXH3_freeState(w.hash);
    settle_clocks(job);
    return error->status;
}

static organ_status write_lines(const organ_prune_job *job, const char *path, organ_error *error)
{
    organ_text buffer;
    char *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->targets.count && !error->status; k++) {
        json_t *line = organ_prune_line(job, &job->parts[k]);
        organ_document_line(line, buffer.out, error);
        json_decref(line);
    }
    if (organ_text_end(&buffer, &text, error) == ORGAN_OK)
        organ_text_write(path, text, error);
    free(text);
    return error->status;
}

organ_status organ_prune_prepare_evaluation(organ_prune_job *job, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    job->evaluation = (organ_evaluation){.options = o->evaluate,
                                         .engine = job->engine,
                                         .progress = job->progress,
                                         .before = o->donor,
                                         .before_is = "donor",
                                         .output = o->output};
    return organ_evaluation_prepare(&job->evaluation, error);
}

static void evaluate(organ_prune_job *job, const organ_publish *publish)
{
    char *const path = organ_output_copy_path(publish->partial, job->donor, NULL);
    organ_evaluation_run(&job->evaluation, path);
    free(path);
}

/* prune.jsonl, prune.json, REPORT.md and REPORT.html. */
organ_status organ_prune_write_reports(organ_prune_job *job, const organ_publish *publish, double started, json_t **report,
                                       organ_error *error)
{
    static const char *const names[] = {"organ/prune.jsonl", "organ/prune.json", "organ/REPORT.md", "organ"};
    enum { LINES, JSON, MARKDOWN, FOLDER, COUNT };
    char *paths[COUNT] = {0}, *markdown = NULL;
    json_t *checks = NULL;
    for (int k = 0; k < COUNT; k++)
        if (!(paths[k] = organ_publish_path(publish, names[k])))
            organ_fail_errno(error, ENOMEM, "%s", names[k]);
    if (!error->status && organ_prune_check_copy(job, publish->partial, &checks, error) == ORGAN_OK &&
        organ_prune_look_again(job, publish->partial, error) == ORGAN_OK) {
        job->seconds = organ_seconds_now() - started;
        evaluate(job, publish);
        *report = organ_prune_document(job, checks);
        checks = NULL;
        if (!*report)
            organ_fail_errno(error, ENOMEM, "%s", publish->final);
        else if (write_lines(job, paths[LINES], error) == ORGAN_OK && organ_document_write(paths[JSON], *report, error) == ORGAN_OK &&
                 organ_report_markdown(*report, &markdown, error) == ORGAN_OK &&
                 organ_text_write(paths[MARKDOWN], markdown, error) == ORGAN_OK &&
                 organ_html_report_beside(paths[MARKDOWN], *report, error) == ORGAN_OK)
            organ_sync_directory(paths[FOLDER], error);
    }
    json_decref(checks);
    free(markdown);
    for (int k = 0; k < COUNT; k++)
        free(paths[k]);
    return error->status;
}

/* --sparsity: gains are dear, so they are written down as soon as they are known. */
static organ_status find_gains(organ_prune_job *job, const organ_run_journal *journal, organ_error *error)
{
    if (job->options->sparsity < 0 || organ_prune_search_gains(job, error))
        return error->status;
    for (size_t k = 0; k < job->targets.count && !error->status; k++)
        organ_run_journal_add(journal, json_pack("{s:s, s:f}", "gain_of", job->parts[k].tensor->name, "gain", job->parts[k].gain), error);
    return error->status;
}

static organ_status run_in_copy(organ_prune_job *job, const organ_publish *publish, organ_run_journal *journal, json_t **report,
                                organ_error *error)
{
    organ_model_copy *copy = NULL;
    const double started = organ_seconds_now();
    const bool goes_on = json_array_size(journal->lines) > 0;
    if (organ_run_journal_begin(journal, organ_prune_journal_head(job), job->options->output, error) ||
        organ_model_copy_begin(job->donor, publish, job->targets.chosen, NULL, job->engine->stop, &copy, error))
        return error->status;
    if (goes_on)
        organ_prune_resume(job, copy, journal->lines, error);
    if (!error->status && find_gains(job, journal, error) == ORGAN_OK && run_flow(job, copy, journal, error) == ORGAN_OK)
        organ_model_copy_finish(copy, error);
    organ_model_copy_end(copy);
    if (!error->status && organ_model_unchanged(job->donor, error) == ORGAN_OK)
        organ_prune_write_reports(job, publish, started, report, error);
    return error->status;
}

/* How the run ends on disk: whole under its name, kept to be resumed, or gone. */
static void settle(const organ_prune_job *job, organ_publish *publish, const organ_run_journal *journal, json_t **report,
                   organ_error *error)
{
    size_t done = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        done += job->parts[k].done;
    if (!error->status && organ_publish_commit(publish, ORGAN_JOURNAL_NAME, error) == ORGAN_OK) {
        organ_evaluation_end(&job->evaluation, error);
        return;
    }
    json_decref(*report);
    *report = NULL;
    organ_run_settle(publish, journal, done, job->targets.count, error);
}

static organ_status run_published(organ_prune_job *job, json_t **report, organ_error *error)
{
    const organ_prune_options *options = job->options;
    organ_publish publish;
    organ_run_journal journal = {0};
    if (organ_publish_begin(options->output, organ_output_like(job->donor), options->resume, options->force, &publish, error) == ORGAN_OK) {
        job->resumed = publish.resumed;
        if (organ_run_journal_open(&publish, &journal, error) == ORGAN_OK)
            run_in_copy(job, &publish, &journal, report, error);
        settle(job, &publish, &journal, report, error);
    }
    organ_run_journal_close(&journal);
    organ_publish_end(&publish);
    return error->status;
}

void organ_prune_note_percent(const organ_prune_options *options, const organ_progress *progress)
{
    const double s = options->sparsity;
    if (s > 0 && s < 1)
        organ_progress_note(progress, "--sparsity is in percent: %g kills %g %% of the weights; for %g %% it is --sparsity %g", s, s,
                            100 * s, 100 * s);
}

organ_status organ_prune(const organ_prune_options *options, const organ_engine *engine, const organ_progress *progress, json_t **report,
                         organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    organ_prune_job job = {.options = options, .engine = engine, .progress = progress, .started_at = time(NULL)};
    *report = NULL;
    if (check_options(options, error) == ORGAN_OK && check_cpu(options, error) == ORGAN_OK &&
        organ_prune_job_open(&job, error) == ORGAN_OK && organ_output_spares(options->output, job.donor, error) == ORGAN_OK &&
        organ_publish_check(options->output, organ_output_like(job.donor), options->force || options->resume, error) == ORGAN_OK &&
        organ_prune_prepare_evaluation(&job, error) == ORGAN_OK) {
        organ_prune_note_percent(options, progress);
        if (!options->dry_run)
            run_published(&job, report, error);
        else if (!(*report = organ_prune_document(&job, NULL)))
            organ_fail_errno(error, ENOMEM, "%s", options->donor);
    }
    organ_prune_job_close(&job);
    return organ_memory_work_end(&work, report, options->donor, error);
}
