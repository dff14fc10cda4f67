/* SPDX-License-Identifier: MIT
 * Audit of a GGUF model that was written again, as one file, as several, or with other key-values: compares all tensors
 * byte by byte, and the key-values with the donor's and with the report of the run. */
#include "orchestrator/surgery/audit/audit.h"

#include "formats/base/rows.h"
#include "formats/gguf/typed_values.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"

#include <organ/machine.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- differences of key-values ---- */

static json_t *value_json(const organ_gguf_kv *kv)
{
    ORGAN_OWNED char *const text = kv ? organ_gguf_value_text(kv) : NULL;
    return kv ? organ_document_string(text) : json_null();
}

/* `before` or `after` may be NULL. */
static json_t *difference_json(const organ_gguf_kv *before, const organ_gguf_kv *after)
{
    const organ_gguf_kv *const is = after ? after : before;
    const char *change = after ? "changed" : "removed";
    char kind[ORGAN_GGUF_KIND_ROOM], digest[17] = "";
    if (!before)
        change = "added";
    if (after)
        snprintf(digest, sizeof digest, "%016llx", (unsigned long long)XXH3_64bits(after->bytes, after->size));
    return ORGAN_OBJECT(SET_TEXT("key", is->key), SET_TEXT("change", change),
                        SET_TEXT("type", organ_gguf_kind_name(organ_gguf_kind_of(is), kind)),
                        SET("before", value_json(before)), SET("after", value_json(after)),
                        SET("xxh3", after ? json_string(digest) : json_null()));
}

/* Returns -1 if memory runs out. */
static int append_difference(json_t *list, const organ_gguf_kv *before, const organ_gguf_kv *after)
{
    const organ_gguf_kv *const is = after ? after : before;
    if (organ_gguf_is_of_split(is->key) || (before && after && organ_gguf_same_value(before, after)))
        return 0;
    return json_array_append_new(list, difference_json(before, after));
}

json_t *organ_gguf_differences(const organ_gguf *before, const organ_gguf *after)
{
    json_t *const list = json_array();
    int fault = list ? 0 : -1;
    for (size_t k = 0; k < after->kv_count && !fault; k++)
        fault = append_difference(list, organ_gguf_find(before, after->kvs[k].key), &after->kvs[k]);
    for (size_t k = 0; k < before->kv_count && !fault; k++)
        if (!organ_gguf_find(after, before->kvs[k].key))
            fault = append_difference(list, &before->kvs[k], NULL);
    if (!fault)
        return list;
    json_decref(list);
    return NULL;
}

/* ---- the audit ---- */

typedef struct rewritten {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    const organ_tensor **sides; /* the tensors of the donor, then their counterparts */
    organ_compared compared;
    uint64_t *different; /* bytes of each row range that differ */
    size_t identical;    /* tensors */
    json_t *report;      /* of organ gguf; NULL: none */
    json_t *keys;        /* organ_gguf_differences of the two */
    size_t stated;       /* of them: those that the report states */
    organ_problems problems;
    double started;
} rewritten;

/* The report of a model in several files has the name of the first. */
static json_t *report_of(const organ_model *copy, organ_error *error)
{
    const char *const first = copy->files[0].name, *const end = strrchr(first, '.');
    ORGAN_OWNED char *const name =
        organ_format("%.*s.%s", end ? (int)(end - first) : (int)strlen(first), first, organ_gguf_view.files.json);
    json_t *const report = name ? organ_model_document(copy, name, JSON_REJECT_DUPLICATES, error) : NULL;
    if (!name)
        organ_fail_memory(error, copy->path);
    if (report && strcmp(organ_json_text(report, "schema"), organ_gguf_view.schema) == 0) {
        json_object_set_new(report, "file", organ_document_string(name));
        return report;
    }
    json_decref(report);
    return NULL;
}

static bool has_same_tensors(const organ_model *donor, const organ_model *copy)
{
    bool same = donor->tensor_count == copy->tensor_count;
    for (size_t t = 0; t < donor->tensor_count && same; t++) {
        const organ_tensor *const is = organ_model_find(copy, donor->tensors[t].name);
        same = is && is->dtype == donor->tensors[t].dtype && ORGAN_SAME_SHAPE(is, &donor->tensors[t]);
    }
    return same;
}

static bool can_be_pruned(const organ_model *model)
{
    bool found = false;
    for (size_t t = 0; t < model->tensor_count && !found; t++)
        found = model->tensors[t].rank > 1 && organ_target_is_float(&model->tensors[t]);
    return found;
}

bool organ_audit_is_rewritten(const organ_model *donor, const organ_model *copy)
{
    organ_error ignored = {0};
    if (!donor->gguf || donor->manifest || !copy->gguf || copy->manifest || !has_same_tensors(donor, copy))
        return false;
    if (donor->file_count != copy->file_count || !can_be_pruned(donor))
        return true;
    ORGAN_OWNED_JSON json_t *const report = report_of(copy, &ignored);
    return report != NULL;
}

static void count_tile(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const unsigned char *const was = tile->data, *const is = tile->other;
    uint64_t different = 0;
    (void)context;
    (void)scratch;
    if (memcmp(was, is, tile->bytes) != 0)
        for (size_t k = 0; k < tile->bytes; k++)
            different += was[k] != is[k];
    *(uint64_t *)result = different;
}

/* Bands of one row range are retired one after the other. */
static organ_status add_band(void *context, const organ_band *band, organ_error *error)
{
    const rewritten *const a = context;
    for (size_t t = 0; t < band->tiles; t++)
        a->different[band->item] += ((const uint64_t *)band->results)[t];
    return error->status;
}

static void advance(void *context, uint64_t bytes)
{
    organ_progress_advance(((const rewritten *)context)->progress, 2 * bytes, /*tensor=*/NULL, /*remark=*/NULL);
}

static void tell(void *context, size_t item)
{
    const rewritten *const a = context;
    const organ_stretch *const stretch = &a->compared.stretches.list[item];
    const organ_tensor *const donor = a->sides[stretch->of];
    if (stretch->at + stretch->tensor.bytes == donor->bytes)
        organ_progress_advance(a->progress, /*bytes=*/0, donor->name, /*remark=*/NULL);
}

static organ_status pair_tensors(rewritten *a, uint64_t *bytes, organ_error *error)
{
    const size_t count = a->donor->tensor_count;
    if (!(a->sides = calloc(2 * count + 1, sizeof *a->sides)))
        return organ_fail_memory(error, a->donor->path);
    for (size_t t = 0; t < count; t++) {
        a->sides[t] = &a->donor->tensors[t];
        a->sides[count + t] = organ_model_find(a->copy, a->donor->tensors[t].name);
        *bytes += 2 * a->donor->tensors[t].bytes;
    }
    organ_compared_make(a->sides, a->sides + count, count, a->engine->ranks, &a->compared, error);
    a->different = organ_rows_take(a->compared.stretches.count + 1, sizeof *a->different);
    return a->different || error->status ? error->status : organ_fail_memory(error, a->donor->path);
}

/* Each rank compares its share of the row ranges; then every rank has all counts. */
static organ_status compare_tensors(rewritten *a, organ_error *error)
{
    uint64_t bytes = 0;
    const bool divided = pair_tensors(a, &bytes, error) == ORGAN_OK;
    const organ_pass pass = {.model = a->donor,
                             .other = a->copy,
                             .items = a->compared.items,
                             .item_count = a->compared.stretches.count,
                             .result_bytes = sizeof(uint64_t),
                             .context = a,
                             .work = count_tile,
                             .retire = add_band,
                             .tell = tell,
                             .advance = advance};
    organ_progress_begin(a->progress, "auditing", bytes, a->donor->tensor_count);
    if (divided && organ_pass_run(&pass, a->engine, error) == ORGAN_OK &&
        organ_model_unchanged(a->donor, error) == ORGAN_OK)
        organ_model_unchanged(a->copy, error);
    organ_assignment_complete(&a->compared.assignment, "auditing the tensors", a->different, sizeof *a->different,
                              sizeof *a->different, error);
    organ_progress_end(a->progress);
    return error->status;
}

static organ_status judge_tensors(rewritten *a, organ_error *error)
{
    ORGAN_OWNED uint64_t *const sums = calloc(a->donor->tensor_count + 1, sizeof *sums);
    if (!sums)
        return organ_fail_memory(error, a->donor->path);
    for (size_t k = 0; k < a->compared.stretches.count; k++)
        sums[a->compared.stretches.list[k].of] += a->different[k];
    for (size_t t = 0; t < a->donor->tensor_count; t++) {
        a->identical += sums[t] == 0;
        if (sums[t])
            organ_problem_add(&a->problems, "tensor '%s': %llu of its %llu bytes differ from the donor's",
                              a->donor->tensors[t].name, (unsigned long long)sums[t],
                              (unsigned long long)a->donor->tensors[t].bytes);
    }
    return ORGAN_OK;
}

/* ---- key-values ---- */

static const json_t *stated_row(const json_t *rows, const char *key)
{
    const json_t *row;
    size_t k;
    json_array_foreach(rows, k, row) if (strcmp(organ_json_text(row, "key"), key) == 0) return row;
    return NULL;
}

static bool same_change(const json_t *found, const json_t *stated)
{
    return stated && json_equal(json_object_get(found, "change"), json_object_get(stated, "change")) &&
           json_equal(json_object_get(found, "xxh3"), json_object_get(stated, "xxh3"));
}

/* Every difference must be one that the report states, and every one that it states must be there. */
static void judge_keys(rewritten *a)
{
    const json_t *const rows = json_object_get(a->report, "keys"), *row;
    size_t k;
    json_array_foreach(a->keys, k, row)
    {
        const char *const key = organ_json_text(row, "key");
        const bool stated = same_change(row, stated_row(rows, key));
        a->stated += stated;
        if (!stated)
            organ_problem_add(&a->problems, "key '%s' is %s: %s%s", key, organ_json_text(row, "change"),
                              a->report ? "this is not what the report states: " : "no report states it: ",
                              a->report ? organ_json_text(a->report, "file") : a->copy->files[0].name);
    }
    json_array_foreach(rows, k, row) if (!stated_row(a->keys, organ_json_text(row, "key"))) organ_problem_add(
        &a->problems, "key '%s' is that of the donor, but %s states that it was %s", organ_json_text(row, "key"),
        organ_json_text(a->report, "file"), organ_json_text(row, "change"));
    for (k = 0; k < a->copy->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy->problems[k]);
}

/* ---- the document ---- */

static json_t *checks_json(const rewritten *a)
{
    const size_t count = a->donor->tensor_count, keys = json_array_size(a->keys);
    json_t *const checks = json_array();
    organ_check_add(checks, "tensors are the donor's, byte for byte", a->identical == count, "%zu of %zu", a->identical,
                    count);
    organ_check_add(checks,
                    a->report ? "other key-values are those that the report states" : "key-values are the donor's",
                    a->stated == keys && keys == (a->report ? json_array_size(json_object_get(a->report, "keys")) : 0),
                    "%zu %s", keys, keys == 1 ? "differs" : "differ");
    organ_check_add(checks, "files are those of one model", a->copy->problem_count == 0, "%zu %s", a->copy->file_count,
                    a->copy->file_count == 1 ? "file" : "files, numbered by split.no and split.count");
    return checks;
}

static json_t *made_by_json(const rewritten *a)
{
    return a->report ? ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")),
                                    SET_HELD("operation", json_object_get(a->report, "operation")))
                     : json_null();
}

static json_t *document_of(rewritten *a)
{
    const double seconds = organ_seconds_now() - a->started;
    json_t *const checks = checks_json(a);
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_gguf/1", "gguf/1"), SET("donor", organ_model_json(a->donor)),
        SET("copy", organ_model_json(a->copy)), SET_COUNT("tensors", a->donor->tensor_count),
        SET_COUNT("identical", a->identical), SET_COUNT("files_before", a->donor->file_count),
        SET_COUNT("files_after", a->copy->file_count), SET_HELD("keys", a->keys), SET("made_by", made_by_json(a)),
        SET("checks", checks), SET("problems", organ_problems_json(&a->problems)),
        SET_SENTENCES("organ.audit_gguf/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_ENGINE(a->engine))));
}

static organ_status audit_files(rewritten *a, json_t **report, organ_error *error)
{
    a->problems.sentences = json_array();
    if (organ_model_open_with(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_with(a->options->pruned, a->options->access, &a->copy, error))
        return error->status;
    a->report = report_of(a->copy, error);
    if (error->status || compare_tensors(a, error) || judge_tensors(a, error))
        return error->status;
    a->keys = organ_gguf_differences(a->donor->gguf, a->copy->gguf);
    if (!a->keys || !a->problems.sentences)
        return organ_fail_memory(error, a->donor->path);
    judge_keys(a);
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s has not the content of %s", a->options->pruned,
                             a->options->donor);
    return error->status;
}

static void release_audit(rewritten *a)
{
    json_decref(a->problems.sentences);
    json_decref(a->report);
    json_decref(a->keys);
    organ_compared_release(&a->compared);
    organ_rows_free(a->different);
    free(a->sides);
    organ_model_close(a->donor);
    organ_model_close(a->copy);
}

organ_status organ_audit_rewritten(const organ_audit_options *options, const organ_engine *engine,
                                   const organ_progress *progress, json_t **report, organ_error *error)
{
    rewritten a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_files(&a, report, error);
    release_audit(&a);
    return organ_report_end(&work, options->pruned, error);
}
