/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/svg/svg.h"

#include "orchestrator/report/text/report_text.h"

enum {
    WIDTH = 960,
    LEFT = 20,
    RIGHT = 20,
    TITLE_ROW = 26,         /* y of the title */
    MAX_BARS = 60,          /* bars that are drawn */
    LONGEST_NAME = 36,      /* characters of a name */
    LONGEST_REMARK = 44,    /* characters of a remark */
    INSET = 16,             /* indentation of each level */
    LEGEND_HEIGHT = 30,     /* of the line above the rows that names two series */
    SERIES_KEY = 30,        /* from the left edge of a series' mark to its name */
    SERIES_GAP = 22,        /* between a name and the next mark */
    LONGEST_SERIES = 70,    /* characters of the name of a series */
    LONGEST_SUBTITLE = 130, /* characters */
    LONGEST_LABEL = 90,     /* characters of the axis' label */
    LONGEST_VALUE = 60,     /* characters of a value with its unit */
    LONGEST_TICK = 32       /* characters */
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

/* Sets the places in pixels, with room for the names left of the bars and for the values right of them. */
static void arrange(ranking_drawing *d)
{
    const organ_ranking *const r = d->ranking;
    double names = 40, values = 40;
    char text[64];
    for (size_t k = 0; k < d->count; k++) {
        const organ_ranking_bar *const bar = &r->bars[k];
        names = fmax(names, organ_svg_pixels_cut(bar->name, LONGEST_NAME) + INSET * (double)bar->depth);
        for (int v = 0; v < 1 + d->two; v++)
            if (isfinite(bar->value[v]))
                values = fmax(values,
                              organ_svg_pixels(value_text(d, bar->value[v], text)) +
                                  (v == 0 && bar->remark ? organ_svg_pixels_cut(bar->remark, LONGEST_REMARK) + 10 : 0));
    }
    d->left = LEFT + fmin(names, 330) + 10;
    d->width = WIDTH - RIGHT - d->left - fmin(values, 400) - 10;
    d->row_height = d->two ? 40 : 26;
    d->top = TITLE_ROW + (r->subtitle || r->count > MAX_BARS ? 20 : 0) + (d->two ? LEGEND_HEIGHT : 0) + 20;
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
    organ_svg_begin(d->out, WIDTH, d->height, r->title, r->description, "");
    organ_svg_head(d->out, LEFT, r->title, r->subtitle, note, LONGEST_SUBTITLE);
    const double y = d->top - LEGEND_HEIGHT;
    double x = LEFT;
    for (int v = 0; v < 2 && d->two; v++) {
        ORGAN_SVG(d->out, "<rect x=\"%f\" y=\"%f\" width=\"24\" height=\"%f\"", x, y - (v ? 4 : 6), v ? 8 : 12);
        fprintf(d->out, " class=\"oc-mark oc-f%d\"/>\n", v);
        organ_svg_label(d->out, x + SERIES_KEY, y + 4, "", "start", r->series[v], LONGEST_SERIES);
        x += SERIES_KEY + organ_svg_pixels_cut(r->series[v], LONGEST_SERIES) + SERIES_GAP;
    }
}

static void put_axis(const ranking_drawing *d)
{
    const double bottom = d->top + d->row_height * (double)d->count + 4;
    for (size_t k = 0; k < d->axis.count; k++) {
        const double x = d->left + d->axis.ticks[k].at * d->width;
        ORGAN_SVG(d->out, "<path class=\"oc-grid\" d=\"M%f %fV%f\"/>\n", x, d->top, bottom);
        organ_svg_label(d->out, x, bottom + 16, " oc-tick", "middle", d->axis.ticks[k].text, LONGEST_TICK);
    }
    ORGAN_SVG(d->out, "<path class=\"oc-axis\" d=\"M%f %fV%f\"/>\n", x_of(d, 0), d->top, bottom);
    organ_svg_label(d->out, d->left + d->width / 2, d->height - 10, "", "middle", d->ranking->value_label,
                    LONGEST_LABEL);
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
    organ_svg_text(d->out, value_text(d, value, text), LONGEST_VALUE);
    fputs("</title></rect>\n", d->out);
    double right = fmax(ground, end);
    if (v == 0 && bar->low != bar->high && isfinite(bar->low) && isfinite(bar->high)) {
        ORGAN_SVG(d->out, "<path class=\"oc-whisker\" d=\"M%f %fH%fm0-4v8M%f %fv8\"/>\n", x_of(d, bar->low),
                  y + thick / 2, x_of(d, bar->high), x_of(d, bar->low), y + thick / 2 - 4);
        right = fmax(right, x_of(d, bar->high));
    }
    organ_svg_label(d->out, right + 6, y + thick / 2 + 4, "", "start", text, LONGEST_VALUE);
    if (v == 0 && bar->remark)
        organ_svg_label(d->out, right + 6 + organ_svg_pixels(text) + 10, y + thick / 2 + 4, " oc-faint", "start",
                        bar->remark, LONGEST_REMARK);
}

static void put_row(const ranking_drawing *d, size_t k)
{
    const organ_ranking_bar *const bar = &d->ranking->bars[k];
    const double y = d->top + d->row_height * (double)k + 5, thick = d->two ? 16 : d->row_height - 9;
    const double name_width = d->left - 10 - LEFT - INSET * (double)bar->depth;
    /* characters of 6.6 pixels (organ_svg_pixels), at least 6 of them */
    size_t longest = name_width > 6.6 * 6 ? (size_t)(name_width / 6.6 + 0.5) : 6;
    longest = longest > LONGEST_NAME ? LONGEST_NAME : longest;
    if (bar->depth)
        ORGAN_SVG(d->out, "<path class=\"oc-axis\" fill=\"none\" d=\"M%f %fv9h8\"/>\n",
                  LEFT + INSET * (double)bar->depth - 11, y - 1);
    organ_svg_label(d->out, LEFT + INSET * (double)bar->depth, y + thick / 2 + 4, "", "start", bar->name, longest);
    put_bar(d, bar, /*v=*/0, y, thick);
    if (d->two)
        put_bar(d, bar, /*v=*/1, y + thick + 2, /*thick=*/10);
}

static void put_numbers(const ranking_drawing *d)
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
    arrange(&d);
    put_head(&d);
    put_axis(&d);
    for (size_t k = 0; k < d.count; k++)
        put_row(&d, k);
    if (d.count == 0)
        organ_svg_label(d.out, WIDTH / 2.0, d.top, " oc-faint", "middle", "no values", 32);
    else
        put_numbers(&d);
    fputs("</svg>\n", d.out);
    return organ_text_finish(&text, svg, error);
}
