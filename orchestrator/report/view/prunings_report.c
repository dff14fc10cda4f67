/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/prunings_report.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include <stdint.h>
#include <stdlib.h>

static const char told_by_logs[] =
    "Counts are those of the log beside each model; `organ audit` counts anew. Each experiment has a table of its own.";

static organ_table *prunings_table(const json_t *group)
{
    static const organ_field fields[] = {FIELD_TEXT("model", "name", ORGAN_FIELD_SHORTENS), FIELD_COUNT("killed", "target.killed"),
                                         FIELD_COUNT("of target", "target.elements"), FIELD_PERCENT("% target", "target.percent"),
                                         FIELD_COUNT("of full", "full.elements"), FIELD_PERCENT("% full", "full.percent")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(group, "models"), SIZE_MAX);
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
