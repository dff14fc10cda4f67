/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg.h"

#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>

enum {
    WIDTH = 960,
    LEFT = 76,
    RIGHT = 24,
    TITLE_ROW = 26,
    LEGEND_ROW = 22,
    PLOT_HEIGHT = 420,
    SUBTITLE_ROW = 20, /* height of the line below the title */
    LEGEND_TOP = 22,   /* from the line above to the middle of the first row of the legend */
    FOOT = 54,         /* below the plot area: numbers and label of the axis */
    KEY_WIDTH = 16,    /* of a marker in the legend, with its distance from the text */
    KEY_GAP = 22,      /* between two entries of the legend */
    TEXT_MIDDLE = 4,   /* from the middle of a line of text to its baseline */
    /* longest texts, in columns of text */
    LONGEST_NAME = 32,
    LONGEST_KIND = 60,
    LONGEST_HEAD = 130,
    LONGEST_TICK = 32,
    LONGEST_X_LABEL = 100,
    LONGEST_Y_LABEL = 60
};

typedef struct box {
    double left, top, right, bottom;
} box;

typedef struct scatter_drawing {
    const organ_scatter *scatter;
    FILE *out;
    size_t left_out; /* number of points that cannot be drawn */
    organ_axis x, y;
    double top, height; /* top of the plot area; height of the chart */
    box *taken;         /* boxes of written names and of the points that have names: labels must not overlap them */
    size_t taken_count;
} scatter_drawing;

static bool point_is_drawn(const organ_scatter *s, const organ_point *p)
{
    return isfinite(p->x) && isfinite(p->y) && (!s->log_x || p->x > 0) && (!s->log_y || p->y > 0);
}

static double at_x(const scatter_drawing *d, double x)
{
    return LEFT + organ_scale_place(&d->x.scale, x) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const scatter_drawing *d, double y)
{
    return d->top + (1 - organ_scale_place(&d->y.scale, y)) * PLOT_HEIGHT;
}

/* ---- the frame ---- */

static void widen_single_value(organ_extent *range, bool log)
{
    if (range->low != range->high)
        return;
    const double margin = range->low != 0 ? fabs(range->low) * 0.1 : 0.5;
    range->low = log ? range->low / 2 : range->low - margin;
    range->high = log ? range->high * 2 : range->high + margin;
}

static void choose_scales(scatter_drawing *d)
{
    const organ_scatter *const s = d->scatter;
    organ_extent x = ORGAN_EXTENT_NONE, y = x;
    for (size_t k = 0; k < s->count; k++) {
        const organ_point *const p = &s->points[k];
        if (!point_is_drawn(s, p)) {
            d->left_out++;
            continue;
        }
        organ_extent_widen(&x, p->x);
        organ_extent_widen(&y, p->y);
    }
    widen_single_value(&x, s->log_x);
    widen_single_value(&y, s->log_y);
    d->x = organ_axis_of(organ_scale_over(x.low, x.high, 8, s->log_x, s->whole_x));
    d->y = organ_axis_of(organ_scale_over(y.low, y.high, 6, s->log_y, /*integers=*/false));
}

/* The first row is centred at `y`. Only measures the legend if `drawn` is false. Returns the y of the row after it. */
static double put_legend(const scatter_drawing *d, double y, bool drawn)
{
    double x = LEFT;
    for (size_t k = 0; k < d->scatter->kind_count; k++) {
        const char *const name = d->scatter->kinds[k];
        const double width = KEY_WIDTH + organ_svg_pixels_cut(name, LONGEST_KIND) + KEY_GAP;
        if (x > LEFT && x + width > WIDTH - RIGHT) {
            x = LEFT;
            y += LEGEND_ROW;
        }
        if (drawn) {
            organ_svg_marker(d->out, (unsigned)k, x + 5, y);
            fputs("</path>\n", d->out);
            organ_svg_label(d->out, x + KEY_WIDTH, y + TEXT_MIDDLE, "", "start", name, LONGEST_KIND);
        }
        x += width;
    }
    return d->scatter->kind_count ? y + LEGEND_ROW : y;
}

static double head_height(const scatter_drawing *d)
{
    return TITLE_ROW + (d->scatter->subtitle || d->left_out ? SUBTITLE_ROW : 0) + LEGEND_TOP;
}

static void put_frame(const scatter_drawing *d)
{
    const organ_scatter *const s = d->scatter;
    char note[80] = "";
    if (d->left_out)
        snprintf(note, sizeof note, "%zu of %zu are outside the plot", d->left_out, s->count);
    organ_svg_begin(d->out, WIDTH, d->height, s->title, s->description, "");
    organ_svg_head(d->out, LEFT, s->title, s->subtitle, note, LONGEST_HEAD);
    put_legend(d, head_height(d), /*drawn=*/true);
    organ_svg_upright(d->out, d->top + PLOT_HEIGHT / 2.0, s->y_label, LONGEST_Y_LABEL);
    organ_svg_label(d->out, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, d->height - 10, "", "middle", s->x_label,
                    LONGEST_X_LABEL);
}

static void put_axes(const scatter_drawing *d)
{
    const double bottom = d->top + PLOT_HEIGHT;
    for (size_t k = 0; k < d->y.count; k++) {
        const double y = bottom - d->y.ticks[k].at * PLOT_HEIGHT;
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fH%f\"/>\n", LEFT, y, WIDTH - RIGHT);
        organ_svg_label(d->out, LEFT - 7, y + TEXT_MIDDLE, " oc-tick", "end", d->y.ticks[k].text, LONGEST_TICK);
    }
    for (size_t k = 0; k < d->x.count; k++) {
        const double x = LEFT + d->x.ticks[k].at * (WIDTH - LEFT - RIGHT);
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fV%f\"/>\n", x, d->top, bottom);
        organ_svg_label(d->out, x, bottom + 20, " oc-tick", "middle", d->x.ticks[k].text, LONGEST_TICK);
    }
    ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fV%fH%f\"/>\n", LEFT, d->top, bottom, WIDTH - RIGHT);
}

/* ---- points ---- */

static void put_joins(const scatter_drawing *d)
{
    const organ_scatter *const s = d->scatter;
    for (size_t kind = 0; kind < s->kind_count; kind++) {
        const organ_point *before = NULL;
        for (size_t k = 0; k < s->count; k++) {
            const organ_point *const p = &s->points[k];
            if (p->kind != kind)
                continue;
            if (before && p->joined && point_is_drawn(s, before) && point_is_drawn(s, p)) {
                ORGAN_SVG(d->out, "<path d=\"M%f %fL%f %f\"", at_x(d, before->x), at_y(d, before->y), at_x(d, p->x),
                          at_y(d, p->y));
                organ_svg_line_end(d->out, p->kind);
            }
            before = p;
        }
    }
}

static void put_point(const scatter_drawing *d, const organ_point *p)
{
    char x[32], y[32];
    organ_svg_marker(d->out, p->kind, at_x(d, p->x), at_y(d, p->y));
    fputs("<title>", d->out);
    const char *const kind = p->kind < d->scatter->kind_count ? d->scatter->kinds[p->kind] : "";
    organ_svg_text(d->out, p->name ? p->name : kind, 100);
    fprintf(d->out, ": %s, %s</title></path>\n", organ_number_text(p->x, 4, x), organ_number_text(p->y, 4, y));
}

static bool is_free(const scatter_drawing *d, const box *b)
{
    if (b->left < LEFT || b->right > WIDTH - RIGHT || b->top < d->top - 8 || b->bottom > d->top + PLOT_HEIGHT + 8)
        return false;
    for (size_t k = 0; k < d->taken_count; k++) {
        const box *const t = &d->taken[k];
        if (b->left < t->right && t->left < b->right && b->top < t->bottom && t->top < b->bottom)
            return false;
    }
    return true;
}

/* Tries four places: right of the point, left of it, above, below. If none is free, the name is not written. */
static void put_name(scatter_drawing *d, const organ_point *p)
{
    const double x = at_x(d, p->x), y = at_y(d, p->y), width = organ_svg_pixels_cut(p->name, LONGEST_NAME);
    const double left = fmin(fmax(x - width / 2, LEFT), WIDTH - RIGHT - width);
    const box places[] = {{x + 7, y - 7, x + 7 + width, y + 7},
                          {x - 7 - width, y - 7, x - 7, y + 7},
                          {left, y - 20, left + width, y - 6},
                          {left, y + 6, left + width, y + 20}};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++)
        if (is_free(d, &places[k])) {
            d->taken[d->taken_count++] = places[k];
            organ_svg_label(d->out, places[k].left, places[k].bottom - 3, "", "start", p->name, LONGEST_NAME);
            return;
        }
}

static void put_points(scatter_drawing *d)
{
    const organ_scatter *const s = d->scatter;
    put_joins(d);
    for (size_t k = 0; k < s->count; k++)
        if (point_is_drawn(s, &s->points[k]))
            put_point(d, &s->points[k]);
    for (size_t k = 0; k < s->count; k++)
        if (point_is_drawn(s, &s->points[k]) && s->points[k].named) {
            const double x = at_x(d, s->points[k].x), y = at_y(d, s->points[k].y);
            d->taken[d->taken_count++] = (box){x - 4, y - 4, x + 4, y + 4};
        }
    for (size_t k = 0; k < s->count; k++)
        if (point_is_drawn(s, &s->points[k]) && s->points[k].named && s->points[k].name)
            put_name(d, &s->points[k]);
}

enum { MAX_ROWS = 400 }; /* limit of points in the table of numbers */

/* The table is for screen readers; it is left out if the page has such a table already (`listed`) or there are more
 * than MAX_ROWS points. */
static void put_numbers(const scatter_drawing *d)
{
    const organ_scatter *const s = d->scatter;
    bool names = false;
    for (size_t k = 0; k < s->count; k++)
        names = names || s->points[k].name;
    if (s->listed || s->count == 0 || s->count > MAX_ROWS)
        return;
    organ_svg_numbers_begin(d->out);
    if (names)
        organ_svg_numbers_text(d->out, "what");
    organ_svg_numbers_text(d->out, "kind");
    organ_svg_numbers_text(d->out, s->x_label);
    organ_svg_numbers_text(d->out, s->y_label);
    organ_svg_numbers_row(d->out);
    for (size_t k = 0; k < s->count; k++) {
        const organ_point *const p = &s->points[k];
        if (!p->name && names)
            continue; /* a point without a name only begins a line; a named point is at the same place */
        if (names)
            organ_svg_numbers_text(d->out, p->name);
        organ_svg_numbers_text(d->out, p->kind < s->kind_count ? s->kinds[p->kind] : "");
        organ_svg_numbers_value(d->out, p->x);
        organ_svg_numbers_value(d->out, p->y);
        organ_svg_numbers_row(d->out);
    }
    organ_svg_numbers_end(d->out);
}

organ_status organ_scatter_svg(const organ_scatter *scatter, char **svg, organ_error *error)
{
    /* at most a box for each point and one for its name */
    scatter_drawing d = {.scatter = scatter, .taken = calloc(2 * scatter->count + 1, sizeof(box))};
    organ_text text;
    *svg = NULL;
    if (!d.taken)
        return organ_fail(error, ORGAN_IO, "no memory for a chart");
    if (organ_text_open(&text, error) == ORGAN_OK) {
        d.out = text.out;
        choose_scales(&d);
        d.top = put_legend(&d, head_height(&d), /*drawn=*/false) + 2;
        d.height = d.top + PLOT_HEIGHT + FOOT;
        put_frame(&d);
        put_axes(&d);
        put_points(&d);
        if (d.left_out == scatter->count)
            organ_svg_label(d.out, WIDTH / 2.0, d.top + PLOT_HEIGHT / 2.0, " oc-faint", "middle", "no values",
                            LONGEST_NAME);
        put_numbers(&d);
        fputs("</svg>\n", d.out);
        organ_text_finish(&text, svg, error);
    }
    free(d.taken);
    return error->status;
}
