/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/prunings_report.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

#include <stdlib.h>

static const char told_by_logs[] =
    "Counts are those of the log beside each model; `organ audit` counts anew. Each experiment has a table of its own.";

static void share_cells(organ_table *table, const json_t *counts)
{
    char percent[32];
    organ_table_count(table, organ_json_count(counts, "elements"));
    organ_table_cell(table, "%s", organ_percent_text(organ_json_real(counts, "percent"), percent));
}

static organ_table *prunings_table(const json_t *group)
{
    static const organ_column columns[] = {{"model", ORGAN_LEFT, true, true},        {"killed", ORGAN_RIGHT, false, false},
                                           {"of target", ORGAN_RIGHT, false, false}, {"% target", ORGAN_RIGHT, false, false},
                                           {"of full", ORGAN_RIGHT, false, false},   {"% full", ORGAN_RIGHT, false, false}};
    const json_t *const models = organ_json_at(group, "models");
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k);
        organ_table_cell(table, "%s", organ_json_text(model, "name"));
        organ_table_count(table, organ_json_count(model, "target.killed"));
        share_cells(table, organ_json_at(model, "target"));
        share_cells(table, organ_json_at(model, "full"));
    }
    return table;
}

organ_status organ_prunings_put(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    const json_t *const groups = organ_json_at(report, "prunings");
    const size_t count = json_array_size(groups);
    if (count == 0)
        return ORGAN_OK;
    if (!page) {
        fputs("\n## Pruned models\n", out);
        organ_errata_put(out, report, NULL);
        fprintf(out, "\n%s\n", told_by_logs);
    }
    for (size_t k = 0; k < count && !error->status; k++) {
        const json_t *const group = json_array_get(groups, k);
        if (page)
            organ_text_say(out, page, "  ", "Pruned, experiment %zu: %s.", k + 1, organ_json_text(group, "words"));
        else {
            fprintf(out, "\nExperiment %zu: ", k + 1);
            organ_markdown_text(out, organ_json_text(group, "words"), false);
            fputs(".\n", out);
        }
        fputc('\n', out);
        organ_table_emit(prunings_table(group), out, page, error);
    }
    if (page && !error->status) {
        organ_text_say(out, page, "  ", "%s", told_by_logs);
        organ_errata_put(out, report, page);
    }
    return error->status;
}

void organ_prunings_html(organ_html *html, const json_t *report)
{
    const json_t *const groups = organ_json_at(report, "prunings");
    const size_t count = json_array_size(groups);
    if (count == 0)
        return;
    organ_html_section(html, "Pruned models");
    organ_html_cautions(html, "Read this first", organ_json_at(report, "errata"));
    organ_html_paragraph(html, "%s", told_by_logs);
    for (size_t k = 0; k < count; k++) {
        const json_t *const group = json_array_get(groups, k);
        char *caption = NULL;
        if (asprintf(&caption, "Experiment %zu: %s", k + 1, organ_json_text(group, "words")) < 0)
            caption = NULL;
        organ_html_table(html, prunings_table(group), caption);
        free(caption);
    }
}
