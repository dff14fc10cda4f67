/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/role_grid.h"

#include "orchestrator/report/document.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SERIES = 6, NAME_ROOM = 24 };

static bool has_place(const organ_grid_source *source, const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    return json_is_integer(layer) && json_integer_value(layer) >= 0 && *organ_json_text(row, source->role_key) &&
           (!source->takes || source->takes(row, source->context));
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The role's row in the grid, which gets a new one if it is new and there is room; ORGAN_GRID_ROLES: none. */
static size_t role_at(organ_role_grid *grid, const char *role, bool add)
{
    size_t k = 0;
    while (k < grid->roles && strcmp(grid->role_names[k], role) != 0)
        k++;
    if (k == grid->roles && add && k < ORGAN_GRID_ROLES)
        grid->role_names[grid->roles++] = role;
    return k < grid->roles ? k : ORGAN_GRID_ROLES;
}

static void find_places(const organ_grid_source *source, organ_role_grid *grid)
{
    size_t count = 0, layers = 0;
    for (size_t k = 0; k < json_array_size(source->rows); k++) {
        const json_t *const row = json_array_get(source->rows, k);
        if (has_place(source, row) && role_at(grid, organ_json_text(row, source->role_key), true) < ORGAN_GRID_ROLES)
            grid->places[count++] = organ_json_real(row, "layer");
    }
    qsort(grid->places, count, sizeof *grid->places, by_size);
    for (size_t k = 0; k < count; k++)
        if (k == 0 || grid->places[k] != grid->places[layers - 1])
            grid->places[layers++] = grid->places[k];
    grid->layers = layers;
}

static void fill(const organ_grid_source *source, organ_role_grid *grid)
{
    for (size_t k = 0; k < json_array_size(source->rows); k++) {
        const json_t *const row = json_array_get(source->rows, k);
        const double layer = organ_json_real(row, "layer");
        const size_t role = has_place(source, row) ? role_at(grid, organ_json_text(row, source->role_key), false) : ORGAN_GRID_ROLES;
        if (role == ORGAN_GRID_ROLES)
            continue;
        const double *const place = bsearch(&layer, grid->places, grid->layers, sizeof layer, by_size);
        const size_t cell = role * grid->layers + (size_t)(place - grid->places);
        const double value = source->value(row, source->context);
        double *const here = &grid->values[cell];
        if (isnan(*here) || (!isnan(value) && (source->least ? value < *here : value > *here)))
            *here = value;
        grid->marked[cell] = grid->marked[cell] || (source->marks && source->marks(row, source->context));
    }
}

organ_status organ_role_grid_create(const organ_grid_source *source, organ_role_grid *grid, organ_error *error)
{
    *grid = (organ_role_grid){.places = calloc(json_array_size(source->rows) + 1, sizeof *grid->places)};
    if (!grid->places)
        return organ_fail_errno(error, ENOMEM, "a grid of layers");
    find_places(source, grid);
    grid->values = calloc(grid->roles * grid->layers + 1, sizeof *grid->values);
    grid->marked = calloc(grid->roles * grid->layers + 1, sizeof *grid->marked);
    grid->layer_names = calloc(grid->layers + 1, sizeof *grid->layer_names + NAME_ROOM);
    if (!grid->values || !grid->marked || !grid->layer_names)
        return organ_fail_errno(error, ENOMEM, "a grid of layers");
    for (size_t k = 0; k < grid->roles * grid->layers; k++)
        grid->values[k] = NAN;
    char *const names = (char *)(grid->layer_names + grid->layers + 1);
    for (size_t k = 0; k < grid->layers; k++) {
        snprintf(names + k * NAME_ROOM, NAME_ROOM, "%.0f", grid->places[k]);
        grid->layer_names[k] = names + k * NAME_ROOM;
    }
    fill(source, grid);
    return ORGAN_OK;
}

void organ_role_grid_destroy(organ_role_grid *grid)
{
    free(grid->places);
    free(grid->values);
    free(grid->marked);
    free((void *)grid->layer_names);
    *grid = (organ_role_grid){0};
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
    organ_error error = {0};
    organ_role_grid grid;
    char *svg = NULL;
    const bool made = organ_role_grid_create(source, &grid, &error) == ORGAN_OK;
    if (made && grid.roles * grid.layers > 1) {
        organ_heat_map whole = *map;
        whole.row_label = source->role_key;
        whole.column_label = "layer";
        whole.rows = grid.roles;
        whole.columns = grid.layers;
        whole.row_names = grid.role_names;
        whole.column_names = grid.layer_names;
        whole.values = grid.values;
        whole.marked = source->marks ? grid.marked : NULL;
        organ_heat_map_svg(&whole, &svg, &error);
    }
    if (error.status || svg)
        organ_html_chart(html, svg, caption);
    organ_role_grid_destroy(&grid);
}

/* ---- panels ---- */

typedef struct panels {
    organ_role_grid grids[MOST_SERIES + 2];
    organ_chart_panel panel[ORGAN_GRID_ROLES];
    const double *y[ORGAN_GRID_ROLES][MOST_SERIES];
} panels;

static void arrange(panels *p, const organ_chart *chart)
{
    const organ_role_grid *const first = &p->grids[0];
    for (size_t r = 0; r < first->roles; r++) {
        for (size_t s = 0; s < chart->series_count; s++)
            p->y[r][s] = p->grids[s].values + r * first->layers;
        p->panel[r] = (organ_chart_panel){.title = first->role_names[r], .count = first->layers, .x = first->places, .y = p->y[r]};
        if (!chart->band_name)
            continue;
        p->panel[r].band_low = p->grids[chart->series_count].values + r * first->layers;
        p->panel[r].band_high = p->grids[chart->series_count + 1].values + r * first->layers;
    }
}

void organ_html_role_panels(organ_html *html, const organ_grid_source *sources, const organ_chart *chart, const char *caption)
{
    organ_error error = {0};
    panels p = {0};
    char *svg = NULL;
    const size_t count = chart->series_count + (chart->band_name ? 2 : 0);
    for (size_t k = 0; k < count && !error.status; k++)
        organ_role_grid_create(&sources[k], &p.grids[k], &error);
    if (!error.status && p.grids[0].layers > 0) {
        organ_chart whole = *chart;
        arrange(&p, chart);
        whole.x_label = "layer";
        whole.whole_x = true;
        whole.panels = p.panel;
        whole.panel_count = p.grids[0].roles;
        organ_chart_svg(&whole, &svg, &error);
    }
    if (error.status || svg)
        organ_html_chart(html, svg, caption);
    for (size_t k = 0; k < count; k++)
        organ_role_grid_destroy(&p.grids[k]);
}
