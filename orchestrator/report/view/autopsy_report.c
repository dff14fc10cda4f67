/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/autopsy_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SHOWN 20 /* findings, and remarks, that a terminal shows one by one */

static bool has_other(const json_t *report) { return json_is_object(json_object_get(report, "other")); }

/* "-" where there is no number. */
static void real_cell(organ_table *table, const json_t *row, const char *key)
{
    const json_t *const value = organ_json_at(row, key);
    if (json_is_number(value))
        organ_table_cell(table, "%.3g", json_number_value(value));
    else
        organ_table_cell(table, "-");
}

/* ---- tables ---- */

organ_table *organ_autopsy_roles_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_COUNT("n", "tensors"),
                                         FIELD_MAYBE_GENERAL("|mean|", "largest_mean", 3),
                                         FIELD_MAYBE_GENERAL("std", "least_std", 3),
                                         FIELD_MAYBE_GENERAL("to", "largest_std", 3),
                                         FIELD_MAYBE_GENERAL("min", "min", 3),
                                         FIELD_MAYBE_GENERAL("max", "max", 3),
                                         FIELD_PERCENT("zeros", "zero_percent"),
                                         FIELD_COUNT("findings", "findings"),
                                         FIELD_MAYBE_SHARE("mean error", "against_other.mean_relative_error"),
                                         FIELD_MAYBE_SHARE("largest", "against_other.largest_relative_error")};
    const size_t count = sizeof fields / sizeof *fields - (has_other(report) ? 0 : 2);
    return organ_field_table(fields, count, organ_json_at(report, "roles"), SIZE_MAX);
}

static void levels_cell(organ_table *table, const json_t *row)
{
    const json_t *const levels = json_object_get(row, "levels");
    if (json_is_integer(levels))
        organ_table_count(table, (unsigned long long)json_integer_value(levels));
    else
        organ_table_cell(table, "%s", json_is_string(levels) ? "more" : "-");
}

organ_table *organ_autopsy_tensors_table(const json_t *report, size_t most)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_TEXT("stored", "stored", ORGAN_FIELD_SHORTENS),
                                         FIELD_MAYBE_GENERAL("mean", "mean", 3),
                                         FIELD_MAYBE_GENERAL("std", "std", 3),
                                         FIELD_MAYBE_GENERAL("min", "min", 3),
                                         FIELD_MAYBE_GENERAL("max", "max", 3),
                                         FIELD_MAYBE_GENERAL("kurtosis", "kurtosis", 3),
                                         FIELD_PERCENT("zeros", "zero_percent"),
                                         FIELD_BY("levels", levels_cell, 0),
                                         FIELD_MAYBE_SHARE("error", "against_other.relative_error"),
                                         FIELD_MAYBE_GENERAL("cosine", "against_other.cosine", 3)};
    const size_t count = sizeof fields / sizeof *fields - (has_other(report) ? 0 : 2);
    return organ_field_table(fields, count, organ_json_at(report, "tensors"), most);
}

/* ---- the terminal ---- */

static void put_finding(FILE *out, const organ_page *page, const json_t *row, const char *lead)
{
    organ_text_say(out, page, lead, "%s: %s: %s", organ_json_text(row, "tensor"), organ_json_text(row, "what"),
                   organ_json_text(row, "value"));
    if (*organ_json_text(row, "range"))
        organ_text_say(out, page, "           ", "Healthy: %s.", organ_json_text(row, "range"));
    if (*organ_json_text(row, "cause"))
        organ_text_say(out, page, "           ", "%s", organ_json_text(row, "cause"));
    fputs("           ", out);
    organ_text_visible(out, organ_json_text(row, "command"));
    fputc('\n', out);
}

static void put_findings(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const findings = organ_json_at(report, "findings");
    const size_t count = json_array_size(findings);
    for (size_t k = 0; k < count && k < MOST_SHOWN; k++)
        put_finding(out, page, json_array_get(findings, k), "  FINDING  ");
    if (count > MOST_SHOWN)
        organ_text_say(out, page, "  ", "And %zu more; --json has all of them.", count - MOST_SHOWN);
    if (count > 0)
        fputc('\n', out);
}

unsigned long long organ_autopsy_unexpected(const json_t *report, char text[400])
{
    const json_t *const roles = organ_json_at(report, "roles");
    unsigned long long all = 0;
    *text = '\0';
    for (size_t k = 0; k < json_array_size(roles); k++) {
        const json_t *const row = json_array_get(roles, k);
        const unsigned long long count = organ_json_count(row, "outside_expected");
        const size_t used = strlen(text);
        if (count > 0 && used < 360)
            snprintf(text + used, 400 - used, "%s%llu %s", all ? ", " : "", count, organ_json_text(row, "role"));
        all += count;
    }
    return all;
}

static void put_unexpected(FILE *out, const json_t *report, const organ_page *page)
{
    char text[400];
    const unsigned long long count = organ_autopsy_unexpected(report, text);
    if (count > 0)
        organ_text_say(out, page, "  remark   ",
                       "%llu weight%s outside of what is expected, which is no fault: %s. The ranges: organ autopsy --print-ranges", count,
                       count == 1 ? " is" : "s are", text);
}

static bool is_unexpected(const json_t *row) { return strcmp(organ_json_text(row, "kind"), "expected") == 0; }

/* What makes two remarks one: what is said, and for a note of the reader its words too. NULL without memory. */
static char *sense_of(const json_t *row)
{
    const bool note = strcmp(organ_json_text(row, "kind"), "note") == 0 || strcmp(organ_json_text(row, "kind"), "unread") == 0;
    char *text = NULL;
    return asprintf(&text, "%s\n%s\n%s", organ_json_text(row, "what"), organ_json_text(row, "cause"),
                    note ? organ_json_text(row, "value") : "") < 0
               ? NULL
               : text;
}

/* Remarks by their sense, in the order of the first of each: an object of arrays of rows, without those of what is expected. NULL without
 * memory. */
static json_t *by_sense(const json_t *remarks)
{
    json_t *const senses = json_object();
    bool whole = senses != NULL;
    for (size_t k = 0; k < json_array_size(remarks) && whole; k++) {
        json_t *const row = json_array_get(remarks, k);
        if (is_unexpected(row))
            continue;
        char *const sense = sense_of(row);
        json_t *rows = sense ? json_object_get(senses, sense) : NULL;
        if (sense && !rows && json_object_set_new(senses, sense, json_array()) == 0)
            rows = json_object_get(senses, sense);
        whole = rows && json_array_append(rows, row) == 0;
        free(sense);
    }
    if (whole)
        return senses;
    json_decref(senses);
    return NULL;
}

/* One remark, or those of one sense on one line. */
static void put_sense(FILE *out, const json_t *rows, const organ_page *page)
{
    const json_t *const row = json_array_get(rows, 0);
    const size_t count = json_array_size(rows);
    if (count == 1)
        organ_text_say(out, page, "  remark   ", "%s: %s: %s. %s", organ_json_text(row, "tensor"), organ_json_text(row, "what"),
                       organ_json_text(row, "value"), organ_json_text(row, "cause"));
    else
        organ_text_say(out, page, "  remark   ", "%zu weights: %s; the first is %s: %s. %s", count, organ_json_text(row, "what"),
                       organ_json_text(row, "tensor"), organ_json_text(row, "value"), organ_json_text(row, "cause"));
}

static organ_status put_remarks(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    const json_t *const notes = organ_json_at(report, "notes");
    json_t *const senses = by_sense(organ_json_at(report, "remarks"));
    const char *sense;
    json_t *rows;
    size_t shown = 0, more = 0;
    if (!senses)
        return organ_fail_errno(error, ENOMEM, "the remarks of the report");
    put_unexpected(out, report, page);
    json_object_foreach(senses, sense, rows)
    {
        if (shown++ >= MOST_SHOWN)
            more += json_array_size(rows);
        else
            put_sense(out, rows, page);
    }
    json_decref(senses);
    if (more > 0)
        organ_text_say(out, page, "  ", "And %zu more remarks; --json has all of them.", more);
    for (size_t k = 0; k < json_array_size(notes); k++)
        organ_text_say(out, page, "  note     ", "%s", organ_json_text(json_array_get(notes, k), ""));
    return ORGAN_OK;
}

/* Tensors that belong to no weight, but for those that are known to be of no use in a plain model. */
static void put_strays(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const strays = organ_json_at(report, "strays");
    size_t shown = 0;
    for (size_t k = 0; k < json_array_size(strays); k++) {
        const json_t *const row = json_array_get(strays, k);
        if (!json_is_true(json_object_get(row, "known")) && shown++ < MOST_SHOWN)
            organ_text_say(out, page, "  note     ", "%s belongs to no weight: %s", organ_json_text(row, "tensor"),
                           organ_json_text(row, "why"));
    }
    if (shown > MOST_SHOWN)
        organ_text_say(out, page, "  ", "And %zu more tensors that belong to no weight; --json has all of them.", shown - MOST_SHOWN);
}

void organ_autopsy_schemes(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const schemes = organ_json_at(report, "schemes");
    for (size_t k = 0; k < json_array_size(schemes); k++) {
        const json_t *const row = json_array_get(schemes, k);
        const json_t *const usual = json_object_get(row, "usual_error_percent");
        char count[32];
        organ_count_text(organ_json_count(row, "tensors"), count);
        if (has_other(report))
            organ_text_say(out, page, "  ", "%s weight%s stored as %s: a relative error of %.3g to %.3g %% is usual.", count,
                           strcmp(count, "1") ? "s" : "", organ_json_text(row, "stored"), json_number_value(json_array_get(usual, 0)),
                           json_number_value(json_array_get(usual, 1)));
        else
            organ_text_say(out, page, "  ", "%s weight%s stored as %s.", count, strcmp(count, "1") ? "s" : "",
                           organ_json_text(row, "stored"));
    }
    if (json_array_size(schemes))
        fputc('\n', out);
}

void organ_autopsy_verdict(FILE *out, const json_t *report, const organ_page *page)
{
    const size_t findings = json_array_size(organ_json_at(report, "findings")), remarks = json_array_size(organ_json_at(report, "remarks"));
    char weights[32];
    organ_count_text(organ_json_count(report, "weights"), weights);
    if (findings == 0)
        organ_text_say(out, page, "", "Healthy: %s weight%s, no finding, %zu remark%s.", weights, strcmp(weights, "1") ? "s" : "", remarks,
                       remarks == 1 ? "" : "s");
    else
        organ_text_say(out, page, "", "NOT healthy: %zu finding%s and %zu remark%s on %s weight%s.", findings, findings == 1 ? "" : "s",
                       remarks, remarks == 1 ? "" : "s", weights, strcmp(weights, "1") ? "s" : "");
}

static organ_status render(const json_t *report, const organ_page *page, bool tensors, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fputs("Autopsy of ", out);
    organ_model_line(out, organ_json_at(report, "model"));
    if (has_other(report)) {
        fputs("\nbeside     ", out);
        organ_model_line(out, organ_json_at(report, "other"));
    }
    fputs("\n\n", out);
    organ_autopsy_schemes(out, report, page);
    if (organ_table_emit(organ_autopsy_roles_table(report), out, page, error) != ORGAN_OK ||
        (tensors && organ_table_emit(organ_autopsy_tensors_table(report, SIZE_MAX), out, page, error) != ORGAN_OK)) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_findings(out, report, page);
    if (put_remarks(out, report, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_strays(out, report, page);
    fputc('\n', out);
    organ_autopsy_verdict(out, report, page);
    organ_time_line(out, report, page, "");
    return organ_text_finish(&buffer, text, error);
}

organ_status organ_autopsy_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return render(report, page, false, text, error);
}

organ_status organ_autopsy_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return render(report, page, true, text, error);
}

/* ---- the file ---- */

static void mark_row(FILE *out, const json_t *row)
{
    fputs("- ", out);
    organ_markdown_text(out, organ_json_text(row, "tensor"), true);
    fputs(", **", out);
    organ_markdown_text(out, organ_json_text(row, "what"), false);
    fputs("**: ", out);
    organ_markdown_text(out, organ_json_text(row, "value"), false);
    fputs(".", out);
    if (*organ_json_text(row, "range")) {
        fputs(" Healthy: ", out);
        organ_markdown_text(out, organ_json_text(row, "range"), false);
        fputs(".", out);
    }
    fputc(' ', out);
    organ_markdown_text(out, organ_json_text(row, "cause"), false);
    fputs(" More: ", out);
    organ_markdown_text(out, organ_json_text(row, "command"), true);
    fputc('\n', out);
}

static void mark_findings(FILE *out, const json_t *report)
{
    const json_t *const rows = organ_json_at(report, "findings");
    fputs("\n## Findings\n\n", out);
    for (size_t k = 0; k < json_array_size(rows); k++)
        mark_row(out, json_array_get(rows, k));
    if (json_array_size(rows) == 0)
        fputs("None.\n", out);
}

static organ_status mark_remarks(FILE *out, const json_t *report, organ_error *error)
{
    const json_t *const remarks = organ_json_at(report, "remarks"), *const notes = organ_json_at(report, "notes");
    json_t *const senses = by_sense(remarks);
    const char *sense;
    json_t *rows;
    char text[400];
    if (!senses)
        return organ_fail_errno(error, ENOMEM, "the remarks of the report");
    const unsigned long long unexpected = organ_autopsy_unexpected(report, text);
    fputs("\n## Remarks\n\n", out);
    if (unexpected > 0)
        fprintf(out, "- %llu weight%s outside of what is expected, which is no fault: %s.\n", unexpected, unexpected == 1 ? " is" : "s are",
                text);
    json_object_foreach(senses, sense, rows)
    {
        mark_row(out, json_array_get(rows, 0));
        if (json_array_size(rows) > 1)
            fprintf(out, "  The same is said of %zu more weights: see autopsy.json.\n", json_array_size(rows) - 1);
    }
    json_decref(senses);
    organ_sentences_list(out, "- ", notes);
    if (json_array_size(remarks) + json_array_size(notes) == 0)
        fputs("None.\n", out);
    return ORGAN_OK;
}

organ_table *organ_autopsy_ranges_table(const json_t *report)
{
    static const organ_column columns[] = {{"role", ORGAN_LEFT, false, true},     {"limit", ORGAN_LEFT, false, false},
                                           {"|mean|", ORGAN_RIGHT, false, false}, {"std from", ORGAN_RIGHT, false, false},
                                           {"to", ORGAN_RIGHT, false, false},     {"min", ORGAN_RIGHT, false, false},
                                           {"max", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const char *role;
    json_t *limits;
    json_object_foreach(json_object_get(report, "ranges"), role, limits)
    {
        const json_t *const both[] = {json_object_get(limits, "expected"), limits};
        for (size_t k = 0; k < 2 && json_is_object(limits); k++) {
            const json_t *const std = json_object_get(both[k], "std");
            json_t *const flat = json_pack("{s:O*, s:O*}", "least", json_array_get(std, 0), "most", json_array_get(std, 1));
            organ_table_cell(table, "%s", role);
            organ_table_cell(table, "%s", k == 0 ? "expected" : "healthy");
            real_cell(table, both[k], "mean");
            real_cell(table, flat, "least");
            real_cell(table, flat, "most");
            real_cell(table, both[k], "min");
            real_cell(table, both[k], "max");
            json_decref(flat);
        }
    }
    return table;
}

organ_status organ_autopsy_markdown(const json_t *report, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    const size_t count = json_array_size(organ_json_at(report, "findings")), remarks = json_array_size(organ_json_at(report, "remarks"));
    fputs("# Autopsy of ", out);
    organ_markdown_text(out, organ_json_text(report, "model.name"), false);
    if (has_other(report)) {
        fputs(" beside ", out);
        organ_markdown_text(out, organ_json_text(report, "other.name"), false);
    }
    fprintf(out, "\n\n**%s**: %zu finding%s, %zu remark%s.\n\n", count ? "Not healthy" : "Healthy", count, count == 1 ? "" : "s", remarks,
            remarks == 1 ? "" : "s");
    if (organ_table_emit(organ_autopsy_roles_table(report), out, NULL, error) == ORGAN_OK) {
        mark_findings(out, report);
        if (mark_remarks(out, report, error) == ORGAN_OK) {
            fputs("\n## Tensors\n\n", out);
            organ_table_emit(organ_autopsy_tensors_table(report, SIZE_MAX), out, NULL, error);
        }
    }
    fputs("\n## Ranges\n\nOutside of what is expected is a remark, outside of what is healthy a finding.\n\n", out);
    if (error->status || organ_table_emit(organ_autopsy_ranges_table(report), out, NULL, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    organ_definitions_list(out, report);
    return organ_text_finish(&buffer, text, error);
}
