/* SPDX-License-Identifier: MIT
 * The page of a measurement. */
#include "orchestrator/report/view/measure_html.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/measure_charts.h"
#include "orchestrator/report/view/measure_report.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_POINTS = 1200,  /* tensors with a point of their own */
    MOST_TENSORS = 1500, /* rows of the table of tensors */
    MOST_WELLS = 200,
    MOST_LAYERS = 600, /* with lines through them, and rows of their table */
    MOST_REASONS = 50
};

/* ---- one model ---- */

static void put_figures(organ_html *html, const json_t *model)
{
    char mean[32], weighted[32], stars[64], wells[32], tensors[64];
    const json_t *const ratings = json_object_get(model, "ratings");
    const unsigned long long starred = organ_json_count(ratings, "***") + organ_json_count(ratings, "**") + organ_json_count(ratings, "*");
    const unsigned long long there = organ_json_count(model, "with_theta");
    snprintf(mean, sizeof mean, there ? "%.2f°" : "–", organ_json_real(model, "theta_mean"));
    snprintf(weighted, sizeof weighted, there ? "%.2f°" : "–", organ_json_real(model, "theta_weighted"));
    snprintf(tensors, sizeof tensors, "mean theta of %llu tensor%s", there, there == 1 ? "" : "s");
    snprintf(stars, sizeof stars, "%llu of %llu", starred, there);
    snprintf(wells, sizeof wells, "%zu", json_array_size(json_object_get(model, "wells")));
    const organ_html_figure_of_merit figures[] = {{mean, tensors},
                                                  {weighted, "the same weighted by elements"},
                                                  {stars, "tensors with a star, theta of 30° and more"},
                                                  {wells, "gravitational wells"}};
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

static void put_layers(organ_html *html, const json_t *model, const organ_layer_map *map)
{
    static const char *const captions[] = {"The roles of the attention, from the first layer to the last.",
                                           "The roles of the feed-forward network.", "Norms, and what else a layer has."};
    const bool wells = json_array_size(json_object_get(model, "wells")) > 0;
    if (organ_layer_map_is_empty(map))
        return;
    organ_html_section(html, "Layers and roles");
    organ_html_chart(html, organ_measure_map_svg(map),
                     wells
                         ? "Every cell is the mean theta of the tensors of one role in one layer. An outline marks a gravitational well: a "
                           "tensor whose theta is lower than that of its neighbours in the layers before and after. What stands in no "
                           "layer is below, among the roles."
                         : "Every cell is the mean theta of the tensors of one role in one layer. What stands in no layer is below, among "
                           "the roles.");
    for (int part = 0; part < ORGAN_LINES_PARTS && map && map->layers > 1 && map->layers <= MOST_LAYERS; part++)
        if (organ_measure_has_lines(map, (organ_line_part)part))
            organ_html_chart(html, organ_measure_lines_svg(map, (organ_line_part)part), captions[part]);
    if (json_array_size(json_object_get(model, "layers")) > 0)
        organ_measure_html_first(html, model, "layers", MOST_LAYERS, organ_measure_layers_table, "layers",
                                 "Theta of every layer in degrees: the mean over its tensors, that weighted "
                                 "by elements, and the mean of its skeleton, organs and norms.");
}

static void put_indicators(organ_html *html, const json_t *model)
{
    if (organ_json_count(model, "with_theta") == 0)
        return;
    organ_html_section(html, "Entropy, kurtosis and coherence");
    organ_html_paragraph(html, "Theta is made of three indicators between 0 and 1, each with its sampling noise taken off: E says how much "
                               "less entropy the values have than noise of the same variance, K how heavy their tails are, C how far the "
                               "spacings of their quantiles are from those of noise. theta = asin √((E + K + C) / 3).");
    organ_html_chart(html, organ_measure_indicators_svg(model, "K", "K, from the kurtosis", MOST_POINTS),
                     "Noise stands at the lower left. Far up are tensors whose few large values stand out.");
    organ_html_chart(html, organ_measure_indicators_svg(model, "C", "C, from the spacings of the quantiles", MOST_POINTS),
                     "Far to the right and up are tensors whose values do not crowd around their mean as those of noise do.");
}

static void put_reasons(organ_html *html, const json_t *model)
{
    const json_t *const tensors = json_object_get(model, "per_tensor");
    size_t told = 0;
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        if (json_is_string(json_object_get(row, "reason")) && told++ < MOST_REASONS)
            organ_html_paragraph(html, "No theta: %s, %s.", organ_json_text(row, "name"), organ_json_text(row, "reason"));
    }
    if (told > MOST_REASONS)
        organ_html_paragraph(html, "And %zu more without theta; the report as JSON has all.", told - MOST_REASONS);
}

static void put_model(organ_html *html, const json_t *model)
{
    organ_layer_map *const map = organ_measure_map(model);
    put_layers(html, model, map);
    organ_layer_map_destroy(map);
    organ_html_section(html, "Roles");
    organ_html_chart(html, organ_measure_roles_svg(model),
                     "Mean theta of every role; the whisker goes from its least to its highest tensor.");
    organ_html_table(html, organ_measure_roles_table(model),
                     "Theta in degrees by role, then by part of the model. Levels are distinct "
                     "values of a tensor: few are the mark of quantisation, not of signal.");
    put_indicators(html, model);
    organ_html_section(html, "Gravitational wells");
    organ_measure_html_wells(html, model, MOST_WELLS);
    organ_html_section(html, "Tensors");
    organ_measure_html_ratings(html, model);
    organ_measure_html_first(
        html, model, "per_tensor", MOST_TENSORS, organ_measure_tensors_table, "tensors",
        "Theta in degrees with its stars, the three indicators, the change of information per doubling of scale, distinct values.");
    put_reasons(html, model);
}

static organ_html *open_one(const json_t *model)
{
    char lead[256];
    const double least = organ_json_number(model, "theta_min"), most = organ_json_number(model, "theta_max");
    const unsigned long long tensors = organ_json_count(model, "tensors");
    if (json_is_number(json_object_get(model, "theta_mean")))
        snprintf(lead, sizeof lead, "How far each of %llu tensor%s is from noise: %.2f° to %.2f°.", tensors, tensors == 1 ? "" : "s", least,
                 most);
    else
        snprintf(lead, sizeof lead, "How far the weights are from noise: none of %llu tensor%s has a theta.", tensors,
                 tensors == 1 ? "" : "s");
    return organ_html_create("Z-measure", organ_json_text(model, "model.name"), lead);
}

static organ_html *open_many(const json_t *models)
{
    char title[48], lead[256];
    unsigned long long tensors = 0;
    for (size_t k = 0; k < json_array_size(models); k++)
        tensors += organ_json_count(json_array_get(models, k), "tensors");
    snprintf(title, sizeof title, "%zu models", json_array_size(models));
    snprintf(lead, sizeof lead, "How far the weights of %zu models are from noise, measured over %llu tensors.", json_array_size(models),
             tensors);
    return organ_html_create("Z-measure", title, lead);
}

organ_status organ_measure_report_html(const json_t *report, char **text, organ_error *error)
{
    const json_t *const models = json_object_get(report, "models"), *const only = json_array_get(models, 0);
    const bool one = json_array_size(models) == 1;
    organ_html *const html = one ? open_one(only) : open_many(models);
    if (one) {
        put_figures(html, only);
        organ_html_model(html, "Measured", json_object_get(only, "model"));
    } else {
        organ_measure_html_figures(html, models);
    }
    organ_html_caution(html, "%s", ORGAN_MEASURE_CAUTION);
    if (one) {
        put_model(html, only);
    } else {
        organ_measure_html_fleet(html, report);
        organ_measure_html_models(html, models);
    }
    if (organ_json_at(only, "seed")) {
        organ_html_section(html, "The older measure beside it");
        organ_html_caution(html, "seed/1 is a reconstruction, and sees the grid that values are stored on: quantisation alone moves it.");
        organ_html_table(html, organ_measure_seed_ranking_table(report), "Models");
        if (one)
            organ_html_table(html, organ_measure_seed_table(only), "By role and group");
    }
    organ_html_section(html, "Definitions");
    organ_html_paragraph(html, "Definition %s.", organ_json_text(report, "definition"));
    organ_html_sentences(html, json_object_get(report, "definitions"));
    organ_html_ending(html, NULL, json_object_get(report, "run"));
    return organ_html_finish(html, text, error);
}
