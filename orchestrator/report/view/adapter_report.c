/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/adapter_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include <stdint.h>
#include <string.h>

static void put_adapter(FILE *out, const json_t *report)
{
    organ_text_visible(out, organ_json_text(report, "adapter.name"));
    fprintf(out, " (LoRA, r %llu, alpha %.15g%s%s, ", organ_json_count(report, "adapter.r"), organ_json_real(report, "adapter.lora_alpha"),
            json_is_true(organ_json_at(report, "adapter.use_rslora")) ? ", rsLoRA" : "",
            json_is_true(organ_json_at(report, "adapter.use_dora")) ? ", DoRA" : "");
    organ_plural(out, organ_json_count(report, "adapter.pairs"), "module", "modules");
    fputc(')', out);
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    char duration[24];
    fputc('\n', out);
    organ_text_say(out, page, "  ", "Time: %s.", organ_duration_text(organ_json_real(report, "run.seconds"), duration));
    organ_output_line(out, report, "Adapter");
}

/* Modules of one role, put together. */
typedef struct sums {
    unsigned long long modules, before_from, before_to, rank_from, rank_to;
    double energy, lost, worst;
} sums;

static void widen_range(unsigned long long value, bool first, unsigned long long *from, unsigned long long *to)
{
    *from = first || value < *from ? value : *from;
    *to = value > *to ? value : *to;
}

static void add(sums *s, const json_t *row)
{
    const double norm = organ_json_real(row, "norm"), residual = organ_json_real(row, "residual");
    widen_range(organ_json_count(row, "rank_before"), s->modules == 0, &s->before_from, &s->before_to);
    widen_range(organ_json_count(row, "rank"), s->modules == 0, &s->rank_from, &s->rank_to);
    s->modules++;
    s->energy += norm * norm;
    s->lost += norm * norm * residual * residual;
    s->worst = residual > s->worst ? residual : s->worst;
}

static void sums_cells(organ_table *table, const char *name, const sums *s)
{
    char percent[32];
    organ_table_cell(table, "%s", name);
    organ_table_count(table, s->modules);
    organ_range_cell(table, s->before_from, s->before_to);
    organ_range_cell(table, s->rank_from, s->rank_to);
    organ_table_cell(table, "%s", organ_percent_text(s->energy > 0 ? 100 * (1 - s->lost / s->energy) : 100, percent));
    organ_table_cell(table, "%s", organ_percent_text(100 * (1 - s->worst * s->worst), percent));
}

organ_table *organ_adapter_roles_table(const json_t *report)
{
    static const organ_column columns[] = {{"role", ORGAN_LEFT, true, true},         {"modules", ORGAN_RIGHT, false, false},
                                           {"rank", ORGAN_RIGHT, false, false},      {"new rank", ORGAN_RIGHT, false, false},
                                           {"explained", ORGAN_RIGHT, false, false}, {"least", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
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
        sums_cells(table, role, &s);
    }
    organ_table_totals(table);
    sums_cells(table, "all modules", &all);
    return table;
}

organ_table *organ_adapter_modules_table(const json_t *report, size_t most)
{
    static const organ_field fields[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                         FIELD_TEXT("type", "dtype", 0),
                                         FIELD_COUNT("rank", "rank_before"),
                                         FIELD_COUNT("new rank", "rank"),
                                         FIELD_GENERAL("scale", "scale", 6),
                                         FIELD_GENERAL("norm", "norm", 6),
                                         FIELD_SHARE("explained", "explained"),
                                         FIELD_SHARE("residual", "residual")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "modules"), most);
}

/* ---- sanitize ---- */

organ_table *organ_adapter_dropped_table(const json_t *report)
{
    static const organ_column columns[] = {{"left out", ORGAN_LEFT, true, true},
                                           {"because", ORGAN_LEFT, false, false},
                                           {"norm", ORGAN_RIGHT, false, false},
                                           {"of", ORGAN_LEFT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const rows = organ_json_at(report, "dropped");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        const bool known = json_is_number(json_object_get(row, "norm"));
        const char *const name = organ_json_text(row, "tensor");
        organ_table_cell(table, "%s", strncmp(name, "base_model.model.", 17) == 0 ? name + 17 : name);
        organ_table_cell(table, "%s", organ_json_text(row, "why"));
        organ_table_cell(table, known ? "%.6g" : "-", organ_json_real(row, "norm"));
        organ_table_cell(table, "%s", organ_json_text(row, "norm_of"));
    }
    return table;
}

void organ_adapter_served(FILE *out, const json_t *report, const organ_page *page)
{
    const unsigned long long r = organ_json_count(report, "output.r"), limit = organ_json_count(report, "output.max_lora_rank");
    if (limit)
        organ_text_say(out, page, "  ", "Rank %llu: vLLM serves it with --max-lora-rank %llu.", r, limit);
    else
        organ_text_say(out, page, "  ", "Rank %llu is above 512, the most that vLLM serves: organ lora resize makes it smaller.", r);
}

static void put_findings(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const rows = organ_json_at(report, "findings");
    for (size_t k = 0; k < json_array_size(rows); k++)
        organ_text_say(out, page, "  REFUSED  ", "%s: %s", organ_json_text(json_array_get(rows, k), "where"),
                       organ_json_text(json_array_get(rows, k), "text"));
    if (json_array_size(rows) == 0)
        organ_text_say(out, page, "  ", "Nothing that a server would refuse.");
}

void organ_adapter_changes(FILE *out, const json_t *report, const organ_page *page)
{
    const unsigned long long folded = organ_json_count(report, "totals.folded"), padded = organ_json_count(report, "totals.padded");
    const unsigned long long cut = organ_json_count(report, "totals.cut"), r = organ_json_count(report, "output.r");
    const json_t *const removed = organ_json_at(report, "targets_removed");
    organ_text_say(out, page, "  ", "Kept: %llu of %llu modules, with r = lora_alpha = %llu.", organ_json_count(report, "totals.modules"),
                   organ_json_count(report, "adapter.pairs"), r);
    const double rounding = organ_json_real(report, "totals.worst_folding_error");
    if (folded && rounding > 0)
        organ_text_say(out, page, "  ", "Folded: the scale of %llu module%s into B; rounding changed B by at most %.2g of its norm.",
                       folded, folded == 1 ? "" : "s", rounding);
    else if (folded)
        organ_text_say(out, page, "  ", "Folded: the scale of %llu module%s into B.", folded, folded == 1 ? "" : "s");
    if (padded)
        organ_text_say(out, page, "  ", "Filled up: %llu module%s of lower rank, with zeros.", padded, padded == 1 ? "" : "s");
    if (cut)
        organ_text_say(out, page, "  ", "Cut: %llu module%s of higher rank, to the best approximation.", cut, cut == 1 ? "" : "s");
    for (size_t k = 0; k < json_array_size(removed); k++)
        organ_text_say(out, page, "  ", "target_modules: %s is gone, for no key of it is left.",
                       organ_json_text(json_array_get(removed, k), ""));
}

/* A table with an empty line behind it, also in Markdown. */
static organ_status put_table(organ_table *table, FILE *out, const organ_page *page, organ_error *error)
{
    if (organ_table_emit(table, out, page, error) == ORGAN_OK && !page)
        fputc('\n', out);
    return error->status;
}

static organ_status put_sanitized(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    if (json_array_size(organ_json_at(report, "dropped")) && put_table(organ_adapter_dropped_table(report), out, page, error) != ORGAN_OK)
        return error->status;
    if (organ_json_count(report, "totals.cut") && put_table(organ_adapter_roles_table(report), out, page, error) != ORGAN_OK)
        return error->status;
    organ_adapter_changes(out, report, page ? page : &(organ_page){0, true});
    organ_adapter_served(out, report, page ? page : &(organ_page){0, true});
    return ORGAN_OK;
}

organ_status organ_sanitize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    const bool check = json_is_true(organ_json_at(report, "check"));
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    fputs(check ? "Checked " : "Sanitised ", buffer.out);
    put_adapter(buffer.out, report);
    if (json_is_object(organ_json_at(report, "base"))) {
        fputs("\nagainst ", buffer.out);
        organ_model_line(buffer.out, organ_json_at(report, "base"));
    }
    fputs("\n\n", buffer.out);
    if (check) {
        put_findings(buffer.out, report, page);
        organ_adapter_served(buffer.out, report, page);
    } else if (put_sanitized(buffer.out, report, page, error) == ORGAN_OK)
        put_end(buffer.out, report, page);
    return organ_text_end(&buffer, text, error);
}

organ_status organ_sanitize_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    fputs("# A sanitised adapter\n\nMade of ", buffer.out);
    put_adapter(buffer.out, report);
    fputs(".\n\n", buffer.out);
    if (put_sanitized(buffer.out, report, NULL, error) == ORGAN_OK) {
        fputs("\n## Modules\n\n", buffer.out);
        organ_table_emit(organ_adapter_modules_table(report, SIZE_MAX), buffer.out, NULL, error);
    }
    return organ_text_end(&buffer, markdown, error);
}

/* ---- resize ---- */

static void put_resized(FILE *out, const json_t *report)
{
    fputs("Resized ", out);
    put_adapter(out, report);
    fprintf(out, "\nto rank %llu", organ_json_count(report, "asked_rank"));
    if (organ_json_real(report, "asked_energy") > 0)
        fprintf(out, " at most, keeping %.6g of the energy of every module", organ_json_real(report, "asked_energy"));
    fputs("\n\n", out);
}

void organ_adapter_notes(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *const rest = organ_json_at(report, "kept_as_they_are");
    const unsigned long long r = organ_json_count(report, "r"), before = organ_json_count(report, "totals.bytes_before");
    char was[16], is[16];
    if (r < organ_json_count(report, "asked_rank") && organ_json_count(report, "totals.cut") == 0)
        organ_text_say(out, page, "  ", "No module has a higher rank than %llu: a larger one would hold nothing more, and r stays %llu.", r,
                       r);
    if (json_array_size(rest))
        organ_text_say(out, page, "  ", "No factor, copied unchanged: %zu tensor%s, the first is %s.", json_array_size(rest),
                       json_array_size(rest) == 1 ? "" : "s", organ_json_text(json_array_get(rest, 0), ""));
    organ_text_say(out, page, "  ", "All modules have r = lora_alpha = %llu; %s became %s.", r, organ_quantity_text(before, was),
                   organ_quantity_text(organ_json_count(report, "totals.bytes"), is));
}

organ_status organ_resize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_resized(buffer.out, report);
    if (organ_table_emit(organ_adapter_roles_table(report), buffer.out, page, error) == ORGAN_OK) {
        organ_adapter_notes(buffer.out, report, page);
        put_end(buffer.out, report, page);
    }
    return organ_text_end(&buffer, text, error);
}

organ_status organ_resize_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    static const organ_page page = {0, true};
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    fputs("# An adapter of another rank\n\n", buffer.out);
    put_resized(buffer.out, report);
    if (put_table(organ_adapter_roles_table(report), buffer.out, NULL, error) == ORGAN_OK &&
        put_table(organ_adapter_modules_table(report, SIZE_MAX), buffer.out, NULL, error) == ORGAN_OK) {
        organ_adapter_notes(buffer.out, report, &page);
    }
    return organ_text_end(&buffer, markdown, error);
}
