/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg.h"

#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>
#include <string.h>

enum {
    SCATTER_WIDTH = 960,
    SCATTER_LEFT = 76,
    SCATTER_RIGHT = 24,
    SCATTER_TITLE_ROW = 26,
    LEGEND_ROW = 22,
    PLOT_HEIGHT = 420,
    SCATTER_LONGEST_NAME = 32
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
    return SCATTER_LEFT + organ_scale_place(&d->x.scale, x) * (SCATTER_WIDTH - SCATTER_LEFT - SCATTER_RIGHT);
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
    double x = SCATTER_LEFT;
    for (size_t k = 0; k < d->scatter->kind_count; k++) {
        const char *const name = d->scatter->kinds[k];
        const double width = 16 + organ_svg_pixels_cut(name, 60) + 22;
        if (x > SCATTER_LEFT && x + width > SCATTER_WIDTH - SCATTER_RIGHT) {
            x = SCATTER_LEFT;
            y += LEGEND_ROW;
        }
        if (drawn) {
            organ_svg_marker(d->out, (unsigned)k, x + 5, y);
            fputs("</path>\n", d->out);
            organ_svg_label(d->out, x + 16, y + 4, "", "start", name, 60);
        }
        x += width;
    }
    return d->scatter->kind_count ? y + LEGEND_ROW : y;
}

static double head_height(const scatter_drawing *d)
{
    return SCATTER_TITLE_ROW + (d->scatter->subtitle || d->left_out ? 20 : 0) + 22;
}

static void put_frame(const scatter_drawing *d)
{
    const organ_scatter *const s = d->scatter;
    char note[80] = "";
    if (d->left_out)
        snprintf(note, sizeof note, "%zu of %zu are outside the plot", d->left_out, s->count);
    organ_svg_begin(d->out, SCATTER_WIDTH, d->height, s->title, s->description, "");
    organ_svg_head(d->out, SCATTER_LEFT, s->title, s->subtitle, note, 130);
    put_legend(d, head_height(d), /*drawn=*/true);
    organ_svg_upright(d->out, d->top + PLOT_HEIGHT / 2.0, s->y_label, 60);
    organ_svg_label(d->out, SCATTER_LEFT + (SCATTER_WIDTH - SCATTER_LEFT - SCATTER_RIGHT) / 2.0, d->height - 10, "",
                    "middle", s->x_label, 100);
}

static void put_axes(const scatter_drawing *d)
{
    const double bottom = d->top + PLOT_HEIGHT;
    for (size_t k = 0; k < d->y.count; k++) {
        const double y = bottom - d->y.ticks[k].at * PLOT_HEIGHT;
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fH%f\"/>\n", SCATTER_LEFT, y,
                  SCATTER_WIDTH - SCATTER_RIGHT);
        organ_svg_label(d->out, SCATTER_LEFT - 7, y + 4, " oc-tick", "end", d->y.ticks[k].text, 32);
    }
    for (size_t k = 0; k < d->x.count; k++) {
        const double x = SCATTER_LEFT + d->x.ticks[k].at * (SCATTER_WIDTH - SCATTER_LEFT - SCATTER_RIGHT);
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fV%f\"/>\n", x, d->top, bottom);
        organ_svg_label(d->out, x, bottom + 20, " oc-tick", "middle", d->x.ticks[k].text, 32);
    }
    ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fV%fH%f\"/>\n", SCATTER_LEFT, d->top, bottom,
              SCATTER_WIDTH - SCATTER_RIGHT);
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
    if (b->left < SCATTER_LEFT || b->right > SCATTER_WIDTH - SCATTER_RIGHT || b->top < d->top - 8 ||
        b->bottom > d->top + PLOT_HEIGHT + 8)
        return false;
    for (size_t k = 0; k < d->taken_count; k++) {
        const box *const t = &d->taken[k];
        if (b->left < t->right && t->left < b->right && b->top < t->bottom && t->top < b->bottom)
            return false;
    }
    return true;
}

static void put_name(scatter_drawing *d, const organ_point *p)
{
    const double x = at_x(d, p->x), y = at_y(d, p->y), width = organ_svg_pixels_cut(p->name, SCATTER_LONGEST_NAME);
    const double left = fmin(fmax(x - width / 2, SCATTER_LEFT), SCATTER_WIDTH - SCATTER_RIGHT - width);
    const box places[] = {{x + 7, y - 7, x + 7 + width, y + 7},
                          {x - 7 - width, y - 7, x - 7, y + 7},
                          {left, y - 20, left + width, y - 6},
                          {left, y + 6, left + width, y + 20}};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++)
        if (is_free(d, &places[k])) {
            d->taken[d->taken_count++] = places[k];
            organ_svg_label(d->out, places[k].left, places[k].bottom - 3, "", "start", p->name, SCATTER_LONGEST_NAME);
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
static void scatter_put_numbers(const scatter_drawing *d)
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
    scatter_drawing d = {.scatter = scatter, .taken = calloc(2 * scatter->count + 1, sizeof(box))};
    organ_text text;
    *svg = NULL;
    if (!d.taken)
        return organ_fail(error, ORGAN_IO, "no memory for a chart");
    if (organ_text_open(&text, error) == ORGAN_OK) {
        d.out = text.out;
        choose_scales(&d);
        d.top = put_legend(&d, head_height(&d), /*drawn=*/false) + 2;
        d.height = d.top + PLOT_HEIGHT + 54;
        put_frame(&d);
        put_axes(&d);
        put_points(&d);
        if (d.left_out == scatter->count)
            organ_svg_label(d.out, SCATTER_WIDTH / 2.0, d.top + PLOT_HEIGHT / 2.0, " oc-faint", "middle", "no values",
                            32);
        scatter_put_numbers(&d);
        fputs("</svg>\n", d.out);
        organ_text_finish(&text, svg, error);
    }
    free(d.taken);
    return error->status;
}

enum {
    RANKING_WIDTH = 960,
    RANKING_LEFT = 20,
    RANKING_RIGHT = 20,
    RANKING_TITLE_ROW = 26,    /* y of the title */
    MAX_BARS = 60,             /* bars that are drawn */
    RANKING_LONGEST_NAME = 36, /* characters of a name */
    LONGEST_REMARK = 44,       /* characters of a remark */
    INSET = 16                 /* indentation of each level */
};

typedef struct ranking_drawing {
    const organ_ranking *ranking;
    FILE *out;
    size_t count; /* number of rows that are drawn: the first ones of ranking->bars */
    bool two;     /* each row has two bars */
    int decimals; /* decimals of all values; negative: each value has its own */
    organ_axis axis;
    /* left edge and width of the plot area; top of the rows; height of a row and of the chart */
    double left, width, top, row_height, height;
} ranking_drawing;

/* If d->decimals is negative, the value has ranking->digits significant digits. */
static const char *value_text(const ranking_drawing *d, double value, char out[64])
{
    char number[32];
    const char *const text = d->decimals < 0 ? organ_number_text(value, d->ranking->digits, number)
                                             : organ_fixed_text(value, d->decimals, number);
    snprintf(out, 64, "%s%.24s", text, d->ranking->unit ? d->ranking->unit : "");
    return out;
}

/* ---- layout ---- */

/* -1 means that each value has its own decimals: the smallest value other than 0 is below 1 in the last decimal. */
static void choose_decimals(ranking_drawing *d)
{
    organ_extent sizes = {INFINITY, 0};
    for (size_t k = 0; k < d->count; k++)
        for (int v = 0; v < 1 + d->two; v++)
            if (d->ranking->bars[k].value[v] != 0)
                organ_extent_widen(&sizes, fabs(d->ranking->bars[k].value[v]));
    d->decimals = organ_decimals_for(sizes.high, d->ranking->digits);
    if (d->decimals >= 0 && sizes.low < pow(10, -d->decimals))
        d->decimals = -1;
}

static void choose_scale(ranking_drawing *d)
{
    organ_extent all = {0, 0};
    for (size_t k = 0; k < d->count; k++) {
        const organ_ranking_bar *const bar = &d->ranking->bars[k];
        organ_extent_widen(&all, bar->value[0]);
        organ_extent_widen(&all, d->two ? bar->value[1] : 0);
        organ_extent_widen(&all, bar->low != bar->high ? bar->low : 0);
        organ_extent_widen(&all, bar->low != bar->high ? bar->high : 0);
    }
    /* 0 to 1 if all values are 0 */
    d->axis = organ_axis_of(
        organ_scale_over(all.low, all.low == all.high ? 1 : all.high, 6, /*log=*/false, /*integers=*/false));
}

static void ranking_arrange(ranking_drawing *d)
{
    const organ_ranking *const r = d->ranking;
    double names = 40, values = 40;
    char text[64];
    for (size_t k = 0; k < d->count; k++) {
        const organ_ranking_bar *const bar = &r->bars[k];
        names = fmax(names, organ_svg_pixels_cut(bar->name, RANKING_LONGEST_NAME) + INSET * (double)bar->depth);
        for (int v = 0; v < 1 + d->two; v++)
            if (isfinite(bar->value[v]))
                values = fmax(values,
                              organ_svg_pixels(value_text(d, bar->value[v], text)) +
                                  (v == 0 && bar->remark ? organ_svg_pixels_cut(bar->remark, LONGEST_REMARK) + 10 : 0));
    }
    d->left = RANKING_LEFT + fmin(names, 330) + 10;
    d->width = RANKING_WIDTH - RANKING_RIGHT - d->left - fmin(values, 400) - 10;
    d->row_height = d->two ? 40 : 26;
    d->top = RANKING_TITLE_ROW + (r->subtitle || r->count > MAX_BARS ? 20 : 0) + (d->two ? 30 : 0) + 20;
    d->height = d->top + d->row_height * (double)d->count + 52;
}

static double x_of(const ranking_drawing *d, double value)
{
    return d->left + organ_scale_place(&d->axis.scale, value) * d->width;
}

/* ---- drawing ---- */

static void put_head(const ranking_drawing *d)
{
    const organ_ranking *const r = d->ranking;
    char note[64] = "";
    if (r->count > MAX_BARS)
        snprintf(note, sizeof note, "the first %d of %zu", MAX_BARS, r->count);
    organ_svg_begin(d->out, RANKING_WIDTH, d->height, r->title, r->description, "");
    organ_svg_head(d->out, RANKING_LEFT, r->title, r->subtitle, note, 130);
    const double y = d->top - 30;
    double x = RANKING_LEFT;
    for (int v = 0; v < 2 && d->two; v++) {
        ORGAN_SVG(d->out, "<rect x=\"%f\" y=\"%f\" width=\"24\" height=\"%f\"", x, y - (v ? 4 : 6), v ? 8 : 12);
        fprintf(d->out, " class=\"oc-mark oc-f%d\"/>\n", v);
        organ_svg_label(d->out, x + 30, y + 4, "", "start", r->series[v], 70);
        x += 30 + organ_svg_pixels_cut(r->series[v], 70) + 22;
    }
}

static void put_axis(const ranking_drawing *d)
{
    const double bottom = d->top + d->row_height * (double)d->count + 4;
    for (size_t k = 0; k < d->axis.count; k++) {
        const double x = d->left + d->axis.ticks[k].at * d->width;
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fV%f\"/>\n", x, d->top, bottom);
        organ_svg_label(d->out, x, bottom + 16, " oc-tick", "middle", d->axis.ticks[k].text, 32);
    }
    ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fV%f\"/>\n", x_of(d, 0), d->top, bottom);
    organ_svg_label(d->out, d->left + d->width / 2, d->height - 10, "", "middle", d->ranking->value_label, 90);
}

static void put_bar(const ranking_drawing *d, const organ_ranking_bar *bar, int v, double y, double thick)
{
    char text[64];
    const double value = bar->value[v], ground = x_of(d, 0), end = x_of(d, value);
    if (!isfinite(value)) {
        organ_svg_label(d->out, ground + 6, y + thick / 2 + 4, " oc-faint", "start", "-", 4);
        return;
    }
    ORGAN_SVG(d->out, "<rect x=\"%f\" y=\"%f\" width=\"%f\" height=\"%f\"", fmin(ground, end), y,
              fmax(fabs(end - ground), 0.5), thick);
    fprintf(d->out, " class=\"oc-mark oc-f%d\"><title>", v);
    organ_svg_text(d->out, bar->name, 80);
    if (d->two) {
        fputs(", ", d->out);
        organ_svg_text(d->out, d->ranking->series[v], 80);
    }
    fputs(": ", d->out);
    organ_svg_text(d->out, value_text(d, value, text), 60);
    fputs("</title></rect>\n", d->out);
    double right = fmax(ground, end);
    if (v == 0 && bar->low != bar->high && isfinite(bar->low) && isfinite(bar->high)) {
        ORGAN_SVG(d->out, "<path class=\"oc-whisker\" d=\"M%f %fH%fm0-4v8M%f %fv8\"/>\n", x_of(d, bar->low),
                  y + thick / 2, x_of(d, bar->high), x_of(d, bar->low), y + thick / 2 - 4);
        right = fmax(right, x_of(d, bar->high));
    }
    organ_svg_label(d->out, right + 6, y + thick / 2 + 4, "", "start", text, 60);
    if (v == 0 && bar->remark)
        organ_svg_label(d->out, right + 6 + organ_svg_pixels(text) + 10, y + thick / 2 + 4, " oc-faint", "start",
                        bar->remark, LONGEST_REMARK);
}

static void put_row(const ranking_drawing *d, size_t k)
{
    const organ_ranking_bar *const bar = &d->ranking->bars[k];
    const double y = d->top + d->row_height * (double)k + 5, thick = d->two ? 16 : d->row_height - 9;
    const double name_width = d->left - 10 - RANKING_LEFT - INSET * (double)bar->depth;
    /* characters of 6.6 pixels (organ_svg_pixels), at least 6 of them */
    size_t longest = name_width > 6.6 * 6 ? (size_t)(name_width / 6.6 + 0.5) : 6;
    longest = longest > RANKING_LONGEST_NAME ? RANKING_LONGEST_NAME : longest;
    if (bar->depth)
        ORGAN_SVG(d->out, "<path class=\"oc-axis\" fill=\"none\" d=\"M%f %fv9h8\"/>\n",
                  RANKING_LEFT + INSET * (double)bar->depth - 11, y - 1);
    organ_svg_label(d->out, RANKING_LEFT + INSET * (double)bar->depth, y + thick / 2 + 4, "", "start", bar->name,
                    longest);
    put_bar(d, bar, 0, y, thick);
    if (d->two)
        put_bar(d, bar, 1, y + thick + 2, 10);
}

static void ranking_put_numbers(const ranking_drawing *d)
{
    const organ_ranking *const r = d->ranking;
    bool whiskers = false, remarks = false;
    for (size_t k = 0; k < d->count; k++) {
        whiskers = whiskers || r->bars[k].low != r->bars[k].high;
        remarks = remarks || r->bars[k].remark;
    }
    organ_svg_numbers_begin(d->out);
    organ_svg_numbers_text(d->out, "bar");
    for (int v = 0; v < 1 + d->two; v++)
        organ_svg_numbers_text(d->out, r->series[v] ? r->series[v] : r->value_label);
    for (int end = 0; end < 2 && whiskers; end++)
        organ_svg_numbers_text(d->out, end ? "whisker to" : "whisker from");
    if (remarks)
        organ_svg_numbers_text(d->out, "remark");
    organ_svg_numbers_row(d->out);
    for (size_t k = 0; k < d->count; k++) {
        const organ_ranking_bar *const bar = &r->bars[k];
        const double edges[] = {bar->low, bar->high};
        char text[64];
        organ_svg_numbers_text(d->out, bar->name);
        for (int v = 0; v < 1 + d->two; v++)
            organ_svg_numbers_text(d->out, isfinite(bar->value[v]) ? value_text(d, bar->value[v], text) : "");
        for (int end = 0; end < 2 && whiskers; end++)
            organ_svg_numbers_value(d->out, bar->low == bar->high ? (double)NAN : edges[end]);
        if (remarks)
            organ_svg_numbers_text(d->out, bar->remark);
        organ_svg_numbers_row(d->out);
    }
    organ_svg_numbers_end(d->out);
}

organ_status organ_ranking_svg(const organ_ranking *ranking, char **svg, organ_error *error)
{
    ranking_drawing d = {.ranking = ranking,
                         .count = ranking->count < MAX_BARS ? ranking->count : MAX_BARS,
                         .two = ranking->series[1] != NULL};
    organ_text text;
    *svg = NULL;
    if (organ_text_open(&text, error) != ORGAN_OK)
        return error->status;
    d.out = text.out;
    choose_decimals(&d);
    choose_scale(&d);
    ranking_arrange(&d);
    put_head(&d);
    put_axis(&d);
    for (size_t k = 0; k < d.count; k++)
        put_row(&d, k);
    if (d.count == 0)
        organ_svg_label(d.out, RANKING_WIDTH / 2.0, d.top, " oc-faint", "middle", "no values", 32);
    else
        ranking_put_numbers(&d);
    fputs("</svg>\n", d.out);
    return organ_text_finish(&text, svg, error);
}
