/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/precision_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"

#include <stdint.h>
#include <string.h>

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

static const organ_page unlimited = {0}; /* of a file */

/* ---- what both have ---- */

static void shape_cell(organ_table *table, const json_t *row)
{
    const json_t *const shape = json_object_get(row, "shape");
    char text[128] = "";
    size_t used = 0;
    for (size_t k = 0; k < json_array_size(shape) && used < sizeof text - 24; k++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", k ? " x " : "",
                                 (long long)json_integer_value(json_array_get(shape, k)));
    organ_table_cell(table, "%s", text);
}

static void put_time(FILE *out, const json_t *report, const organ_page *page, const char *name)
{
    if (is_dry(report))
        return;
    fputc('\n', out);
    organ_time_line(out, report, page, " of output");
    organ_report_line(out, report, name);
}

static void put_list(FILE *out, const char *title, const json_t *rows, const char *name, const char *why)
{
    if (json_array_size(rows) == 0)
        return;
    fprintf(out, "\n## %s\n\n", title);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        fputs("- ", out);
        if (name)
            organ_markdown_text(out, organ_json_text(row, name), true);
        if (why) {
            fputs(json_is_true(json_object_get(row, "dropped")) ? " (left out): " : ": ", out);
            organ_markdown_text(out, organ_json_text(row, why), false);
        }
        if (!name)
            organ_markdown_text(out, json_string_value(row), false);
        fputc('\n', out);
    }
}

/* ---- dequantize ---- */

organ_table *organ_dequantize_schemes_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("scheme", "scheme", ORGAN_FIELD_SHORTENS), FIELD_COUNT("tensors", "weights"),
                                         FIELD_COUNT("weights", "elements"), FIELD_BYTES("before", "bytes_before"),
                                         FIELD_BYTES("after", "bytes_after")};
    organ_table *const table = organ_field_table(FIELD_LIST(fields), organ_json_at(report, "schemes"), SIZE_MAX);
    organ_field_total(table, FIELD_LIST(fields), "all packed", organ_json_at(report, "totals"));
    return table;
}

void organ_precision_plain(FILE *out, const json_t *report, const organ_page *page)
{
    char bytes[16], count[32];
    organ_text_say(out, page ? page : &unlimited, page ? "  " : "", "%s plain tensors, %s, keep their type.",
                   organ_count_text(organ_json_count(report, "plain.tensors"), count),
                   organ_quantity_text(organ_json_count(report, "plain.bytes"), bytes));
}

static void put_strays(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const strays = organ_json_at(report, "strays");
    size_t dropped = 0;
    const char *first = NULL;
    for (size_t k = 0; k < json_array_size(strays); k++) {
        const json_t *const row = json_array_get(strays, k);
        if (json_is_true(json_object_get(row, "dropped")) && !dropped++)
            first = organ_json_text(row, "tensor");
        else if (!json_is_true(json_object_get(row, "dropped")))
            organ_text_say(out, page, "  ", "Not converted: %s. It %s.", organ_json_text(row, "tensor"), organ_json_text(row, "why"));
    }
    if (first)
        organ_text_say(out, page, "  ", "Left out: %zu scale%s of activations or caches, %s%s.", dropped, dropped == 1 ? "" : "s",
                       dropped == 1 ? "" : "the first ", first);
}

void organ_dequantize_not_finite(FILE *out, const json_t *report, const organ_page *page)
{
    char infinite[32], nan[32];
    const uint64_t i = organ_json_count(report, "totals.infinite"), n = organ_json_count(report, "totals.nan");
    if (i || n)
        organ_text_say(out, page ? page : &unlimited, page ? "  WARNING  " : "> **Warning.** ",
                       "%s values of the output are infinite and %s are NaN as %s; the report says where.", organ_count_text(i, infinite),
                       organ_count_text(n, nan), organ_json_text(report, "parameters.dtype"));
}

organ_status organ_dequantize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    organ_made_line(buffer.out, report, "Dequantised ", "model");
    fprintf(buffer.out, "\nas %s\n\n", organ_json_text(report, "parameters.dtype"));
    if (json_array_size(organ_json_at(report, "schemes")) == 0)
        organ_text_say(buffer.out, page, "  ", "No tensor is packed: the model is plain already, and is only written anew.");
    else
        organ_table_emit(organ_dequantize_schemes_table(report), buffer.out, page, error);
    organ_precision_plain(buffer.out, report, page);
    put_strays(buffer.out, report, page);
    organ_dequantize_not_finite(buffer.out, report, page);
    organ_evaluation_terminal(buffer.out, report, page, error);
    put_time(buffer.out, report, page, "DEQUANTIZE_REPORT.md");
    return organ_text_end(&buffer, text, error);
}

organ_table *organ_dequantize_weights_table(const json_t *report, size_t most, size_t columns)
{
    static const organ_field fields[ORGAN_DEQUANTIZE_COLUMNS] = {FIELD_TEXT("weight", "name", ORGAN_FIELD_CODE),
                                                                 FIELD_TEXT("scheme", "scheme", 0),
                                                                 FIELD_BY("shape", shape_cell, ORGAN_FIELD_LEFT),
                                                                 FIELD_COUNT("before", "bytes_before"),
                                                                 FIELD_COUNT("after", "bytes_after"),
                                                                 FIELD_COUNT("infinite", "infinite"),
                                                                 FIELD_COUNT("NaN", "nan"),
                                                                 FIELD_TEXT("note", "note", ORGAN_FIELD_MAYBE)};
    return organ_field_table(fields, columns, organ_json_at(report, "weights"), most);
}

organ_status organ_dequantize_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fputs("# Dequantisation of ", out);
    organ_markdown_text(out, organ_json_text(report, "model.name"), false);
    fprintf(out, "\n\nDefinition %s; packed weights became %s.\n\n", organ_json_text(report, "definition"),
            organ_json_text(report, "parameters.dtype"));
    organ_dequantize_not_finite(out, report, NULL);
    if (json_array_size(organ_json_at(report, "schemes")) == 0)
        fputs("No tensor is packed: the model was plain already.\n\n", out);
    else
        organ_table_emit(organ_dequantize_schemes_table(report), out, NULL, error);
    fputc('\n', out);
    organ_precision_plain(out, report, NULL);
    put_list(out, "Notes", organ_json_at(report, "notes"), NULL, NULL);
    put_list(out, "Tensors of no weight", organ_json_at(report, "strays"), "tensor", "why");
    if (json_array_size(organ_json_at(report, "weights")) && !error->status) {
        fputs("\n## Weights\n\n", out);
        organ_table_emit(organ_dequantize_weights_table(report, SIZE_MAX, ORGAN_DEQUANTIZE_COLUMNS), out, NULL, error);
    }
    organ_evaluation_markdown(out, report, error);
    organ_definitions_list(out, report);
    return organ_text_end(&buffer, markdown, error);
}

/* ---- quantize ---- */

static void error_cell(organ_table *table, const json_t *row)
{
    const json_t *const error = json_object_get(row, "relative_error");
    organ_table_cell(table, json_is_number(error) ? "%.4f %%" : "-", 100.0 * json_number_value(error));
}

organ_table *organ_quantize_roles_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_COUNT("tensors", "tensors"),
                                         FIELD_COUNT("weights", "elements"), FIELD_BYTES("before", "bytes_before"),
                                         FIELD_BYTES("after", "bytes_after"), FIELD_BY("relative error", error_cell, 0)};
    organ_table *const table = organ_field_table(FIELD_LIST(fields), organ_json_at(report, "roles"), SIZE_MAX);
    organ_field_total(table, FIELD_LIST(fields), "all quantised", organ_json_at(report, "totals"));
    return table;
}

void organ_quantize_clipped(FILE *out, const json_t *report, const organ_page *page)
{
    const unsigned long long count = organ_json_count(report, "clipped_blocks");
    if (count)
        organ_text_say(out, page ? page : &unlimited, page ? "  " : "\n",
                       "%llu tensor%s rows or columns that are no whole blocks of 128. Servers that follow DeepSeek-V3 clip such blocks; "
                       "transformers without a GPU refuses them.",
                       count, count == 1 ? " has" : "s have");
}

/* The targets that stay as they are: on a screen the first of each reason. */
static void put_left(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const left = organ_json_at(report, "left_alone");
    const char *why = "";
    for (size_t k = 0; k < json_array_size(left); k++) {
        const json_t *const row = json_array_get(left, k);
        if (strcmp(why, organ_json_text(row, "why")) == 0)
            continue;
        why = organ_json_text(row, "why");
        organ_text_say(out, page, "  ", "Not quantised: %s: %s", organ_json_text(row, "tensor"), why);
    }
    if (json_array_size(left))
        organ_text_say(out, page, "  ", "%zu of the targets in all; the report lists them.", json_array_size(left));
}

organ_status organ_quantize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    organ_made_line(buffer.out, report, "Quantised ", "model");
    fprintf(buffer.out, "\nas %s\n\n", organ_json_text(report, "parameters.scheme"));
    organ_table_emit(organ_quantize_roles_table(report), buffer.out, page, error);
    organ_precision_plain(buffer.out, report, page);
    organ_quantize_clipped(buffer.out, report, page);
    put_left(buffer.out, report, page);
    organ_evaluation_terminal(buffer.out, report, page, error);
    put_time(buffer.out, report, page, "QUANTIZE_REPORT.md");
    return organ_text_end(&buffer, text, error);
}

organ_table *organ_quantize_tensors_table(const json_t *report, size_t most)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
                                         FIELD_TEXT("type", "dtype", 0),
                                         FIELD_BY("shape", shape_cell, ORGAN_FIELD_LEFT),
                                         FIELD_COUNT("before", "bytes_before"),
                                         FIELD_COUNT("after", "bytes_after"),
                                         FIELD_BY("relative error", error_cell, 0)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "tensors"), most);
}

organ_status organ_quantize_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fputs("# Quantisation of ", out);
    organ_markdown_text(out, organ_json_text(report, "model.name"), false);
    fprintf(out, "\n\nDefinition %s, scheme %s.\n\n", organ_json_text(report, "definition"), organ_json_text(report, "parameters.scheme"));
    organ_table_emit(organ_quantize_roles_table(report), out, NULL, error);
    fputc('\n', out);
    organ_precision_plain(out, report, NULL);
    organ_quantize_clipped(out, report, NULL);
    put_list(out, "Targets that stay as they are", organ_json_at(report, "left_alone"), "tensor", "why");
    if (!error->status) {
        fputs("\n## Tensors\n\n", out);
        organ_table_emit(organ_quantize_tensors_table(report, SIZE_MAX), out, NULL, error);
    }
    organ_evaluation_markdown(out, report, error);
    organ_definitions_list(out, report);
    return organ_text_end(&buffer, markdown, error);
}
