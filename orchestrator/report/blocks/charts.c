/* SPDX-License-Identifier: MIT
 * Charts of rows, whose words and members a view names. */
#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/blocks/place.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static double scaled(const json_t *row, const char *path, double factor)
{
    return path ? (factor != 0 ? factor : 1) * organ_json_number(row, path) : NAN;
}

static void put_chart(organ_walk *walk, char *svg, const char *caption)
{
    char *const text = organ_words_text(&walk->scope, caption, ORGAN_WORDS_PAGE);
    organ_html_chart(walk->html, svg, text ? text : "");
    free(text);
}

/* The whisker of a bar: the least and the greatest value of the rows of that name. */
static void spread_bar(organ_ranking_bar *bar, const organ_bars_of *look, const json_t *rows)
{
    bar->low = INFINITY;
    bar->high = -INFINITY;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        const double value = scaled(row, look->values[0], look->factor);
        if (strcmp(organ_json_text(row, look->name), bar->name) != 0 || !isfinite(value))
            continue;
        bar->low = fmin(bar->low, value);
        bar->high = fmax(bar->high, value);
    }
}

/* The bar that this row belongs to: where they are sums that of its name, else a new one. */
static organ_ranking_bar *bar_of(organ_ranking_bar *bars, size_t *count, const organ_bars_of *look, const char *name)
{
    for (size_t k = 0; k < *count && look->sums; k++)
        if (strcmp(bars[k].name, name) == 0)
            return &bars[k];
    bars[*count] = (organ_ranking_bar){.name = name, .value = {look->sums ? 0 : NAN, look->sums && look->values[1] ? 0 : NAN}};
    return &bars[(*count)++];
}

static char *ranking_of(organ_ranking look, const organ_ranking_bar *bars, size_t count)
{
    char *svg = NULL;
    look.bars = bars;
    look.count = count;
    if (bars)
        organ_ranking_svg(&look, &svg, &(organ_error){0});
    return svg;
}

static void free_remarks(organ_ranking_bar *bars, size_t count)
{
    for (size_t k = 0; bars && k < count; k++)
        free((char *)(uintptr_t)bars[k].remark);
}

void organ_bars_put(organ_walk *walk, const organ_block *block)
{
    const organ_bars_of *const look = block->bars;
    const json_t *const rows = organ_scope_at(&walk->scope, block->rows);
    const json_t *const spread = look->spread ? organ_scope_at(&walk->scope, look->spread) : NULL;
    organ_ranking_bar *const bars = calloc(json_array_size(rows) + 1, sizeof *bars);
    size_t count = 0;
    for (size_t k = 0; bars && k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_ranking_bar *const bar = bar_of(bars, &count, look, organ_json_text(row, look->name));
        for (size_t v = 0; v < 2; v++) {
            const double value = scaled(row, look->values[v], look->factor);
            bar->value[v] = look->sums ? bar->value[v] + value : value;
        }
        if (spread)
            spread_bar(bar, look, spread);
        if (look->low) {
            bar->low = scaled(row, look->low, look->factor);
            bar->high = scaled(row, look->high, look->factor);
        }
        if (look->remark && !bar->remark)
            bar->remark = organ_words_text(&(organ_scope){walk->scope.report, row}, look->remark, ORGAN_WORDS_PAGE);
    }
    char *const svg = ranking_of(look->look, bars, count);
    free_remarks(bars, count);
    free(bars);
    put_chart(walk, svg, look->caption);
}

static organ_layer_map *map_of(const organ_map_of *look, const json_t *rows)
{
    organ_layer_map *const map = organ_layer_map_create();
    if (!map)
        return NULL;
    map->fold = look->weight ? ORGAN_FOLD_MEAN : look->least ? ORGAN_FOLD_LEAST : ORGAN_FOLD_MOST;
    map->as_met = look->inside;
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k), *const layer = json_object_get(row, "layer");
        const long long number = json_is_integer(layer) ? json_integer_value(layer) : -1;
        const double weight = look->weight ? organ_json_number(row, look->weight) : 1;
        if (number >= 0 || !look->inside)
            organ_layer_map_add(map, number, organ_json_text(row, look->role), scaled(row, look->value, look->factor),
                                weight > 0 ? weight : 1);
    }
    organ_layer_map_settle(map);
    return map;
}

/* The end of a scale of percents: a multiple of the step that no value is beyond. */
static double scale_end(const organ_layer_map *map, double step)
{
    double most = 1;
    for (size_t k = 0; k < map->layers * map->roles; k++)
        most = fmax(most, map->value[k]);
    return fmin(100, step * ceil(most / step));
}

/* Whether there is anything to see: of what has to vary more than one value. */
static bool is_seen(const organ_map_of *look, const organ_layer_map *map)
{
    const size_t cells = map->layers * map->roles;
    double least = INFINITY, most = -INFINITY;
    for (size_t k = 0; k < cells; k++) {
        least = fmin(least, map->value[k]);
        most = fmax(most, map->value[k]);
    }
    return cells > (look->inside ? 1 : 0) && (!look->varies || least < most);
}

void organ_map_put(organ_walk *walk, const organ_block *block)
{
    enum { MOST_NUMBERED = 1500 }; /* cells with a number in them */
    const organ_map_of *const look = block->map;
    organ_layer_map *const map = map_of(look, organ_scope_at(&walk->scope, block->rows));
    organ_heat_map words = look->look;
    if (map && look->step > 0)
        words.high = scale_end(map, look->step);
    words.plain = words.plain || (map && map->layers * map->roles > MOST_NUMBERED);
    if (!map || map->failed || is_seen(look, map))
        put_chart(walk, organ_layer_map_svg(map, &words), look->caption);
    organ_layer_map_destroy(map);
}
