/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/sparsity_html.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/document.h"
#include "orchestrator/report/report_parts.h"

void organ_sparsity_merits(organ_html *html, const json_t *report)
{
    char target[32], full[32], coverage[32], killed[32], of_target[96], of_full[96], elements[32];
    snprintf(of_target, sizeof of_target, "of %s target weights killed",
             organ_count_text(organ_json_count(report, "totals.target.elements"), elements));
    snprintf(of_full, sizeof of_full, "of all %s weights of the model",
             organ_count_text(organ_json_count(report, "totals.full.elements"), elements));
    const organ_html_figure_of_merit figures[] = {
        {organ_percent_text(organ_json_real(report, "totals.target.percent"), target), of_target},
        {organ_percent_text(organ_json_real(report, "totals.full.percent"), full), of_full},
        {organ_count_text(organ_json_count(report, "totals.target.killed"), killed), "weights killed"},
        {organ_percent_text(organ_json_real(report, "coverage.percent"), coverage), "of the target weights seen, each once"},
    };
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

void organ_sparsity_sections(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Killed weights");
    organ_html_table(html, organ_totals_table(report), "Killed weights over both denominators");
    organ_html_section(html, "By projection");
    organ_html_table(html, organ_projections_table(report),
                     "Mean, min and max are over the projection's tensors, each percent of that "
                     "tensor's elements; the last percent is of all its elements.");
}
