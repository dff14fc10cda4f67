/* SPDX-License-Identifier: MIT
 * organ patch extract: makes a patch of two models. */
#include "orchestrator/verbs/patch/patch_job.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

static organ_status check_options(patch_job *job, organ_error *error)
{
    const organ_patch_extract_options *const o = job->options;
    const char *const encoding = o->encoding ? o->encoding : "xor";
    const char *const checksum = o->checksum ? o->checksum : "xxh3-128";
    job->pass.encoding = organ_delta_named(encoding);
    job->pass.kind = organ_checksum_named(checksum);
    job->pass.level = o->level ? (int)o->level : 1;
    if (job->pass.encoding == ORGAN_DELTA_WHOLE)
        return organ_fail(error, ORGAN_USAGE, "`encoding`: '%s' is not one of " ORGAN_DELTA_NAMES, encoding);
    if (job->pass.kind == ORGAN_CHECKSUMS)
        return organ_fail(error, ORGAN_USAGE, "`checksum`: '%s' is not one of " ORGAN_CHECKSUM_NAMES, checksum);
    if (!organ_within(job->pass.level, ORGAN_DELTA_LEVELS))
        return organ_fail(error, ORGAN_USAGE, "`level` is %d, not 1 to 9", job->pass.level);
    if (o->write.output && organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: a patch is a directory: name one", o->write.output);
    return ORGAN_OK;
}

static const char *version_of(const char *given, const char *otherwise) { return given ? given : otherwise; }

static json_t *parameters(void *context)
{
    const patch_job *const job = context;
    const organ_patch_extract_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("encoding", organ_delta_name(job->pass.encoding)),
                        SET_TEXT("checksum", organ_checksum_name(job->pass.kind)), SET_COUNT("level", job->pass.level),
                        SET_BYTES("version", version_of(o->version, "000001")),
                        SET_BYTES("base_version", version_of(o->base_version, "000000")));
}

/* ---- the files of the patch ---- */

static char *metadata_of(void *context, size_t file)
{
    const patch_job *const job = context;
    organ_text text;
    char *made = NULL;
    organ_error ignored = {0};
    bool first = true;
    if (organ_text_open(&text, &ignored))
        return NULL;
    fputc('{', text.out);
    for (size_t k = 0; k < job->layout.piece_count; k++) {
        ORGAN_OWNED_JSON json_t *const name = job->pieces[k].file == file ? json_string(job->pieces[k].name) : NULL;
        if (!name)
            continue;
        if (!first)
            fputc(',', text.out);
        first = false;
        json_dumpf(name, text.out, JSON_ENCODE_ANY);
        fprintf(text.out, ":\"%s\"", job->pass.changes[job->rows[k]].checksum);
    }
    fputc('}', text.out);
    organ_text_finish(&text, &made, &ignored);
    return made;
}

static organ_status plan_patch(patch_job *job, organ_error *error)
{
    const organ_patch_extract_options *const o = job->options;
    const size_t count = job->tuned->tensor_count;
    size_t used = 0;
    job->pieces = organ_rows_take(count + 1, sizeof *job->pieces);
    job->rows = organ_rows_take(count + 1, sizeof *job->rows);
    if (!job->pieces || !job->rows)
        return organ_fail_memory(error, job->tuned->path);
    for (size_t t = 0; t < count; t++) {
        const organ_patch_change *const row = &job->pass.changes[t];
        if (!row->packed)
            continue;
        job->rows[used] = t;
        job->pieces[used++] = (organ_piece){.name = row->tuned->name,
                                            .dtype = ORGAN_U8,
                                            .rank = 1,
                                            .shape = &row->packed,
                                            .item = t,
                                            .cost = row->packed,
                                            .anatomy = row->tuned->anatomy};
    }
    ORGAN_OWNED_JSON json_t *const index = ORGAN_OBJECT(
        SET_BYTES("version", version_of(o->version, "000001")),
        SET_BYTES("base_version", version_of(o->base_version, "000000")),
        SET_TEXT("delta_encoding", organ_delta_name(job->pass.encoding)), SET_TEXT("compression_format", "zstd"),
        SET_TEXT("checksum_format", organ_checksum_name(job->pass.kind)));
    const organ_shard_texts texts = {.metadata = metadata_of, .context = job, .index = index};
    const uint64_t most = o->write.max_shard_size ? o->write.max_shard_size : ORGAN_SHARD_BYTES;
    return index ? organ_layout_plan_texts(job->tuned, job->pieces, used, most, &texts, &job->layout, error)
                 : organ_fail_memory(error, job->tuned->path);
}

/* ---- callbacks of organ_write ---- */

static organ_status decide(void *context, organ_writing *writing, organ_write_pieces *pieces, organ_error *error)
{
    patch_job *const job = context;
    job->writing = writing;
    if (organ_patch_store_open(job, error) || organ_patch_store_recall(job, error))
        return error->status;
    job->pass.store = job->store >= 0 ? organ_patch_store_add : NULL;
    job->pass.finish = job->store >= 0 ? organ_patch_store_finish : NULL;
    if (organ_patch_run(&job->pass, error) || organ_patch_write_manifest(job, error) || plan_patch(job, error))
        return error->status;
    pieces->files = job->written;
    return ORGAN_OK;
}

static organ_status open_models(patch_job *job, organ_error *error)
{
    const organ_patch_extract_options *const o = job->options;
    if (organ_model_open_codes(o->base, o->access, &job->base, error) ||
        organ_donor_open(o->tuned, "stored as a patch", job->progress, &job->tuned, error) ||
        organ_patch_check_model(job->base, error) || organ_patch_check_model(job->tuned, error))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->base);
    job->pass.base = job->base;
    job->pass.tuned = job->tuned;
    job->pass.engine = job->engine;
    job->pass.progress = job->progress;
    job->pass.context = job;
    job->pass.changes = organ_patch_pair(job->base, job->tuned);
    job->frames = organ_rows_take(job->tuned->tensor_count + 1, sizeof *job->frames);
    if (!job->pass.changes || !job->frames)
        return organ_fail_memory(error, o->tuned);
    return organ_patch_check(&job->pass, error);
}

static organ_status extract(patch_job *job, json_t **report, organ_error *error)
{
    const organ_patch_extract_options *const o = job->options;
    if (check_options(job, error) || open_models(job, error) ||
        organ_output_check_not_input(o->write.output, job->base, error) || organ_patch_list_files(job, error))
        return error->status;
    const organ_write made = {.model = job->tuned,
                              .source = job->base,
                              .requested = &o->write,
                              ORGAN_WRITE_BY(job),
                              .layout = &job->layout,
                              .names = {"patch/1", &organ_patch_view, "writing", "tuned", NULL},
                              .check = {.parameters = parameters},
                              .decide = decide,
                              .make = {.fill = organ_patch_store_copy},
                              .report.document = organ_patch_document};
    return organ_write_run(&made, report, error);
}

static void release(patch_job *job)
{
    organ_patch_store_close(job);
    organ_layout_release(&job->layout);
    organ_layout_release(&job->result);
    for (size_t f = 0; f < job->file_count; f++)
        free(job->files[f].packed);
    ORGAN_FREE_ARRAYS(job->files, job->written);
    organ_rows_free(job->pieces);
    organ_rows_free(job->rows);
    organ_rows_free(job->manifest);
    organ_rows_free(job->pass.changes);
    organ_model_close(job->base);
    organ_model_close(job->tuned);
    organ_arena_release(&job->arena);
}

organ_status organ_patch_extract(const organ_patch_extract_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_patch_extract_options, options, report, error, "base", options->base, "tuned",
                         options->tuned, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    patch_job job = {
        .options = options, .engine = engine, .progress = organ_warnings_begin(&work.kept, progress), .store = -1};
    extract(&job, report, error);
    release(&job);
    return organ_report_end(&work, options->tuned, error);
}
