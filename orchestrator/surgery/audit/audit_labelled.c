/* SPDX-License-Identifier: MIT
 * Audits a model with labels: compares the rows of the labels, each other tensor, the tokenizer and the settings with
 * those of the donor. */
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/surgery/audit/audit_choices.h"

#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/config/model_config.h"
#include "formats/gguf/file.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/vocabulary/label_head.h"

#include <stdlib.h>
#include <string.h>

typedef struct labelled {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_weights *weights; /* of the donor */
    organ_tokenizer *whole, *made;
    organ_token_tables tables;
    json_t *report; /* of the copy */
    organ_label *labels;
    size_t count;
    organ_label_head head;
    size_t compared, identical;  /* tensors of the donor without a head that goes, and those with equal bytes */
    size_t same_rows, strangers; /* rows with equal bytes; tensors of the copy alone */
    size_t settings, wrong_settings;
    bool same_tokens;
    organ_problems problems;
    double started;
} labelled;

bool organ_audit_is_labelled(const organ_model *copy)
{
    organ_error ignored = {0};
    ORGAN_OWNED_JSON json_t *const report = organ_own_report(copy, &organ_labels_view, &ignored);
    return json_array_size(json_object_get(report, "labels")) > 0;
}

/* ---- labels ---- */

static organ_status read_labels(labelled *a, organ_error *error)
{
    const json_t *const list = json_object_get(a->report, "labels");
    a->count = json_array_size(list);
    if (a->count > ORGAN_LABELS_MOST)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: its report has too many labels", a->copy->path);
    if (!(a->labels = calloc(a->count + 1, sizeof *a->labels)))
        return organ_fail_memory(error, a->copy->path);
    for (size_t k = 0; k < a->count && !error->status; k++) {
        const char *const text = json_string_value(json_object_get(json_array_get(list, k), "label"));
        const json_t *const stated = json_object_get(json_array_get(list, k), "id");
        uint32_t id = 0;
        size_t tokens = 0;
        if (!text || organ_label_token(a->whole, text, &id, &tokens, error) || tokens != 1)
            return error->status ? error->status
                                 : organ_fail(error, ORGAN_BAD_INPUT, "%s: label %zu of its report is no token of %s",
                                              a->copy->path, k, a->donor->path);
        a->labels[k] = (organ_label){text, id};
        if (!json_is_integer(stated) || json_integer_value(stated) != (json_int_t)id)
            organ_problem_add(&a->problems, "the report of %s does not state the token %u of '%s'", a->copy->path, id,
                              text);
    }
    return error->status;
}

/* ---- tensors ---- */

static organ_status compare_rows(labelled *a, const organ_choices *choices, organ_error *error)
{
    const organ_tensor *const rows = a->head.rows->codes;
    ORGAN_OWNED uint32_t *const ids = calloc(a->count + 1, sizeof *ids);
    if (!ids)
        return organ_fail_memory(error, a->copy->path);
    for (size_t k = 0; k < a->count; k++)
        ids[k] = a->labels[k].id;
    const organ_row_choice choice = {.model = a->donor,
                                     .tensor = rows,
                                     .layout = {.form = ORGAN_ROWS_WHOLE, .rows = rows->shape[0]},
                                     .ids = ids,
                                     .count = a->count,
                                     .stop = a->engine->stop};
    bool same;
    organ_choices_compare(choices, &choice, a->head.name, "the labels' tokens", &same, error);
    a->same_rows = same ? a->count : 0;
    return error->status;
}

static void find_strangers(labelled *a)
{
    for (size_t t = 0; t < a->copy->tensor_count; t++) {
        const char *const name = a->copy->tensors[t].name;
        const organ_tensor *const donor = organ_model_find(a->donor, name);
        if (strcmp(name, a->head.name) == 0 || (donor && donor != a->head.removed))
            continue;
        a->strangers++;
        organ_problem_add(&a->problems, "tensor '%s' of %s does not belong in a model with labels", name,
                          a->copy->path);
    }
}

static organ_status compare_tensors(labelled *a, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_choices_release) organ_choices choices = {.copy = a->copy, .problems = &a->problems};
    const organ_row_choice whole = {.model = a->donor, .tensor = a->head.rows->codes};
    if (organ_choices_open(&choices, a->engine, organ_choice_buffer(&whole), error))
        return error->status;
    organ_progress_begin(a->progress, "auditing", organ_model_tensor_bytes(a->donor), a->donor->tensor_count);
    compare_rows(a, &choices, error);
    for (size_t t = 0; t < a->donor->tensor_count && !error->status; t++) {
        const organ_tensor *const donor = &a->donor->tensors[t];
        bool same = false;
        if (donor != a->head.removed &&
            organ_choices_compare_whole(&choices, a->donor, donor, a->engine->stop, &same, error) == ORGAN_OK)
            a->compared++;
        a->identical += same;
        organ_progress_advance(a->progress, donor->bytes, donor->name, NULL);
    }
    organ_progress_end(a->progress);
    if (!error->status)
        find_strangers(a);
    return error->status;
}

/* ---- settings ---- */

static void judge(labelled *a, const char *where, const char *key, bool same)
{
    a->settings++;
    a->wrong_settings += !same;
    if (!same)
        organ_problem_add(&a->problems, "%s of %s: '%s' is not that of the donor with the labels", where, a->copy->path,
                          key);
}

static organ_status audit_config(labelled *a, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *expected = NULL, *found = NULL;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    size_t length = 0;
    const char *key, *const name = "config.json";
    json_t *value;
    if (organ_model_load(a->donor, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) || !bytes ||
        organ_json_edit_begin(&edit, name, bytes, length, error) ||
        organ_label_head_edit(&a->head, &edit, NULL, error) ||
        organ_config_parse(name, edit.bytes, edit.length, &expected, error) ||
        organ_model_load_json(a->copy, name, name, &found, error))
        return error->status;
    json_object_foreach(expected, key, value) judge(a, name, key, json_equal(value, json_object_get(found, key)));
    json_object_foreach(found, key, value) if (!json_object_get(expected, key)) judge(a, name, key, /*same=*/false);
    return ORGAN_OK;
}

/* Sets the template of the run. The report lists it as a changed setting, unless the donor has the same one. */
static organ_status set_template(const labelled *a, organ_gguf_writer *writer, organ_error *error)
{
    static const char key[] = "tokenizer.chat_template.rerank";
    const json_t *const settings = json_object_get(a->report, "settings"), *change;
    size_t k, length = 0;
    if (!json_is_string(json_object_get(json_object_get(a->report, "parameters"), "rerank_template")))
        return ORGAN_OK;
    json_array_foreach(settings, k, change)
    {
        const char *const name = json_string_value(json_object_get(change, "key"));
        const char *const after = json_string_value(json_object_get(change, "after"));
        if (name && after && strcmp(name, key) == 0)
            return organ_label_head_template(after, writer, NULL, error);
    }
    const char *const own = organ_gguf_string(a->donor->gguf, key, &length);
    ORGAN_OWNED char *const same = organ_format("%.*s", (int)length, own ? own : "");
    return same ? organ_label_head_template(same, writer, NULL, error) : organ_fail_memory(error, a->donor->path);
}

static organ_status audit_keys(labelled *a, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    if (!a->copy->gguf)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s is not GGUF, but the donor is", a->copy->path);
    if (organ_gguf_writer_create(&writer, error) == ORGAN_OK)
        for (size_t k = 0; k < a->donor->gguf->kv_count && !error->status; k++)
            organ_gguf_writer_kv(writer, &a->donor->gguf->kvs[k], error);
    if (!error->status && organ_label_head_edit_keys(&a->head, writer, NULL, error) == ORGAN_OK &&
        set_template(a, writer, error) == ORGAN_OK) {
        const organ_gguf expected = organ_gguf_writer_view(writer);
        for (size_t k = 0; k < expected.kv_count; k++) {
            const organ_gguf_kv *const own = &expected.kvs[k], *const found = organ_gguf_find(a->copy->gguf, own->key);
            if (!organ_gguf_is_of_split(own->key))
                judge(a, "GGUF", own->key, found && organ_gguf_same_value(own, found));
        }
        for (size_t k = 0; k < a->copy->gguf->kv_count; k++) {
            const char *const key = a->copy->gguf->kvs[k].key;
            if (!organ_gguf_is_of_split(key) && !organ_gguf_find(&expected, key))
                judge(a, "GGUF", key, /*same=*/false);
        }
    }
    organ_gguf_writer_destroy(writer);
    return error->status;
}

/* ---- the document ---- */

static json_t *checks_json(const labelled *a)
{
    json_t *const checks = json_array();
    organ_check_add(checks, "rows are those of the labels' tokens, byte for byte", a->same_rows == a->count,
                    "%zu of %zu rows", a->same_rows, a->count);
    organ_check_add(checks, "other tensors are the donor's, byte for byte", a->identical == a->compared, "%zu of %zu",
                    a->identical, a->compared);
    organ_check_add(checks, "no other tensors", a->strangers == 0, "%zu tensors", a->copy->tensor_count);
    organ_check_add(checks, "the tokenizer is the donor's", a->same_tokens, "digest %s",
                    organ_tokenizer_describe(a->made)->digest);
    organ_check_add(checks, "settings are the donor's with the labels", a->wrong_settings == 0, "%zu of %zu",
                    a->settings - a->wrong_settings, a->settings);
    return checks;
}

static json_t *label_text(const void *context, size_t k)
{
    return json_string(((const labelled *)context)->labels[k].text);
}

static json_t *document_of(labelled *a)
{
    const double seconds = organ_seconds_now() - a->started;
    json_t *const checks = checks_json(a);
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_labels/1", "labels/1"), SET("donor", organ_model_json(a->donor)),
        SET("copy", organ_model_json(a->copy)), SET("labels", organ_json_rows(a->count, label_text, a)),
        SET_COUNT("tensors", a->donor->tensor_count), SET_COUNT("identical", a->identical),
        SET("made_by", ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")))), SET("checks", checks),
        SET("problems", organ_problems_json(&a->problems)), SET_SENTENCES("organ.audit_labels/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_ENGINE(a->engine))));
}

static organ_status open_models(labelled *a, organ_error *error)
{
    a->problems.sentences = json_array();
    if (!a->problems.sentences)
        return organ_fail_memory(error, a->options->donor);
    if (organ_model_open_with(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_with(a->options->pruned, a->options->access, &a->copy, error) ||
        organ_tokenizer_open(a->donor, &a->whole, error) || organ_tokenizer_open(a->copy, &a->made, error) ||
        organ_weights_find(a->donor, &a->weights, error) ||
        organ_token_tables_find(a->donor, a->weights, &a->tables, error))
        return error->status;
    a->report = organ_own_report(a->copy, &organ_labels_view, error);
    if (error->status || read_labels(a, error))
        return error->status;
    a->same_tokens = strcmp(organ_tokenizer_describe(a->whole)->digest, organ_tokenizer_describe(a->made)->digest) == 0;
    if (!a->same_tokens)
        organ_problem_add(&a->problems, "the tokenizer of %s is not that of the donor", a->copy->path);
    return organ_label_head_find(a->donor, a->weights, &a->tables, a->whole, a->labels, a->count, &a->head, error);
}

static organ_status audit_models(labelled *a, json_t **report, organ_error *error)
{
    if (open_models(a, error) || compare_tensors(a, error) ||
        (a->donor->gguf ? audit_keys(a, error) : audit_config(a, error)) || organ_model_unchanged(a->donor, error) ||
        organ_model_unchanged(a->copy, error))
        return error->status;
    for (size_t k = 0; k < a->copy->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy->problems[k]);
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not %s with labels", a->options->pruned, a->options->donor);
    return error->status;
}

static void release_audit(labelled *a)
{
    json_decref(a->problems.sentences);
    json_decref(a->report);
    organ_token_tables_release(&a->tables);
    organ_weights_free(a->weights);
    organ_tokenizer_close(a->whole);
    organ_tokenizer_close(a->made);
    ORGAN_FREE_ARRAYS(a->labels);
    organ_model_close(a->donor);
    organ_model_close(a->copy);
}

organ_status organ_audit_labelled(const organ_audit_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error)
{
    labelled a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_models(&a, report, error);
    release_audit(&a);
    return organ_report_end(&work, options->pruned, error);
}
