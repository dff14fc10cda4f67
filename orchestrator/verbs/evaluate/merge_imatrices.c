/* SPDX-License-Identifier: MIT
 * organ imatrix --merge: adds importance matrices of one model over several texts.
 *
 * Ranks: rank 0 alone writes the file; the others wait for it. */
#include "formats/base/text.h"

#include "formats/base/results.h"
#include "formats/imatrix/imatrix.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include <stdlib.h>

typedef struct merge_job {
    const organ_importance_merge_options *options;
    const organ_engine *engine;
    organ_imatrix_format format;
    organ_imatrix **files;
    organ_imatrix_merged merged;
    organ_output output;
    bool begun; /* organ_output_end must be called */
} merge_job;

static organ_status open_files(merge_job *job, organ_error *error)
{
    const organ_importance_merge_options *const o = job->options;
    if (organ_imatrix_format_of(o->output, o->format, &job->format, error) ||
        organ_output_check(o->output, NULL, o->force, error))
        return error->status;
    if (o->count == 0)
        return organ_fail(error, ORGAN_USAGE, "there is no importance matrix to merge");
    if (!(job->files = calloc(o->count, sizeof *job->files)))
        return organ_fail_memory(error, o->output);
    for (size_t f = 0; f < o->count && !error->status; f++)
        if (organ_imatrix_open(o->files[f], &job->files[f], error) == ORGAN_OK)
            organ_output_check_not_file(o->output, o->files[f], error);
    return error->status ? error->status
                         : organ_imatrix_merge((const organ_imatrix *const *)job->files, o->count, o->context,
                                               &job->merged, error);
}

/* ---- the report ---- */

static json_t *merged_file_json(const void *context, size_t f)
{
    const organ_imatrix *const m = ((const merge_job *)context)->files[f];
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(m->path)), SET_TEXT("format", m->format),
                        SET_COUNT("bytes", m->bytes), SET_COUNT_OF("chunks", m->chunks >= 0, m->chunks),
                        SET_COUNT_OF("context", m->chunk_size >= 0, m->chunk_size));
}

static json_t *merged_entry_json(const void *merged, size_t k)
{
    const organ_imatrix_sums *const s = &((const organ_imatrix_merged *)merged)->sums[k];
    double least = s->tokens(s->source, 0), most = least;
    for (uint64_t c = 1; c < s->counts; c++) {
        const double tokens = s->tokens(s->source, c);
        least = tokens < least ? tokens : least;
        most = tokens > most ? tokens : most;
    }
    return organ_imatrix_entry_json(s->name, s->matrices, s->features, (uint64_t)least, (uint64_t)most);
}

static json_t *merge_document(const merge_job *job)
{
    const organ_importance_merge_options *const o = job->options;
    const organ_imatrix_merged *const m = &job->merged;
    return ORGAN_OBJECT(SET_HEAD("organ.imatrix/1", "imatrix/1"), SET_IF(o->dry_run, "dry_run", json_true()),
                        SET("merged", organ_json_rows(o->count, merged_file_json, job)),
                        SET_TEXT("format", job->format == ORGAN_IMATRIX_DAT ? "dat" : "gguf"),
                        SET_COUNT("chunks", m->text.chunks), SET_COUNT("context", m->text.chunk_size),
                        SET("totals", ORGAN_OBJECT(SET_COUNT("files", o->count), SET_COUNT("entries", m->count))),
                        SET("entries", organ_json_rows(m->count, merged_entry_json, m)),
                        SET("definitions", organ_sentences("organ.imatrix/1", "definitions_of_merged", NULL)),
                        SET("run", ORGAN_OBJECT(SET_BYTES("output", o->output), SET_ENGINE(job->engine))));
}

/* ---- the output ---- */

static organ_status write_merged(merge_job *job, organ_error *error)
{
    const organ_importance_merge_options *const o = job->options;
    ORGAN_OWNED char *const path = organ_publish_path(&job->output.publish, organ_output_name(&job->output));
    if (!path)
        organ_fail_memory(error, o->output);
    else
        organ_imatrix_merge_write(&job->merged, path, job->format, error);
    for (size_t f = 0; f < o->count && !error->status; f++)
        organ_imatrix_unchanged(job->files[f], error);
    return error->status ? error->status : organ_output_sync(&job->output, error);
}

static organ_status begin_and_write(merge_job *job, organ_error *error)
{
    const organ_importance_merge_options *const o = job->options;
    job->output = (organ_output){.path = o->output, .single = true, .force = o->force, .ranks = job->engine->ranks};
    if (organ_output_begin_together(&job->output, job->files[0]->bytes, &job->begun, error) == ORGAN_OK &&
        organ_ranks_first(job->engine->ranks))
        write_merged(job, error);
    return organ_ranks_agree(job->engine->ranks, "writing the importance matrix", error);
}

organ_status organ_importance_merge(const organ_importance_merge_options *options, const organ_engine *engine,
                                    const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    (void)progress;
    if (ORGAN_BEGIN_VERB(organ_importance_merge_options, options, report, error, "files",
                         options->files ? options->files[0] : NULL, "output", options->output))
        return error->status;
    merge_job job = {.options = options, .engine = engine};
    const organ_report_work work = organ_report_begin(report);
    if (open_files(&job, error) == ORGAN_OK && !(*report = merge_document(&job)))
        organ_fail_memory(error, options->output);
    if (!organ_ranks_agree(engine->ranks, "reading the importance matrices", error) && !options->dry_run)
        begin_and_write(&job, error);
    if (job.begun)
        organ_output_end(&job.output, error);
    organ_imatrix_merge_release(&job.merged);
    for (size_t f = 0; job.files && f < options->count; f++)
        organ_imatrix_close(job.files[f]);
    free(job.files);
    return organ_report_end(&work, options->output, error);
}
