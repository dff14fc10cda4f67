/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/lora_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/text/text_table.h"

#include <stdint.h>

#define MOST_SHOWN ((size_t)8)

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

static void rank_cell(organ_table *table, const json_t *row)
{
    if (organ_json_count(row, "modules"))
        organ_range_cell(table, organ_json_count(row, "rank_from"), organ_json_count(row, "rank_to"));
    else
        organ_table_cell(table, "-"); /* all unchanged */
}

static void parameters_cell(organ_table *table, const json_t *row)
{
    if (organ_json_count(row, "modules"))
        organ_table_count(table, organ_json_count(row, "parameters"));
    else
        organ_table_cell(table, "-");
}

/* A role whose modules are all unchanged has no change to explain. */
static void role_share(organ_table *table, const json_t *row, const char *key)
{
    if (organ_json_count(row, "modules"))
        organ_share_cell(table, row, key);
    else
        organ_table_cell(table, "-");
}

static void change_cell(organ_table *table, const json_t *row) { role_share(table, row, "change"); }
static void explained_cell(organ_table *table, const json_t *row) { role_share(table, row, "explained"); }
static void least_cell(organ_table *table, const json_t *row) { role_share(table, row, "least_explained"); }

organ_table *organ_lora_roles_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("projection", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_COUNT("modules", "modules"),
                                         FIELD_BY("rank", rank_cell, 0),
                                         FIELD_BY("parameters", parameters_cell, 0),
                                         FIELD_BY("change", change_cell, 0),
                                         FIELD_BY("explained", explained_cell, 0),
                                         FIELD_BY("least", least_cell, 0)};
    const size_t count = is_dry(report) ? 4 : sizeof fields / sizeof *fields;
    organ_table *const table = organ_field_table(fields, count, organ_json_at(report, "roles"), SIZE_MAX);
    organ_field_total(table, fields, count, "all", organ_json_at(report, "totals"));
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
    static const organ_field fields[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                         FIELD_TEXT("base stored as", "base_stored", 0),
                                         FIELD_COUNT("rank", "rank"),
                                         FIELD_SHARE("change", "change"),
                                         FIELD_SHARE("explained", "explained"),
                                         FIELD_FIXED("residual", "residual", 4),
                                         FIELD_COUNT("passes", "passes")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "modules"), most);
}

static void kept_cell(organ_table *table, const json_t *row)
{
    organ_table_cell(table, "%s", json_is_true(json_object_get(row, "kept")) ? "yes" : "no");
}

organ_table *organ_lora_others_table(const json_t *report, size_t most)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE), FIELD_TEXT("what it is", "reason", 0),
                                         FIELD_MAYBE_SHARE("change", "change"), FIELD_BY("kept whole", kept_cell, ORGAN_FIELD_LEFT)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "not_extracted"), most);
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
