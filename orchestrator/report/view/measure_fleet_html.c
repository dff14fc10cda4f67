/* SPDX-License-Identifier: MIT
 * Several measured models on one page. */
#include "orchestrator/report/view/measure_html.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/measure_charts.h"
#include "orchestrator/report/view/measure_report.h"

#include <stdlib.h>

enum {
    MOST_SECTIONS = 20, /* models with a section of their own */
    MOST_CELLS = 1600,  /* of all heat maps of single models together: a page stays below a megabyte */
    MOST_WELLS = 8      /* of a model */
};

/* ---- kin ---- */

static void kin_row(organ_table *table, const json_t *models, size_t model, const char *what, size_t of, size_t shared, size_t tensors)
{
    organ_table_cell(table, "%s", organ_json_text(json_array_get(models, model), "model.name"));
    organ_table_cell(table, "%s", what);
    organ_table_cell(table, "%s", organ_json_text(json_array_get(models, of), "model.name"));
    organ_table_count(table, shared);
    organ_table_count(table, tensors);
}

static organ_table *kin_table(const json_t *models, const organ_kin *kin, const size_t *order)
{
    static const organ_column columns[] = {{"model", ORGAN_LEFT, true, false},
                                           {"relation", ORGAN_LEFT, false, false},
                                           {"other model", ORGAN_LEFT, true, false},
                                           {"shared tensors", ORGAN_RIGHT, false, false},
                                           {"of", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(models); k++) {
        const size_t model = order[k];
        const organ_kin *const own = &kin[model];
        if (own->body != ORGAN_KIN_NONE) {
            kin_row(table, models, model, "a chimera in the body of", own->body, own->from_body, own->tensors);
            kin_row(table, models, model, "with the rest of", own->donor, own->from_donor, own->tensors);
        } else if (own->like != ORGAN_KIN_NONE) {
            kin_row(table, models, model, own->shared == own->tensors ? "of the same weights as" : "in part of the weights of", own->like,
                    own->shared, own->tensors);
        }
    }
    return table;
}

static void put_kin(organ_html *html, const json_t *models, const organ_kin *kin, const size_t *order)
{
    bool any = false;
    for (size_t k = 0; k < json_array_size(models); k++)
        any |= kin[k].like != ORGAN_KIN_NONE;
    if (!any)
        return;
    organ_html_section(html, "Chimeras and kin");
    organ_html_paragraph(html,
                         "Two tensors with the same number of elements, mean, standard deviation, least and greatest value, kurtosis "
                         "and share of zeros are taken for the same tensor. A model whose tensors are all found in two others, and in "
                         "neither of them alone, is a chimera; the one with more of them is its body. Tensors whose values are all the "
                         "same do not count, and types that a graft has converted are not recognised.");
    organ_html_table(html, kin_table(models, kin, order), "Which models share tensors, and how many.");
}

/* ---- all models ---- */

void organ_measure_html_figures(organ_html *html, const json_t *models)
{
    char count[32], tensors[32], range[64], wells[32];
    unsigned long long measured = 0, found = 0;
    double least = 0, most = 0;
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k), *const theta = json_object_get(model, "theta_mean");
        measured += organ_json_count(model, "with_theta");
        found += json_array_size(json_object_get(model, "wells"));
        if (json_is_number(theta) && (most == 0 || json_number_value(theta) < least))
            least = json_number_value(theta);
        if (json_is_number(theta) && json_number_value(theta) > most)
            most = json_number_value(theta);
    }
    snprintf(count, sizeof count, "%zu", json_array_size(models));
    snprintf(range, sizeof range, "%.2f° to %.2f°", least, most);
    snprintf(tensors, sizeof tensors, "%llu", measured);
    snprintf(wells, sizeof wells, "%llu", found);
    const organ_html_figure_of_merit figures[] = {
        {count, "models"}, {range, "mean theta"}, {tensors, "tensors with a theta"}, {wells, "gravitational wells"}};
    organ_html_figures_of_merit(html, figures, sizeof figures / sizeof *figures);
}

static void put_ranking(organ_html *html, const json_t *report, const organ_kin *kin, const size_t *order)
{
    const json_t *const models = json_object_get(report, "models");
    organ_html_section(html, "Ranking");
    organ_html_chart(html, organ_measure_ranking_svg(models, kin, order),
                     "The models by their mean theta; a chimera stands below the model that most of its tensors come from.");
    organ_html_table(html, organ_measure_ranking_table(report), "Theta in degrees; signal is its sine. Tensors: those with a theta.");
    organ_html_section(html, "Parts and layers");
    organ_html_chart(html, organ_measure_groups_svg(models, order),
                     "Mean theta of skeleton (attention), organs (feed-forward), embedding and norms.");
    organ_html_table(html, organ_measure_groups_table(report), "The same in numbers, degrees.");
    organ_html_chart(html, organ_measure_depths_svg(models, order), "Mean theta of every layer, from the first on the left.");
    organ_html_chart(html, organ_measure_bodies_svg(models, kin),
                     "How attention and feed-forward of each model stand to each other: what is grafted moves a model along one axis.");
    if (organ_measure_sizes_differ(models))
        organ_html_chart(html, organ_measure_sizes_svg(models, kin),
                         "Theta against the number of parameters. Whatever line the points suggest is one of these files, not a law.");
}

static void fail(organ_html *html) { organ_html_chart(html, NULL, NULL); }

void organ_measure_html_fleet(organ_html *html, const json_t *report)
{
    const json_t *const models = json_object_get(report, "models");
    const size_t count = json_array_size(models);
    organ_kin *const kin = calloc(count + 1, sizeof *kin);
    size_t *const order = calloc(count + 1, sizeof *order);
    if (count == 0) {
        organ_html_paragraph(html, "No model was measured.");
    } else if (!kin || !order || organ_measure_kin(models, kin, order, &(organ_error){0}) != ORGAN_OK) {
        fail(html);
    } else {
        put_ranking(html, report, kin, order);
        put_kin(html, models, kin, order);
    }
    free(kin);
    free(order);
}

/* ---- each model ---- */

static size_t cells_of(const json_t *models)
{
    size_t cells = 0;
    for (size_t k = 0; k < json_array_size(models); k++)
        cells += json_array_size(json_object_get(json_array_get(models, k), "layers")) *
                 json_array_size(json_object_get(json_array_get(models, k), "roles"));
    return cells;
}

static void put_model(organ_html *html, const json_t *model, bool cells)
{
    organ_html_section(html, organ_json_text(model, "model.name"));
    organ_html_model(html, "Measured", json_object_get(model, "model"));
    organ_measure_html_ratings(html, model);
    if (cells) {
        organ_layer_map *const map = organ_measure_map(model);
        if (!organ_layer_map_is_empty(map))
            organ_html_chart(html, organ_measure_map_svg(map), "Mean theta by layer and role; wells are outlined.");
        organ_layer_map_destroy(map);
    } else if (json_array_size(json_object_get(model, "layers")) > 1) {
        organ_html_chart(html, organ_measure_parts_svg(model), "Mean theta of skeleton, organs and norms through the layers.");
    }
    organ_html_table(html, organ_measure_roles_table(model), "Theta in degrees by role, then by part of the model.");
    if (json_array_size(json_object_get(model, "wells")) > 0)
        organ_measure_html_wells(html, model, MOST_WELLS);
}

void organ_measure_html_models(organ_html *html, const json_t *models)
{
    const bool cells = cells_of(models) <= MOST_CELLS;
    for (size_t k = 0; k < json_array_size(models) && k < MOST_SECTIONS; k++)
        put_model(html, json_array_get(models, k), cells);
    if (json_array_size(models) > MOST_SECTIONS)
        organ_html_paragraph(html, "Sections of their own have the first %d of %zu models; the report as JSON has all.", MOST_SECTIONS,
                             json_array_size(models));
}
