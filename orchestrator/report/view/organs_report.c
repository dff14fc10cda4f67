/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/organs_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"

#include <stdint.h>

#define SHOWN 20 /* lines of a list; the document has all */

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

/* "Extracted MODEL\ninto OUT\n\n" */
static void put_head(FILE *out, const json_t *report, const char *did, const char *model)
{
    organ_made_line(out, report, did, model);
    fputs("\n\n", out);
}

static void put_beside(FILE *out, const json_t *report, const organ_page *page, const char *where)
{
    char size[16], count[32];
    const unsigned long long files = organ_json_count(report, "beside.files");
    if (files)
        organ_text_say(out, page, "  ", "Beside: %s file%s, %s%s.", organ_count_text(files, count), files == 1 ? "" : "s",
                       organ_quantity_text(organ_json_count(report, "beside.bytes"), size), where);
}

static void put_time(FILE *out, const json_t *report, const organ_page *page)
{
    if (!is_dry(report))
        organ_time_line(out, report, page, ", on the disk");
}

/* The first lines of an array of strings. */
static void put_list(FILE *out, const json_t *lines, const organ_page *page, const char *lead)
{
    const size_t count = json_array_size(lines);
    for (size_t k = 0; k < count && k < SHOWN; k++)
        organ_text_say(out, page, lead, "%s", organ_json_text(json_array_get(lines, k), ""));
    if (count > SHOWN)
        organ_text_say(out, page, lead, "and %zu more, all of them with --json", count - SHOWN);
}

/* ---- extract ---- */

organ_table *organ_extract_folders_table(const json_t *report)
{
    static const organ_column columns[] = {{"folder", ORGAN_LEFT, false, false},
                                           {"tensors", ORGAN_RIGHT, false, false},
                                           {"elements", ORGAN_RIGHT, false, false},
                                           {"size", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const folders = organ_json_at(report, "folders"), *const totals = organ_json_at(report, "totals");
    for (size_t k = 0; k <= json_array_size(folders); k++) {
        const bool all = k == json_array_size(folders);
        const json_t *const row = all ? totals : json_array_get(folders, k);
        if (all)
            organ_table_totals(table);
        else if (organ_json_count(row, "tensors") == 0)
            continue;
        organ_table_cell(table, "%s%s", all ? "all tensors" : organ_json_text(row, "folder"), all ? "" : "/");
        organ_table_count(table, organ_json_count(row, "tensors"));
        organ_table_count(table, organ_json_count(row, "elements"));
        organ_bytes_cell(table, row, "bytes");
    }
    return table;
}

static void put_headers(FILE *out, const json_t *report, const organ_page *page)
{
    char size[16];
    const json_t *const sources = organ_json_at(report, "sources");
    unsigned long long bytes = 0, gaps = 0;
    for (size_t k = 0; k < json_array_size(sources); k++) {
        bytes += organ_json_count(json_array_get(sources, k), "header_bytes");
        gaps += organ_json_count(json_array_get(sources, k), "gap_bytes");
    }
    organ_text_say(out, page, "  ", "Headers: %zu, %s, kept in header/ as they are.", json_array_size(sources),
                   organ_quantity_text(bytes, size));
    if (gaps)
        organ_text_say(out, page, "  ", "Between tensors: %s that are not zeros, kept there too.", organ_quantity_text(gaps, size));
}

organ_status organ_extract_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_head(buffer.out, report, "Extracted ", "model");
    if (organ_table_emit(organ_extract_folders_table(report), buffer.out, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_headers(buffer.out, report, page);
    put_beside(buffer.out, report, page, ", in files/");
    put_time(buffer.out, report, page);
    return organ_text_finish(&buffer, text, error);
}

/* ---- assemble ---- */

static void put_changes(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const changed = organ_json_at(report, "changed");
    const size_t count = json_array_size(changed);
    if (json_is_true(organ_json_at(report, "merged")))
        organ_text_say(out, page, "  ", "The donor's files were merged into one with a new header.");
    if (is_dry(report))
        return;
    if (json_is_true(organ_json_at(report, "donor_again")))
        organ_text_say(out, page, "  ", "No tensor was changed: byte for byte what the donor was.");
    else if (count)
        organ_text_say(out, page, "  ", "%zu tensor%s not as taken out of the donor:", count, count == 1 ? " is" : "s are");
    else if (json_is_array(changed) && !json_is_true(organ_json_at(report, "merged")))
        organ_text_say(out, page, "  ", "No tensor was changed since the directory was made; it is no longer its donor.");
    put_list(out, changed, page, "    ");
}

organ_status organ_assemble_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_head(buffer.out, report, "Assembled ", "model");
    if (organ_table_emit(organ_files_table(report), buffer.out, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_changes(buffer.out, report, page);
    put_beside(buffer.out, report, page, "");
    put_time(buffer.out, report, page);
    return organ_text_finish(&buffer, text, error);
}

/* ---- graft ---- */

organ_table *organ_graft_groups_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("group", "group", 0), FIELD_COUNT("grafted", "grafted.tensors"),
                                         FIELD_COUNT("of", "output.tensors"), FIELD_COUNT("elements", "grafted.elements"),
                                         FIELD_BYTES("size", "grafted.bytes")};
    organ_table *const table = organ_field_table(FIELD_LIST(fields), organ_json_at(report, "groups"), SIZE_MAX);
    organ_field_total(table, FIELD_LIST(fields), "whole model", organ_json_at(report, "totals"));
    return table;
}

static void put_graft_head(FILE *out, const json_t *report, bool fits)
{
    fputs(!fits ? "Does not fit, nothing was written: " : is_dry(report) ? "Dry run, nothing was written: " : "Grafted ", out);
    organ_model_line(out, organ_json_at(report, "source"));
    fputs("\ninto a copy of ", out);
    organ_model_line(out, organ_json_at(report, "target"));
    fputs(fits && !is_dry(report) ? "\nas " : "\nfor ", out);
    organ_text_visible(out, organ_json_text(report, "run.output"));
    fputs("\n\n", out);
}

static organ_status put_grafted(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    char percent[32];
    if (organ_table_emit(organ_graft_groups_table(report), out, page, error) != ORGAN_OK)
        return error->status;
    organ_text_say(out, page, "  ", "%s of the output's elements are the source's. The header is %s.",
                   organ_percent_text(organ_json_real(report, "totals.percent_of_elements"), percent),
                   json_is_true(organ_json_at(report, "header_anew")) ? "made anew" : "the target's, byte for byte");
    put_list(out, organ_json_at(report, "metadata"), page, "  ");
    put_list(out, organ_json_at(report, "notes"), page, "  ");
    if (organ_evaluation_terminal(out, report, page, error) == ORGAN_OK)
        put_time(out, report, page);
    return error->status;
}

organ_status organ_graft_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    const json_t *const mismatches = organ_json_at(report, "mismatches");
    const size_t count = json_array_size(mismatches);
    put_graft_head(buffer.out, report, count == 0);
    for (size_t k = 0; k < count; k++)
        organ_text_say(buffer.out, page, "  MISMATCH  ", "%s", organ_json_text(json_array_get(mismatches, k), ""));
    if (count == 0 && put_grafted(buffer.out, report, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    return organ_text_finish(&buffer, text, error);
}
