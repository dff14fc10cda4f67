/* SPDX-License-Identifier: MIT
 * Lines or bars over the layers, with a panel for each role. */
#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/blocks/view_writer.h"
#include "orchestrator/report/blocks/view_walk.h"
#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdlib.h>

typedef struct panel_maps {
    organ_layer_map *maps[ORGAN_SERIES_MAX + 2];
    size_t count, series_count; /* lengths of maps[], and of names[] and series[] */
    char *names[ORGAN_SERIES_MAX];
    organ_chart_series series[ORGAN_SERIES_MAX];
    organ_chart_panel panels[ORGAN_LAYER_MAP_ROLES];
    const double *y[ORGAN_LAYER_MAP_ROLES][ORGAN_SERIES_MAX]; /* by panel and series: a value for each layer */
} panel_maps;

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
        open_below(p->maps[p->count - 2]);
    return complete;
}

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
