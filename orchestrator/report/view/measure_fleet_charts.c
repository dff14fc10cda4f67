/* SPDX-License-Identifier: MIT
 * The figures of several measured models side by side. */
#include "orchestrator/report/view/measure_charts.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/svg/scatter.h"
#include "orchestrator/report/text/document.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *name_of(const json_t *models, size_t k) { return organ_json_text(json_array_get(models, k), "model.name"); }

static size_t shown_of(const json_t *models)
{
    const size_t count = json_array_size(models);
    return count < ORGAN_KIN_MOST ? count : ORGAN_KIN_MOST;
}

/* ---- the ranking ---- */

char *organ_measure_ranking_svg(const json_t *models, const organ_kin *kin, const size_t *order)
{
    const size_t count = json_array_size(models);
    char(*const remarks)[160] = calloc(count + 1, sizeof *remarks);
    organ_ranking_bar *const bars = remarks ? calloc(count + 1, sizeof *bars) : NULL;
    bool any = false;
    for (size_t k = 0; bars && k < count; k++) {
        const json_t *const model = json_array_get(models, order[k]);
        const organ_kin *const own = &kin[order[k]];
        bars[k] = (organ_ranking_bar){.name = name_of(models, order[k]),
                                      .value = {organ_json_number(model, "theta_mean"), organ_json_number(model, "theta_weighted")},
                                      .depth = (unsigned)own->depth};
        if (own->body != ORGAN_KIN_NONE) {
            snprintf(remarks[k], sizeof *remarks, "with %zu of %.100s", own->from_donor, name_of(models, own->donor));
            bars[k].remark = remarks[k];
            any = true;
        }
    }
    char *const svg = organ_ranking_of(
        (organ_ranking){.title = "Models by mean theta",
                        .subtitle = any ? "chimeras set in below the model that most of their tensors come from" : NULL,
                        .description = "Two bars for each model, in degrees: the mean theta over its tensors, and that weighted "
                                       "by their elements. The table below has the numbers.",
                        .value_label = "theta, degrees",
                        .series = {"every tensor once", "by elements"},
                        .digits = 4,
                        .unit = "°"},
        bars, count);
    free(remarks);
    return svg;
}

/* ---- models downwards ---- */

enum { PARTS = 5 };

static double theta_of_group(const json_t *model, const char *group)
{
    const json_t *const groups = json_object_get(model, "groups");
    for (size_t k = 0; k < json_array_size(groups); k++)
        if (strcmp(organ_json_text(json_array_get(groups, k), "group"), group) == 0)
            return organ_json_number(json_array_get(groups, k), "theta_mean");
    return NAN;
}

static char *models_map(const json_t *models, const size_t *order, organ_heat_map look)
{
    const size_t rows = shown_of(models);
    const char **const names = calloc(rows + 1, sizeof *names);
    char *svg = NULL;
    double most = 30;
    for (size_t k = 0; k < rows * look.columns; k++)
        most = isfinite(look.values[k]) && look.values[k] > most ? look.values[k] : most;
    for (size_t k = 0; names && k < rows; k++)
        names[k] = name_of(models, order[k]);
    look.rows = rows;
    look.row_names = names;
    look.row_label = "model";
    look.value_label = "theta, degrees";
    look.high = fmin(90, 15 * ceil(most / 15));
    look.plain = rows * look.columns > 1500;
    if (names)
        organ_heat_map_svg(&look, &svg, &(organ_error){0});
    free(names);
    return svg;
}

/* The parts that any of the models has. */
static size_t groups_of(const json_t *models, const char *used[PARTS])
{
    static const char *const groups[PARTS] = {"skeleton", "organ", "embed", "norm", "other"};
    size_t count = 0;
    for (size_t g = 0; g < PARTS; g++) {
        bool any = false;
        for (size_t m = 0; m < shown_of(models) && !any; m++)
            any = isfinite(theta_of_group(json_array_get(models, m), groups[g]));
        if (any)
            used[count++] = groups[g];
    }
    return count;
}

char *organ_measure_groups_svg(const json_t *models, const size_t *order)
{
    const char *groups[PARTS];
    const size_t rows = shown_of(models), columns = groups_of(models, groups);
    double *const values = calloc(rows * columns + 1, sizeof *values);
    if (!values)
        return NULL;
    for (size_t m = 0; m < rows; m++)
        for (size_t g = 0; g < columns; g++)
            values[m * columns + g] = theta_of_group(json_array_get(models, order[m]), groups[g]);
    char *const svg = models_map(models, order,
                                 (organ_heat_map){.title = "Theta by part of the model",
                                                  .description = "Mean theta of skeleton, organs, embedding and norms of every model, in "
                                                                 "degrees. The table below has the numbers.",
                                                  .column_label = "part",
                                                  .columns = columns,
                                                  .column_names = groups,
                                                  .values = values});
    free(values);
    return svg;
}

/* Layers that any of the models has, as far as they make sense as columns. */
static size_t deepest_of(const json_t *models, size_t rows)
{
    enum { MOST = 1024 };
    size_t columns = 0;
    for (size_t m = 0; m < rows; m++) {
        const json_t *const layers = json_object_get(json_array_get(models, m), "layers");
        for (size_t k = 0; k < json_array_size(layers); k++) {
            const unsigned long long layer = organ_json_count(json_array_get(layers, k), "layer");
            columns = layer < MOST && layer + 1 > columns ? (size_t)layer + 1 : columns;
        }
    }
    return columns;
}

char *organ_measure_depths_svg(const json_t *models, const size_t *order)
{
    const size_t rows = shown_of(models), columns = deepest_of(models, json_array_size(models));
    double *const values = calloc(rows * columns + 1, sizeof *values);
    if (!values)
        return NULL;
    for (size_t k = 0; k < rows * columns; k++)
        values[k] = NAN;
    for (size_t m = 0; m < rows; m++) {
        const json_t *const layers = json_object_get(json_array_get(models, order[m]), "layers");
        for (size_t k = 0; k < json_array_size(layers); k++) {
            const unsigned long long layer = organ_json_count(json_array_get(layers, k), "layer");
            if (layer < columns)
                values[m * columns + (size_t)layer] = organ_json_number(json_array_get(layers, k), "theta_mean");
        }
    }
    char *const svg = models_map(models, order,
                                 (organ_heat_map){.title = "Theta by layer",
                                                  .description = "Mean theta of the tensors of every layer of every model, in degrees.",
                                                  .column_label = "layer",
                                                  .columns = columns,
                                                  .values = values});
    free(values);
    return svg;
}

/* ---- models as points ---- */

static const char *const kinds[] = {"model", "chimera"};

/* Without a chimera there is one kind. */
static size_t kinds_of(const organ_kin *kin, size_t count)
{
    size_t used = 1;
    for (size_t k = 0; k < count; k++)
        used = kin[k].body != ORGAN_KIN_NONE ? COUNT(kinds) : used;
    return used;
}

static organ_point *points_of(const json_t *models, const organ_kin *kin)
{
    const size_t count = json_array_size(models);
    organ_point *const points = calloc(count + 1, sizeof *points);
    for (size_t k = 0; points && k < count; k++)
        points[k] = (organ_point){.kind = kin[k].body != ORGAN_KIN_NONE, .name = name_of(models, k), .named = count <= 30};
    return points;
}

char *organ_measure_bodies_svg(const json_t *models, const organ_kin *kin)
{
    const size_t count = json_array_size(models);
    organ_point *const points = points_of(models, kin);
    for (size_t k = 0; points && k < count; k++) {
        points[k].x = theta_of_group(json_array_get(models, k), "skeleton");
        points[k].y = theta_of_group(json_array_get(models, k), "organ");
    }
    return organ_scatter_of(
        (organ_scatter){.title = "Skeleton and organs",
                        .subtitle = "a point for each model",
                        .description = "Mean theta of the attention of every model against that of its feed-forward, in degrees.",
                        .x_label = "theta of the skeleton (attention), degrees",
                        .y_label = "theta of the organs, degrees",
                        .kinds = kinds,
                        .kind_count = kinds_of(kin, count)},
        points, count);
}

bool organ_measure_sizes_differ(const json_t *models)
{
    double least = INFINITY, most = 0;
    for (size_t k = 0; k < json_array_size(models); k++) {
        const double elements = (double)organ_json_count(json_array_get(models, k), "elements");
        least = elements > 0 && elements < least ? elements : least;
        most = elements > most ? elements : most;
    }
    return most > 1.1 * least;
}

char *organ_measure_sizes_svg(const json_t *models, const organ_kin *kin)
{
    const size_t count = json_array_size(models);
    organ_point *const points = points_of(models, kin);
    for (size_t k = 0; points && k < count; k++) {
        points[k].x = (double)organ_json_count(json_array_get(models, k), "elements") / 1e6;
        points[k].y = organ_json_number(json_array_get(models, k), "theta_mean");
    }
    return organ_scatter_of((organ_scatter){.title = "Theta and size",
                                            .subtitle = "a point for each model",
                                            .description = "Mean theta of every model, in degrees, against the number of its parameters.",
                                            .x_label = "parameters, millions",
                                            .y_label = "mean theta, degrees",
                                            .log_x = true,
                                            .kinds = kinds,
                                            .kind_count = kinds_of(kin, count)},
                            points, count);
}
