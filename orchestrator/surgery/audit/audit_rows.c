/* SPDX-License-Identifier: MIT
 * Audits drafts and adapters with rows of fewer tokens: compares each tensor of the copy with the rows of the donor
 * that the copy's report lists, and lists and settings with those that organ writes for these rows. */
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/surgery/audit/audit_choices.h"

#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/config/model_config.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/adapter/adapter_rows.h"
#include "orchestrator/surgery/vocabulary/draft_head.h"
#include "orchestrator/surgery/vocabulary/token_settings.h"

#include <stdlib.h>
#include <string.h>

typedef struct rows_audit {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_adapter *adapter; /* the donor, if it is one; else it is a draft */
    json_t *report;         /* of the copy */
    organ_draft_head head;
    uint32_t *ids, *rows;  /* kept tokens, and their rows: the same of an adapter */
    size_t count;          /* of both */
    uint64_t rows_before;  /* of the head, or of the base's embedding */
    organ_choices choices; /* the copy, problems and buffer */
    size_t compared, identical, tables, same_tables, strangers;
    bool same_lists, same_config;
    organ_problems problems;
    double started;
} rows_audit;

static json_t *report_of(const organ_model *copy, organ_error *error)
{
    json_t *const report = organ_own_report(copy, &organ_draft_head_view, error);
    return report || error->status ? report : organ_own_report(copy, &organ_adapter_rows_view, error);
}

bool organ_audit_is_of_rows(const organ_model *copy)
{
    organ_error ignored = {0};
    ORGAN_OWNED_JSON json_t *const report = report_of(copy, &ignored);
    return json_array_size(json_object_get(report, "kept")) > 0;
}

/* ---- the rows ---- */

/* Finds the row of each kept token in the head of the draft, whose rows need not ascend. */
static organ_status find_rows(rows_audit *a, organ_error *error)
{
    ORGAN_OWNED uint32_t *const row_of = calloc(a->head.vocabulary + 1, sizeof *row_of);
    if (!row_of || !(a->rows = calloc(a->count + 1, sizeof *a->rows)))
        return organ_fail_memory(error, a->donor->path);
    for (uint64_t k = 0; k < a->head.rows; k++)
        row_of[a->head.ids[k]] = (uint32_t)k + 1;
    for (size_t k = 0; k < a->count; k++) {
        if (!row_of[a->ids[k]])
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: its report lists token %u, of which the donor has no row",
                              a->copy->path, a->ids[k]);
        a->rows[k] = row_of[a->ids[k]] - 1;
    }
    return ORGAN_OK;
}

static organ_status read_rows(rows_audit *a, organ_error *error)
{
    const json_t *const kept = json_object_get(a->report, "kept"), *const rows =
                                                                       json_object_get(a->report, "rows_before");
    const json_int_t stated = json_integer_value(rows);
    ORGAN_OWNED char *const label = organ_format("%s: %s", a->copy->path, organ_json_text(a->report, "file"));
    if (!label)
        return organ_fail_memory(error, a->copy->path);
    if (!a->adapter &&
        (organ_draft_head_find(a->donor, &a->head, error) || organ_draft_head_read(a->donor, &a->head, error)))
        return error->status;
    if (a->adapter && (stated <= 0 || stated > (json_int_t)UINT32_MAX))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: rows_before is no number of rows", label);
    a->rows_before = a->adapter ? (uint64_t)stated : a->head.rows;
    if (organ_kept_list_read(kept, a->adapter ? a->rows_before : a->head.vocabulary, label, &a->ids, &a->count, error))
        return error->status;
    return a->adapter ? ORGAN_OK : find_rows(a, error);
}

static organ_status compare_tensor(rows_audit *a, const organ_tensor *tensor, const organ_row_layout *layout,
                                   organ_error *error)
{
    const bool table = layout->form != ORGAN_ROWS_NONE;
    organ_row_choice choice = {.model = a->donor, .tensor = tensor, .stop = a->engine->stop};
    bool same = false;
    if (table && a->adapter)
        choice = organ_choice_of(a->donor, tensor, layout, a->ids, a->count, a->engine->stop);
    else if (table)
        choice = (organ_row_choice){a->donor, tensor, *layout, a->rows, a->count, a->engine->stop};
    organ_choices_compare(&a->choices, &choice, tensor->name, table ? "the kept rows" : "the donor", &same, error);
    a->compared++;
    a->tables += table;
    a->same_tables += table && same;
    a->identical += same;
    organ_progress_advance(a->progress, tensor->bytes, tensor->name, NULL);
    return error->status;
}

static uint64_t buffer_of(const organ_tensor *tensor, const organ_row_layout *layout)
{
    const organ_row_choice choice = {.tensor = tensor, .layout = *layout, .count = layout->rows};
    return organ_choice_buffer(&choice);
}

static organ_status compare_adapter(rows_audit *a, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_adapter_rows_release) organ_adapter_rows tensors = {0};
    uint64_t bytes = 0;
    if (organ_adapter_rows_find(a->adapter, a->rows_before, a->copy->path, &tensors, error))
        return error->status;
    for (size_t k = 0; k < tensors.count; k++) {
        const uint64_t one = buffer_of(tensors.list[k].tensor, &tensors.list[k].layout);
        bytes = one > bytes ? one : bytes;
    }
    organ_choices_open(&a->choices, a->engine, bytes, error);
    for (size_t k = 0; k < tensors.count && !error->status; k++)
        compare_tensor(a, tensors.list[k].tensor, &tensors.list[k].layout, error);
    return error->status;
}

/* ---- lists of a draft ---- */

static organ_status compare_list(rows_audit *a, const char *name, organ_dtype dtype, const void *expected,
                                 uint64_t elements, size_t width, organ_error *error)
{
    const organ_tensor *const found = organ_model_find(a->copy, name);
    const size_t bytes = (size_t)elements * width;
    ORGAN_OWNED unsigned char *const own = malloc(bytes + 1);
    if (!own || !expected)
        return organ_fail_memory(error, a->copy->path);
    bool same = found && found->dtype == dtype && found->rank == 1 && found->elements == elements;
    if (same && organ_model_read(a->copy, found->file, own, bytes, found->offset, error))
        return error->status;
    same = same && memcmp(own, expected, bytes) == 0;
    a->same_lists = a->same_lists && same;
    if (!same)
        organ_problem_add(&a->problems, "tensor '%s' of %s is not the list of the kept tokens", name, a->copy->path);
    return ORGAN_OK;
}

static organ_status compare_draft(rows_audit *a, organ_error *error)
{
    const organ_row_layout none = {0}, rows = {.form = ORGAN_ROWS_WHOLE, .rows = a->head.rows};
    ORGAN_OWNED int64_t *const d2t = organ_draft_d2t(&a->head, a->ids, a->count);
    ORGAN_OWNED unsigned char *const t2d = organ_draft_t2d(&a->head, a->ids, a->count);
    organ_choices_open(&a->choices, a->engine, buffer_of(a->head.head, &rows), error);
    for (size_t t = 0; t < a->donor->tensor_count && !error->status; t++) {
        const organ_tensor *const tensor = &a->donor->tensors[t];
        if (tensor != a->head.d2t && tensor != a->head.t2d)
            compare_tensor(a, tensor, tensor == a->head.head ? &rows : &none, error);
    }
    a->same_lists = true;
    if (!error->status && compare_list(a, "d2t", ORGAN_I64, d2t, a->count, sizeof *d2t, error) == ORGAN_OK &&
        !a->head.gguf)
        compare_list(a, "t2d", ORGAN_BOOL, t2d, a->head.vocabulary, 1, error);
    return error->status;
}

static void find_strangers(rows_audit *a)
{
    for (size_t t = 0; t < a->copy->tensor_count; t++) {
        const char *const name = a->copy->tensors[t].name;
        const bool list = !a->adapter && (strcmp(name, "d2t") == 0 || strcmp(name, "t2d") == 0);
        if (list || organ_model_find(a->donor, name))
            continue;
        a->strangers++;
        organ_problem_add(&a->problems, "tensor '%s' of %s is not in the donor", name, a->copy->path);
    }
}

static organ_status compare_tensors(rows_audit *a, organ_error *error)
{
    organ_progress_begin(a->progress, "auditing", organ_model_tensor_bytes(a->donor), a->donor->tensor_count);
    a->adapter ? compare_adapter(a, error) : compare_draft(a, error);
    organ_progress_end(a->progress);
    if (!error->status)
        find_strangers(a);
    return error->status;
}

/* ---- settings ---- */

/* A draft keeps all key-values. */
static organ_status compare_keys(rows_audit *a, organ_error *error)
{
    if (!a->copy->gguf)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s is not GGUF, but the donor is", a->copy->path);
    ORGAN_OWNED_JSON json_t *const list = organ_gguf_differences(a->donor->gguf, a->copy->gguf);
    if (!list)
        return organ_fail_memory(error, a->copy->path);
    a->same_config = json_array_size(list) == 0;
    for (size_t k = 0; k < json_array_size(list); k++)
        organ_problem_add(&a->problems, "key '%s' of %s is not that of the donor",
                          organ_json_text(json_array_get(list, k), "key"), a->copy->path);
    return ORGAN_OK;
}

/* An adapter keeps its settings; the config.json of a draft gets the number of its rows. */
static organ_status compare_config(rows_audit *a, organ_error *error)
{
    const char *const name = a->adapter ? ORGAN_ADAPTER_CONFIG : "config.json";
    const organ_token_settings settings = {.draft_rows = a->count};
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *expected = NULL, *found = NULL;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    size_t length = 0;
    a->same_config = true;
    if (a->donor->gguf)
        return a->adapter ? ORGAN_OK : compare_keys(a, error);
    if (organ_model_load(a->donor, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    if (organ_json_edit_begin(&edit, name, bytes, length, error) ||
        (!a->adapter && organ_token_settings_edit_draft(&settings, &edit, error)) ||
        organ_config_parse(name, edit.bytes, edit.length, &expected, error) ||
        organ_model_load_json(a->copy, name, name, &found, error))
        return error->status;
    a->same_config = json_equal(expected, found);
    if (!a->same_config)
        organ_problem_add(&a->problems, "%s of %s is not that of the donor%s", name, a->copy->path,
                          a->adapter ? "" : " with the number of rows");
    return ORGAN_OK;
}

/* ---- the document ---- */

static json_t *checks_json(const rows_audit *a)
{
    json_t *const checks = json_array();
    const size_t others = a->compared - a->tables;
    organ_check_add(checks, "rows are those of the listed tokens, byte for byte", a->same_tables == a->tables,
                    "%zu of %zu tensors, %zu rows", a->same_tables, a->tables, a->count);
    organ_check_add(checks, "other tensors are the donor's, byte for byte", a->identical - a->same_tables == others,
                    "%zu of %zu", a->identical - a->same_tables, others);
    organ_check_add(checks, "no other tensors", a->strangers == 0, "%zu tensors", a->copy->tensor_count);
    if (!a->adapter)
        organ_check_add(checks, a->head.gguf ? "d2t has the listed tokens" : "d2t and t2d have the listed tokens",
                        a->same_lists, "%zu tokens", a->count);
    if (!a->donor->gguf)
        organ_check_add(checks, "settings are the donor's with the number of rows", a->same_config, "%s",
                        a->adapter ? ORGAN_ADAPTER_CONFIG : "config.json");
    else if (!a->adapter)
        organ_check_add(checks, "key-values are the donor's", a->same_config, "%zu", a->donor->gguf->kv_count);
    return checks;
}

static json_t *document_of(rows_audit *a)
{
    const double seconds = organ_seconds_now() - a->started;
    json_t *const checks = checks_json(a);
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_rows/1", a->adapter ? "adapter_rows/1" : "draft_head/1"),
        SET("donor", organ_model_json(a->donor)), SET("copy", organ_model_json(a->copy)),
        SET_TEXT("kind", a->adapter ? "adapter" : "EAGLE-3"), SET_COUNT("rows_before", a->rows_before),
        SET_COUNT("rows_after", a->count), SET_COUNT("tensors", a->compared), SET_COUNT("identical", a->identical),
        SET("made_by", ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")))), SET("checks", checks),
        SET("problems", organ_problems_json(&a->problems)), SET_SENTENCES("organ.audit_rows/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_ENGINE(a->engine))));
}

static organ_status open_models(rows_audit *a, organ_error *error)
{
    a->problems.sentences = json_array();
    if (!a->problems.sentences)
        return organ_fail_memory(error, a->options->donor);
    if (organ_model_open_with(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_with(a->options->pruned, a->options->access, &a->copy, error))
        return error->status;
    a->report = report_of(a->copy, error);
    const bool adapter = strcmp(organ_json_text(a->report, "schema"), organ_adapter_rows_view.schema) == 0;
    if (error->status || (adapter && organ_adapter_open(a->options->donor, &a->adapter, error)))
        return error->status;
    a->choices = (organ_choices){.copy = a->copy, .problems = &a->problems};
    return read_rows(a, error);
}

static organ_status audit_models(rows_audit *a, json_t **report, organ_error *error)
{
    if (open_models(a, error) || compare_tensors(a, error) || compare_config(a, error) ||
        organ_model_unchanged(a->donor, error) || organ_model_unchanged(a->copy, error))
        return error->status;
    for (size_t k = 0; k < a->copy->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy->problems[k]);
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not %s with rows of fewer tokens", a->options->pruned,
                             a->options->donor);
    return error->status;
}

static void release_audit(rows_audit *a)
{
    json_decref(a->problems.sentences);
    json_decref(a->report);
    organ_choices_release(&a->choices);
    organ_draft_head_release(&a->head);
    ORGAN_FREE_ARRAYS(a->ids, a->rows);
    organ_adapter_close(a->adapter);
    organ_model_close(a->donor);
    organ_model_close(a->copy);
}

organ_status organ_audit_rows(const organ_audit_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    rows_audit a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_models(&a, report, error);
    release_audit(&a);
    return organ_report_end(&work, options->pruned, error);
}
