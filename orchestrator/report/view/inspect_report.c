/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/inspect_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void put_shape(FILE *out, const json_t *shape)
{
    fputc('[', out);
    for (size_t axis = 0; axis < json_array_size(shape); axis++)
        fprintf(out, "%s%" JSON_INTEGER_FORMAT, axis ? ", " : "", json_integer_value(json_array_get(shape, axis)));
    fputc(']', out);
}

/* One cell from what `put` writes. */
static void written_cell(organ_table *table, void (*put)(FILE *, const json_t *), const json_t *json)
{
    organ_text text;
    organ_error ignored = {0};
    char *cell = NULL;
    if (organ_text_open(&text, &ignored) == ORGAN_OK) {
        put(text.out, json);
        organ_text_finish(&text, &cell, &ignored);
    }
    organ_table_cell(table, "%s", cell ? cell : "?");
    free(cell);
}

/* The first shapes of a role and how often each occurs; the document has all. */
static void put_shapes(FILE *out, const json_t *shapes)
{
    enum { SHOWN = 2 };
    const size_t count = json_array_size(shapes);
    for (size_t k = 0; k < count && k < SHOWN; k++) {
        const json_t *const row = json_array_get(shapes, k);
        fputs(k ? ", " : "", out);
        put_shape(out, json_object_get(row, "shape"));
        if (count > 1)
            fprintf(out, " x%llu", organ_json_count(row, "tensors"));
    }
    if (count > SHOWN)
        fprintf(out, ", %zu more", count - SHOWN);
}

static void put_words(FILE *out, const json_t *words)
{
    for (size_t k = 0; k < json_array_size(words); k++)
        fprintf(out, "%s%s", k ? " " : "", organ_json_text(json_array_get(words, k), ""));
}

organ_table *organ_inspect_roles_table(const json_t *report)
{
#define ROLE_AND_GROUP                                                                                                                     \
    {"role", ORGAN_LEFT, false, false}, { "group", ORGAN_LEFT, false, false }
#define WHAT_IT_HOLDS                                                                                                                      \
    {"tensors", ORGAN_RIGHT, false, false}, {"elements", ORGAN_RIGHT, false, false}, {"size", ORGAN_RIGHT, false, false},                  \
        {"dtype", ORGAN_LEFT, false, false},                                                                                               \
    {                                                                                                                                      \
        "shape", ORGAN_LEFT, true, false                                                                                                   \
    }
    static const organ_column plain_columns[] = {ROLE_AND_GROUP, WHAT_IT_HOLDS},
                              packed_columns[] = {ROLE_AND_GROUP, {"weights", ORGAN_RIGHT, false, false}, WHAT_IT_HOLDS};
    const json_t *const roles = organ_json_at(report, "roles"), *const totals = organ_json_at(report, "totals");
    /* weights that are one tensor each need no count of their own */
    const bool packed = organ_json_count(totals, "weights") != organ_json_count(totals, "tensors");
    organ_table *const table = packed ? organ_table_create(packed_columns, sizeof packed_columns / sizeof *packed_columns)
                                      : organ_table_create(plain_columns, sizeof plain_columns / sizeof *plain_columns);
    for (size_t k = 0; k < json_array_size(roles); k++) {
        const json_t *const row = json_array_get(roles, k);
        organ_table_cell(table, "%s%s", organ_json_text(row, "role"), json_is_true(json_object_get(row, "projection")) ? " *" : "");
        organ_table_cell(table, "%s", organ_json_text(row, "group"));
        if (packed)
            organ_table_count(table, organ_json_count(row, "weights"));
        organ_table_count(table, organ_json_count(row, "tensors"));
        organ_table_count(table, organ_json_count(row, "elements"));
        organ_bytes_cell(table, row, "bytes");
        written_cell(table, put_words, json_object_get(row, "dtypes"));
        written_cell(table, put_shapes, json_object_get(row, "shapes"));
    }
    organ_table_totals(table);
    organ_table_cell(table, json_is_string(organ_json_at(report, "match")) ? "matching" : "whole model");
    organ_table_cell(table, "%s", "");
    if (packed)
        organ_table_count(table, organ_json_count(totals, "weights"));
    organ_table_count(table, organ_json_count(totals, "tensors"));
    organ_table_count(table, organ_json_count(totals, "elements"));
    organ_bytes_cell(table, totals, "bytes");
    return table;
}

static void shape_cell(organ_table *table, const json_t *row) { written_cell(table, put_shape, json_object_get(row, "shape")); }

organ_table *organ_inspect_tensors_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS), FIELD_TEXT("role", "role", 0),
                                         FIELD_TEXT("dtype", "dtype", 0), FIELD_BY("shape", shape_cell, ORGAN_FIELD_LEFT),
                                         FIELD_BYTES("size", "bytes")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "tensors"), SIZE_MAX);
}

/* ---- how it is quantised ---- */

organ_table *organ_inspect_schemes_table(const json_t *quantization)
{
    static const organ_field fields[] = {FIELD_TEXT("quantised as", "text", ORGAN_FIELD_SHORTENS), FIELD_COUNT("weights", "weights"),
                                         FIELD_COUNT("elements", "elements"), FIELD_BYTES("size", "bytes")};
    return organ_field_table(FIELD_LIST(fields), json_object_get(quantization, "schemes"), SIZE_MAX);
}

/* The last parts of the names that a weight is stored under: "qweight scales qzeros g_idx". */
static void put_stored(FILE *out, const json_t *row)
{
    static const char *const keys[] = {"codes", "scale", "zero", "g_idx", "global", "shape_tensor", "biases"};
    const char *first = "";
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *const name = organ_json_text(row, keys[k]), *const dot = strrchr(name, '.');
        if (!*name)
            continue;
        fprintf(out, "%s%s", first, dot && dot[1] ? dot + 1 : name);
        first = " ";
    }
}

static void stored_cell(organ_table *table, const json_t *row) { written_cell(table, put_stored, row); }

organ_table *organ_inspect_weights_table(const json_t *weights)
{
    static const organ_field fields[] = {FIELD_TEXT("weight", "name", ORGAN_FIELD_SHORTENS),
                                         FIELD_BY("shape", shape_cell, ORGAN_FIELD_LEFT),
                                         FIELD_BY("stored as", stored_cell, ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS),
                                         FIELD_TEXT("scheme", "scheme", 0)};
    return organ_field_table(FIELD_LIST(fields), weights, SIZE_MAX);
}

static organ_status put_quantization(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    const json_t *const quantization = organ_json_at(report, "quantization"), *const weights = json_object_get(quantization, "weights");
    if (json_array_size(json_object_get(quantization, "schemes")) > 0 &&
        organ_table_emit(organ_inspect_schemes_table(quantization), out, page, error) != ORGAN_OK)
        return error->status;
    return json_array_size(weights) > 0 ? organ_table_emit(organ_inspect_weights_table(weights), out, page, error) : ORGAN_OK;
}

/* What belongs to no weight: what is of use nowhere as a number, the rest by name as far as there is room. */
static void put_strays(FILE *out, const json_t *strays, const organ_page *page)
{
    enum { SHOWN = 8 };
    size_t dropped = 0, kept = 0;
    const char *first = "";
    for (size_t k = 0; k < json_array_size(strays); k++) {
        const json_t *const row = json_array_get(strays, k);
        if (json_is_true(json_object_get(row, "dropped"))) {
            first = dropped++ == 0 ? organ_json_text(row, "name") : first;
            continue;
        }
        if (kept++ < SHOWN)
            organ_text_say(out, page, "  NOTE  ", "%s %s", organ_json_text(row, "name"), organ_json_text(row, "why"));
    }
    if (kept > SHOWN)
        organ_text_say(out, page, "  NOTE  ", "%zu more tensors belong to no weight: --json lists them.", kept - SHOWN);
    if (dropped > 0)
        organ_text_say(out, page, "  ", "%zu scale%s of activations or caches, such as %s, would be of no use in a plain model.", dropped,
                       dropped > 1 ? "s" : "", first);
}

void organ_inspect_notes(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const notes = organ_json_at(report, "quantization.notes");
    for (size_t k = 0; k < json_array_size(notes); k++)
        organ_text_say(out, page, "  NOTE  ", "%s", organ_json_text(json_array_get(notes, k), ""));
    put_strays(out, organ_json_at(report, "quantization.strays"), page);
}

/* The words with commas between, for the caller to free. */
static char *joined(const json_t *words)
{
    organ_text text;
    organ_error ignored = {0};
    char *line = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    for (size_t k = 0; k < json_array_size(words); k++)
        fprintf(text.out, "%s%s", k ? ", " : "", organ_json_text(json_array_get(words, k), ""));
    organ_text_finish(&text, &line, &ignored);
    return line;
}

/* The facts of config.json that a person asks for first, in one sentence. */
void organ_inspect_config(FILE *out, const json_t *report, const organ_page *page)
{
    static const char *const facts[][2] = {
        {"num_hidden_layers", "%llu layers"},  {"hidden_size", "hidden %llu"},           {"intermediate_size", "intermediate %llu"},
        {"num_attention_heads", "%llu heads"}, {"num_key_value_heads", "%llu KV heads"}, {"head_dim", "head %llu"},
        {"num_experts", "%llu experts"},       {"vocab_size", "vocabulary %llu"}};
    const json_t *const config = organ_json_at(report, "config");
    json_t *const words = json_array();
    for (size_t k = 0; k < sizeof facts / sizeof *facts; k++)
        if (json_object_get(config, facts[k][0]))
            json_array_append_new(words, json_sprintf(facts[k][1], organ_json_count(config, facts[k][0])));
    if (json_is_true(json_object_get(config, "tie_word_embeddings")))
        json_array_append_new(words, json_string("tied embeddings"));
    const char *const method = organ_json_text(report, "quantization.method");
    if (*method || *organ_json_text(config, "quant_method"))
        json_array_append_new(words, json_sprintf("quantised by %s", *method ? method : organ_json_text(config, "quant_method")));
    char *const sentence = json_is_object(config) ? joined(words) : NULL;
    organ_text_wrap(out, "  ", 2, sentence ? sentence : json_is_object(config) ? "" : "no config.json beside it", page);
    free(sentence);
    json_decref(words);
}

static void put_head(FILE *out, const json_t *report, const organ_page *page)
{
    const char *const model_type = organ_json_text(report, "model.model_type");
    organ_model_line(out, organ_json_at(report, "model"));
    if (*model_type && strcmp(model_type, organ_json_text(report, "model.architecture")) != 0) { /* GGUF has one name for both */
        fputs(", model type ", out);
        organ_text_visible(out, model_type);
    }
    fputc('\n', out);
    organ_inspect_config(out, report, page);
    fputc('\n', out);
}

static void put_foot(FILE *out, const json_t *report, const organ_page *page)
{
    char elements[32], percent[32], tensors[32];
    const json_t *const target = organ_json_at(report, "projections"), *const problems = organ_json_at(report, "problems");
    const json_t *const warnings = organ_json_at(report, "warnings");
    const unsigned long long prunable = organ_json_count(target, "prunable_tensors");
    organ_text_say(out, page, "  * ", "%s: %s tensors, %s elements, %s of %s.",
                   prunable == organ_json_count(target, "weights") ? "pruned by default" : "projections",
                   organ_count_text(organ_json_count(target, "weights"), tensors),
                   organ_count_text(organ_json_count(target, "elements"), elements),
                   organ_percent_text(organ_json_real(target, "percent_of_elements"), percent),
                   json_is_string(organ_json_at(report, "match")) ? "what matches" : "the model");
    if (prunable < organ_json_count(target, "weights"))
        organ_text_say(out, page, "  ", "%llu of them are stored as F32, F16 or BF16, which is what can be pruned%s.", prunable,
                       json_array_size(organ_json_at(report, "quantization.schemes")) > 0 ? "; organ dequantize unpacks the others" : "");
    organ_inspect_notes(out, report, page);
    for (size_t k = 0; k < json_array_size(warnings); k++)
        organ_text_say(out, page, "  WARNING  ", "%s", organ_json_text(json_array_get(warnings, k), ""));
    for (size_t k = 0; k < json_array_size(problems); k++)
        organ_text_say(out, page, "  PROBLEM  ", "%s", organ_json_text(json_array_get(problems, k), ""));
    if (json_array_size(problems) == 0)
        organ_text_say(out, page, "  ", "No problems found in headers, index and config.");
}

organ_status organ_inspect_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_head(buffer.out, report, page);
    organ_status status = organ_table_emit(organ_inspect_roles_table(report), buffer.out, page, error);
    if (status == ORGAN_OK)
        status = put_quantization(buffer.out, report, page, error);
    /* An organ directory has a file for every tensor: that is no news. */
    const bool apart = strcmp(organ_json_text(report, "model.format"), "organ directory") == 0;
    if (status == ORGAN_OK && !apart && json_array_size(organ_json_at(report, "files")) > 1)
        status = organ_table_emit(organ_files_table(report), buffer.out, page, error);
    if (status == ORGAN_OK && organ_json_at(report, "tensors"))
        status = organ_table_emit(organ_inspect_tensors_table(report), buffer.out, page, error);
    if (status != ORGAN_OK) {
        organ_text_discard(&buffer);
        return status;
    }
    put_foot(buffer.out, report, page);
    return organ_text_finish(&buffer, text, error);
}
