/* SPDX-License-Identifier: MIT
 * LORA_MERGE_REPORT.html: organ.lora_merge/1 as a page. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/adapter_report.h"
#include "orchestrator/report/view/evaluation_report.h"
#include "orchestrator/report/view/share_html.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_MODULES = 2000, MOST_UNPLACED = 500 };

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }
static size_t unplaced(const json_t *report) { return json_array_size(organ_json_at(report, "unplaced")); }

static void put_merits(organ_html *html, const json_t *report)
{
    char arrived[32], rounding[32], modules[32], elements[32], erased[32];
    organ_html_figure_of_merit figures[5];
    size_t count = 0;
    if (!is_dry(report) && !unplaced(report)) {
        organ_percent_text(organ_json_percent(report, "totals.arrived"), arrived);
        organ_percent_text(organ_json_percent(report, "totals.rounding_error"), rounding);
        organ_count_text(organ_json_count(report, "totals.erased"), erased);
        figures[count++] = (organ_html_figure_of_merit){arrived, "of the change arrived"};
        figures[count++] = (organ_html_figure_of_merit){rounding, "of its norm is rounding error"};
        figures[count++] = (organ_html_figure_of_merit){erased, "modules lost more than half"};
    }
    organ_count_text(organ_json_count(report, "totals.modules"), modules);
    organ_count_text(organ_json_count(report, "totals.elements"), elements);
    figures[count++] = (organ_html_figure_of_merit){modules, is_dry(report) ? "modules to merge" : "modules merged"};
    figures[count++] = (organ_html_figure_of_merit){elements, "weights in them"};
    organ_html_figures_of_merit(html, figures, count);
}

static void put_unplaced(organ_html *html, const json_t *report)
{
    static const organ_column columns[] = {{"tensor of the adapter", ORGAN_LEFT, true, true}, {"why", ORGAN_LEFT, false, false}};
    const json_t *const rows = organ_json_at(report, "unplaced");
    organ_html_section(html, "What found no place");
    organ_html_table(html, organ_pairs_table(columns, rows, "tensor", "reason", MOST_UNPLACED),
                     "Keys of the adapter that the base has no place for: nothing was written");
    organ_html_left_out(html, json_array_size(rows), MOST_UNPLACED, "keys");
}

static void put_arrived(organ_html *html, const json_t *report)
{
    const organ_share_view view = {
        .modules = organ_json_at(report, "modules"), .share = "arrived", .norm = "delta_norm", .word = "arrived"};
    organ_html_section(html, "How much arrived");
    organ_html_words(html, organ_merge_warning, report);
    organ_html_shares(html, &view, "Share of the change that arrived",
                      "The weight of a module becomes W + scale B A, computed in FP32 and rounded once to the type that is written. Below "
                      "one half, rounding took more than it left: --dtype f32 keeps it.");
}

static void put_title(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fprintf(out, "%s into %s", organ_json_text(report, "adapter.name"), organ_json_text(report, "base.name"));
}

organ_status organ_merge_report_html(const json_t *report, char **html, organ_error *error)
{
    *html = NULL;
    char *const title = organ_report_words(put_title, report, error);
    if (!title)
        return error->status;
    organ_html *const page = organ_html_create(is_dry(report) ? "LoRA merge, dry run" : "LoRA merge", title,
                                               unplaced(report) ? "Does not fit, nothing was written."
                                               : is_dry(report) ? "Dry run, nothing was written: every key finds its place."
                                                                : "What the adapter changes is in the weights now, rounded to their type.");
    free(title);
    put_merits(page, report);
    if (unplaced(report))
        put_unplaced(page, report);
    else if (!is_dry(report))
        put_arrived(page, report);
    organ_evaluation_html(page, report);
    organ_html_section(page, "What was merged");
    organ_html_model(page, "Base", organ_json_at(report, "base"));
    if (organ_json_real(report, "scale") != 1)
        organ_html_paragraph(page, "The change was scaled by %.15g.", organ_json_real(report, "scale"));
    organ_html_words(page, organ_merge_rest, report);
    if (!unplaced(report)) {
        organ_html_table(page, organ_merge_roles_table(report), "Modules by role");
        organ_html_section(page, "Modules");
        organ_html_table(page, organ_merge_modules_table(report, MOST_MODULES), "Every module");
        organ_html_left_out(page, json_array_size(organ_json_at(report, "modules")), MOST_MODULES, "modules");
    }
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}
