/* SPDX-License-Identifier: MIT
 * Draws the charts of GRID, CURVES and POINTS blocks. `rows` is the JSON array of a block's rows; `style` is the
 * block's organ_grid_of, organ_curves_of or organ_points_of: the texts of the chart, and the members of a row with its
 * values. */
#include "orchestrator/report/blocks/layer_map.h"
#include "formats/base/json_spool.h"
#include "orchestrator/report/blocks/view_writer.h"
#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- grids ---- */

static size_t find_number_members(const organ_grid_of *style, const json_t *rows, const char **used)
{
    size_t count = 0;
    for (size_t c = 0; style->members[c]; c++) {
        bool any = false;
        for (size_t k = 0; k < json_array_size(rows) && !any; k++)
            any = isfinite(organ_json_number(organ_json_row_at(rows, k), style->members[c]));
        if (any)
            used[count++] = style->members[c];
    }
    return count;
}

static size_t columns_of(const organ_grid_of *style, const json_t *rows, const char **used)
{
    size_t max = 0;
    if (style->members)
        return find_number_members(style, rows, used);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const size_t own = json_array_size(organ_json_at(organ_json_row_at(rows, k), style->values));
        max = own > max ? own : max;
    }
    return max;
}

static double grid_value(const organ_grid_of *style, const json_t *row, const char *const *used, size_t column)
{
    if (style->members)
        return organ_block_number(row, used[column], style->factor);
    const json_t *const value = organ_json_row_at(organ_json_at(row, style->values), column);
    if (!json_is_number(value))
        return NAN;
    return (style->factor != 0 ? style->factor : 1) * json_number_value(value);
}

void organ_grid_put(organ_view_walk *walk, const organ_block *block)
{
    enum { MEMBERS_MAX = 16 }; /* limit of the length of style->members */
    const organ_grid_of *const style = block->grid;
    json_t *const rows = organ_block_rows(walk, block);
    const char *used[MEMBERS_MAX];
    const size_t count = json_array_size(rows), columns = columns_of(style, rows, used);
    double *const values = calloc(count * columns + 1, sizeof *values);
    const char **const names = calloc(count + 1, sizeof *names);
    char *svg = NULL;
    for (size_t k = 0; values && names && k < count; k++) {
        names[k] = organ_json_text(organ_json_row_at(rows, k), style->name);
        for (size_t c = 0; c < columns; c++)
            values[k * columns + c] = grid_value(style, organ_json_row_at(rows, k), used, c);
    }
    organ_heat_map map = style->style;
    map.rows = count;
    map.columns = columns;
    map.row_names = names;
    map.column_names = style->members ? used : NULL;
    map.values = values;
    map.plain = count * columns > ORGAN_BLOCK_CELLS;
    if (values && names) {
        map.high = organ_block_scale(style->step, style->floor, map.high, values, count * columns);
        organ_heat_map_svg(&map, &svg, &(organ_error){0});
    }
    organ_block_chart(walk, svg, style->caption);
    free(values);
    free(names);
    organ_json_release_rows(rows);
}

/* ---- curves ---- */

/* Each line of the chart is a role of the map: with style->name a line for each name that rows have, otherwise one
 * for each of the members style->values. Skips rows that belong to no layer. The caller destroys the map. If memory
 * runs out, returns NULL or sets map->failed. */
static organ_layer_map *lines_of(const organ_curves_of *style, const json_t *rows)
{
    organ_layer_map *const map = organ_layer_map_create();
    if (!map)
        return NULL;
    map->in_order_of_rows = !style->name;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        if (organ_row_layer(row) >= 0 && style->name)
            organ_layer_map_add(map, organ_row_layer(row), organ_json_text(row, style->name),
                                organ_block_number(row, style->value, style->factor), 1);
        for (size_t v = 0; organ_row_layer(row) >= 0 && v < ORGAN_CHART_COLOURS && style->values[v]; v++)
            organ_layer_map_add(map, organ_row_layer(row), style->values[v],
                                organ_block_number(row, style->values[v], style->factor), 1);
    }
    organ_layer_map_finish(map);
    return map;
}

/* A line is shown if style->only is NULL, or at least one of the rows with this name satisfies this condition. */
static bool is_shown(const organ_view_walk *walk, const organ_curves_of *style, const json_t *rows, const char *name)
{
    for (size_t k = 0; style->only && k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        if (strcmp(organ_json_text(row, style->name), name) == 0)
            if (organ_scope_holds(&(organ_scope){walk->scope.report, row}, style->only))
                return true;
    }
    return !style->only;
}

void organ_curves_put(organ_view_walk *walk, const organ_block *block)
{
    const organ_curves_of *const style = block->curves;
    json_t *const rows = organ_block_rows(walk, block);
    organ_layer_map *const map = lines_of(style, rows);
    organ_chart_series series[ORGAN_LAYER_MAP_ROLES];
    const double *values[ORGAN_LAYER_MAP_ROLES];
    size_t count = 0;
    char *svg = NULL;
    for (size_t r = 0; map && !map->failed && r < map->roles; r++) {
        if (!is_shown(walk, style, rows, map->role[r]))
            continue;
        values[count] = map->value + r * map->layers;
        series[count] = (organ_chart_series){.name = map->role[r], .style = (unsigned)count};
        count++;
    }
    organ_chart chart = style->style;
    chart.x_label = "layer";
    chart.whole_x = true;
    chart.series = series;
    chart.series_count = count;
    chart.panel_count = 1;
    if (count > 0) {
        chart.panels = &(organ_chart_panel){.count = map->layers, .x = map->layer, .y = values};
        organ_chart_svg(&chart, &svg, &(organ_error){0});
    }
    if (count > 0 || !map || map->failed)
        organ_block_chart(walk, svg, style->caption);
    organ_layer_map_destroy(map);
    organ_json_release_rows(rows);
}

/* ---- points ---- */

static void name_farthest(organ_point *points, size_t count, size_t max)
{
    for (size_t named = 0; named < max && named < count; named++) {
        size_t best = count;
        for (size_t k = 0; k < count; k++)
            if (!points[k].named && isfinite(points[k].x) && isfinite(points[k].y) &&
                (best == count || points[k].x + points[k].y > points[best].x + points[best].y))
                best = k;
        if (best < count)
            points[best].named = true;
    }
}

static unsigned kind_of(const organ_points_of *style, const json_t *row)
{
    unsigned kind = 0;
    while (style->kind && style->style.kinds[kind + 1] &&
           strcmp(style->style.kinds[kind], organ_json_text(row, style->kind)) != 0)
        kind++;
    return kind;
}

void organ_points_put(organ_view_walk *walk, const organ_block *block)
{
    const organ_points_of *const style = block->points;
    json_t *const rows = organ_block_rows(walk, block);
    const size_t count = json_array_size(rows);
    organ_point *const points = calloc(count + 1, sizeof *points);
    char *const subtitle = organ_block_text(walk, style->style.subtitle), *svg = NULL;
    organ_scatter scatter = style->style;
    scatter.subtitle = subtitle;
    scatter.kind_count = 1;
    for (size_t k = 0; points && k < count; k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        points[k] = (organ_point){.x = organ_block_number(row, style->x, style->x_factor),
                                  .y = organ_json_number(row, style->y),
                                  .kind = kind_of(style, row),
                                  .name = organ_json_text(row, style->name)};
        scatter.kind_count = points[k].kind + 1 > scatter.kind_count ? points[k].kind + 1 : scatter.kind_count;
    }
    scatter.points = points;
    scatter.count = count;
    if (points) {
        name_farthest(points, count, style->named);
        organ_scatter_svg(&scatter, &svg, &(organ_error){0});
    }
    organ_block_chart(walk, svg, style->caption);
    free(points);
    free(subtitle);
    organ_json_release_rows(rows);
}
