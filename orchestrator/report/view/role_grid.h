/* SPDX-License-Identifier: MIT
 * Rows of a report laid out by layer and role: what a heat map of a model shows, and charts over its layers, one panel a role. */
#ifndef ORGAN_ROLE_GRID_H
#define ORGAN_ROLE_GRID_H

#include "orchestrator/report/html/page.h"
#include "orchestrator/report/svg/chart.h"
#include "orchestrator/report/svg/heat_map.h"

/* Which rows, and what of them. Rows without a layer of 0 or more have no place. */
typedef struct organ_grid_source {
    const json_t *rows;                                      /* objects with "layer" */
    const char *role_key;                                    /* the member that says what it is: "role", "projection" */
    double (*value)(const json_t *row, const void *context); /* NaN: nothing */
    bool (*marks)(const json_t *row, const void *context);   /* NULL: none is marked */
    bool (*takes)(const json_t *row, const void *context);   /* NULL: all rows have a place */
    const void *context;
    bool least; /* of several rows in one place the least counts, else the greatest */
} organ_grid_source;

/* A chart of roles by layers on the page; `map` says all but rows, columns and values. Nothing where no row has a place, or all stand in
 * one layer and role. */
void organ_html_role_map(organ_html *html, const organ_grid_source *source, const organ_heat_map *map, const char *caption);

/* A chart with one panel a role on the page: as many sources as chart->series_count, then of the band's low and high edges where it has a
 * band_name, all over the same rows. `chart` says all but the panels. Nothing where no row has a place. */
void organ_html_role_panels(organ_html *html, const organ_grid_source *sources, const organ_chart *chart, const char *caption);

/* Whether any row of the source has a value. */
bool organ_grid_has_values(const organ_grid_source *source);

#endif
