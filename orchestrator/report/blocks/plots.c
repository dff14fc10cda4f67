/* SPDX-License-Identifier: MIT
 * Draws the charts of GRID, CURVES and POINTS blocks. `rows` is the JSON array of a block's rows; `style` is the
 * block's organ_grid_of, organ_curves_of or organ_points_of: the texts of the chart, and the members of a row with its
 * values. */
#include "orchestrator/report/blocks/blocks.h"

#include "formats/base/arena.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"

#include <limits.h>
#include <math.h>
#include <organ/models.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>

struct organ_layer_map_note {
    long long layer; /* LLONG_MAX: no layer; sorted last */
    /* number of the role in order of appearance; organ_layer_map_finish changes it to the sorted order */
    size_t role;
    double value, weight; /* weight in the mean of the cell */
    bool mark;            /* true: the note outlines the cell and has no value */
};

long long organ_row_layer(const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) ? json_integer_value(layer) : -1;
}

organ_layer_map *organ_layer_map_create(void) { return calloc(1, sizeof(organ_layer_map)); }

void organ_layer_map_destroy(organ_layer_map *map)
{
    if (!map)
        return;
    ORGAN_FREE_ARRAYS(map->notes, map->layer, map->value, map->marked, map);
}

/* Adds a new role. If there is no room for it, returns the number of the last role or, with in_order_of_rows,
 * ORGAN_LAYER_MAP_ROLES. */
static size_t role_of(organ_layer_map *map, const char *role)
{
    for (size_t k = 0; k < map->roles; k++)
        if (strcmp(map->role[k], role) == 0)
            return k;
    if (map->roles == ORGAN_LAYER_MAP_ROLES)
        return map->in_order_of_rows ? ORGAN_LAYER_MAP_ROLES : map->roles - 1;
    map->role[map->roles] = role;
    return map->roles++;
}

static void append_layer_note(organ_layer_map *map, organ_layer_map_note note, const char *role)
{
    if (!map || map->failed || (note.role = role_of(map, role)) == ORGAN_LAYER_MAP_ROLES)
        return;
    if (!organ_grow(&map->notes, map->count, &map->capacity, sizeof *map->notes)) {
        map->failed = true;
        return;
    }
    note.layer = note.layer < 0 ? LLONG_MAX : note.layer;
    map->notes[map->count++] = note;
}

void organ_layer_map_add(organ_layer_map *map, long long layer, const char *role, double value, double weight)
{
    append_layer_note(map, (organ_layer_map_note){.layer = layer, .value = value, .weight = weight}, role);
}

void organ_layer_map_mark(organ_layer_map *map, long long layer, const char *role)
{
    append_layer_note(map, (organ_layer_map_note){.layer = layer, .value = NAN, .mark = true}, role);
}

/* ---- the finished map ---- */

/* The order is that in which a layer computes its roles (organ_anatomy_row). The role "other" is after all known
 * roles, and a name that is no role is last. */
static int layer_map_place_of(const char *role)
{
    static const organ_anatomy other = {.role = ORGAN_ROLE_OTHER};
    const unsigned row = organ_anatomy_row_named(role);
    if (row == organ_anatomy_row(&other))
        return ORGAN_ANATOMY_ROWS;
    return row == ORGAN_ANATOMY_ROWS ? ORGAN_ANATOMY_ROWS + 1 : (int)row;
}

static void order_roles(organ_layer_map *map)
{
    size_t order[ORGAN_LAYER_MAP_ROLES], place[ORGAN_LAYER_MAP_ROLES]; /* old index by new, new index by old */
    const char *names[ORGAN_LAYER_MAP_ROLES];
    for (size_t k = 0; k < map->roles; k++) { /* an insertion sort, which keeps the order of equal places */
        size_t at = k;
        for (; at > 0 && layer_map_place_of(map->role[order[at - 1]]) > layer_map_place_of(map->role[k]); at--)
            order[at] = order[at - 1];
        order[at] = k;
    }
    for (size_t k = 0; k < map->roles; k++) {
        place[order[k]] = k;
        names[k] = map->role[order[k]];
    }
    memcpy(map->role, names, map->roles * sizeof *names);
    for (size_t k = 0; k < map->count; k++)
        map->notes[k].role = place[map->notes[k].role];
}

static int by_cell(const void *a, const void *b)
{
    const organ_layer_map_note *const x = a, *const y = b;
    return x->layer != y->layer ? (x->layer > y->layer) - (x->layer < y->layer)
                                : (x->role > y->role) - (x->role < y->role);
}

/* Counts the layers of the notes, which are sorted by layer. Returns false if out of memory. */
static bool allocate_layer_map(organ_layer_map *map)
{
    for (size_t k = 0; k < map->count; k++)
        map->layers += k == 0 || map->notes[k].layer != map->notes[k - 1].layer;
    const size_t cells = map->layers * map->roles;
    map->layer = calloc(map->layers + 1, sizeof *map->layer);
    map->value = calloc(cells + 1, sizeof *map->value);
    map->marked = calloc(cells + 1, sizeof *map->marked);
    return map->layer && map->value && map->marked;
}

/* The notes of a cell are adjacent, from note `first` on; `layer` is the index of the cell's layer. Returns the
 * number of these notes. */
static size_t fold_cell(organ_layer_map *map, size_t first, size_t layer)
{
    const organ_layer_map_note *const notes = map->notes + first;
    double sum = 0, weight = 0, extreme = NAN;
    size_t count = 0;
    while (first + count < map->count && by_cell(&notes[count], notes) == 0) {
        const double value = notes[count].value;
        if (isfinite(value)) {
            sum += value * notes[count].weight;
            weight += notes[count].weight;
        }
        if (isnan(extreme) || (map->fold == ORGAN_FOLD_MIN ? value < extreme : value > extreme))
            extreme = value;
        map->marked[notes->role * map->layers + layer] |= notes[count].mark;
        count++;
    }
    const double mean = weight > 0 ? sum / weight : (double)NAN;
    map->value[notes->role * map->layers + layer] = map->fold == ORGAN_FOLD_MEAN ? mean : extreme;
    return count;
}

bool organ_layer_map_finish(organ_layer_map *map)
{
    if (!map || map->failed || map->count == 0)
        return false;
    if (!map->in_order_of_rows)
        order_roles(map);
    qsort(map->notes, map->count, sizeof *map->notes, by_cell);
    if (!allocate_layer_map(map)) {
        map->failed = true;
        map->layers = map->roles = 0;
        return false;
    }
    for (size_t k = 0; k < map->layers * map->roles; k++)
        map->value[k] = NAN;
    for (size_t k = 0, layer = 0; k < map->count; layer++) {
        const long long number = map->notes[k].layer;
        map->outside = number == LLONG_MAX;
        map->layer[layer] = (double)number;
        if (map->outside)
            map->layer[layer] = layer ? map->layer[layer - 1] + 1 : 0;
        while (k < map->count && map->notes[k].layer == number)
            k += fold_cell(map, k, layer);
    }
    return true;
}

char *organ_layer_map_svg(const organ_layer_map *map, const organ_heat_map *style)
{
    if (!map || map->failed || map->layers == 0)
        return NULL;
    enum { WIDTH = 24 };
    ORGAN_OWNED char(*text)[WIDTH] = calloc(map->layers, sizeof *text);
    ORGAN_OWNED const char **names = calloc(map->layers, sizeof *names);
    char *svg = NULL;
    organ_heat_map whole = *style;
    bool marks = false;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        marks |= map->marked[k];
    for (size_t l = 0; text && names && l < map->layers; l++) {
        organ_snprintf(text[l], WIDTH, map->outside && l + 1 == map->layers ? "none" : "%.0f", map->layer[l]);
        names[l] = text[l];
    }
    whole.rows = map->roles;
    whole.columns = map->layers;
    whole.row_label = style->row_label ? style->row_label : "role";
    whole.column_label = "layer";
    whole.row_names = map->role;
    whole.column_names = names;
    whole.values = map->value;
    whole.marked = marks ? map->marked : NULL;
    if (text && names)
        organ_heat_map_svg(&whole, &svg, &(organ_error){0});
    return svg;
}

/* ---- grids ---- */

/* Stores in used[] the members that are a number in at least one row; returns how many these are. */
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

/* Returns the number of columns: of the members that it stores in used[], or of the longest array. */
static size_t choose_columns(const organ_grid_of *style, const json_t *rows, const char **used)
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

/* Returns NAN if the row has no number in this column. */
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
    const size_t count = json_array_size(rows), columns = choose_columns(style, rows, used);
    ORGAN_OWNED double *const values = calloc(count * columns + 1, sizeof *values);
    ORGAN_OWNED const char **const names = calloc(count + 1, sizeof *names);
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
    for (size_t c = 0; style->members && c < columns; c++)
        used[c] = organ_group_shown(used[c]);
    map.column_names = style->members ? used : NULL;
    map.values = values;
    map.plain = count * columns > ORGAN_BLOCK_CELLS;
    if (values && names) {
        map.high = organ_block_scale(style->step, style->floor, map.high, values, count * columns);
        organ_heat_map_svg(&map, &svg, &(organ_error){0});
    }
    organ_block_chart(walk, svg, style->caption);
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
            organ_layer_map_add(map, organ_row_layer(row), organ_group_shown(style->values[v]),
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

/* Names the points with the largest sums of coordinates, which are those to the upper right. */
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

/* A text that is none of the kinds is the last kind. */
static unsigned kind_of(const organ_points_of *style, const json_t *row)
{
    unsigned kind = 0;
    while (style->kind && style->style.kinds[kind + 1] &&
           strcmp(style->style.kinds[kind], organ_group_shown(organ_json_text(row, style->kind))) != 0)
        kind++;
    return kind;
}

void organ_points_put(organ_view_walk *walk, const organ_block *block)
{
    const organ_points_of *const style = block->points;
    json_t *const rows = organ_block_rows(walk, block);
    const size_t count = json_array_size(rows);
    ORGAN_OWNED organ_point *const points = calloc(count + 1, sizeof *points);
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
    free(subtitle);
    organ_json_release_rows(rows);
}
