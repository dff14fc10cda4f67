/* SPDX-License-Identifier: MIT
 * organ.topology/1 as a page. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/topology_report.h"

organ_status organ_topology_report_html(const json_t *report, char **html, organ_error *error)
{
    char threads[32], cores[32], nodes[32];
    const organ_html_figure_of_merit figures[] = {
        {organ_count_text(organ_json_count(report, "threads"), threads), "workers"},
        {organ_count_text(organ_json_count(report, "machine.cores"), cores), "cores that may be used"},
        {organ_count_text(organ_json_count(report, "machine.nodes"), nodes), "memory nodes in use"}};
    organ_html *const page = organ_html_create("Plan of the machine", organ_json_text(report, "machine.name"), NULL);
    organ_html_figures_of_merit(page, figures, sizeof figures / sizeof *figures);
    organ_html_section(page, "Memory nodes");
    organ_html_table(page, organ_topology_nodes_table(report), "Buffers of bands lie with the workers in turn");
    organ_html_section(page, "Workers");
    organ_html_table(page, organ_topology_workers_table(report), "Each worker's own buffers lie on the node nearest to its core");
    organ_html_section(page, "Left out");
    if (json_array_size(organ_json_at(report, "left_out")))
        organ_html_table(page, organ_topology_left_out_table(report), NULL);
    else
        organ_html_paragraph(page, "Nothing of the machine is left out.");
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}
