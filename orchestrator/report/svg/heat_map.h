/* SPDX-License-Identifier: MIT
 * A heat map as SVG, in the visual language of chart.h: a grid of coloured cells, one value each, with a colour scale.
 */
#ifndef ORGAN_SVG_HEAT_MAP_H
#define ORGAN_SVG_HEAT_MAP_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

/* The values and the look of a heat map. */
typedef struct organ_heat_map {
    const char *title, *subtitle;         /* subtitle: NULL or one short line */
    const char *description;              /* one or two sentences for screen readers */
    const char *row_label, *column_label; /* titles of the axes: "layer", "projection" */
    const char *value_label;              /* with the unit: "killed, percent" */
    size_t rows, columns;
    const char *const *row_names;    /* NULL: 0, 1, 2, ... */
    const char *const *column_names; /* NULL: 0, 1, 2, ... */
    const double *values;            /* [rows][columns]; a value that is not finite is drawn as a crossed cell */
    const bool *marked;              /* [rows][columns]: the cell is drawn with an outline; NULL: none */
    const char *mark_name;           /* meaning of the outline, for the key; NULL: the key does not explain it */
    double low, high;                /* ends of the scale; low == high: the smallest and the largest value */
    bool diverging;                  /* two hues, which meet in the middle of the scale */
    bool plain;                      /* cells have no numbers and no tooltips, which suits a map of many cells */
} organ_heat_map;

/* Draws the map as an SVG document, which the caller frees; *svg is NULL on error. Cells have their value as a tooltip
 * and, if it fits, as text. More cells than 4,096 are drawn as means of neighbours, which the subtitle reports. Returns
 * ORGAN_IO if out of memory. */
organ_status organ_heat_map_svg(const organ_heat_map *map, char **svg, organ_error *error);

#endif
