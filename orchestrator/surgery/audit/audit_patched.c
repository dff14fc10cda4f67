/* SPDX-License-Identifier: MIT
 * Audits a model that organ patch apply has made: compares each tensor with the base and with the digests of the copy's
 * report, and the bytes of its files outside of tensors with that report. */
#include "orchestrator/surgery/audit/audit.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/patch/patch.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/layout.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/patch/patch_changes.h"
#include "orchestrator/surgery/patch/patch_digests.h"

#include <organ/machine.h>
#include <string.h>
#include <unistd.h>

typedef struct patched {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_patch_change *changes; /* of each tensor of the copy */
    json_t *report;              /* of organ patch apply */
    size_t proved;               /* tensors with the digest that the report states */
    size_t same, of_base;        /* tensors that the report calls the base's, and those of them that are */
    size_t files, proved_files;
    organ_problems problems;
    double started;
} patched;

bool organ_audit_is_patched(const organ_model *copy)
{
    organ_error ignored = {0};
    ORGAN_OWNED_JSON json_t *const report = organ_own_report(copy, &organ_patch_view, &ignored);
    return strcmp(organ_json_text(report, "operation"), "apply") == 0;
}

/* ---- tensors ---- */

static void judge_tensor(patched *a, const json_t *row)
{
    const char *const name = organ_json_text(row, "name");
    const char *const stated = json_string_value(json_object_get(row, "xxh3_128"));
    const organ_tensor *const tensor = organ_model_find(a->copy, name);
    if (!tensor) {
        organ_problem_add(&a->problems, "tensor '%s' of the report is missing", name);
        return;
    }
    const organ_patch_change *const change = &a->changes[tensor - a->copy->tensors];
    const bool same = strcmp(organ_json_text(row, "change"), "none") == 0, is_base = change->base && !change->changed;
    const bool right = stated ? strcmp(stated, change->after) == 0 : same && is_base;
    const char *const expected = same ? "that it is the donor's" : "none";
    a->proved += right;
    a->same += same;
    a->of_base += same && is_base;
    if (!right)
        organ_problem_add(&a->problems, "tensor '%s' has the XXH3-128 %s, but the report states %s", name,
                          change->after, stated ? stated : expected);
    else if (same && !is_base)
        organ_problem_add(&a->problems, "tensor '%s' differs from the donor's, but the report states that it does not",
                          name);
}

static organ_status compare_tensors(patched *a, organ_error *error)
{
    const json_t *row;
    size_t k;
    if (!(a->changes = organ_patch_pair(a->donor, a->copy)))
        return organ_fail_memory(error, a->copy->path);
    const organ_patch_pass pass = {.base = a->donor,
                                   .tuned = a->copy,
                                   .engine = a->engine,
                                   .progress = a->progress,
                                   .level = 1,
                                   .only_digests = true,
                                   .changes = a->changes};
    if (organ_patch_run(&pass, error) || organ_model_unchanged(a->donor, error) ||
        organ_model_unchanged(a->copy, error))
        return error->status;
    json_array_foreach(json_object_get(a->report, "tensors"), k, row)
    {
        organ_json_spool_visit(row);
        judge_tensor(a, row);
    }
    if (json_array_size(json_object_get(a->report, "tensors")) != a->copy->tensor_count)
        organ_problem_add(&a->problems, "the model has %zu tensors, but the report lists %zu", a->copy->tensor_count,
                          json_array_size(json_object_get(a->report, "tensors")));
    return error->status;
}

/* ---- files ---- */

/* A single file has the name of the output. */
static const organ_layout_file *file_of(const organ_layout *layout, const char *name)
{
    for (size_t f = 0; f < layout->file_count; f++)
        if (strcmp(layout->files[f].name, name) == 0)
            return &layout->files[f];
    return layout->file_count == 1 ? layout->files : NULL;
}

static organ_status judge_file(patched *a, const organ_layout *layout, const json_t *row, organ_error *error)
{
    const char *const name = organ_json_text(row, "name"), *const stated = organ_json_text(row, "xxh3_128");
    ORGAN_OWNED char *const path = organ_format("%s/%s", a->copy->directory, name);
    char digest[ORGAN_CHECKSUM_TEXT] = "";
    uint64_t bytes;
    if (!path)
        return organ_fail_memory(error, name);
    if (json_integer_value(json_object_get(row, "tensors"))) {
        const organ_layout_file *const file = file_of(layout, name);
        if (file && organ_patch_digest_fillers(file, digest, error))
            return error->status;
    } else if (organ_path_stays_inside(name, /*hidden=*/true) && access(path, F_OK) == 0 &&
               organ_patch_digest_file(path, &bytes, digest, error))
        return error->status;
    a->files++;
    a->proved_files += strcmp(digest, stated) == 0;
    if (strcmp(digest, stated) != 0)
        organ_problem_add(&a->problems, "%s %s%s; the report states the XXH3-128 %s", name,
                          *digest ? "has the XXH3-128 " : "is missing", digest, stated);
    return ORGAN_OK;
}

static organ_status compare_files(patched *a, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_layout_release) organ_layout layout = {0};
    const json_t *row;
    size_t k;
    organ_layout_copy(a->copy, &layout, error);
    json_array_foreach(json_object_get(a->report, "files"), k, row) if (!error->status)
        judge_file(a, &layout, row, error);
    if (!a->files)
        organ_problem_add(&a->problems, "the report lists no files");
    return error->status;
}

/* ---- the document ---- */

static json_t *checks_json(const patched *a)
{
    const size_t count = json_array_size(json_object_get(a->report, "tensors"));
    json_t *const checks = json_array();
    organ_check_add(checks, "tensors have the digests of the report", a->proved == count, "%zu of %zu", a->proved,
                    count);
    organ_check_add(checks, "tensors without changes are the donor's, byte for byte", a->of_base == a->same,
                    "%zu of %zu", a->of_base, a->same);
    organ_check_add(checks, "headers and other files have the digests of the report", a->proved_files == a->files,
                    "%zu of %zu", a->proved_files, a->files);
    organ_check_add(checks, "there are no other tensors", a->copy->tensor_count == count, "%zu", a->copy->tensor_count);
    return checks;
}

static json_t *document_of(patched *a)
{
    const double seconds = organ_seconds_now() - a->started;
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_patch/1", "patch/1"), SET("donor", organ_model_json(a->donor)),
        SET("copy", organ_model_json(a->copy)), SET_COUNT("tensors", a->copy->tensor_count),
        SET_COUNT("proved", a->proved), SET_COUNT("from_donor", a->of_base), SET_COUNT("files", a->files),
        SET_COUNT("proved_files", a->proved_files),
        SET("made_by", ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")))),
        SET("checks", checks_json(a)), SET("problems", organ_problems_json(&a->problems)),
        SET_SENTENCES("organ.audit_patch/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_ENGINE(a->engine))));
}

static organ_status audit_files(patched *a, json_t **report, organ_error *error)
{
    a->problems.sentences = json_array();
    if (organ_model_open_codes(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_codes(a->options->pruned, a->options->access, &a->copy, error))
        return error->status;
    a->report = organ_own_report(a->copy, &organ_patch_view, error);
    if (error->status || compare_tensors(a, error) || compare_files(a, error))
        return error->status;
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not the model that its report describes", a->options->pruned);
    return error->status;
}

organ_status organ_audit_patched(const organ_audit_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    patched a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_files(&a, report, error);
    json_decref(a.problems.sentences);
    json_decref(a.report);
    organ_rows_free(a.changes);
    organ_model_close(a.donor);
    organ_model_close(a.copy);
    return organ_report_end(&work, options->pruned, error);
}
