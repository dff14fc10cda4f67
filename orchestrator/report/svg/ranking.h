/* SPDX-License-Identifier: MIT
 * Horizontal bars with names on the left and values on the right, in the visual language of chart.h: projections,
 * models, modules. */
#ifndef ORGAN_SVG_RANKING_H
#define ORGAN_SVG_RANKING_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

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
