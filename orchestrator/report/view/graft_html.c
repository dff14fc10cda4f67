/* SPDX-License-Identifier: MIT
 * The page of organ.graft/1, which tells of chimeras too. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/view/organs_report.h"

#include "formats/tensor/tensor.h"
#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/anatomy_html.h"
#include "orchestrator/report/view/evaluation_report.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_TENSORS = 1500 };

static bool is_dry(const json_t *report) { return json_is_true(json_object_get(report, "dry_run")); }

static void put_figures(organ_html *html, const json_t *report)
{
    char percent[32], tensors[64];
    organ_percent_text(organ_json_real(report, "totals.percent_of_elements"), percent);
    snprintf(tensors, sizeof tensors, "%llu of %llu", organ_json_count(report, "totals.grafted.tensors"),
             organ_json_count(report, "totals.output.tensors"));
    const bool anew = json_is_true(json_object_get(report, "header_anew"));
    const organ_html_figure_of_merit figures[] = {
        {percent, "of the output's elements are the source's"},
        {tensors, is_dry(report) ? "tensors would be grafted" : "tensors are grafted"},
        {anew ? "new" : "kept", anew ? "the header is made anew" : "the header is the target's, byte for byte"}};
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

/* Two bars for each part of the body: what the source gave, and what stayed of the target. */
static char *parts_svg(const json_t *groups)
{
    organ_ranking_bar bars[ORGAN_GROUP_OTHER + 1];
    char *svg = NULL, unit[16], label[32];
    size_t count = 0;
    double most = 0, factor;
    for (size_t k = 0; k < json_array_size(groups); k++)
        most = fmax(most, organ_json_number(json_array_get(groups, k), "output.bytes"));
    snprintf(unit, sizeof unit, " %s", organ_quantity_unit(most, &factor));
    snprintf(label, sizeof label, "size,%s", unit);
    for (size_t k = 0; k < json_array_size(groups) && count <= ORGAN_GROUP_OTHER; k++) {
        const json_t *const row = json_array_get(groups, k);
        const double grafted = organ_json_number(row, "grafted.bytes"), all = organ_json_number(row, "output.bytes");
        bars[count++] =
            (organ_ranking_bar){.name = organ_json_text(row, "group"),
                                .value = {all > grafted ? factor * (all - grafted) : NAN, grafted > 0 ? factor * grafted : NAN}};
    }
    const organ_ranking ranking = {.title = "Anatomy",
                                   .description = "Two bars for each part of the output: the bytes that stayed of the target, and those "
                                                  "that the source gave. The table has the numbers.",
                                   .value_label = label,
                                   .series = {"of the target", "of the source"},
                                   .digits = 3,
                                   .unit = unit,
                                   .bars = bars,
                                   .count = count};
    organ_ranking_svg(&ranking, &svg, &(organ_error){0});
    return svg;
}

static void put_map(organ_html *html, const json_t *report)
{
    organ_layer_map *const map = organ_layer_map_create();
    organ_layer_map_add_matrix(map, json_object_get(report, "by_layer"), "grafted", "elements", 100, true);
    organ_layer_map_settle(map);
    if (!organ_layer_map_is_empty(map))
        organ_html_chart(html,
                         organ_layer_map_svg(map, &(organ_heat_map){.title = "What the source gave, by layer and role",
                                                                    .description = "Percent of the elements of each role in each layer "
                                                                                   "that are the source's; the rest is the target's.",
                                                                    .value_label = "of the source, percent",
                                                                    .low = 0,
                                                                    .high = 100,
                                                                    .plain = map && map->layers * map->roles > 1500}),
                         "0 is the target's, 100 the source's. The column \"none\" has what stands in no layer.");
    organ_layer_map_destroy(map);
}

static void put_tensors(organ_html *html, const json_t *report)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, true, true},
                                           {"from", ORGAN_LEFT, true, true},
                                           {"written as", ORGAN_LEFT, false, false},
                                           {"was", ORGAN_LEFT, false, false},
                                           {"XXH3", ORGAN_LEFT, false, true}};
    const json_t *const tensors = json_object_get(report, "tensors");
    organ_table *const table = organ_table_create(columns, is_dry(report) ? 4 : 5);
    for (size_t k = 0; k < json_array_size(tensors) && k < MOST_TENSORS; k++) {
        const json_t *const row = json_array_get(tensors, k);
        organ_table_cell(table, "%s", organ_json_text(row, "name"));
        organ_table_cell(table, "%s", organ_json_text(row, "from"));
        organ_table_cell(table, "%s", organ_json_text(row, "dtype"));
        organ_table_cell(table, "%s", organ_json_text(row, "source_dtype"));
        if (!is_dry(report))
            organ_table_cell(table, "%s", organ_json_text(row, "xxh3"));
    }
    organ_html_section(html, "Grafted tensors");
    organ_html_table(html, table,
                     is_dry(report) ? "Tensors whose bytes would be the source's."
                                    : "Tensors whose bytes are the source's, with the digest of what was written.");
    organ_html_left_out(html, json_array_size(tensors), MOST_TENSORS, "grafted tensors");
    if (!is_dry(report))
        organ_html_paragraph(html, "Where a type is written as it was, the digest is that of the source's bytes. All other tensors have "
                                   "the target's bytes.");
}

static void put_fit(organ_html *html, const json_t *report)
{
    put_figures(html, report);
    organ_html_model(html, "Source", json_object_get(report, "source"));
    organ_html_model(html, "Target", json_object_get(report, "target"));
    organ_html_section(html, "What went where");
    organ_html_chart(html, parts_svg(json_object_get(report, "groups")), "What the output consists of, and where it comes from.");
    organ_html_table(html, organ_graft_groups_table(report), "What was grafted of each part of the output.");
    put_map(html, report);
    if (json_array_size(json_object_get(report, "metadata")) + json_array_size(json_object_get(report, "notes")) > 0)
        organ_html_section(html, "Notes");
    organ_html_sentences(html, json_object_get(report, "metadata"));
    organ_html_sentences(html, json_object_get(report, "notes"));
    put_tensors(html, report);
}

static void put_mismatches(organ_html *html, const json_t *mismatches)
{
    static const organ_column columns[] = {{"number", ORGAN_RIGHT, false, false}, {"mismatch", ORGAN_LEFT, true, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(mismatches) && k < MOST_TENSORS; k++) {
        organ_table_count(table, k + 1);
        organ_table_cell(table, "%s", organ_json_text(json_array_get(mismatches, k), ""));
    }
    organ_html_section(html, "What does not fit");
    organ_html_table(html, table, "Everything that keeps the source from being grafted, the models first, then their tensors.");
    organ_html_left_out(html, json_array_size(mismatches), MOST_TENSORS, "mismatches");
}

organ_status organ_graft_report_html(const json_t *report, char **text, organ_error *error)
{
    const json_t *const mismatches = json_object_get(report, "mismatches");
    const bool fits = json_array_size(mismatches) == 0;
    char *title = NULL;
    if (asprintf(&title, "%s into %s", organ_json_text(report, "source.name"), organ_json_text(report, "target.name")) < 0)
        title = NULL;
    organ_html *const html = organ_html_create("Graft", title ? title : "",
                                               !fits            ? "The models do not fit: nothing was written."
                                               : is_dry(report) ? "A dry run: what would be grafted; nothing was written."
                                                                : "A copy of the target in which the chosen tensors are the source's.");
    if (!title)
        organ_html_chart(html, NULL, NULL); /* no memory: the page fails */
    if (fits)
        put_fit(html, report);
    if (!fits) {
        organ_html_model(html, "Source", json_object_get(report, "source"));
        organ_html_model(html, "Target", json_object_get(report, "target"));
        put_mismatches(html, mismatches);
    }
    organ_evaluation_html(html, report);
    organ_html_ending(html, json_object_get(organ_json_at(report, "evaluation"), "definitions"), json_object_get(report, "run"));
    free(title);
    return organ_html_finish(html, text, error);
}
