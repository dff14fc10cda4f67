/* SPDX-License-Identifier: MIT
 * PURIFY_REPORT.html: organ.purify/1 as a page. */
#include "orchestrator/report/view/purify_report.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"
#include "orchestrator/report/view/layer_map.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_TENSORS = 1500 };

static bool is_dry(const json_t *report) { return json_is_true(json_object_get(report, "dry_run")); }

static void put_figures(organ_html *html, const json_t *report)
{
    char percent[32], tensors[32], before[32], after[32], meaning[96];
    const json_t *const totals = json_object_get(report, "totals");
    const bool theta = json_is_number(json_object_get(totals, "theta_before"));
    snprintf(tensors, sizeof tensors, "%llu", organ_json_count(totals, "tensors"));
    if (is_dry(report)) {
        organ_html_figures_of_merit(html, &(organ_html_figure_of_merit){tensors, "tensors would be purified; nothing was written"}, 1);
        return;
    }
    organ_percent_text(organ_json_real(totals, "energy_removed_percent"), percent);
    snprintf(before, sizeof before, theta ? "%.2f°" : "–", organ_json_real(totals, "theta_before"));
    snprintf(after, sizeof after, theta ? "%.2f°" : "–", organ_json_real(totals, "theta_after"));
    snprintf(meaning, sizeof meaning, "mean theta after, which was %s; no evidence of a better model", before);
    const organ_html_figure_of_merit figures[] = {
        {percent, "of their energy was removed"}, {tensors, "tensors were purified"}, {after, meaning}};
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

static void put_cautions(organ_html *html, const json_t *report)
{
    const json_t *const commands = organ_json_at(report, "warning.commands");
    if (json_is_object(json_object_get(report, "warning")))
        organ_html_caution(html, "%s", organ_json_text(report, "warning.text"));
    for (size_t k = 0; k < json_array_size(commands); k++)
        organ_html_command(html, organ_json_text(json_array_get(commands, k), ""));
    if (!is_dry(report))
        organ_html_caution(html, "A higher theta is no evidence of a better model.");
}

/* ---- figures ---- */

static organ_layer_map *map_of(const json_t *report)
{
    organ_layer_map *const map = organ_layer_map_create();
    const json_t *const tensors = json_object_get(report, "tensors");
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k), *const layer = json_object_get(row, "layer");
        const double energy = organ_json_number(row, "energy_before");
        organ_layer_map_add(map, json_is_integer(layer) ? json_integer_value(layer) : -1, organ_json_text(row, "role"),
                            organ_json_number(row, "energy_removed_percent"), energy > 0 ? energy : 1);
    }
    organ_layer_map_settle(map);
    return map;
}

static void put_map(organ_html *html, const json_t *report)
{
    organ_layer_map *const map = map_of(report);
    double most = 1;
    for (size_t k = 0; map && k < map->layers * map->roles; k++)
        most = map->value[k] > most ? map->value[k] : most;
    if (!organ_layer_map_is_empty(map))
        organ_html_chart(html,
                         organ_layer_map_svg(map, &(organ_heat_map){.title = "Energy removed by layer and role",
                                                                    .description = "Percent of the energy of the tensors of each role in "
                                                                                   "each layer that was taken away. The table of tensors "
                                                                                   "has the numbers.",
                                                                    .value_label = "energy removed, percent",
                                                                    .high = fmin(100, 5 * ceil(most / 5)),
                                                                    .plain = map && map->layers * map->roles > 1500}),
                         "What the filter called noise and took away, as a share of the energy that was there.");
    organ_layer_map_destroy(map);
}

static char *thetas_svg(const json_t *roles)
{
    const size_t count = json_array_size(roles);
    organ_ranking_bar *const bars = calloc(count + 1, sizeof *bars);
    for (size_t k = 0; bars && k < count; k++) {
        const json_t *const row = json_array_get(roles, k);
        bars[k] = (organ_ranking_bar){.name = organ_json_text(row, "role"),
                                      .value = {organ_json_number(row, "theta_before"), organ_json_number(row, "theta_after")}};
    }
    return organ_ranking_of((organ_ranking){.title = "Theta before and after",
                                            .subtitle = "mean over the tensors of a role",
                                            .description = "Two bars for each role: its mean theta before and after, in degrees.",
                                            .value_label = "theta, degrees",
                                            .series = {"before", "after"},
                                            .digits = 3,
                                            .unit = "°"},
                            bars, count);
}

/* ---- tables ---- */

static void put_tensors(organ_html *html, const json_t *report)
{
    json_t *const part = organ_json_first(report, "tensors", MOST_TENSORS);
    organ_html_section(html, "Tensors");
    organ_html_table(html, part ? organ_purify_tensors_table(part) : NULL,
                     "The energy of every tensor before and after, what was removed of it, and theta in degrees.");
    organ_html_left_out(html, json_array_size(json_object_get(report, "tensors")), MOST_TENSORS, "tensors");
    json_decref(part);
}

static void put_left_alone(organ_html *html, const json_t *report)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, true, true}, {"type", ORGAN_LEFT, false, false}};
    const json_t *const left = json_object_get(report, "left_alone");
    if (json_array_size(left) == 0)
        return;
    organ_html_section(html, "Left alone");
    organ_html_table(html, organ_pairs_table(columns, left, "tensor", "dtype", MOST_TENSORS),
                     "Projections in types that cannot be written.");
    organ_html_left_out(html, json_array_size(left), MOST_TENSORS, "tensors that were left alone");
}

static void put_how(FILE *out, const json_t *report, const organ_page *page)
{
    (void)page;
    fprintf(out, "Definition %s: ", organ_json_text(report, "definition"));
    organ_purify_parameters(out, report);
    fputs(".\n", out);
}

organ_status organ_purify_report_html(const json_t *report, char **text, organ_error *error)
{
    const bool dry = is_dry(report);
    organ_html *const html = organ_html_create("Purification", organ_json_text(report, "model.name"),
                                               dry ? "A dry run: what would be purified." : "What was taken out of each tensor as noise.");
    put_figures(html, report);
    organ_html_model(html, "Model", json_object_get(report, "model"));
    organ_html_words(html, put_how, report);
    put_cautions(html, report);
    organ_evaluation_html(html, report);
    organ_html_section(html, "Layers and roles");
    if (!dry) {
        put_map(html, report);
        organ_html_chart(html, thetas_svg(json_object_get(report, "roles")),
                         "Theta says how far values are from noise, not how good a model is: a filter that destroys a model can raise it.");
    }
    organ_html_table(html, organ_purify_roles_table(report),
                     dry ? "What would be purified." : "Energy removed as a share of what was there, and the mean theta in degrees.");
    if (!dry)
        put_tensors(html, report);
    put_left_alone(html, report);
    organ_html_ending(html, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(html, text, error);
}
