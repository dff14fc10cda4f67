/* SPDX-License-Identifier: MIT
 * Audits a model with new tokens: old rows and all other tensors are the donor's, new rows the means of those of the
 * pieces, the tokenizer is the donor's with the listed tokens, and config.json has the new number of rows. */
#include "orchestrator/surgery/audit/audit.h"

#include "formats/base/json.h"
#include "formats/base/results.h"
#include "formats/config/model_config.h"
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/vocabulary/new_rows.h"
#include "orchestrator/surgery/vocabulary/token_settings.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)1 << 20) /* bytes that are compared together */

typedef struct added {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_weights *weights; /* of the donor */
    organ_tokenizer *whole, *made;
    organ_token_tables tables;
    organ_row_layout *layouts; /* for each tensor of the donor */
    json_t *report;            /* of the copy */
    organ_extension again;     /* the donor's tokenizer with the tokens that the report lists */
    uint32_t first, count;     /* id of the first new token, and their number */
    uint32_t *ids;             /* 0, 1, ..: ids that stay */
    uint64_t rows;             /* of the copy */
    size_t compared, identical, row_tables, same_rows, mean_rows, wrong_rows, wrong_tokens, wrong_settings, wrong_files;
    unsigned char *buffer; /* two windows */
    organ_problems problems;
    double started;
} added;

bool organ_audit_is_added(const organ_model *copy)
{
    organ_error ignored = {0};
    ORGAN_OWNED_JSON json_t *const report = organ_own_report(copy, &organ_vocabulary_add_view, &ignored);
    return json_array_size(json_object_get(report, "tokens")) > 0;
}

/* ---- tensors ---- */

/* Sets *same to whether `bytes` bytes of both tensors, from byte `from` on, are equal. */
static organ_status compare(const added *a, const organ_tensor *donor, const organ_tensor *found, uint64_t from,
                            uint64_t bytes, bool *same, organ_error *error)
{
    *same = true;
    for (uint64_t done = 0; done < bytes && *same && !error->status;) {
        const size_t n = (size_t)organ_min(bytes - done, (uint64_t)WINDOW);
        if (organ_stop_is_requested(a->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (organ_model_read(a->donor, donor->file, a->buffer, n, donor->offset + from + done, error) ||
            organ_model_read(a->copy, found->file, a->buffer + WINDOW, n, found->offset + from + done, error))
            return error->status;
        *same = memcmp(a->buffer, a->buffer + WINDOW, n) == 0;
        done += n;
    }
    return error->status;
}

/* The ids that the report calls pieces of a token; the caller frees them. */
static uint32_t *pieces_of(const added *a, size_t k, size_t *count)
{
    const json_t *const list = json_object_get(json_array_get(json_object_get(a->report, "tokens"), k), "pieces");
    uint32_t *const ids = malloc((json_array_size(list) + 1) * sizeof *ids);
    *count = 0;
    for (size_t n = 0; ids && n < json_array_size(list); n++) {
        const json_int_t id = json_integer_value(json_array_get(list, n));
        if (id >= 0 && id < (json_int_t)a->first && id < (json_int_t)a->tables.rows)
            ids[(*count)++] = (uint32_t)id;
    }
    return ids;
}

static organ_status compare_means(added *a, const organ_tensor *donor, const organ_tensor *found, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_mean_rows_release) organ_mean_rows means = {0};
    const size_t width = (size_t)(donor->bytes / donor->shape[0]);
    ORGAN_OWNED unsigned char *const row = malloc(width + 1);
    if (organ_mean_rows_open(&means, a->donor, donor, a->engine->kernels, error))
        return error->status;
    for (size_t k = 0; k < a->count && !error->status; k++) {
        size_t count = 0;
        ORGAN_OWNED uint32_t *const pieces = pieces_of(a, k, &count);
        const void *const mean = pieces && count ? organ_mean_rows_next(&means, pieces, count, error) : NULL;
        if (!row || !pieces)
            return organ_fail_memory(error, a->copy->path);
        if (error->status ||
            organ_model_read(a->copy, found->file, row, width, found->offset + (a->first + k) * width, error))
            return error->status;
        const bool same = mean && memcmp(mean, row, width) == 0;
        a->mean_rows += same;
        a->wrong_rows += !same;
        if (!same)
            organ_problem_add(&a->problems, "tensor '%s': row %zu is not the mean of the rows of its pieces",
                              donor->name, a->first + k);
    }
    return error->status;
}

static organ_status compare_table(added *a, const organ_tensor *donor, const organ_tensor *found, organ_error *error)
{
    const uint64_t width = donor->bytes / donor->shape[0], last = (uint64_t)a->first + a->count;
    bool same = false, rest = true;
    a->row_tables++;
    if (compare(a, donor, found, 0, a->first * width, &same, error) ||
        (last < donor->shape[0] &&
         compare(a, donor, found, last * width, (donor->shape[0] - last) * width, &rest, error)))
        return error->status;
    a->same_rows += same && rest;
    if (!same || !rest)
        organ_problem_add(&a->problems, "tensor '%s': old rows are not those of the donor", donor->name);
    return compare_means(a, donor, found, error);
}

static bool has_form_of(const added *a, const organ_tensor *donor, const organ_tensor *found, bool table)
{
    bool same = found->dtype == donor->dtype && found->rank == donor->rank;
    for (unsigned axis = 0; axis < donor->rank && same; axis++)
        same = found->shape[axis] == (table && !axis ? a->rows : donor->shape[axis]);
    return same;
}

static organ_status compare_tensor(added *a, size_t t, organ_error *error)
{
    const organ_tensor *const donor = &a->donor->tensors[t], *const found = organ_model_find(a->copy, donor->name);
    const bool table = a->layouts[t].form;
    bool same = false;
    if (!found || !has_form_of(a, donor, found, table)) {
        a->row_tables += table;
        a->compared += !table;
        organ_problem_add(&a->problems, "tensor '%s' of %s %s", donor->name, a->copy->path,
                          found ? "has another type or shape" : "is missing");
        return ORGAN_OK;
    }
    if (table)
        return compare_table(a, donor, found, error);
    a->compared++;
    if (compare(a, donor, found, 0, donor->bytes, &same, error))
        return error->status;
    a->identical += same;
    if (!same)
        organ_problem_add(&a->problems, "tensor '%s' is not that of the donor", donor->name);
    return ORGAN_OK;
}

static organ_status compare_tensors(added *a, organ_error *error)
{
    organ_progress_begin(a->progress, "auditing", organ_model_tensor_bytes(a->donor), a->donor->tensor_count);
    for (size_t t = 0; t < a->donor->tensor_count && !error->status; t++) {
        compare_tensor(a, t, error);
        organ_progress_advance(a->progress, a->donor->tensors[t].bytes, a->donor->tensors[t].name, NULL);
    }
    organ_progress_end(a->progress);
    for (size_t t = 0; t < a->copy->tensor_count && !error->status; t++)
        if (!organ_model_find(a->donor, a->copy->tensors[t].name))
            organ_problem_add(&a->problems, "tensor '%s' of %s is not in the donor", a->copy->tensors[t].name,
                              a->copy->path);
    return error->status;
}

/* ---- tokens and settings ---- */

static organ_status claim_tokens(void *context, uint64_t bytes, organ_error *error)
{
    return organ_memory_claim(((const added *)context)->engine, bytes, error, "the new tokens and their parts");
}

/* Adds the tokens of the report to the donor's tokenizer again. */
static organ_status extend_again(added *a, organ_error *error)
{
    const json_t *const list = json_object_get(a->report, "tokens");
    const organ_union_model model = {
        .name = a->donor->path, .model = a->donor, .tokenizer = a->whole, .rows = a->tables.rows};
    organ_error fault = {0};
    a->again.claim = claim_tokens;
    a->again.context = a;
    for (size_t k = 0; k < a->count; k++) {
        const json_t *const token = json_array_get(list, k);
        const char *const kind = organ_json_plain(json_object_get(token, "kind"));
        const char *const text = organ_json_plain(json_object_get(token, "text"));
        const bool part = kind && strcmp(kind, "part") == 0, special = kind && strcmp(kind, "special") == 0;
        const size_t line = (size_t)json_integer_value(json_object_get(token, "line"));
        if (!part &&
            !organ_extension_add(&a->again, text ? text : "", text ? strlen(text) : 0, a->copy->path, line, special))
            return organ_fail_memory(error, a->copy->path);
    }
    if (organ_tokenizer_extend(&model, &a->again, &fault) && fault.status != ORGAN_BAD_INPUT) {
        *error = fault;
    } else if (fault.status) {
        a->wrong_tokens++;
        organ_problem_add(&a->problems, "the tokens that the report lists cannot be added: %s", fault.message);
    } else if (a->again.count != a->count) {
        a->wrong_tokens++;
        organ_problem_add(&a->problems, "the tokens that the report lists are %zu new ones, not %u", a->again.count,
                          a->count);
    }
    return error->status;
}

/* Returns whether the copy has the token that adding makes, and the report its pieces. */
static bool is_as_again(const added *a, size_t k, const uint32_t *pieces, size_t count)
{
    const uint32_t id = a->first + (uint32_t)k;
    size_t bytes, is_bytes;
    const char *const was = organ_vocabulary_text(a->again.made, id, &bytes), *const is = organ_vocabulary_text(
                                                                                  a->made, id, &is_bytes);
    const organ_new_token *const token = &a->again.tokens[k];
    return was && is && bytes == is_bytes && memcmp(was, is, bytes) == 0 && count == token->piece_count &&
           memcmp(pieces, token->pieces, count * sizeof *pieces) == 0;
}

/* Returns how many bytes of a text a piece spells, or SIZE_MAX if it does not. Special tokens keep marks of blanks. */
static size_t spelled_by(const char *text, size_t left, const char *piece, size_t bytes)
{
    static const char mark[] = "\xE2\x96\x81";
    size_t at = 0;
    for (size_t k = 0; k < bytes; k++)
        if (at < left && text[at] == piece[k])
            at++;
        else if (piece[k] == ' ' && left - at >= 3 && memcmp(text + at, mark, 3) == 0)
            at += 3;
        else
            return SIZE_MAX;
    return at;
}

/* The pieces of a new token spell it, and are those that the donor's tokenizer gives. */
static void compare_pieces(added *a, size_t k)
{
    size_t count = 0, bytes, at = 0, all;
    const char *const is = organ_tokenizer_piece(a->made, a->first + (uint32_t)k, &all);
    ORGAN_OWNED uint32_t *const pieces = pieces_of(a, k, &count);
    bool same = pieces != NULL;
    for (size_t n = 0; n < count && same; n++) {
        const char *const piece = organ_tokenizer_piece(a->whole, pieces[n], &bytes);
        const size_t spelled = spelled_by(is + at, all - at, piece, bytes);
        same = spelled != SIZE_MAX;
        at += same ? spelled : 0;
    }
    const bool spelled = same && at == all && all;
    if (spelled && (!a->again.made || k >= a->again.count || is_as_again(a, k, pieces, count)))
        return;
    a->wrong_tokens++;
    organ_problem_add(&a->problems, "token %zu of %s is not %s", a->first + k, a->copy->path,
                      spelled ? "the one that adding the listed tokens makes" : "spelled by its pieces");
}

static void compare_tokens(added *a)
{
    for (uint32_t id = 0; id < a->first; id++) {
        size_t bytes, is_bytes;
        const char *const was = organ_vocabulary_text(a->whole, id, &bytes), *const is = organ_vocabulary_text(
                                                                                 a->made, id, &is_bytes);
        if (!was || (is && bytes == is_bytes && memcmp(was, is, bytes) == 0))
            continue;
        a->wrong_tokens++;
        organ_problem_add(&a->problems, "token %u of %s is not that of the donor", id, a->copy->path);
    }
    for (size_t k = 0; k < a->count; k++)
        compare_pieces(a, k);
}

/* tokenizer_config.json is the donor's with the special tokens, if that lists such tokens. */
static organ_status compare_decoder(added *a, organ_error *error)
{
    static const char name[] = "tokenizer_config.json";
    ORGAN_OWNED_JSON json_t *expected = NULL, *found = NULL;
    if (organ_model_load_json(a->donor, name, name, &expected, error) ||
        organ_model_load_json(a->copy, name, name, &found, error))
        return error->status;
    json_t *const decoder = json_object_get(expected, "added_tokens_decoder");
    for (size_t k = 0; decoder && k < a->again.count; k++) {
        char id[24];
        snprintf(id, sizeof id, "%zu", a->first + k);
        if (a->again.tokens[k].special &&
            json_object_set_new(decoder, id, organ_new_token_json(a->again.tokens[k].text)))
            return organ_fail_memory(error, a->copy->path);
    }
    if (expected == found || json_equal(expected, found)) /* both NULL: neither has the file */
        return ORGAN_OK;
    a->wrong_files++;
    organ_problem_add(&a->problems, "%s of %s is not the donor's with the new tokens", name, a->copy->path);
    return ORGAN_OK;
}

static organ_status compare_files(added *a, organ_error *error)
{
    char different[200];
    if (!a->again.made) { /* a problem says why */
        a->wrong_files = 2;
        return ORGAN_OK;
    }
    if (organ_extension_compare(&a->again, a->copy, different, error) == ORGAN_OK && *different) {
        a->wrong_files++;
        organ_problem_add(&a->problems, "tokenizer.json of %s: %s not the donor's with the new tokens", a->copy->path,
                          different);
    }
    return error->status ? error->status : compare_decoder(a, error);
}

static organ_status compare_config(added *a, organ_error *error)
{
    const organ_token_settings settings = {
        .count = a->first, .rows = a->tables.rows, .new_ids = a->ids, .new_rows = a->rows};
    static const char name[] = "config.json";
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *expected = NULL, *found = NULL;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    size_t length = 0;
    if (organ_model_load(a->donor, name, ORGAN_CONFIG_LIMIT, &bytes, &length, error) || !bytes ||
        organ_json_edit_begin(&edit, name, bytes, length, error) ||
        organ_token_settings_edit(&settings, &edit, error) ||
        organ_config_parse(name, edit.bytes, edit.length, &expected, error) ||
        organ_model_load_json(a->copy, name, name, &found, error))
        return error->status;
    a->wrong_settings = !json_equal(expected, found);
    if (a->wrong_settings)
        organ_problem_add(&a->problems, "config.json of %s is not the donor's with %llu rows", a->copy->path,
                          (unsigned long long)a->rows);
    return ORGAN_OK;
}

/* ---- the document ---- */

static json_t *checks_json(const added *a)
{
    json_t *const checks = json_array();
    organ_check_add(checks, "old rows are the donor's, byte for byte", a->same_rows == a->row_tables,
                    "%zu of %zu tensors", a->same_rows, a->row_tables);
    organ_check_add(checks, "new rows are the means of those of their pieces", a->wrong_rows == 0, "%zu of %zu rows",
                    a->mean_rows, a->mean_rows + a->wrong_rows);
    organ_check_add(checks, "other tensors are the donor's, byte for byte", a->identical == a->compared, "%zu of %zu",
                    a->identical, a->compared);
    organ_check_add(checks, "old ids have the same tokens, and pieces spell the new ones", a->wrong_tokens == 0,
                    "%u new tokens", a->count);
    organ_check_add(checks, "the tokenizer is the donor's with the listed tokens", a->wrong_files == 0,
                    "%zu of 2 files", 2 - a->wrong_files);
    organ_check_add(checks, "config.json has the new number of rows alone", a->wrong_settings == 0, "%llu rows",
                    (unsigned long long)a->rows);
    return checks;
}

static json_t *document_of(added *a)
{
    json_t *const checks = checks_json(a);
    return ORGAN_OBJECT(
        SET_HEAD("organ.audit_vocabulary/1", "vocabulary_add/1"), SET("donor", organ_model_json(a->donor)),
        SET("copy", organ_model_json(a->copy)), SET_COUNT("rows_before", a->tables.rows),
        SET_COUNT("rows_after", a->rows), SET_COUNT("new_tokens", a->count),
        SET_COUNT("tensors", a->donor->tensor_count), SET_COUNT("identical", a->identical),
        SET("made_by", ORGAN_OBJECT(SET_HELD("report", json_object_get(a->report, "file")))), SET("checks", checks),
        SET("problems", organ_problems_json(&a->problems)),
        SET_SENTENCES("organ.audit_vocabulary/1", "definitions", ORGAN_OBJECT(SET_FLAG("added", true))),
        SET("run", ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                                SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - a->started)),
                                SET_ENGINE(a->engine))));
}

static organ_status open_models(added *a, organ_error *error)
{
    if (!(a->problems.sentences = json_array()))
        return organ_fail_memory(error, a->options->donor);
    if (organ_model_open_with(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_with(a->options->pruned, a->options->access, &a->copy, error) ||
        organ_tokenizer_open(a->donor, &a->whole, error) || organ_tokenizer_open(a->copy, &a->made, error) ||
        organ_weights_find(a->donor, &a->weights, error) ||
        organ_token_tables_find(a->donor, a->weights, &a->tables, error))
        return error->status;
    a->report = organ_own_report(a->copy, &organ_vocabulary_add_view, error);
    a->first = organ_tokenizer_describe(a->whole)->vocabulary;
    a->count = (uint32_t)json_array_size(json_object_get(a->report, "tokens"));
    a->rows = organ_max(a->tables.rows, (uint64_t)a->first + a->count);
    a->layouts = calloc(a->donor->tensor_count + 1, sizeof *a->layouts);
    a->buffer = malloc(2 * WINDOW);
    a->ids = malloc(((size_t)a->first + 1) * sizeof *a->ids);
    if (error->status || !a->layouts || !a->buffer || !a->ids)
        return error->status ? error->status : organ_fail_memory(error, a->donor->path);
    for (uint32_t id = 0; id < a->first; id++)
        a->ids[id] = id;
    if (organ_tokenizer_describe(a->made)->vocabulary != a->first + a->count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has %u tokens, not the %u of %s and %u new ones", a->copy->path,
                          organ_tokenizer_describe(a->made)->vocabulary, a->first, a->donor->path, a->count);
    return organ_token_tables_tensors(a->donor, &a->tables, a->layouts, error);
}

static organ_status audit_models(added *a, json_t **report, organ_error *error)
{
    if (open_models(a, error) || compare_tensors(a, error))
        return error->status;
    if (extend_again(a, error))
        return error->status;
    compare_tokens(a);
    for (size_t k = 0; k < a->copy->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy->problems[k]);
    if (compare_files(a, error) || compare_config(a, error) || organ_model_unchanged(a->donor, error) ||
        organ_model_unchanged(a->copy, error))
        return error->status;
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not %s with new tokens", a->options->pruned,
                             a->options->donor);
    return error->status;
}

organ_status organ_audit_added(const organ_audit_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    added a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_models(&a, report, error);
    json_decref(a.problems.sentences);
    json_decref(a.report);
    organ_token_tables_release(&a.tables);
    organ_weights_free(a.weights);
    organ_tokenizer_close(a.whole);
    organ_tokenizer_close(a.made);
    ORGAN_FREE_ARRAYS(a.layouts, a.buffer, a.ids);
    organ_extension_release(&a.again);
    organ_model_close(a.donor);
    organ_model_close(a.copy);
    return organ_report_end(&work, options->pruned, error);
}
