/* SPDX-License-Identifier: MIT
 * Audits a model with fewer tokens: compares each tensor of the copy with the rows of the donor that the copy's report
 * lists, the tokenizers, and the settings that hold ids. */
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/surgery/audit/audit_choices.h"
#include "orchestrator/surgery/audit/audit_texts.h"

#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/config/model_config.h"
#include "formats/tokenizer/kept_tokens.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/surgery/vocabulary/token_settings.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"

#include <stdlib.h>
#include <string.h>

typedef struct trimmed {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_weights *weights; /* of the donor */
    organ_tokenizer *whole, *made;
    organ_token_tables tables;
    organ_row_layout *layouts; /* for each tensor of the donor */
    json_t *report;            /* of the copy */
    uint32_t *ids, *new_ids;
    size_t count; /* kept tokens */
    uint32_t vocabulary;
    size_t identical, row_tensors, same_rows, merges; /* tensors with equal bytes; those with rows, and equal ones */
    size_t settings, wrong_settings;                  /* settings that must change, and those that have not */
    bool tokens_fit;
    organ_audited_text *texts; /* those of the options */
    organ_problems problems;
    double started;
} trimmed;

bool organ_audit_is_trimmed(const organ_model *copy)
{
    organ_error ignored = {0};
    ORGAN_OWNED_JSON json_t *const report = organ_own_report(copy, &organ_vocabulary_view, &ignored);
    return json_array_size(json_object_get(report, "kept")) > 0;
}

/* ---- the list ---- */

static organ_status read_list(trimmed *a, organ_error *error)
{
    ORGAN_OWNED char *const label = organ_format("%s: %s", a->copy->path, organ_json_text(a->report, "file"));
    a->vocabulary = organ_tokenizer_describe(a->whole)->vocabulary;
    a->new_ids = malloc(((size_t)a->vocabulary + 1) * sizeof *a->new_ids);
    if (!label || !a->new_ids)
        return organ_fail_memory(error, a->copy->path);
    if (organ_kept_list_read(json_object_get(a->report, "kept"), organ_min(a->vocabulary, a->tables.rows), label,
                             &a->ids, &a->count, error))
        return error->status;
    memset(a->new_ids, 0xFF, ((size_t)a->vocabulary + 1) * sizeof *a->new_ids);
    for (size_t k = 0; k < a->count; k++)
        a->new_ids[a->ids[k]] = (uint32_t)k;
    return ORGAN_OK;
}

/* ---- bytes ---- */

static organ_row_choice choice_of(const trimmed *a, size_t t)
{
    return organ_choice_of(a->donor, &a->donor->tensors[t], &a->layouts[t], a->ids, a->count, a->engine->stop);
}

static organ_status compare_tensor(trimmed *a, const organ_choices *choices, size_t t, organ_error *error)
{
    const organ_row_choice c = choice_of(a, t);
    const bool rows = c.layout.form != ORGAN_ROWS_NONE;
    bool same;
    organ_choices_compare(choices, &c, c.tensor->name, rows ? "the kept rows" : "the donor", &same, error);
    a->row_tensors += rows;
    a->identical += same && !rows;
    a->same_rows += same && rows;
    return error->status;
}

static organ_status compare_tensors(trimmed *a, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_choices_release) organ_choices choices = {.copy = a->copy, .problems = &a->problems};
    uint64_t bytes = 0;
    for (size_t t = 0; t < a->donor->tensor_count; t++) {
        const organ_row_choice c = choice_of(a, t);
        bytes = organ_choice_buffer(&c) > bytes ? organ_choice_buffer(&c) : bytes;
    }
    if (organ_choices_open(&choices, a->engine, bytes, error))
        return error->status;
    organ_progress_begin(a->progress, "auditing", organ_model_tensor_bytes(a->donor), a->donor->tensor_count);
    for (size_t t = 0; t < a->donor->tensor_count && !error->status; t++) {
        compare_tensor(a, &choices, t, error);
        organ_progress_advance(a->progress, a->donor->tensors[t].bytes, a->donor->tensors[t].name, NULL);
    }
    organ_progress_end(a->progress);
    if (!error->status)
        organ_choices_strangers(&choices, a->donor);
    return error->status;
}

/* ---- the tokenizer ---- */

static organ_status compare_tokenizers(trimmed *a, organ_error *error)
{
    char fault[160];
    if (organ_kept_compare(a->whole, a->made, a->ids, a->count, &a->merges, fault, sizeof fault, error))
        return error->status;
    a->tokens_fit = !*fault;
    if (*fault)
        organ_problem_add(&a->problems, "%s: %s", a->copy->path, fault);
    return ORGAN_OK;
}

/* ---- texts ---- */

static void judge_text(trimmed *a, const organ_audited_text *text)
{
    if (!text->same_tokens)
        organ_problem_add(&a->problems, "%s: token %zu of %zu is another one", text->path, text->same, text->tokens);
    else if (text->same_logits < text->compared)
        organ_problem_add(&a->problems, "%s: logits of kept tokens differ after %zu of the first %zu tokens",
                          text->path, text->compared - text->same_logits, text->compared);
}

static organ_status compare_texts(trimmed *a, organ_error *error)
{
    const size_t count = a->options->text_count;
    const organ_kept_pair pair = {a->donor, a->copy, a->whole, a->made, a->ids, a->count, a->new_ids};
    if (!(a->texts = calloc(count + 1, sizeof *a->texts)))
        return organ_fail_memory(error, a->donor->path);
    for (size_t k = 0; k < count; k++)
        a->texts[k].path = a->options->texts[k];
    if (count && a->tokens_fit && a->same_rows == a->row_tensors &&
        organ_audit_texts(&pair, a->engine, a->progress, a->texts, count, error) == ORGAN_OK)
        for (size_t k = 0; k < count; k++)
            judge_text(a, &a->texts[k]);
    return error->status;
}

/* ---- settings ---- */

/* Settings that the new ids change must have their new values in the copy. */
static void compare_settings(trimmed *a, const char *name, const json_t *before, const json_t *expected,
                             const json_t *found)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)expected, key, value)
    {
        const json_t *const was = json_object_get(before, key), *const is = json_object_get(found, key);
        if (json_equal(was, value))
            continue;
        if (json_is_object(value)) {
            compare_settings(a, name, was, value, is);
            continue;
        }
        a->settings++;
        if (is && json_equal(is, value))
            continue;
        ORGAN_OWNED char *const wrong = is ? organ_json_dump(is, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        ORGAN_OWNED char *const right = organ_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT);
        a->wrong_settings++;
        organ_problem_add(&a->problems, "%s of %s: %s is %.100s, not %.100s", name, a->copy->path, key,
                          wrong ? wrong : "absent", right ? right : "");
    }
}

static organ_token_settings settings_of(const trimmed *a)
{
    return (organ_token_settings){
        .count = a->vocabulary, .rows = a->tables.rows, .new_ids = a->new_ids, .new_rows = a->count};
}

static organ_status audit_file(trimmed *a, const char *name, organ_error *error)
{
    const organ_token_settings settings = settings_of(a);
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *before = NULL, *expected = NULL, *found = NULL;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    size_t length = 0;
    if (organ_model_load(a->donor, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    if (organ_json_edit_begin(&edit, name, bytes, length, error) ||
        organ_config_parse(name, bytes, length, &before, error) || organ_token_settings_edit(&settings, &edit, error) ||
        organ_config_parse(name, edit.bytes, edit.length, &expected, error) ||
        organ_model_load_json(a->copy, name, name, &found, error))
        return error->status;
    compare_settings(a, name, before, expected, found);
    return ORGAN_OK;
}

static organ_status audit_keys(trimmed *a, organ_error *error)
{
    const organ_token_settings settings = settings_of(a);
    organ_gguf_writer *writer = NULL;
    if (organ_gguf_writer_create(&writer, error) == ORGAN_OK)
        for (size_t k = 0; k < a->donor->gguf->kv_count && !error->status; k++)
            organ_gguf_writer_kv(writer, &a->donor->gguf->kvs[k], error);
    if (!error->status)
        organ_token_settings_edit_keys(&settings, a->donor, writer, error);
    for (size_t k = 0; k < a->donor->gguf->kv_count && !error->status; k++) {
        const organ_gguf_kv *const before = &a->donor->gguf->kvs[k];
        const organ_gguf_kv *const expected = organ_gguf_writer_find(writer, before->key), *const found =
                                                                                               organ_gguf_find(
                                                                                                   a->copy->gguf,
                                                                                                   before->key);
        const bool listed = before->type == ORGAN_GGUF_ARRAY && strncmp(before->key, "tokenizer.", 10) == 0;
        if (listed || organ_gguf_is_of_split(before->key)) /* the tokenizers are compared as such */
            continue;
        a->settings += !organ_gguf_same_value(before, expected);
        if (found && organ_gguf_same_value(expected, found))
            continue;
        a->wrong_settings++;
        organ_problem_add(&a->problems, "key '%s' of %s is not that of the donor with the new ids", before->key,
                          a->copy->path);
    }
    organ_gguf_writer_destroy(writer);
    return error->status;
}

static organ_status audit_settings(trimmed *a, organ_error *error)
{
    if (a->donor->gguf)
        return a->copy->gguf ? audit_keys(a, error)
                             : organ_fail(error, ORGAN_BAD_INPUT, "%s is not GGUF, but the donor is", a->copy->path);
    audit_file(a, "config.json", error);
    for (size_t k = 0; organ_token_files[k] && !error->status; k++)
        audit_file(a, organ_token_files[k], error);
    return error->status;
}

/* ---- the document ---- */

static void add_text_checks(const trimmed *a, json_t *checks)
{
    size_t texts = 0, tokens = 0, compared = 0, same = 0;
    for (size_t k = 0; k < a->options->text_count; k++) {
        texts += a->texts[k].same_tokens;
        tokens += a->texts[k].tokens;
        compared += a->texts[k].compared;
        same += a->texts[k].same_logits;
    }
    if (!a->options->text_count)
        return;
    organ_check_add(checks, "texts have the same tokens", texts == a->options->text_count, "%zu of %zu, %zu tokens",
                    texts, a->options->text_count, tokens);
    organ_check_add(checks, "logits of kept tokens are the donor's, bit for bit", compared > 0 && same == compared,
                    "after %zu of the first %zu tokens", same, compared);
}

static json_t *checks_json(const trimmed *a)
{
    const size_t others = a->donor->tensor_count - a->row_tensors;
    json_t *const checks = json_array();
    organ_check_add(checks, "rows are those of the listed tokens, byte for byte", a->same_rows == a->row_tensors,
                    "%zu of %zu tensors, %zu rows", a->same_rows, a->row_tensors, a->count);
    organ_check_add(checks, "other tensors are the donor's, byte for byte", a->identical == others, "%zu of %zu",
                    a->identical, others);
    organ_check_add(checks, "no other tensors", a->copy->tensor_count == a->donor->tensor_count, "%zu tensors",
                    a->copy->tensor_count);
    organ_check_add(checks, "ids have the texts of the listed tokens, and merges are the donor's in its order",
                    a->tokens_fit, "%zu tokens, %zu merges", a->count, a->merges);
    organ_check_add(checks, "settings have the new ids and the new number of rows", a->wrong_settings == 0,
                    "%zu of %zu", a->settings - (a->wrong_settings < a->settings ? a->wrong_settings : a->settings),
                    a->settings);
    add_text_checks(a, checks);
    return checks;
}

static json_t *texts_json(const trimmed *a)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < a->options->text_count; k++) {
        const organ_audited_text *const t = &a->texts[k];
        json_array_append_new(list, ORGAN_OBJECT(SET_BYTES("name", organ_path_name(t->path)),
                                                 SET_COUNT("bytes", t->bytes), SET_COUNT("tokens", t->tokens),
                                                 SET_COUNT("same_tokens", t->same), SET_COUNT("compared", t->compared),
                                                 SET_COUNT("same_logits", t->same_logits)));
    }
    return list;
}

static json_t *document_of(trimmed *a)
{
    const double seconds = organ_seconds_now() - a->started;
    json_t *const checks = checks_json(a);
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_vocabulary/1", "vocabulary/1"), SET("donor", organ_model_json(a->donor)),
        SET("copy", organ_model_json(a->copy)), SET_COUNT("rows_before", a->tables.rows),
        SET_COUNT("rows_after", a->count), SET_COUNT("tensors", a->donor->tensor_count),
        SET_COUNT("identical", a->identical + a->same_rows), SET_COUNT("merges", a->merges),
        SET("texts", texts_json(a)),
        SET("made_by", ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")))), SET("checks", checks),
        SET("problems", organ_problems_json(&a->problems)),
        SET_SENTENCES("organ.audit_vocabulary/1", "definitions", NULL),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(seconds)), SET_ENGINE(a->engine))));
}

static organ_status open_models(trimmed *a, organ_error *error)
{
    a->problems.sentences = json_array();
    if (organ_model_open_with(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_with(a->options->pruned, a->options->access, &a->copy, error) ||
        organ_tokenizer_open(a->donor, &a->whole, error) || organ_tokenizer_open(a->copy, &a->made, error) ||
        organ_weights_find(a->donor, &a->weights, error) ||
        organ_token_tables_find(a->donor, a->weights, &a->tables, error))
        return error->status;
    a->report = organ_own_report(a->copy, &organ_vocabulary_view, error);
    if (error->status || read_list(a, error))
        return error->status;
    if (!(a->layouts = calloc(a->donor->tensor_count + 1, sizeof *a->layouts)) || !a->problems.sentences)
        return organ_fail_memory(error, a->donor->path);
    return organ_token_tables_tensors(a->donor, &a->tables, a->layouts, error);
}

static organ_status audit_models(trimmed *a, json_t **report, organ_error *error)
{
    if (open_models(a, error) || compare_tensors(a, error) || compare_tokenizers(a, error) ||
        audit_settings(a, error) || compare_texts(a, error) || organ_model_unchanged(a->donor, error) ||
        organ_model_unchanged(a->copy, error))
        return error->status;
    for (size_t k = 0; k < a->copy->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy->problems[k]);
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not %s with fewer tokens", a->options->pruned,
                             a->options->donor);
    return error->status;
}

static void release_audit(trimmed *a)
{
    json_decref(a->problems.sentences);
    json_decref(a->report);
    organ_token_tables_release(&a->tables);
    organ_weights_free(a->weights);
    organ_tokenizer_close(a->whole);
    organ_tokenizer_close(a->made);
    ORGAN_FREE_ARRAYS(a->ids, a->new_ids, a->layouts, a->texts);
    organ_model_close(a->donor);
    organ_model_close(a->copy);
}

organ_status organ_audit_trimmed(const organ_audit_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    trimmed a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_models(&a, report, error);
    release_audit(&a);
    return organ_report_end(&work, options->pruned, error);
}
