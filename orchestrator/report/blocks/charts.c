/* SPDX-License-Identifier: MIT
 * Draws the charts of BARS and MAP blocks. `rows` is the JSON array of a block's rows; `style` is the block's
 * organ_bars_of or organ_map_of: the texts of the chart, and the members of a row with its values. */
#include "orchestrator/report/blocks/blocks.h"

#include "formats/base/rows.h"

#include <math.h>
#include <organ/machine.h>
#include <organ/report.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- bars ---- */

/* The whisker spans the first values of the rows that have the bar's name. */
static void spread_bar(organ_ranking_bar *bar, const organ_bars_of *style, const json_t *rows)
{
    bar->low = INFINITY;
    bar->high = -INFINITY;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        const double value = organ_block_number(row, style->values[0], style->factor);
        if (strcmp(organ_json_text(row, style->name), bar->name) != 0 || !isfinite(value))
            continue;
        bar->low = fmin(bar->low, value);
        bar->high = fmax(bar->high, value);
    }
}

/* Returns the bar for a row called `name`, and counts it if it is new. With style->sums a name has one bar, whose
 * values begin at 0 so that values of rows can be added; otherwise each row has a new bar, whose values begin as NaN. A
 * second value that the style does not name is always NaN. */
static organ_ranking_bar *find_or_add_bar(organ_ranking_bar *bars, size_t *count, const organ_bars_of *style,
                                          const char *name)
{
    for (size_t k = 0; k < *count && style->sums; k++)
        if (strcmp(bars[k].name, name) == 0)
            return &bars[k];
    bars[*count] =
        (organ_ranking_bar){.name = name, .value = {style->sums ? 0 : NAN, style->sums && style->values[1] ? 0 : NAN}};
    return &bars[(*count)++];
}

/* Returns an SVG document, which the caller frees; NULL if out of memory, also if `bars` is NULL. */
static char *draw_ranking(organ_ranking style, const organ_ranking_bar *bars, size_t count)
{
    char *svg = NULL;
    style.bars = bars;
    style.count = count;
    if (bars)
        organ_ranking_svg(&style, &svg, &(organ_error){0});
    return svg;
}

/* Expands the words over `row` instead of the row of the walk (organ_block_text). */
static char *row_text(organ_view_walk *walk, const json_t *row, const char *words)
{
    const json_t *const before = walk->scope.row;
    walk->scope.row = row;
    char *const text = organ_block_text(walk, words);
    walk->scope.row = before;
    return text;
}

static void free_words(const organ_bars_of *style, organ_ranking_bar *bars, size_t count)
{
    for (size_t k = 0; bars && k < count; k++) {
        free((char *)(uintptr_t)bars[k].remark);
        if (style->named)
            free((char *)(uintptr_t)bars[k].name);
    }
}

/* The whisker ends at the row's `low` and `high`, or at the first value minus and plus `error`. */
static void add_row_to_bar(organ_ranking_bar *bar, const organ_bars_of *style, const json_t *row)
{
    for (size_t v = 0; v < 2; v++) {
        const double value = organ_block_number(row, style->values[v], style->factor);
        bar->value[v] = style->sums ? bar->value[v] + value : value;
    }
    if (style->low && isfinite(organ_block_number(row, style->low, style->factor))) {
        bar->low = organ_block_number(row, style->low, style->factor);
        bar->high = organ_block_number(row, style->high, style->factor);
    }
    if (style->error && organ_block_number(row, style->error, style->factor) > 0) {
        bar->low = bar->value[0] - organ_block_number(row, style->error, style->factor);
        bar->high = bar->value[0] + organ_block_number(row, style->error, style->factor);
    }
    if (style->depth)
        bar->depth = (unsigned)organ_json_count(row, style->depth);
}

/* Converts all values from bytes to the unit that fits the largest one, and writes a blank and the unit to `unit`. */
static void convert_to_unit(organ_ranking_bar *bars, size_t count, char unit[16])
{
    double max = 0, factor;
    for (size_t k = 0; k < count; k++)
        max = fmax(max, fmax(bars[k].value[0], bars[k].value[1]));
    snprintf(unit, 16, " %s", organ_quantity_unit(max, &factor));
    for (size_t k = 0; k < count; k++)
        for (size_t v = 0; v < 2; v++)
            bars[k].value[v] *= factor;
}

static int by_first_value(const void *a, const void *b)
{
    const double x = ((const organ_ranking_bar *)a)->value[0], y = ((const organ_ranking_bar *)b)->value[0];
    if (isnan(x) || isnan(y))
        return isnan(x) - isnan(y);
    return ORGAN_ORDER(x, y);
}

/* Frees the bars, also their names and remarks. If `bars` is NULL, the page fails. */
static void put_bars(organ_view_walk *walk, const organ_bars_of *style, organ_ranking_bar *bars, size_t count)
{
    char unit[16], label[64], *const subtitle = organ_block_text(walk, style->style.subtitle),
                                     *const second = organ_block_text(walk, style->style.series[1]);
    organ_ranking whole = style->style;
    whole.subtitle = subtitle;
    whole.series[1] = second;
    if (style->bytes) {
        convert_to_unit(bars, count, unit);
        snprintf(label, sizeof label, "%s,%s", style->style.value_label, unit); /* the unit begins with a blank */
        whole.value_label = label;
        whole.unit = unit;
    }
    char *const svg = draw_ranking(whole, bars, count);
    free_words(style, bars, count);
    free(bars);
    organ_block_chart(walk, svg, style->caption);
    ORGAN_FREE_ARRAYS(subtitle, second);
}

/* The caller frees the name by free_words, if style->named is set. */
static const char *bar_name_of(organ_view_walk *walk, const organ_bars_of *style, const json_t *row)
{
    return style->named ? row_text(walk, row, style->named) : organ_json_text(row, style->name);
}

/* *count must be 0. Also returns NULL if the template style->named gives an empty text for a row. */
static organ_ranking_bar *make_bars(organ_view_walk *walk, const organ_bars_of *style, const json_t *rows,
                                    size_t *count)
{
    const json_t *const spread = style->spread ? organ_scope_at(&walk->scope, style->spread) : NULL;
    organ_ranking_bar *const bars = calloc(json_array_size(rows) + 1, sizeof *bars);
    for (size_t k = 0; bars && k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        const char *const name = bar_name_of(walk, style, row);
        if (!name) {
            free_words(style, bars, *count);
            free(bars);
            return NULL;
        }
        organ_ranking_bar *const bar = find_or_add_bar(bars, count, style, name);
        add_row_to_bar(bar, style, row);
        if (spread)
            spread_bar(bar, style, spread);
        if (style->remark && !bar->remark)
            bar->remark = row_text(walk, row, style->remark);
    }
    return bars;
}

void organ_bars_put(organ_view_walk *walk, const organ_block *block)
{
    const organ_bars_of *const style = block->bars;
    json_t *const rows = organ_block_rows(walk, block);
    size_t count = 0;
    organ_ranking_bar *const bars = make_bars(walk, style, rows, &count);
    if (bars && style->ascending)
        qsort(bars, count, sizeof *bars, by_first_value);
    put_bars(walk, style, bars, bars ? count : 0);
    organ_json_release_rows(rows);
}

/* ---- maps ---- */

/* The values of all rows of a cell are combined to their mean, minimum or maximum. Outlines the cells of the rows
 * `marks`, a JSON array or NULL, and cells with a row whose absolute value is above style->beyond. The caller
 * destroys the map. If memory runs out, returns NULL or sets map->failed. */
static organ_layer_map *map_of(const organ_map_of *style, const json_t *rows, const json_t *marks)
{
    organ_layer_map *const map = organ_layer_map_create();
    if (!map)
        return NULL;
    map->fold = style->least ? ORGAN_FOLD_MIN : ORGAN_FOLD_MAX;
    if (style->weight || style->mean)
        map->fold = ORGAN_FOLD_MEAN;
    map->in_order_of_rows = style->inside;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        const double weight = style->weight ? organ_json_number(row, style->weight) : 1;
        const double value = organ_block_number(row, style->value, style->factor);
        if (organ_row_layer(row) < 0 && (style->inside || style->layers))
            continue;
        organ_layer_map_add(map, organ_row_layer(row), organ_json_text(row, style->role), value,
                            weight > 0 ? weight : 1);
        if (style->beyond > 0 && fabs(value) > style->beyond)
            organ_layer_map_mark(map, organ_row_layer(row), organ_json_text(row, style->role));
    }
    for (size_t k = 0; k < json_array_size(marks); k++)
        organ_layer_map_mark(map, organ_row_layer(organ_json_row_at(marks, k)),
                             organ_json_text(organ_json_row_at(marks, k), style->role));
    organ_layer_map_finish(map);
    return map;
}

/* Not drawn are a map without cells, with style->inside a map of one cell, and with style->varies a map whose values
 * are all equal. */
static bool is_map_drawn(const organ_map_of *style, const organ_layer_map *map)
{
    const size_t cells = map->layers * map->roles;
    double least = INFINITY, max = -INFINITY;
    for (size_t k = 0; k < cells; k++) {
        least = fmin(least, map->value[k]);
        max = fmax(max, map->value[k]);
    }
    return cells > (style->inside ? 1 : 0) && (!style->varies || least < max);
}

/* The scale begins at 0. With `bytes` also converts all values to the unit that fits the largest, and sets
 * chart->value_label to `label`, into which it writes the old label and the name of the unit. */
static void scale_from_zero(organ_layer_map *map, bool bytes, organ_heat_map *chart, char label[64])
{
    double factor = 1;
    chart->high = 0;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        chart->high = fmax(chart->high, map->value[k]);
    if (!bytes)
        return;
    snprintf(label, 64, "%s, %s", chart->value_label, organ_quantity_unit(chart->high, &factor));
    chart->value_label = label;
    chart->high *= factor;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        map->value[k] *= factor;
}

void organ_map_put(organ_view_walk *walk, const organ_block *block)
{
    const organ_map_of *const style = block->map;
    json_t *const rows = organ_block_rows(walk, block);
    organ_layer_map *const map = map_of(style, rows, style->marks ? organ_scope_at(&walk->scope, style->marks) : NULL);
    organ_heat_map chart = style->style;
    char label[64];
    ORGAN_OWNED char *const title = organ_words_text(&walk->scope, style->style.title, ORGAN_WORDS_PAGE);
    chart.title = title ? title : "";
    if (map && style->zero)
        scale_from_zero(map, style->bytes, &chart, label);
    else if (map)
        chart.high = organ_block_scale(style->step, style->floor, chart.high, map->value, map->layers * map->roles);
    chart.plain = chart.plain || (map && map->layers * map->roles > ORGAN_BLOCK_CELLS);
    /* if memory ran out, the SVG document is NULL, and organ_block_chart makes the page fail */
    if (!map || map->failed || is_map_drawn(style, map))
        organ_block_chart(walk, organ_layer_map_svg(map, &chart), style->caption);
    organ_layer_map_destroy(map);
    organ_json_release_rows(rows);
}

/* ---- lines or bars over the layers, with a panel for each role ---- */

typedef struct panel_maps {
    /* those of the series; if there is a band, those of its lower and upper edge are the last two */
    organ_layer_map *maps[ORGAN_SERIES_MAX + 2];
    size_t count, series_count; /* lengths of maps[], and of names[] and series[] */
    char *names[ORGAN_SERIES_MAX];
    organ_chart_series series[ORGAN_SERIES_MAX];
    organ_chart_panel panels[ORGAN_LAYER_MAP_ROLES];
    const double *y[ORGAN_LAYER_MAP_ROLES][ORGAN_SERIES_MAX]; /* by panel and series: a value for each layer */
} panel_maps;

/* Place k gives layer and role of a cell, row k its value: the member `value` times `factor`. Returns NULL if out of
 * memory. */
static organ_layer_map *map_over(const json_t *places, const json_t *rows, const char *role, const char *value,
                                 double factor)
{
    organ_layer_map *const map = organ_layer_map_create();
    if (!map)
        return NULL;
    map->fold = ORGAN_FOLD_MAX;
    map->in_order_of_rows = true;
    for (size_t k = 0; k < json_array_size(places); k++) {
        const json_t *const place = organ_json_row_at(places, k);
        if (organ_row_layer(place) >= 0 && *organ_json_text(place, role))
            organ_layer_map_add(map, organ_row_layer(place), organ_json_text(place, role),
                                factor * organ_json_number(organ_json_row_at(rows, k), value), 1);
    }
    organ_layer_map_finish(map);
    if (!map->failed)
        return map;
    organ_layer_map_destroy(map);
    return NULL;
}

/* Takes over the map. Returns false if it is NULL, because memory ran out. */
static bool add_map(panel_maps *p, organ_layer_map *map)
{
    p->maps[p->count] = map;
    p->count += map != NULL;
    return map != NULL;
}

/* Each finite value becomes -INFINITY, so that the band extends down to the floor of the plot; all others become
 * NAN. */
static void open_below(organ_layer_map *map)
{
    for (size_t k = 0; k < map->layers * map->roles; k++)
        map->value[k] = isfinite(map->value[k]) ? -INFINITY : NAN;
}

/* Series without rows get no map; a band has two, for its lower and upper edge. Returns false if out of memory. */
static bool gather_maps(panel_maps *p, const organ_panels_of *style, const organ_scope *scope)
{
    const json_t *const places = organ_scope_at(scope, style->series[0].rows);
    bool complete = true;
    for (size_t k = 0; k < ORGAN_SERIES_MAX && style->series[k].name && complete; k++) {
        const organ_series_of *const series = &style->series[k];
        const json_t *const rows = organ_scope_at(scope, series->rows);
        if (!rows)
            continue;
        complete = (p->names[p->series_count] = organ_words_text(scope, series->name, ORGAN_WORDS_PAGE)) != NULL;
        p->series[p->series_count] = (organ_chart_series){p->names[p->series_count], series->style, series->reference};
        p->series_count++;
        complete = complete && add_map(p, map_over(places, rows, style->role, series->value, 1));
    }
    if (style->band && complete)
        complete = add_map(p, map_over(places, places, style->role, style->band, -style->band_factor)) &&
                   add_map(p, map_over(places, places, style->role, style->band, style->band_factor));
    else if (style->edges[1] && complete)
        complete =
            add_map(p, map_over(places, places, style->role, style->edges[0] ? style->edges[0] : style->edges[1], 1)) &&
            add_map(p, map_over(places, places, style->role, style->edges[1], 1));
    if (style->edges[1] && !style->edges[0] && complete)
        open_below(p->maps[p->count - 2]); /* the lower edge */
    return complete;
}

/* Returns the number of panels: one for each role, but one empty panel if there is no role. */
static size_t arrange_panels(panel_maps *p, bool band)
{
    const organ_layer_map *const first = p->maps[0];
    for (size_t r = 0; first && r < first->roles; r++) {
        const size_t at = r * first->layers;
        for (size_t s = 0; s < p->series_count; s++)
            p->y[r][s] = p->maps[s]->value + at;
        p->panels[r] =
            (organ_chart_panel){.title = first->role[r], .count = first->layers, .x = first->layer, .y = p->y[r]};
        if (band) {
            p->panels[r].band_low = p->maps[p->count - 2]->value + at;
            p->panels[r].band_high = p->maps[p->count - 1]->value + at;
        }
    }
    if (first && first->roles)
        return first->roles;
    p->panels[0] = (organ_chart_panel){.y = p->y[0]};
    return 1;
}

static void free_maps(panel_maps *p)
{
    for (size_t k = 0; k < p->count; k++)
        organ_layer_map_destroy(p->maps[k]);
    for (size_t k = 0; k < p->series_count; k++)
        free(p->names[k]);
}

static organ_status draw_panels(const organ_panels_of *panels, const organ_scope *scope, char **svg, organ_error *error)
{
    panel_maps p = {.count = 0};
    organ_chart chart = panels->style;
    *svg = NULL;
    if (gather_maps(&p, panels, scope)) {
        chart.x_label = "layer";
        chart.whole_x = true;
        chart.series = p.series;
        chart.series_count = p.series_count;
        chart.panel_count = arrange_panels(&p, panels->band || panels->edges[1]);
        chart.panels = p.panels;
        organ_chart_svg(&chart, svg, error);
    } else
        organ_fail(error, ORGAN_IO, "no memory for a plot");
    free_maps(&p);
    return error->status;
}

organ_status organ_panels_svg(const organ_panels_of *panels, const json_t *report, char **svg, organ_error *error)
{
    return draw_panels(panels, &(organ_scope){report, report}, svg, error);
}

void organ_panels_put(organ_view_walk *walk, const organ_block *block)
{
    organ_error ignored = {0};
    char *svg = NULL;
    draw_panels(block->panels, &walk->scope, &svg, &ignored);
    organ_block_chart(walk, svg, block->panels->caption);
}
