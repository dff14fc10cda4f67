/* SPDX-License-Identifier: MIT
 * Charts as SVG: lines or bars over numbered places, in one panel or several with the same axes. A file needs no other
 * file, scales to any width, follows the reader's light or dark scheme, and contains real text, a title and a
 * description, but no scripts. Colours are distinguishable with colour blindness; lines differ by marker and dash, too.
 * The same chart gives the same bytes in every locale. */
#ifndef ORGAN_SVG_CHART_H
#define ORGAN_SVG_CHART_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

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

#endif
