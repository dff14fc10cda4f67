/* SPDX-License-Identifier: MIT
 * The figures of one measured model. */
#include "orchestrator/report/view/measure_charts.h"

#include "formats/tensor/tensor.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/svg/scatter.h"
#include "orchestrator/report/text/document.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED 3 /* points that have their name beside them */

static const char *const parts[] = {"skeleton", "organ", "embed", "norm", "other"};
#define PARTS (sizeof parts / sizeof *parts)

static long long layer_of(const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) ? json_integer_value(layer) : -1;
}

static organ_group group_of_role(const char *role)
{
    return organ_role_describe(organ_anatomy_row_role(organ_anatomy_row_named(role)))->group;
}

static unsigned part_of(const char *name)
{
    for (unsigned k = 0; k < PARTS; k++)
        if (strcmp(parts[k], name) == 0)
            return k;
    return PARTS - 1;
}

/* ---- layers and roles ---- */

organ_layer_map *organ_measure_map(const json_t *model)
{
    organ_layer_map *const map = organ_layer_map_create();
    const json_t *const tensors = json_object_get(model, "per_tensor"), *const wells = json_object_get(model, "wells");
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        if (layer_of(row) >= 0)
            organ_layer_map_add(map, layer_of(row), organ_json_text(row, "role"), organ_json_number(row, "theta"), 1);
    }
    for (size_t k = 0; k < json_array_size(wells); k++)
        organ_layer_map_mark(map, layer_of(json_array_get(wells, k)), organ_json_text(json_array_get(wells, k), "role"));
    organ_layer_map_settle(map);
    return map;
}

/* The end of a scale from 0 that holds the values: 30, 45, ... 90 degrees. */
static double scale_end(const double *values, size_t count)
{
    double most = 30;
    for (size_t k = 0; k < count; k++)
        most = isfinite(values[k]) && values[k] > most ? values[k] : most;
    return fmin(90, 15 * ceil(most / 15));
}

char *organ_measure_map_svg(const organ_layer_map *map)
{
    return organ_layer_map_svg(
        map, &(organ_heat_map){.title = "Theta by layer and role",
                               .description = "Mean theta of the tensors of each role in each layer, in degrees; wells are outlined. The "
                                              "table of tensors has the numbers.",
                               .value_label = "theta, degrees",
                               .mark_name = "gravitational well",
                               .high = map ? scale_end(map->value, map->layers * map->roles) : 0,
                               .plain = map && map->layers * map->roles > 1500});
}

/* ---- lines through the layers ---- */

static bool is_of_part(const char *role, organ_line_part part)
{
    const organ_group group = group_of_role(role);
    return part == (group == ORGAN_GROUP_SKELETON ? ORGAN_LINES_ATTENTION
                    : group == ORGAN_GROUP_ORGAN  ? ORGAN_LINES_FEED
                                                  : ORGAN_LINES_REST);
}

bool organ_measure_has_lines(const organ_layer_map *map, organ_line_part part)
{
    bool any = false;
    for (size_t r = 0; map && r < map->roles; r++)
        any |= is_of_part(map->role[r], part);
    return any;
}

char *organ_measure_lines_svg(const organ_layer_map *map, organ_line_part part)
{
    static const char *const titles[] = {"Attention through the layers", "Feed-forward through the layers", "Norms and the rest"};
    organ_chart_series series[ORGAN_LAYER_MAP_ROLES];
    const double *values[ORGAN_LAYER_MAP_ROLES];
    size_t used = 0;
    char *svg = NULL;
    if (!map || map->failed)
        return NULL;
    for (size_t r = 0; r < map->roles; r++) {
        if (!is_of_part(map->role[r], part))
            continue;
        values[used] = map->value + r * map->layers;
        series[used] = (organ_chart_series){.name = map->role[r], .look = (unsigned)used};
        used++;
    }
    const organ_chart chart = {.title = titles[part],
                               .subtitle = "theta, mean over the tensors of a role",
                               .description = "A line for each role: its mean theta in every layer, in degrees.",
                               .x_label = "layer",
                               .y_label = "theta, degrees",
                               .whole_x = true,
                               .series = series,
                               .series_count = used,
                               .panels = &(organ_chart_panel){.count = map->layers, .x = map->layer, .y = values},
                               .panel_count = 1};
    organ_chart_svg(&chart, &svg, &(organ_error){0});
    return svg;
}

char *organ_measure_parts_svg(const json_t *model)
{
    static const organ_chart_series series[] = {{"skeleton", 0, false}, {"organ", 1, false}, {"norm", 2, false}};
    enum { LINES = sizeof series / sizeof *series };
    const json_t *const layers = json_object_get(model, "layers");
    const size_t count = json_array_size(layers);
    double *const x = calloc(count + 1, sizeof *x), *const y = calloc((count + 1) * LINES, sizeof *y);
    const double *lines[LINES] = {NULL};
    char *svg = NULL;
    for (size_t k = 0; x && y && k < count; k++) {
        const json_t *const row = json_array_get(layers, k);
        x[k] = (double)layer_of(row);
        for (size_t s = 0; s < LINES; s++)
            y[s * count + k] = organ_json_number(row, series[s].name);
    }
    for (size_t s = 0; y && s < LINES; s++)
        lines[s] = y + s * count;
    const organ_chart chart = {.title = "Theta through the layers",
                               .description = "Three lines: the mean theta of skeleton, organs and norms in every layer, in degrees.",
                               .x_label = "layer",
                               .y_label = "theta, degrees",
                               .whole_x = true,
                               .series = series,
                               .series_count = LINES,
                               .panels = &(organ_chart_panel){.count = count, .x = x, .y = lines},
                               .panel_count = 1};
    if (x && y)
        organ_chart_svg(&chart, &svg, &(organ_error){0});
    free(x);
    free(y);
    return svg;
}

/* ---- roles ---- */

static organ_ranking_bar role_bar(const json_t *row, const char *name, unsigned depth)
{
    return (organ_ranking_bar){.name = name,
                               .value = {organ_json_number(row, "theta_mean"), NAN},
                               .low = organ_json_number(row, "theta_min"),
                               .high = organ_json_number(row, "theta_max"),
                               .depth = depth};
}

char *organ_measure_roles_svg(const json_t *model)
{
    const json_t *const roles = json_object_get(model, "roles");
    const size_t most = json_array_size(roles);
    organ_ranking_bar *const bars = calloc(most + 1, sizeof *bars);
    size_t count = 0;
    for (size_t k = 0; bars && k < most; k++) {
        const json_t *const row = json_array_get(roles, k);
        if (json_is_number(json_object_get(row, "theta_mean")))
            bars[count++] = role_bar(row, organ_json_text(row, "role"), 0);
    }
    return organ_ranking_of((organ_ranking){.title = "Theta by role",
                                            .subtitle = "mean over the tensors; the whisker goes from the least to the most",
                                            .description = "A bar for each role: the mean theta of its tensors in degrees.",
                                            .value_label = "theta, degrees",
                                            .series = {"mean theta", NULL},
                                            .digits = 3,
                                            .unit = "°"},
                            bars, count);
}

/* ---- E, K and C ---- */

/* The farthest points out have their names beside them. */
static void name_farthest(organ_point *points, size_t count)
{
    for (size_t named = 0; named < NAMED && named < count; named++) {
        size_t best = count;
        for (size_t k = 0; k < count; k++)
            if (!points[k].named && isfinite(points[k].x) && isfinite(points[k].y) &&
                (best == count || points[k].x + points[k].y > points[best].x + points[best].y))
                best = k;
        if (best < count)
            points[best].named = true;
    }
}

static size_t tensor_points(const json_t *tensors, const char *key, organ_point *points)
{
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        if (json_is_number(json_object_get(row, "theta")))
            points[count++] = (organ_point){.x = organ_json_number(row, "E"),
                                            .y = organ_json_number(row, key),
                                            .kind = part_of(organ_json_text(row, "group")),
                                            .name = organ_json_text(row, "name")};
    }
    return count;
}

/* A point for every role in every layer: `points` has room for as many as there are tensors. false without memory. */
static bool cell_points(const json_t *tensors, const char *key, organ_point *points, size_t *count)
{
    organ_layer_map *const x = organ_layer_map_create(), *const y = organ_layer_map_create();
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        organ_layer_map_add(x, layer_of(row), organ_json_text(row, "role"), organ_json_number(row, "E"), 1);
        organ_layer_map_add(y, layer_of(row), organ_json_text(row, "role"), organ_json_number(row, key), 1);
    }
    const bool whole = organ_layer_map_settle(x) && organ_layer_map_settle(y);
    for (size_t k = 0; whole && k < x->layers * x->roles; k++)
        if (isfinite(x->value[k]) && isfinite(y->value[k]))
            points[(*count)++] = (organ_point){.x = x->value[k],
                                               .y = y->value[k],
                                               .kind = (unsigned)group_of_role(x->role[k / x->layers]),
                                               .name = x->role[k / x->layers]};
    organ_layer_map_destroy(x); /* the names are those of the report */
    organ_layer_map_destroy(y);
    return whole;
}

/* One more than the highest that is met. */
static size_t kinds_of(const organ_point *points, size_t count)
{
    size_t used = 1;
    for (size_t k = 0; k < count; k++)
        used = points[k].kind + 1 > used ? points[k].kind + 1 : used;
    return used;
}

char *organ_measure_indicators_svg(const json_t *model, const char *key, const char *label, size_t most)
{
    const json_t *const tensors = json_object_get(model, "per_tensor");
    const size_t all = json_array_size(tensors);
    organ_point *const points = calloc(all + 1, sizeof *points);
    char title[16], subtitle[80];
    if (!points)
        return NULL;
    snprintf(title, sizeof title, "E and %s", key);
    size_t count = 0;
    if (all > most && !cell_points(tensors, key, points, &count)) {
        free(points);
        return NULL;
    }
    if (all <= most)
        count = tensor_points(tensors, key, points);
    const size_t step = 1 + count / (3 * most);
    if (all <= most)
        snprintf(subtitle, sizeof subtitle, "a point for each tensor");
    else
        snprintf(subtitle, sizeof subtitle, "means over the tensors of a role in a layer%s%.0zu", step > 1 ? ", one of " : "",
                 step > 1 ? step : 0);
    for (size_t k = 0; k * step < count; k++)
        points[k] = points[k * step];
    count = (count + step - 1) / step;
    name_farthest(points, count);
    return organ_scatter_of((organ_scatter){.title = title,
                                            .listed = true,
                                            .subtitle = subtitle,
                                            .description =
                                                "Indicators of the Z-measure against each other, both from 0 (noise) to 1, by part of "
                                                "the model. The table of tensors has the numbers.",
                                            .x_label = "E, from the entropy",
                                            .y_label = label,
                                            .kinds = parts,
                                            .kind_count = kinds_of(points, count)},
                            points, count);
}
