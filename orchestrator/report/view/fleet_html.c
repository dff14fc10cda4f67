/* SPDX-License-Identifier: MIT
 * The page of organ.fleet/1. */
#include "orchestrator/report/view/fleet_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/heat_map.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/measure_html.h"
#include "orchestrator/report/view/measure_report.h"
#include "orchestrator/report/view/prunings_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool is_whole(const json_t *model) { return strcmp(organ_json_text(model, "status"), "ok") == 0; }

static void put_figures(organ_html *html, const json_t *report)
{
    char models[32], size[16], tensors[32], failed[32];
    organ_count_text(organ_json_count(report, "totals.models"), models);
    organ_quantity_text(organ_json_count(report, "totals.bytes"), size);
    organ_count_text(organ_json_count(report, "totals.tensors"), tensors);
    organ_count_text(organ_json_count(report, "totals.failed"), failed);
    const organ_html_figure_of_merit figures[] = {{models, "models"}, {size, "of files"}, {tensors, "tensors"}, {failed, "models failed"}};
    organ_html_figures_of_merit(html, figures, COUNT(figures));
}

static void put_faults(organ_html *html, const json_t *models)
{
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k);
        if (!is_whole(model))
            organ_html_caution(html, "Failed: %s: %s", organ_json_text(model, "name"), organ_json_text(model, "error"));
    }
}

/* ---- what was dissected ---- */

static const char *const groups[] = {"skeleton", "organ", "embed", "norm", "other"};

static double bytes_of(const json_t *model, size_t group)
{
    return (double)organ_json_count(json_object_get(json_object_get(model, "organs"), groups[group]), "bytes");
}

/* A column for each part that any of the models has. */
static size_t columns_of(const json_t *models, size_t columns[COUNT(groups)])
{
    size_t count = 0;
    for (size_t g = 0; g < COUNT(groups); g++) {
        bool any = false;
        for (size_t k = 0; k < json_array_size(models) && !any; k++)
            any = bytes_of(json_array_get(models, k), g) > 0;
        if (any)
            columns[count++] = g;
    }
    return count;
}

/* A row for each model with bytes; how many. */
static size_t fill_shares(const json_t *models, const size_t *columns, size_t width, double *values, const char **names)
{
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(models) && width > 0; k++) {
        const json_t *const model = json_array_get(models, k);
        double sum = 0;
        for (size_t g = 0; g < COUNT(groups); g++)
            sum += bytes_of(model, g);
        if (sum <= 0)
            continue;
        for (size_t c = 0; c < width; c++)
            values[count * width + c] = 100 * bytes_of(model, columns[c]) / sum;
        names[count++] = organ_json_text(model, "name");
    }
    return count;
}

static char *anatomies_svg(const json_t *models)
{
    size_t columns[COUNT(groups)], count;
    const size_t width = columns_of(models, columns);
    double *const values = calloc(json_array_size(models) * width + 1, sizeof *values);
    const char **const names = calloc(json_array_size(models) + 1, sizeof *names), *used[COUNT(groups)];
    char *svg = NULL;
    for (size_t c = 0; c < width; c++)
        used[c] = groups[columns[c]];
    if (values && names && (count = fill_shares(models, columns, width, values, names)) > 0)
        organ_heat_map_svg(&(organ_heat_map){.title = "Anatomy of the models",
                                             .description = "How much of the bytes of each model is skeleton, organs, embedding and norms, "
                                                            "in percent.",
                                             .row_label = "model",
                                             .column_label = "part",
                                             .value_label = "of the bytes, percent",
                                             .rows = count,
                                             .columns = width,
                                             .row_names = names,
                                             .column_names = used,
                                             .values = values,
                                             .high = 100,
                                             .plain = count > 300},
                           &svg, &(organ_error){0});
    free(values);
    free(names);
    return svg;
}

static double value_of(const json_t *model, bool theta)
{
    return !is_whole(model) ? NAN : theta ? organ_json_number(model, "theta_mean") : organ_json_number(model, "model.bytes");
}

/* Sizes, or the mean theta where `theta`. */
static char *bars_svg(const json_t *models, bool theta)
{
    const size_t all = json_array_size(models);
    organ_ranking_bar *const bars = calloc(all + 1, sizeof *bars);
    char unit[16], label[32];
    size_t count = 0;
    double most = 0, factor = 1;
    for (size_t k = 0; k < all; k++)
        most = fmax(most, value_of(json_array_get(models, k), theta));
    snprintf(unit, sizeof unit, "%s%s", theta ? "" : " ", theta ? "°" : organ_quantity_unit(most, &factor));
    snprintf(label, sizeof label, "%s%s", theta ? "theta, degrees" : "size,", theta ? "" : unit);
    for (size_t k = 0; bars && k < all; k++) {
        const json_t *const model = json_array_get(models, k);
        const double value = factor * value_of(model, theta);
        if (isfinite(value))
            bars[count++] = (organ_ranking_bar){.name = organ_json_text(model, "name"), .value = {value, NAN}};
    }
    return organ_ranking_of((organ_ranking){.title = theta ? "Mean theta" : "Size",
                                            .description = theta ? "A bar for each model: the mean theta of its tensors, in degrees."
                                                                 : "A bar for each model: the size of its files.",
                                            .value_label = label,
                                            .series = {theta ? "mean theta" : "size", NULL},
                                            .digits = theta ? 4 : 3,
                                            .unit = unit},
                            bars, count);
}

/* Whether any model has a value that bars_svg shows. */
static bool any_bar(const json_t *models, bool theta)
{
    bool any = false;
    for (size_t k = 0; k < json_array_size(models); k++)
        any |= isfinite(value_of(json_array_get(models, k), theta));
    return any;
}

/* What the models are; how long they took stands at the end, with the run. */
static organ_table *models_table(const json_t *models)
{
    static const organ_column columns[] = {{"model", ORGAN_LEFT, true, true},
                                           {"architecture", ORGAN_LEFT, false, false},
                                           {"size", ORGAN_RIGHT, false, false},
                                           {"tensors", ORGAN_RIGHT, false, false},
                                           {"mean theta", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k), *const theta = json_object_get(model, "theta_mean");
        char size[16];
        organ_table_cell(table, "%s", organ_json_text(model, "name"));
        organ_table_cell(table, "%s", is_whole(model) ? organ_json_text(model, "model.architecture") : "failed");
        organ_table_cell(table, "%s", is_whole(model) ? organ_quantity_text(organ_json_count(model, "model.bytes"), size) : "-");
        if (is_whole(model))
            organ_table_count(table, organ_json_count(model, "model.tensors"));
        else
            organ_table_cell(table, "-");
        organ_table_cell(table, json_is_number(theta) ? "%.2f°" : "-", json_number_value(theta));
    }
    return table;
}

static organ_table *times_table(const json_t *models)
{
    static const organ_column columns[] = {
        {"model", ORGAN_LEFT, true, true}, {"taken apart in", ORGAN_RIGHT, false, false}, {"measured in", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k);
        char time[24];
        if (!is_whole(model))
            continue;
        organ_table_cell(table, "%s", organ_json_text(model, "name"));
        organ_table_cell(table, "%s",
                         *organ_json_text(model, "folder") ? organ_duration_text(organ_json_real(model, "seconds"), time) : "-");
        organ_table_cell(table, "%s", organ_duration_text(organ_json_real(model, "measure_seconds"), time));
    }
    return table;
}

static void put_others(organ_html *html, const json_t *report)
{
    if (json_array_size(json_object_get(report, "others")) == 0)
        return;
    organ_html_section(html, "No models");
    organ_html_table(html, organ_fleet_others_table(report), "What lies among the models and is none. It is neither measured nor ranked.");
}

static void put_dissection(organ_html *html, const json_t *report, bool theta)
{
    const json_t *const models = json_object_get(report, "models");
    size_t columns[COUNT(groups)];
    organ_html_section(html, "Dissection");
    organ_html_table(html, models_table(models), "Every model that was found, with the mean theta of its tensors.");
    if (any_bar(models, false))
        organ_html_chart(html, bars_svg(models, false), "The size of the files of each model.");
    if (columns_of(models, columns) > 0)
        organ_html_chart(html, anatomies_svg(models),
                         "What each model consists of: skeleton is attention, organs are feed-forward networks.");
    if (theta && any_bar(models, true))
        organ_html_chart(html, bars_svg(models, true), "The mean theta of each model. The measure report beside this has everything.");
}

organ_status organ_fleet_report_html(const json_t *report, char **text, organ_error *error)
{
    const json_t *const models = json_object_get(report, "models"), *const measure = json_object_get(report, "measure");
    char title[64];
    snprintf(title, sizeof title, "%llu models", organ_json_count(report, "totals.models"));
    organ_html *const html = organ_html_create("Fleet", title, "Every model that was found, taken apart and measured.");
    put_figures(html, report);
    put_faults(html, models);
    organ_html_caution(html, "%s", ORGAN_MEASURE_CAUTION);
    if (measure)
        organ_measure_html_fleet(html, measure);
    put_dissection(html, report, !measure);
    organ_prunings_html(html, report);
    put_others(html, report);
    if (measure) {
        organ_measure_html_models(html, json_object_get(measure, "models"));
        organ_html_section(html, "Definitions");
        organ_html_sentences(html, json_object_get(measure, "definitions"));
    }
    organ_html_ending(html, NULL, json_object_get(report, "run"));
    organ_html_table(html, times_table(models), "How long each model took when it was done; unchanged ones are not done again.");
    return organ_html_finish(html, text, error);
}
