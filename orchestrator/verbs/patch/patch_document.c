/* SPDX-License-Identifier: MIT
 * The report of organ patch, organ.patch/1. */
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/verbs/patch/patch_apply.h"
#include "orchestrator/verbs/patch/patch_job.h"

/* ---- extract ---- */

static json_t *change_json(const void *context, size_t t)
{
    const organ_patch_change *const row = &((const patch_job *)context)->pass.changes[t];
    const char *const change = organ_patch_change_name(!row->base, row->changed);
    return ORGAN_OBJECT(SET_TEXT("name", row->tuned->name), SET_TEXT("change", change),
                        SET_COUNT("bytes", row->tuned->bytes), SET_COUNT("changed_bytes", row->changed),
                        SET_COUNT("patch_bytes", row->packed), SET_TEXT("xxh3_128", row->after));
}

static json_t *file_json(const void *context, size_t f)
{
    const patch_file *const file = &((const patch_job *)context)->files[f];
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("bytes", file->size),
                        SET_COUNT("tensors", file->tensors), SET_FLAG("from_base", file->from_base),
                        SET_COUNT("patch_bytes", file->packed_bytes), SET_TEXT("xxh3_128", file->digest));
}

static json_t *gone_json(const patch_job *job)
{
    json_t *const list = json_array();
    for (size_t t = 0; t < job->base->tensor_count; t++)
        if (!organ_model_find(job->tuned, job->base->tensors[t].name))
            json_array_append_new(list, json_string(job->base->tensors[t].name));
    return list;
}

/* Tensors that the base has, but in another type or shape, are `reshaped`; others that are stored whole are `added`. */
static json_t *whole_json(const patch_job *job, bool reshaped)
{
    json_t *const list = json_array();
    for (size_t t = 0; t < job->tuned->tensor_count; t++) {
        const organ_patch_change *const row = &job->pass.changes[t];
        if (!row->base && (row->other != NULL) == reshaped)
            json_array_append_new(list, json_string(row->tuned->name));
    }
    return list;
}

static json_t *totals_json(const patch_job *job)
{
    const organ_patch_sums sums = organ_patch_add_up(job->pass.changes, job->tuned->tensor_count);
    uint64_t files = 0, result = 0;
    for (size_t f = 0; f < job->file_count; f++) {
        files += job->files[f].packed_bytes;
        result += job->files[f].size;
    }
    const uint64_t patch = sums.packed + files;
    return ORGAN_OBJECT(SET_COUNT("tensors", job->tuned->tensor_count), SET_COUNT("same", sums.same),
                        SET_COUNT("changed", sums.changed), SET_COUNT("whole", sums.whole), SET_COUNT("bytes", result),
                        SET_COUNT("changed_bytes", sums.changed_bytes), SET_COUNT("paired_bytes", sums.paired_bytes),
                        SET_REAL("changed_percent", organ_percent(sums.changed_bytes, sums.paired_bytes)),
                        SET_COUNT("patch_bytes", patch), SET_REAL("patch_percent", organ_percent(patch, result)));
}

json_t *organ_patch_document(void *context, const organ_writing *made)
{
    const patch_job *const job = context;
    json_t *const run = organ_output_run_on(organ_write_output(made), 2 * organ_model_tensor_bytes(job->tuned),
                                            job->tuned->path, job->engine);
    ORGAN_ADD(run, SET_BYTES("base", job->options->base));
    return ORGAN_OBJECT(SET_TEXT("operation", "extract"), SET("base", organ_model_json(job->base)),
                        SET("totals", totals_json(job)), SET_TEXT("manifest", ORGAN_PATCH_MANIFEST),
                        SET("tensors", organ_json_rows(job->tuned->tensor_count, change_json, job)),
                        SET("added", whole_json(job, /*reshaped=*/false)),
                        SET("reshaped", whole_json(job, /*reshaped=*/true)), SET("gone", gone_json(job)),
                        SET("files", organ_json_rows(job->file_count, file_json, job)),
                        SET_SENTENCES("organ.patch/1", "definitions", NULL), SET("run", run));
}

/* ---- apply ---- */

static json_t *applied_json(const void *context, size_t t)
{
    const apply_item *const item = &((const apply_job *)context)->items[t];
    const char *const change = organ_patch_change_name(!item->base, item->frame != NULL);
    const char *const after = item->says ? item->says->after : item->after;
    return ORGAN_OBJECT(SET_TEXT("name", item->name), SET_TEXT("change", change), SET_COUNT("bytes", item->bytes),
                        SET_NULL("changed_bytes"),
                        SET_COUNT("patch_bytes", item->frame ? item->frame->stored->bytes : 0),
                        SET("xxh3_128", *after ? json_string(after) : json_null()));
}

static json_t *made_file_json(const void *context, size_t f)
{
    const organ_patch_file *const file = &((const apply_job *)context)->patch.files[f];
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("bytes", file->size),
                        SET_COUNT("tensors", file->tensors), SET_FLAG("from_base", !file->stored),
                        SET_COUNT("patch_bytes", file->packed), SET_TEXT("xxh3_128", file->digest));
}

static json_t *applied_totals(const apply_job *job)
{
    uint64_t same = 0, changed = 0, whole = 0, patch = 0, bytes = 0;
    for (size_t t = 0; t < job->layout.piece_count; t++) {
        const apply_item *const item = &job->items[t];
        patch += item->frame ? item->frame->stored->bytes : 0;
        if (!item->base)
            whole++;
        else if (item->frame)
            changed++;
        else
            same++;
    }
    for (size_t f = 0; f < job->patch.file_count; f++) {
        bytes += job->patch.files[f].size;
        patch += job->patch.files[f].packed;
    }
    return ORGAN_OBJECT(SET_COUNT("tensors", job->layout.piece_count), SET_COUNT("same", same),
                        SET_COUNT("changed", changed), SET_COUNT("whole", whole), SET_COUNT("bytes", bytes),
                        SET_NULL("changed_bytes"), SET_NULL("paired_bytes"), SET_NULL("changed_percent"),
                        SET_COUNT("patch_bytes", patch), SET_REAL("patch_percent", organ_percent(patch, bytes)));
}

/* Lists the tensors that are stored whole because the base lacks them or, with `reshaped`, has others of their names.
 */
static json_t *made_whole_json(const apply_job *job, bool reshaped)
{
    json_t *const list = json_array();
    for (size_t t = 0; t < job->layout.piece_count; t++) {
        const apply_item *const item = &job->items[t];
        if (!item->base && (organ_model_find(job->base, item->name) != NULL) == reshaped)
            json_array_append_new(list, json_string(item->name));
    }
    return list;
}

/* Lists the tensors of the base that the result lacks. Returns NULL without memory. */
static json_t *left_json(const apply_job *job)
{
    ORGAN_OWNED bool *const kept = calloc(job->base->tensor_count + 1, sizeof *kept);
    json_t *const list = kept ? json_array() : NULL;
    for (size_t t = 0; kept && t < job->layout.piece_count; t++) {
        const organ_tensor *const base = organ_model_find(job->base, job->items[t].name);
        if (base)
            kept[base - job->base->tensors] = true;
    }
    for (size_t t = 0; list && t < job->base->tensor_count; t++)
        if (!kept[t])
            json_array_append_new(list, json_string(job->base->tensors[t].name));
    return list;
}

json_t *organ_patch_apply_document(void *context, const organ_writing *made)
{
    const apply_job *const job = context;
    const bool stated = job->patch.has_manifest;
    json_t *const run = organ_output_run_on(organ_write_output(made), 2 * organ_layout_bytes(&job->layout),
                                            job->base->path, job->engine);
    ORGAN_ADD(run, SET_BYTES("patch", job->options->patch));
    return ORGAN_OBJECT(SET_TEXT("operation", "apply"), SET("totals", applied_totals(job)),
                        SET("manifest", stated ? json_string(ORGAN_PATCH_MANIFEST) : json_null()),
                        SET("tensors", organ_json_rows(job->layout.piece_count, applied_json, job)),
                        SET("added", made_whole_json(job, /*reshaped=*/false)),
                        SET("reshaped", made_whole_json(job, /*reshaped=*/true)), SET("gone", left_json(job)),
                        SET("files", organ_json_rows(job->patch.file_count, made_file_json, job)),
                        SET_SENTENCES("organ.patch/1", "definitions", NULL), SET("run", run));
}
