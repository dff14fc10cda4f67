/* SPDX-License-Identifier: MIT
 * Charts as SVG. Input: the values as data. Output: a document that is a complete file and may also be embedded in a
 * page. */
#ifndef ORGAN_REPORT_SVG_SVG_H
#define ORGAN_REPORT_SVG_SVG_H

#include "orchestrator/report/svg/svg_parts.h"

#include <organ/base.h>

/* Charts as SVG: lines or bars over numbered places, in one panel or several with the same axes. A file needs no other
 * file, scales to any width, follows the reader's light or dark scheme, and contains real text, a title and a
 * description, but no scripts. Colours are distinguishable with colour blindness; lines differ by marker and dash, too.
 * The same chart gives the same bytes in every locale. */

#define ORGAN_CHART_COLOURS 6

/* A line, or the bars of one colour. */
typedef struct organ_chart_series {
    const char *name;
    /* index of colour, marker and dash (colours repeat from ORGAN_CHART_COLOURS on); a series that occurs in several
     * charts has the same style in all */
    unsigned style;
    /* an expected value, not a measured one: drawn as a grey dashed line without markers, also among bars */
    bool reference;
} organ_chart_series;

/* A plot area with the values of all series. */
typedef struct organ_chart_panel {
    const char *title; /* NULL: none */
    size_t count;
    const double *x;        /* `count` places, ascending */
    const double *const *y; /* for each series `count` values, or NULL: the panel has no values of this series */
    /* edges of a shaded band, `count` values each; -INFINITY: no lower end. NULL: no band */
    const double *band_low, *band_high;
} organ_chart_panel;

/* A chart of one or more panels. Values that are not finite, and on a logarithmic axis those that are not above 0, are
 * gaps. */
typedef struct organ_chart {
    const char *title, *subtitle;  /* subtitle: NULL or one short line */
    const char *description;       /* one or two sentences for screen readers */
    const char *x_label, *y_label; /* with the unit */
    bool bars;                     /* bars instead of lines */
    bool log_y;
    double min_span; /* least span of a linear y axis, so that smaller differences look small; 0: none */
    bool whole_x;    /* places are whole numbers, such as layers */
    const organ_chart_series *series;
    size_t series_count;
    const char *band_name; /* legend entry of the bands; NULL: none */
    const organ_chart_panel *panels;
    size_t panel_count;
} organ_chart;

/* Draws the chart as an SVG document, which the caller frees; *svg is NULL on error. Names may contain any bytes:
 * invalid and control characters are made visible. A panel without values contains a sentence that says so. Returns
 * ORGAN_IO if out of memory. */
organ_status organ_chart_svg(const organ_chart *chart, char **svg, organ_error *error);

/* ---- a heat map as SVG ---- */

/* A heat map as SVG: a grid of coloured cells, one value each, with a colour scale.
 */

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

/* ---- a scatter chart as SVG ---- */

/* A scatter chart as SVG: points by kind, some with their names. */

/* A point of the chart. */
typedef struct organ_point {
    double x, y;
    unsigned kind;    /* index into kinds, which chooses colour and marker; 18 kinds are distinguishable */
    const char *name; /* name in the tooltip; NULL: the tooltip has the kind */
    bool named;       /* also write the name next to the point if there is room */
    bool joined;      /* a line joins it to the previous point of the same kind */
} organ_point;

/* A chart of points. */
typedef struct organ_scatter {
    const char *title, *subtitle, *description, *x_label, *y_label; /* as in organ_chart */
    bool log_x, log_y, whole_x;                                     /* whole_x: ticks at whole numbers only */
    const char *const *kinds;                                       /* names for the legend */
    size_t kind_count;
    /* points with a coordinate that is not finite, or not above 0 on a logarithmic axis, are left out, which the
     * subtitle reports */
    const organ_point *points;
    size_t count;
    bool listed; /* the caller prints a table of all points: the figure omits its own numbers */
} organ_scatter;

/* Draws the points as an SVG document, which the caller frees; *svg is NULL on error. Returns ORGAN_IO if out of
 * memory. */
organ_status organ_scatter_svg(const organ_scatter *scatter, char **svg, organ_error *error);

/* ---- horizontal bars ---- */

/* Horizontal bars with names on the left and values on the right: projections,
 * models, modules. */

/* A row of the chart. */
typedef struct organ_ranking_bar {
    const char *name, *remark; /* remark: text after the value; NULL: none */
    double value[2];           /* one bar, or two below each other; a value that is not finite has no bar */
    double low, high;          /* ends of a whisker over the first bar; low == high: none */
    unsigned depth; /* level of indentation: the bar is a child of the nearest bar above with a smaller depth */
} organ_ranking_bar;

/* A chart of horizontal bars. */
typedef struct organ_ranking {
    const char *title, *subtitle, *description, *value_label; /* as in organ_chart */
    /* names of the two bars of a row; the second NULL: one bar in each row */
    const char *series[2];
    int digits;       /* significant digits of the values, 1 to 9 */
    const char *unit; /* text after each value: " %"; NULL: none */
    const organ_ranking_bar *bars;
    size_t count;
} organ_ranking;

/* Draws the bars as an SVG document, which the caller frees; *svg is NULL on error. Of more than 60 bars it draws the
 * first 60, which the subtitle reports. Returns ORGAN_IO if out of memory. */
organ_status organ_ranking_svg(const organ_ranking *ranking, char **svg, organ_error *error);

#endif
