/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg.h"

#include "orchestrator/report/text/report_text.h"

#include <string.h>

enum { WIDTH = 960, LEFT = 76, RIGHT = 20, GAP_X = 22, TITLE_ROW = 26, LEGEND_ROW = 22, TICK_ROW = 18 };

typedef struct chart_drawing {
    const organ_chart *chart;
    FILE *out;
    organ_axis x, y;
    size_t columns, rows; /* of panels */
    /* top of the panels; size of a plot area; distance from one row of panels to the next; height of the chart */
    double top, panel_width, panel_height, row_height, height;
    double left_now, top_now; /* left and top edge of the plot area that is being drawn */
} chart_drawing;

/* ---- marks ---- */

static unsigned style_of(const chart_drawing *d, size_t series)
{
    return d->chart->series[series].style % ORGAN_CHART_COLOURS;
}

static bool is_drawn(const chart_drawing *d, const organ_chart_panel *panel, size_t series, size_t k)
{
    const double *const y = panel->y[series];
    return y && isfinite(y[k]) && isfinite(panel->x[k]) && (!d->chart->log_y || y[k] > 0);
}

static double at_x(const chart_drawing *d, double x)
{
    return d->left_now + organ_scale_place(&d->x.scale, x) * d->panel_width;
}

static double at_y(const chart_drawing *d, double y)
{
    return d->top_now + (1 - organ_scale_place(&d->y.scale, y)) * d->panel_height;
}

static void put_tip(const chart_drawing *d, size_t series, double x, double y)
{
    char place[32], value[32];
    fputs("<title>", d->out);
    organ_svg_text(d->out, d->chart->series[series].name, 80);
    fputs(", ", d->out);
    organ_svg_text(d->out, d->chart->x_label, 80);
    fprintf(d->out, " %s: %s</title>", organ_number_text(x, 6, place), organ_number_text(y, 4, value));
}

static void put_line(const chart_drawing *d, const organ_chart_panel *panel, size_t series)
{
    const bool reference = d->chart->series[series].reference;
    const double *const y = panel->y[series];
    bool open = false;
    fputs("<path d=\"", d->out);
    for (size_t k = 0; k < panel->count; k++) {
        if (is_drawn(d, panel, series, k))
            ORGAN_SVG(d->out, open ? "L%f %f" : "M%f %f", at_x(d, panel->x[k]), at_y(d, y[k]));
        open = is_drawn(d, panel, series, k);
        /* A reference series has no markers, so a value without neighbours is drawn as a stroke of 24 pixels. */
        if (open && reference && (k == 0 || !is_drawn(d, panel, series, k - 1)) &&
            (k + 1 == panel->count || !is_drawn(d, panel, series, k + 1)))
            ORGAN_SVG(d->out, "m-12 0h24M%f %f", at_x(d, panel->x[k]), at_y(d, y[k]));
    }
    if (reference)
        fputs("\" class=\"oc-ref\"/>\n", d->out);
    else {
        fputc('"', d->out);
        organ_svg_line_end(d->out, style_of(d, series));
    }
}

/* A marker that would be less than 9 pixels to the right of the marker before is left out, unless its value has no
 * neighbours and so no line. */
static void put_markers(const chart_drawing *d, const organ_chart_panel *panel, size_t series)
{
    const double *const y = panel->y[series];
    double free_from = -1e9;
    for (size_t k = 0; k < panel->count; k++) {
        if (!is_drawn(d, panel, series, k))
            continue;
        const bool alone = (k == 0 || !is_drawn(d, panel, series, k - 1)) &&
                           (k + 1 == panel->count || !is_drawn(d, panel, series, k + 1));
        const double x = at_x(d, panel->x[k]);
        if (x < free_from && !alone)
            continue;
        organ_svg_marker(d->out, style_of(d, series), x, at_y(d, y[k]));
        put_tip(d, series, panel->x[k], y[k]);
        fputs("</path>\n", d->out);
        free_from = x + 9;
    }
}

/* Returns the smallest distance between two places of a panel, over all panels and in pixels: the room for a group of
 * bars. If no panel has two places, returns the width of 1 on the x axis. The result is at least 0.02. */
static double smallest_x_step(const chart_drawing *d)
{
    double least = 1;
    bool first = true;
    for (size_t p = 0; p < d->chart->panel_count; p++)
        for (size_t k = 1; k < d->chart->panels[p].count; k++) {
            const double step = d->chart->panels[p].x[k] - d->chart->panels[p].x[k - 1];
            if (step > 0 && (first || step < least)) {
                least = step;
                first = false;
            }
        }
    return fmax((organ_scale_place(&d->x.scale, least) - organ_scale_place(&d->x.scale, 0)) * d->panel_width, 0.02);
}

/* Each place on the x axis has a group of `slots` bars; those of this series are in slot `slot`. */
static void put_bars(const chart_drawing *d, const organ_chart_panel *panel, size_t series, size_t slot, size_t slots)
{
    /* a fifth of the distance between groups is empty; a bar has at most 64 pixels */
    const double group_width = fmin(smallest_x_step(d) * 0.8, 64.0 * (double)slots),
                 width = group_width / (double)slots;
    const double *const y = panel->y[series];
    const double ground = d->chart->log_y ? d->top_now + d->panel_height : at_y(d, 0);
    for (size_t k = 0; k < panel->count; k++) {
        if (!is_drawn(d, panel, series, k))
            continue;
        const double left = at_x(d, panel->x[k]) - group_width / 2 + width * (double)slot, top = at_y(d, y[k]);
        /* at least 0.3 pixels wide and 0.5 high, so that a value near 0 is visible */
        ORGAN_SVG(d->out, "<rect x=\"%f\" y=\"%f\" width=\"%f\" height=\"%f\"", left, fmin(top, ground),
                  fmax(width * 0.92, 0.3), fmax(fabs(ground - top), 0.5));
        fprintf(d->out, " class=\"oc-mark oc-f%u\">", style_of(d, series));
        put_tip(d, series, panel->x[k], y[k]);
        fputs("</rect>\n", d->out);
    }
}

/* A lower edge of -INFINITY counts as an edge, the floor of the plot. */
static bool in_band(const chart_drawing *d, const organ_chart_panel *panel, size_t k)
{
    const double low = panel->band_low[k], high = panel->band_high[k];
    return isfinite(panel->x[k]) && isfinite(high) && (isfinite(low) || low == (double)-INFINITY) &&
           !(d->chart->log_y && (high <= 0 || (isfinite(low) && low <= 0)));
}

/* The result is in pixels; it is the floor of the plot area if the value is not finite (-INFINITY: no lower end). */
static double band_low_y(const chart_drawing *d, const organ_chart_panel *panel, size_t k)
{
    return isfinite(panel->band_low[k]) ? at_y(d, panel->band_low[k]) : d->top_now + d->panel_height;
}

/* Draws the band as polygons. A polygon covers consecutive places that have a band and are closer to each other than
 * 1.1 times the smallest distance (smallest_x_step). A polygon follows the upper edge from left to right, then the
 * lower edge back. Its outline is visible where the fill is too thin. */
static void put_band(const chart_drawing *d, const organ_chart_panel *panel)
{
    const double half = smallest_x_step(d) / 2, left = d->left_now, right = left + d->panel_width;
    fputs("<path class=\"oc-band\" d=\"", d->out);
    for (size_t k = 0, end; k < panel->count; k = end) {
        end = k + 1;
        if (!in_band(d, panel, k))
            continue;
        ORGAN_SVG(d->out, "M%f %fV%f", fmax(at_x(d, panel->x[k]) - half, left), band_low_y(d, panel, k),
                  at_y(d, panel->band_high[k]));
        while (end < panel->count && in_band(d, panel, end) &&
               at_x(d, panel->x[end]) - at_x(d, panel->x[end - 1]) < 2.2 * half) {
            ORGAN_SVG(d->out, "H%fV%f", at_x(d, panel->x[end]) - half, at_y(d, panel->band_high[end]));
            end++;
        }
        ORGAN_SVG(d->out, "H%fV%f", fmin(at_x(d, panel->x[end - 1]) + half, right), band_low_y(d, panel, end - 1));
        for (size_t back = end - 1; back > k; back--)
            ORGAN_SVG(d->out, "H%fV%f", at_x(d, panel->x[back]) - half, band_low_y(d, panel, back - 1));
        fputc('z', d->out);
    }
    fputs("\"/>\n", d->out);
}

/* ---- panels ---- */

static void put_axes(const chart_drawing *d, bool first_column, bool last_row)
{
    const double left = d->left_now, top = d->top_now, bottom = top + d->panel_height, right = left + d->panel_width;
    for (size_t k = 0; k < d->y.count; k++) {
        const double y = bottom - d->y.ticks[k].at * d->panel_height;
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fH%f\"/>\n", left, y, right);
        if (first_column)
            organ_svg_label(d->out, left - 7, y + 4, " oc-tick", "end", d->y.ticks[k].text, 32);
    }
    ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fH%f", left, bottom, right);
    for (size_t k = 0; k < d->x.count; k++)
        ORGAN_SVG(d->out, "M%f %fv4", left + d->x.ticks[k].at * d->panel_width, bottom);
    fputs("\"/>\n", d->out);
    if (d->chart->bars && !d->chart->log_y)
        ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fH%f\"/>\n", left, at_y(d, 0), right);
    if (!last_row)
        return;
    for (size_t k = 0; k < d->x.count; k++)
        organ_svg_label(d->out, left + d->x.ticks[k].at * d->panel_width, bottom + TICK_ROW, " oc-tick", "middle",
                        d->x.ticks[k].text, 32);
}

static bool has_values(const chart_drawing *d, const organ_chart_panel *panel)
{
    for (size_t s = 0; s < d->chart->series_count; s++)
        for (size_t k = 0; k < panel->count; k++)
            if (is_drawn(d, panel, s, k))
                return true;
    return false;
}

/* Later elements cover earlier ones: axes, band, bars or lines, markers, and the reference lines last. */
static void put_panel(chart_drawing *d, size_t index)
{
    const organ_chart *const c = d->chart;
    const organ_chart_panel *const panel = &c->panels[index];
    const size_t column = index % d->columns, row = index / d->columns;
    size_t slots = 0, slot = 0; /* bars of a group, which stand side by side; the one that the next series has */
    d->left_now = LEFT + (double)column * (d->panel_width + GAP_X);
    d->top_now = d->top + (double)row * d->row_height + (panel->title ? 20 : 6);
    fputs("<g>\n", d->out);
    if (panel->title)
        organ_svg_label(d->out, d->left_now, d->top_now - 8, " oc-head", "start", panel->title,
                        (size_t)(d->panel_width / 7));
    put_axes(d, column == 0, index + d->columns >= c->panel_count);
    if (panel->band_low && panel->band_high)
        put_band(d, panel); /* after the grid, because an edge may coincide with one of its lines */
    if (!has_values(d, panel))
        organ_svg_label(d->out, d->left_now + d->panel_width / 2, d->top_now + d->panel_height / 2, " oc-faint",
                        "middle", "no values", 32);
    for (size_t s = 0; s < c->series_count; s++)
        slots += !c->series[s].reference;
    for (size_t s = 0; s < c->series_count; s++) {
        if (panel->y[s] && !c->series[s].reference && c->bars)
            put_bars(d, panel, s, slot, slots);
        else if (panel->y[s] && !c->series[s].reference)
            put_line(d, panel, s);
        slot += !c->series[s].reference;
    }
    for (size_t s = 0; s < c->series_count && !c->bars; s++)
        if (panel->y[s] && !c->series[s].reference)
            put_markers(d, panel, s);
    for (size_t s = 0; s < c->series_count; s++)
        if (panel->y[s] && c->series[s].reference)
            put_line(d, panel, s);
    fputs("</g>\n", d->out);
}

/* ---- the frame ---- */

static void put_swatch(const chart_drawing *d, size_t series, double x, double y)
{
    const organ_chart_series *const s = &d->chart->series[series];
    const unsigned kind = style_of(d, series);
    if (s->reference)
        ORGAN_SVG(d->out, "<path class=\"oc-ref\" d=\"M%f %fh24\"/>\n", x, y);
    else if (d->chart->bars) {
        ORGAN_SVG(d->out, "<rect x=\"%f\" y=\"%f\" width=\"12\" height=\"12\"", x + 6, y - 6);
        fprintf(d->out, " class=\"oc-mark oc-f%u\"/>\n", kind);
    } else {
        ORGAN_SVG(d->out, "<path d=\"M%f %fh24\"", x, y);
        organ_svg_line_end(d->out, kind);
        organ_svg_marker(d->out, kind, x + 12, y);
        fputs("</path>\n", d->out);
    }
}

/* The first row is centred at `y`. Only measures the legend if `drawn` is false. Returns the y of the row after it. */
static double put_legend(const chart_drawing *d, double y, bool drawn)
{
    const organ_chart *const c = d->chart;
    const size_t entries = c->series_count + (c->band_name != NULL);
    double x = LEFT;
    if (entries == 0)
        return y;
    for (size_t k = 0; k < entries; k++) {
        const char *const name = k < c->series_count ? c->series[k].name : c->band_name;
        const double width = 30 + organ_svg_pixels_cut(name, 60) + 22;
        if (x > LEFT && x + width > WIDTH - RIGHT) {
            x = LEFT;
            y += LEGEND_ROW;
        }
        if (drawn && k < c->series_count)
            put_swatch(d, k, x, y);
        else if (drawn)
            ORGAN_SVG(d->out, "<rect x=\"%f\" y=\"%f\" width=\"24\" height=\"12\" class=\"oc-band\"/>\n", x, y - 6);
        if (drawn)
            organ_svg_label(d->out, x + 30, y + 4, "", "start", name, 60);
        x += width;
    }
    return y + LEGEND_ROW;
}

static void choose_scales(chart_drawing *d)
{
    const organ_chart *const c = d->chart;
    organ_extent x = ORGAN_EXTENT_NONE, y = x;
    for (size_t p = 0; p < c->panel_count; p++)
        for (size_t k = 0; k < c->panels[p].count; k++) {
            const organ_chart_panel *const panel = &c->panels[p];
            organ_extent_widen(&x, panel->x[k]);
            for (size_t s = 0; s < c->series_count; s++)
                if (is_drawn(d, panel, s, k))
                    organ_extent_widen(&y, panel->y[s][k]);
            for (size_t b = 0; b < 2 && panel->band_low && panel->band_high; b++) {
                const double edge = b ? panel->band_high[k] : panel->band_low[k];
                if (!c->log_y || edge > 0)
                    organ_extent_widen(&y, edge); /* ignores an end of -INFINITY */
            }
        }
    if (c->bars && !c->log_y)
        organ_extent_widen(&y, 0);
    if (y.low <= y.high && y.high - y.low < c->min_span && !c->log_y) {
        const double middle = (y.low + y.high) / 2;
        y = (organ_extent){middle - c->min_span / 2, middle + c->min_span / 2};
    }
    if (x.low > x.high)
        x = (organ_extent){0, 1};
    /* free space left and right of the places: room for half a group of bars, or 2 % of the axis */
    const double margin =
        c->whole_x || c->bars ? 0.6 : fmax((x.high - x.low) * 0.02, x.high == x.low ? fmax(fabs(x.low), 1) * 0.1 : 0);
    d->x = organ_axis_of(organ_scale_tight(x.low - margin, x.high + margin, d->columns > 1 ? 6 : 12, c->whole_x));
    d->y = organ_axis_of(organ_scale_over(y.low, y.high, d->rows > 1 ? 4 : 6, c->log_y, /*integers=*/false));
}

/* Rows are full, or group the panels well: of seven projections, the four of attention are above the three of the
 * feed-forward. */
static size_t columns_for(size_t panels)
{
    static const unsigned char columns[] = {1, 1, 2, 3, 2, 3, 3, 4, 4, 3};
    return panels < sizeof columns ? columns[panels] : 4;
}

static void chart_arrange(chart_drawing *d)
{
    const organ_chart *const c = d->chart;
    const size_t count = c->panel_count ? c->panel_count : 1;
    bool titled = false;
    for (size_t p = 0; p < c->panel_count; p++)
        titled = titled || c->panels[p].title;
    d->columns = columns_for(count);
    d->rows = (count + d->columns - 1) / d->columns;
    d->panel_width = (WIDTH - LEFT - RIGHT - GAP_X * (double)(d->columns - 1)) / (double)d->columns;
    d->panel_height = 165;
    if (d->rows == 1)
        d->panel_height = d->columns == 1 ? 320 : 240;
    d->row_height = d->panel_height + (titled ? 44 : 26); /* and numbers of the x axis, title of the next panel */
    d->top = put_legend(d, TITLE_ROW + (c->subtitle ? 20 : 0) + 24, /*drawn=*/false) - 4;
    d->height = d->top + d->row_height * (double)d->rows + (titled ? 0 : 14) + 24;
}

static void put_frame(const chart_drawing *d)
{
    const organ_chart *const c = d->chart;
    organ_svg_begin(d->out, WIDTH, d->height, c->title, c->description, "");
    organ_svg_head(d->out, LEFT, c->title, c->subtitle, "", 130);
    put_legend(d, TITLE_ROW + (c->subtitle ? 20 : 0) + 22, /*drawn=*/true);
    organ_svg_upright(d->out, d->top + d->row_height * (double)d->rows / 2, c->y_label, 60);
    organ_svg_label(d->out, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, d->height - 10, "", "middle", c->x_label, 100);
}

/* ---- the numbers ---- */

/* The limit is for all panels together: a chart with more places has no table of numbers, since the JSON report has
 * them. */
enum { MAX_ROWS = 2500 };

static bool has_band(const organ_chart *c)
{
    bool band = false;
    for (size_t p = 0; p < c->panel_count; p++)
        band = band || (c->panels[p].band_low && c->panels[p].band_high);
    return band && c->band_name;
}

static void put_numbers_head(const chart_drawing *d, bool titled, bool band)
{
    const organ_chart *const c = d->chart;
    char name[128];
    if (titled)
        organ_svg_numbers_text(d->out, "plot");
    organ_svg_numbers_text(d->out, c->x_label);
    for (size_t s = 0; s < c->series_count; s++)
        organ_svg_numbers_text(d->out, c->series[s].name);
    for (int end = 0; end < 2 && band; end++) {
        snprintf(name, sizeof name, "%.100s, %s", c->band_name, end ? "to" : "from");
        organ_svg_numbers_text(d->out, name);
    }
    organ_svg_numbers_row(d->out);
}

static void put_numbers_row(const chart_drawing *d, const organ_chart_panel *panel, size_t k, bool titled, bool band)
{
    const organ_chart *const c = d->chart;
    if (titled)
        organ_svg_numbers_text(d->out, panel->title);
    organ_svg_numbers_value(d->out, panel->x[k]);
    for (size_t s = 0; s < c->series_count; s++)
        organ_svg_numbers_value(d->out, panel->y[s] ? panel->y[s][k] : (double)NAN);
    if (band) {
        organ_svg_numbers_value(d->out, panel->band_low ? panel->band_low[k] : (double)NAN);
        organ_svg_numbers_value(d->out, panel->band_high ? panel->band_high[k] : (double)NAN);
    }
    organ_svg_numbers_row(d->out);
}

static void chart_put_numbers(const chart_drawing *d)
{
    const organ_chart *const c = d->chart;
    const bool titled = c->panel_count && c->panels[0].title, band = has_band(c);
    size_t rows = 0;
    for (size_t p = 0; p < c->panel_count; p++)
        rows += c->panels[p].count;
    if (rows == 0 || rows > MAX_ROWS)
        return;
    organ_svg_numbers_begin(d->out);
    put_numbers_head(d, titled, band);
    for (size_t p = 0; p < c->panel_count; p++)
        for (size_t k = 0; k < c->panels[p].count; k++) {
            bool any = false;
            for (size_t s = 0; s < c->series_count; s++)
                any = any || (c->panels[p].y[s] && isfinite(c->panels[p].y[s][k]));
            if (any)
                put_numbers_row(d, &c->panels[p], k, titled, band);
        }
    organ_svg_numbers_end(d->out);
}

organ_status organ_chart_svg(const organ_chart *chart, char **svg, organ_error *error)
{
    chart_drawing d = {.chart = chart};
    organ_text text;
    *svg = NULL;
    if (organ_text_open(&text, error) != ORGAN_OK)
        return error->status;
    d.out = text.out;
    chart_arrange(&d);
    choose_scales(&d);
    put_frame(&d);
    for (size_t p = 0; p < chart->panel_count; p++)
        put_panel(&d, p);
    chart_put_numbers(&d);
    fputs("</svg>\n", d.out);
    return organ_text_finish(&text, svg, error);
}
