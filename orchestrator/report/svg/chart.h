/* SPDX-License-Identifier: MIT
 * Charts as SVG: lines or bars over numbered places, one panel or several with the same axes. A file stands alone,
 * scales to any width, follows the light or dark scheme of its reader, has real text, a title and a description, and no
 * scripts. Colours are told apart without colour vision, and lines by marker and dash as well. The same chart gives the
 * same bytes in every locale. */
#ifndef ORGAN_SVG_CHART_H
#define ORGAN_SVG_CHART_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define ORGAN_CHART_COLOURS 6

typedef struct organ_chart_series {
    const char *name;
    unsigned look;  /* colour, marker and dash, below ORGAN_CHART_COLOURS (more begin anew): the same thing looks the
                       same in all charts */
    bool reference; /* what is expected, not measured: grey and dashed, without markers, and a line among bars too */
} organ_chart_series;

/* One plot. */
typedef struct organ_chart_panel {
    const char *title; /* NULL: none */
    size_t count;
    const double *x;                    /* count places, ascending */
    const double *const *y;             /* of each series `count` values, or NULL if this panel has none of it */
    const double *band_low, *band_high; /* behind the values: what is usual at each place, a low of -INFINITY: down from
                                           there; both or NULL */
} organ_chart_panel;

/* Values that are not finite, and on a logarithmic axis those that are not above 0, are gaps. */
typedef struct organ_chart {
    const char *title, *subtitle;  /* subtitle: NULL or one short line */
    const char *description;       /* for those who do not see it: one or two sentences */
    const char *x_label, *y_label; /* with the unit */
    bool bars;                     /* else lines */
    bool log_y;
    double least_span; /* of the values' axis, if not logarithmic: what is smaller than that shall look small; 0: no
                          matter */
    bool whole_x;      /* places are whole numbers, such as layers */
    const organ_chart_series *series;
    size_t series_count;
    const char *band_name; /* NULL: no band */
    const organ_chart_panel *panels;
    size_t panel_count;
} organ_chart;

/* The SVG document, for the caller to free; *svg is NULL on error. Names may hold anything: what XML or a reader could
 * stumble over is made visible. A panel without values says so. ORGAN_IO without memory. */
organ_status organ_chart_svg(const organ_chart *chart, char **svg, organ_error *error);

#endif
