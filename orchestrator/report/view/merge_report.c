/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/adapter_report.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"

#include <stdint.h>
#include <string.h>

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

static size_t unplaced(const json_t *report) { return json_array_size(organ_json_at(report, "unplaced")); }

/* Modules of one role, put together. */
typedef struct sums {
    unsigned long long modules, rank_from, rank_to, elements, erased;
    double delta, applied, dot, least;
} sums;

static void add(sums *s, const json_t *row)
{
    const unsigned long long rank = organ_json_count(row, "rank");
    const double delta = organ_json_real(row, "delta_norm"), applied = organ_json_real(row, "applied_norm");
    const double arrived = organ_json_real(row, "arrived");
    s->rank_from = s->modules == 0 || rank < s->rank_from ? rank : s->rank_from;
    s->rank_to = rank > s->rank_to ? rank : s->rank_to;
    s->least = s->modules == 0 || arrived < s->least ? arrived : s->least;
    s->modules++;
    s->elements += organ_json_count(row, "elements");
    s->erased += json_is_true(json_object_get(row, "erased"));
    s->delta += delta * delta;
    s->applied += applied * applied;
    s->dot += arrived * delta * delta;
}

static void sums_cells(organ_table *table, const char *name, const sums *s, bool dry)
{
    char percent[32];
    organ_table_cell(table, "%s", name);
    organ_table_count(table, s->modules);
    organ_range_cell(table, s->rank_from, s->rank_to);
    organ_table_count(table, s->elements);
    if (dry)
        return;
    organ_table_cell(table, "%s", organ_percent_text(s->delta > 0 ? 100 * s->dot / s->delta : 0, percent));
    organ_table_cell(table, "%s", organ_percent_text(100 * s->least, percent));
}

organ_table *organ_merge_roles_table(const json_t *report)
{
    static const organ_column columns[] = {{"role", ORGAN_LEFT, true, true},       {"modules", ORGAN_RIGHT, false, false},
                                           {"rank", ORGAN_RIGHT, false, false},    {"weights", ORGAN_RIGHT, false, false},
                                           {"arrived", ORGAN_RIGHT, false, false}, {"least", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, is_dry(report) ? 4 : 6);
    const json_t *const modules = organ_json_at(report, "modules");
    sums all = {0};
    for (size_t k = 0; k < json_array_size(modules); k++) {
        const char *const role = organ_json_text(json_array_get(modules, k), "role");
        sums s = {0};
        add(&all, json_array_get(modules, k));
        if (!organ_role_is_new(modules, k))
            continue;
        for (size_t j = k; j < json_array_size(modules); j++)
            if (strcmp(organ_json_text(json_array_get(modules, j), "role"), role) == 0)
                add(&s, json_array_get(modules, j));
        sums_cells(table, role, &s, is_dry(report));
    }
    organ_table_totals(table);
    sums_cells(table, "all merged", &all, is_dry(report));
    return table;
}

/* One row for each module that more than half was rounded away of. */
void organ_merge_warning(FILE *out, const json_t *report, const organ_page *page)
{
    const unsigned long long erased = organ_json_count(report, "totals.erased");
    const json_t *const modules = organ_json_at(report, "modules");
    if (erased == 0)
        return;
    fputc('\n', out);
    organ_text_say(out, page, "  WARNING  ",
                   "Rounding took more than half of the change of %llu module%s: it is finer than their type can hold. "
                   "--dtype f32 keeps it.",
                   erased, erased == 1 ? "" : "s");
    size_t shown = 0;
    for (size_t k = 0; k < json_array_size(modules) && shown < 5; k++) {
        const json_t *const row = json_array_get(modules, k);
        char percent[32];
        if (!json_is_true(json_object_get(row, "erased")))
            continue;
        shown++;
        organ_text_say(out, page, "    ", "%s: %s arrived as %s", organ_json_text(row, "module"),
                       organ_percent_text(100 * organ_json_real(row, "arrived"), percent), organ_json_text(row, "dtype"));
    }
    if (erased > shown)
        organ_text_say(out, page, "    ", "and %llu more, in the report", erased - shown);
}

static void put_what(FILE *out, const json_t *report)
{
    fputs(unplaced(report) ? "Does not fit, nothing was written: " : is_dry(report) ? "Dry run, nothing was written: " : "Merged ", out);
    organ_text_visible(out, organ_json_text(report, "adapter.name"));
    fprintf(out, " (LoRA, r %llu, ", organ_json_count(report, "adapter.r"));
    organ_plural(out, organ_json_count(report, "adapter.pairs"), "module", "modules");
    fputs(")\ninto ", out);
    organ_model_line(out, organ_json_at(report, "base"));
    if (organ_json_real(report, "scale") != 1)
        fprintf(out, "\nwith the change scaled by %.15g", organ_json_real(report, "scale"));
    fputs("\n\n", out);
}

static void put_unplaced(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const rows = organ_json_at(report, "unplaced");
    for (size_t k = 0; k < json_array_size(rows); k++)
        organ_text_say(out, page, "  NO PLACE  ", "%s: %s", organ_json_text(json_array_get(rows, k), "tensor"),
                       organ_json_text(json_array_get(rows, k), "reason"));
}

void organ_merge_rest(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const replaced = organ_json_at(report, "replaced");
    const unsigned long long dequantised = organ_json_count(report, "totals.dequantised");
    for (size_t k = 0; k < json_array_size(replaced); k++)
        organ_text_say(out, page, "  ", "Replaced: %s, which the adapter brings whole.",
                       organ_json_text(json_array_get(replaced, k), "tensor"));
    if (dequantised)
        organ_text_say(out, page, "  ", "Dequantised: %llu packed weights; the output is a plain model.", dequantised);
    if (json_array_size(organ_json_at(report, "not_understood")))
        organ_text_say(out, page, "  ", "Copied without being understood: %zu tensors, in the report.",
                       json_array_size(organ_json_at(report, "not_understood")));
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    if (is_dry(report))
        return;
    fputc('\n', out);
    organ_time_line(out, report, page, " of output");
    organ_output_line(out, report, "Model");
}

organ_status organ_merge_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_what(buffer.out, report);
    put_unplaced(buffer.out, report, page);
    if (unplaced(report))
        return organ_text_finish(&buffer, text, error);
    if (organ_table_emit(organ_merge_roles_table(report), buffer.out, page, error) == ORGAN_OK) {
        organ_merge_rest(buffer.out, report, page);
        organ_merge_warning(buffer.out, report, page);
        organ_evaluation_terminal(buffer.out, report, page, error);
        put_end(buffer.out, report, page);
    }
    return organ_text_end(&buffer, text, error);
}

/* ---- the file ---- */

organ_table *organ_merge_modules_table(const json_t *report, size_t most)
{
    static const organ_field fields[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                         FIELD_TEXT("stored as", "stored", 0),
                                         FIELD_TEXT("written as", "dtype", 0),
                                         FIELD_COUNT("rank", "rank"),
                                         FIELD_GENERAL("scale", "scale", 6),
                                         FIELD_GENERAL("norm of the change", "delta_norm", 4),
                                         FIELD_SHARE("arrived", "arrived"),
                                         FIELD_SHARE("rounding error", "rounding_error")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "modules"), most);
}

organ_status organ_merge_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    static const organ_page page = {0, true};
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    fputs("# LoRA merge\n\n", buffer.out);
    put_what(buffer.out, report);
    fputs("The weight of a module becomes W + scale B A, computed in FP32 and rounded once to the type that is written. \"Arrived\" is the "
          "share of the change that is in the output after rounding.\n\n",
          buffer.out);
    if (organ_table_emit(organ_merge_roles_table(report), buffer.out, NULL, error) == ORGAN_OK) {
        fputc('\n', buffer.out);
        organ_table_emit(organ_merge_modules_table(report, SIZE_MAX), buffer.out, NULL, error);
    }
    if (error->status) {
        organ_text_discard(&buffer);
        return error->status;
    }
    fputc('\n', buffer.out);
    organ_merge_rest(buffer.out, report, &page);
    organ_merge_warning(buffer.out, report, &page);
    organ_evaluation_markdown(buffer.out, report, error);
    fputs("\n## Run\n", buffer.out);
    put_end(buffer.out, report, &page);
    return organ_text_end(&buffer, markdown, error);
}
