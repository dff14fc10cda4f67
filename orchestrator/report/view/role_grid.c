/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/role_grid.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/blocks/layer_map.h"

#include <math.h>

enum { MOST_SERIES = 6 };

static bool has_place(const organ_grid_source *source, const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) && json_integer_value(layer) >= 0 && *organ_json_text(row, source->role_key) &&
           (!source->takes || source->takes(row, source->context));
}

/* NULL without memory. */
static organ_layer_map *map_of(const organ_grid_source *source)
{
    organ_layer_map *const map = organ_layer_map_create();
    if (!map)
        return NULL;
    map->fold = source->least ? ORGAN_FOLD_LEAST : ORGAN_FOLD_MOST;
    map->as_met = true;
    for (size_t k = 0; k < json_array_size(source->rows); k++) {
        const json_t *const row = json_array_get(source->rows, k);
        const long long layer = json_integer_value(json_object_get(row, "layer"));
        if (!has_place(source, row))
            continue;
        organ_layer_map_add(map, layer, organ_json_text(row, source->role_key), source->value(row, source->context), 1);
        if (source->marks && source->marks(row, source->context))
            organ_layer_map_mark(map, layer, organ_json_text(row, source->role_key));
    }
    organ_layer_map_settle(map);
    if (!map->failed)
        return map;
    organ_layer_map_destroy(map);
    return NULL;
}

bool organ_grid_has_values(const organ_grid_source *source)
{
    for (size_t k = 0; k < json_array_size(source->rows); k++) {
        const json_t *const row = json_array_get(source->rows, k);
        if (has_place(source, row) && isfinite(source->value(row, source->context)))
            return true;
    }
    return false;
}

void organ_html_role_map(organ_html *html, const organ_grid_source *source, const organ_heat_map *map, const char *caption)
{
    organ_layer_map *const grid = map_of(source);
    organ_heat_map look = *map;
    look.row_label = source->role_key;
    if (!grid || grid->roles * grid->layers > 1)
        organ_html_chart(html, organ_layer_map_svg(grid, &look), caption);
    organ_layer_map_destroy(grid);
}

/* ---- panels ---- */

typedef struct panels {
    organ_layer_map *grids[MOST_SERIES + 2];
    organ_chart_panel panel[ORGAN_LAYER_MAP_ROLES];
    const double *y[ORGAN_LAYER_MAP_ROLES][MOST_SERIES];
} panels;

static void arrange(panels *p, const organ_chart *chart)
{
    const organ_layer_map *const first = p->grids[0];
    for (size_t r = 0; r < first->roles; r++) {
        for (size_t s = 0; s < chart->series_count; s++)
            p->y[r][s] = p->grids[s]->value + r * first->layers;
        p->panel[r] = (organ_chart_panel){.title = first->role[r], .count = first->layers, .x = first->layer, .y = p->y[r]};
        if (!chart->band_name)
            continue;
        p->panel[r].band_low = p->grids[chart->series_count]->value + r * first->layers;
        p->panel[r].band_high = p->grids[chart->series_count + 1]->value + r * first->layers;
    }
}

void organ_html_role_panels(organ_html *html, const organ_grid_source *sources, const organ_chart *chart, const char *caption)
{
    panels p = {0};
    char *svg = NULL;
    const size_t count = chart->series_count + (chart->band_name ? 2 : 0);
    bool whole = true;
    for (size_t k = 0; k < count && whole; k++)
        whole = (p.grids[k] = map_of(&sources[k])) != NULL;
    if (whole && p.grids[0]->layers > 0) {
        organ_chart full = *chart;
        arrange(&p, chart);
        full.x_label = "layer";
        full.whole_x = true;
        full.panels = p.panel;
        full.panel_count = p.grids[0]->roles;
        organ_chart_svg(&full, &svg, &(organ_error){0});
    }
    if (!whole || p.grids[0]->layers > 0)
        organ_html_chart(html, svg, caption);
    for (size_t k = 0; k < count; k++)
        organ_layer_map_destroy(p.grids[k]);
}
