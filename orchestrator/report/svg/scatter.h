/* SPDX-License-Identifier: MIT
 * A scatter chart as SVG, in the visual language of chart.h: points by kind, some with their names. */
#ifndef ORGAN_SVG_SCATTER_H
#define ORGAN_SVG_SCATTER_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

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

#endif
