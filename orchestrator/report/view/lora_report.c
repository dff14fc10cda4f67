/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/lora_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/text/text_table.h"

#define MOST_SHOWN ((size_t)8)

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

static void row_cells(organ_table *table, const char *name, const json_t *row, bool dry)
{
    organ_table_cell(table, "%s", name);
    organ_table_count(table, organ_json_count(row, "modules"));
    if (organ_json_count(row, "modules") == 0) { /* all unchanged */
        for (size_t k = 0; k < (dry ? 2 : 5); k++)
            organ_table_cell(table, "-");
        return;
    }
    organ_range_cell(table, organ_json_count(row, "rank_from"), organ_json_count(row, "rank_to"));
    organ_table_count(table, organ_json_count(row, "parameters"));
    if (dry)
        return;
    organ_share_cell(table, row, "change");
    organ_share_cell(table, row, "explained");
    organ_share_cell(table, row, "least_explained");
}

organ_table *organ_lora_roles_table(const json_t *report)
{
    static const organ_column columns[] = {{"projection", ORGAN_LEFT, true, true}, {"modules", ORGAN_RIGHT, false, false},
                                           {"rank", ORGAN_RIGHT, false, false},    {"parameters", ORGAN_RIGHT, false, false},
                                           {"change", ORGAN_RIGHT, false, false},  {"explained", ORGAN_RIGHT, false, false},
                                           {"least", ORGAN_RIGHT, false, false}};
    const bool dry = is_dry(report);
    organ_table *const table = organ_table_create(columns, dry ? 4 : 7);
    const json_t *const rows = organ_json_at(report, "roles");
    for (size_t k = 0; k < json_array_size(rows); k++)
        row_cells(table, organ_json_text(json_array_get(rows, k), "role"), json_array_get(rows, k), dry);
    organ_table_totals(table);
    row_cells(table, "all", organ_json_at(report, "totals"), dry);
    return table;
}

static void put_what(FILE *out, const json_t *report, const organ_page *page)
{
    fputs(is_dry(report) ? "Dry run, nothing was written: a LoRA adapter of rank " : "LoRA adapter of rank ", out);
    fprintf(out, "%llu%s for ", organ_json_count(report, "adapter.r"), is_dry(report) ? " or less" : "");
    organ_plural(out, organ_json_count(report, "totals.modules"), "module", "modules");
    fputs("\nof   ", out);
    organ_model_line(out, organ_json_at(report, "tuned"));
    fputs("\nfor  ", out);
    organ_model_line(out, organ_json_at(report, "base"));
    fputs("\n\n", out);
    organ_text_say(out, page, "", "%s", organ_json_text(report, "method.text"));
    fputc('\n', out);
}

static void put_other(FILE *out, const organ_page *page, const json_t *row)
{
    char percent[32] = "";
    const json_t *const change = json_object_get(row, "change");
    if (json_is_number(change))
        organ_percent_text(100 * json_number_value(change), percent);
    organ_text_say(out, page, "    ", "%s: %s%s%s%s", organ_json_text(row, "tensor"), organ_json_text(row, "reason"),
                   *percent ? ", changed by " : "", percent, json_is_true(json_object_get(row, "kept")) ? ", kept whole" : "");
}

/* What changed and has no factors: the first of them here, all in the report. */
static void put_others(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const rows = organ_json_at(report, "not_extracted");
    const size_t count = json_array_size(rows);
    if (organ_json_count(report, "totals.unchanged"))
        organ_text_say(out, page, "  ", "Unchanged, without factors: %llu linear layers.", organ_json_count(report, "totals.unchanged"));
    if (count == 0 && !is_dry(report))
        organ_text_say(out, page, "  ", "Nothing else changed: all %llu other tensors are the same in both models.",
                       organ_json_count(report, "totals.others"));
    if (count)
        organ_text_say(out, page, "  ",
                       is_dry(report) ? "Not to be compared: %zu of %llu other tensors"
                                      : "Changed, without factors: %zu of %llu other tensors",
                       count, organ_json_count(report, "totals.others"));
    for (size_t k = 0; k < count && k < MOST_SHOWN; k++)
        put_other(out, page, json_array_get(rows, k));
    if (count > MOST_SHOWN)
        organ_text_say(out, page, "    ", "and %zu more, in the report", count - MOST_SHOWN);
}

static void put_warnings(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const warnings = organ_json_at(report, "warnings"), *const notes = organ_json_at(report, "notes");
    for (size_t k = 0; k < json_array_size(warnings); k++)
        organ_text_say(out, page, "  WARNING  ", "%s", json_string_value(json_array_get(warnings, k)));
    for (size_t k = 0; k < json_array_size(notes); k++)
        organ_text_say(out, page, "  NOTE  ", "%s", json_string_value(json_array_get(notes, k)));
    if (json_is_integer(organ_json_at(report, "adapter.vllm_max_lora_rank")))
        organ_text_say(out, page, "  ", "vLLM: --max-lora-rank %llu", organ_json_count(report, "adapter.vllm_max_lora_rank"));
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    char duration[24], size[16];
    if (is_dry(report))
        return;
    organ_text_say(out, page, "  ", "Time: %s, %s written.", organ_duration_text(organ_json_real(report, "run.seconds"), duration),
                   organ_quantity_text(organ_json_count(report, "adapter.bytes"), size));
    organ_output_line(out, report, "Adapter");
}

organ_status organ_lora_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_what(buffer.out, report, page);
    if (organ_table_emit(organ_lora_roles_table(report), buffer.out, page, error) == ORGAN_OK) {
        put_others(buffer.out, report, page);
        put_warnings(buffer.out, report, page);
        put_end(buffer.out, report, page);
    }
    return organ_text_end(&buffer, text, error);
}

/* ---- the file ---- */

organ_table *organ_lora_modules_table(const json_t *report, size_t most)
{
    static const organ_column columns[] = {{"module", ORGAN_LEFT, false, true},      {"base stored as", ORGAN_LEFT, false, false},
                                           {"rank", ORGAN_RIGHT, false, false},      {"change", ORGAN_RIGHT, false, false},
                                           {"explained", ORGAN_RIGHT, false, false}, {"residual", ORGAN_RIGHT, false, false},
                                           {"passes", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const rows = organ_json_at(report, "modules");
    for (size_t k = 0; k < json_array_size(rows) && k < most; k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_table_cell(table, "%s", organ_json_text(row, "module"));
        organ_table_cell(table, "%s", organ_json_text(row, "base_stored"));
        organ_table_count(table, organ_json_count(row, "rank"));
        organ_share_cell(table, row, "change");
        organ_share_cell(table, row, "explained");
        organ_table_cell(table, "%.4f", organ_json_real(row, "residual"));
        organ_table_count(table, organ_json_count(row, "passes"));
    }
    return table;
}

organ_table *organ_lora_others_table(const json_t *report, size_t most)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, false, true},
                                           {"what it is", ORGAN_LEFT, false, false},
                                           {"change", ORGAN_RIGHT, false, false},
                                           {"kept whole", ORGAN_LEFT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const rows = organ_json_at(report, "not_extracted");
    for (size_t k = 0; k < json_array_size(rows) && k < most; k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_table_cell(table, "%s", organ_json_text(row, "tensor"));
        organ_table_cell(table, "%s", organ_json_text(row, "reason"));
        organ_share_cell(table, row, "change");
        organ_table_cell(table, "%s", json_is_true(json_object_get(row, "kept")) ? "yes" : "no");
    }
    return table;
}

static organ_status put_tables(FILE *out, const json_t *report, organ_error *error)
{
    if (organ_table_emit(organ_lora_roles_table(report), out, NULL, error) != ORGAN_OK)
        return error->status;
    fputs("\n## Modules\n\n", out);
    if (organ_table_emit(organ_lora_modules_table(report, SIZE_MAX), out, NULL, error) != ORGAN_OK)
        return error->status;
    if (json_array_size(organ_json_at(report, "not_extracted")) == 0)
        return ORGAN_OK;
    fputs("\n## Changed, without factors\n\n", out);
    return organ_table_emit(organ_lora_others_table(report, SIZE_MAX), out, NULL, error);
}

static void put_sentences(FILE *out, const json_t *sentences)
{
    if (json_array_size(sentences))
        fputc('\n', out);
    organ_sentences_list(out, "- ", sentences);
}

organ_status organ_lora_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    static const organ_page page = {0, true};
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    fputs("# LoRA extraction\n\n", buffer.out);
    put_what(buffer.out, report, &page);
    fputs(
        "\"Change\" is the norm of W_tuned - W_base beside that of W_base. \"Explained\" is the share of its square that B A has, measured "
        "with the factors as they are stored; \"residual\" is the norm of what is left beside that of the change.\n\n",
        buffer.out);
    if (put_tables(buffer.out, report, error) == ORGAN_OK) {
        put_sentences(buffer.out, organ_json_at(report, "warnings"));
        put_sentences(buffer.out, organ_json_at(report, "notes"));
        fputs("\n## Run\n\n", buffer.out);
        put_end(buffer.out, report, &page);
    }
    return organ_text_end(&buffer, markdown, error);
}
