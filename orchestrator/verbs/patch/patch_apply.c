/* SPDX-License-Identifier: MIT
 * organ patch apply: makes a model of a base and a patch, and compares every tensor with the patch's checksums. */
#include "orchestrator/verbs/patch/patch_apply.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/remote/remote.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/stream_parts.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)512 << 10) /* bytes of a tensor that are changed at once */

struct apply_lane {
    organ_delta_applier *applier;
    organ_checksum *before, *after, *checksum;
    unsigned char *bytes; /* CHUNK of them */
};

/* ---- one tensor ---- */

static bool needs_checksum(const apply_job *job, const apply_item *item)
{
    return item->frame && job->patch.kind != ORGAN_CHECKSUM_XXH3_128;
}

static organ_status make_chunk(apply_job *job, apply_lane *l, size_t number, uint64_t at, size_t count,
                               organ_error *error)
{
    const apply_item *const item = &job->items[number];
    if (organ_stop_is_requested(job->engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    if (item->base && organ_model_read(job->base, item->base->file, l->bytes, count, item->base->offset + at, error))
        return error->status;
    if (item->says && item->base)
        organ_checksum_add(l->before, l->bytes, count);
    if (item->frame && organ_delta_apply(l->applier, l->bytes, count, error))
        return error->status;
    organ_checksum_add(l->after, l->bytes, count);
    if (needs_checksum(job, item))
        organ_checksum_add(l->checksum, l->bytes, count);
    return organ_write_put(job->writing, number, l->bytes, count, at, /*scratch=*/NULL, error);
}

static organ_status refuse_base(const apply_job *job, const apply_item *item, const char *found, organ_error *error)
{
    return organ_refuse(error, job->options->base,
                        "is not the base of the patch: tensor '%s' has the XXH3-128 %s; the patch was made of a model "
                        "(%s) where it is %s",
                        item->name, found, job->patch.base, item->says->before);
}

/* A base that differs is recognised before the result, which differs then, too. */
static organ_status judge(apply_job *job, apply_lane *l, apply_item *item, organ_error *error)
{
    char found[ORGAN_CHECKSUM_TEXT];
    organ_checksum_text(l->before, found);
    if (item->says && item->base && strcmp(found, item->says->before) != 0)
        return refuse_base(job, item, found, error);
    organ_checksum_text(l->after, item->after);
    if (item->says && strcmp(item->after, item->says->after) != 0)
        return organ_refuse(error, job->patch.path,
                            "is damaged: tensor '%s' of the result has the XXH3-128 %s; " ORGAN_PATCH_MANIFEST
                            " states %s",
                            item->name, item->after, item->says->after);
    organ_checksum_text(needs_checksum(job, item) ? l->checksum : l->after, found);
    if (item->frame && strcmp(found, item->frame->checksum) != 0)
        return organ_refuse(error, job->patch.path,
                            "tensor '%s' of the result has the %s %s; the patch states %s: %s is not its base, or the "
                            "patch is damaged",
                            item->name, organ_checksum_name(job->patch.kind), found, item->frame->checksum,
                            job->options->base);
    return ORGAN_OK;
}

static organ_status make_tensor(apply_job *job, apply_lane *l, size_t number, organ_error *error)
{
    apply_item *const item = &job->items[number];
    organ_delta_frame frame = {0};
    organ_checksum_begin(l->before, ORGAN_CHECKSUM_XXH3_128);
    organ_checksum_begin(l->after, ORGAN_CHECKSUM_XXH3_128);
    organ_checksum_begin(l->checksum, job->patch.kind);
    if (item->frame) {
        frame = organ_patch_frame_of(item->frame);
        organ_delta_apply_begin(l->applier, &frame, item->base ? job->patch.encoding : ORGAN_DELTA_WHOLE, item->bytes,
                                error);
    }
    for (uint64_t at = 0, n; at < item->bytes && !error->status; at += n) {
        n = item->bytes - at < CHUNK ? item->bytes - at : CHUNK;
        make_chunk(job, l, number, at, (size_t)n, error);
    }
    if (item->frame && !error->status)
        organ_delta_apply_end(l->applier, error);
    return error->status ? error->status : judge(job, l, item, error);
}

static organ_status make_unit(void *context, size_t number, size_t worker, organ_error *error)
{
    apply_job *const job = context;
    if (organ_write_done(job->writing, number) || job->layout.pieces[number].same ||
        make_tensor(job, &job->lanes[worker], number, error))
        return error->status;
    ORGAN_LOCKED(&job->lock);
    json_t *const results = ORGAN_OBJECT(SET_TEXT("xxh3_128", job->items[number].after));
    if (organ_write_finish(job->writing, number, results, error) == ORGAN_OK)
        organ_progress_advance(job->progress, job->layout.pieces[number].cost, job->items[number].name, NULL);
    return error->status;
}

/* ---- callbacks of organ_write ---- */

static organ_status open_lanes(apply_job *job, organ_error *error)
{
    const size_t each = organ_delta_applier_bytes() + CHUNK + sizeof(apply_lane) + 4096;
    if (organ_memory_claim(job->engine, job->patch.loose + each, error, "the files and the changes of a tensor"))
        return error->status;
    job->lane_count = organ_memory_workers(job->engine, each, job->patch.loose);
    if (!(job->lanes = calloc(job->lane_count, sizeof *job->lanes)))
        return organ_fail_memory(error, job->options->base);
    for (size_t k = 0; k < job->lane_count; k++) {
        apply_lane *const l = &job->lanes[k];
        l->applier = organ_delta_applier_create();
        l->before = organ_checksum_create();
        l->after = organ_checksum_create();
        l->checksum = organ_checksum_create();
        l->bytes = malloc(CHUNK);
        if (!l->applier || !l->before || !l->after || !l->checksum || !l->bytes)
            return organ_fail_memory(error, job->options->base);
    }
    return ORGAN_OK;
}

static void close_lanes(apply_job *job)
{
    for (size_t k = 0; job->lanes && k < job->lane_count; k++) {
        apply_lane *const l = &job->lanes[k];
        organ_delta_applier_destroy(l->applier);
        organ_checksum_destroy(l->before);
        organ_checksum_destroy(l->after);
        organ_checksum_destroy(l->checksum);
        free(l->bytes);
    }
    organ_clear(&job->lanes);
}

static organ_status fill(void *context, organ_writing *writing, organ_error *error)
{
    apply_job *const job = context;
    job->writing = writing;
    if (open_lanes(job, error) == ORGAN_OK)
        organ_parts_run(
            &(organ_parts){
                .count = job->layout.piece_count, .workers = job->lane_count, .context = job, .work = make_unit},
            job->engine, error);
    close_lanes(job);
    return error->status;
}

static bool recall(void *context, size_t item, const json_t *results)
{
    apply_job *const job = context;
    const char *const after = json_string_value(json_object_get(results, "xxh3_128"));
    if (!after || strlen(after) >= sizeof job->items[item].after)
        return false;
    strcpy(job->items[item].after, after);
    return true;
}

static json_t *parameters(void *context)
{
    const apply_job *const job = context;
    const organ_patch *const p = &job->patch;
    return ORGAN_OBJECT(SET_TEXT("encoding", organ_delta_name(p->encoding)),
                        SET_TEXT("checksum", organ_checksum_name(p->kind)), SET_BYTES("version", p->version),
                        SET_BYTES("base_version", p->base_version));
}

/* Files of a patch at a URL are known by their sizes alone. */
static json_t *identity(void *context)
{
    return ORGAN_OBJECT(SET_TEXT("patch_digest", ((const apply_job *)context)->patch.digest));
}

/* A manifest proves the base. Without one, a base at a URL is known by what its server states of each file. */
static organ_status check_resume(const apply_job *job, organ_error *error)
{
    bool known = true;
    for (size_t f = 0; f < job->base->file_count; f++)
        known = known && (!job->base->files[f].remote || *organ_http_validator(job->base->files[f].remote));
    return known || job->patch.has_manifest || !job->options->write.resume
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE,
                            "%s: the server states no version (ETag or Last-Modified), so that the run cannot be "
                            "continued: `force` starts over",
                            job->base->path);
}

static organ_status inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const apply_job *const job = context;
    return organ_run_inputs_add_model(inputs, "patch", job->patch.model, error);
}

/* ---- the run ---- */

static organ_status apply(apply_job *job, json_t **report, organ_error *error)
{
    const organ_patch_apply_options *const o = job->options;
    if (organ_patch_open(o->patch, o->access, &job->patch, error) ||
        organ_model_open_codes(o->base, o->access, &job->base, error) || organ_patch_check_model(job->base, error))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->base);
    if (check_resume(job, error) || organ_output_check_not_input(o->write.output, job->patch.model, error) ||
        organ_patch_plan_result(job, error))
        return error->status;
    const organ_write made = {.model = job->base,
                              .requested = &o->write,
                              ORGAN_WRITE_BY(job),
                              .layout = &job->layout,
                              .left_out = job->left_out,
                              .pieces.files = job->written,
                              .names = {"patch/1", &organ_patch_view, "applying", "base", NULL},
                              .check = {.parameters = parameters, .identity = identity, .inputs = inputs},
                              .make = {.begun = organ_patch_check_result, .fill = fill, .recall = recall},
                              .report.document = organ_patch_apply_document};
    return organ_write_run(&made, report, error);
}

static void release(apply_job *job)
{
    organ_layout_release(&job->layout);
    for (size_t k = 0; k < job->written_count; k++)
        free(job->written[k].bytes);
    free(job->written);
    organ_rows_free(job->items);
    free(job->left_out);
    organ_list_release(&job->others);
    organ_patch_close(&job->patch);
    organ_model_close(job->base);
}

organ_status organ_patch_apply(const organ_patch_apply_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_patch_apply_options, options, report, error, "base", options->base, "patch",
                         options->patch, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    apply_job job = {.options = options,
                     .engine = engine,
                     .progress = organ_warnings_begin(&work.kept, progress),
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    apply(&job, report, error);
    release(&job);
    return organ_report_end(&work, options->base, error);
}
