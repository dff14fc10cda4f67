/* SPDX-License-Identifier: MIT
 * Parts that all charts share: one style sheet, numbers independent of the locale, escaped text, markers. Coordinates
 * and sizes are in pixels. */
#ifndef ORGAN_REPORT_SVG_SVG_PARTS_H
#define ORGAN_REPORT_SVG_SVG_PARTS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Number of colours, of shapes of markers, and of patterns of dashes. */
#define ORGAN_SVG_LOOKS 6

/* Writes the beginning of a document: the svg element with title and description, the style sheet and `more_style` (or
 * ""), the background. The caller writes the end tag. */
void organ_svg_begin(FILE *out, double width, double height, const char *title, const char *description,
                     const char *more_style);

/* Writes `format`, in which each %f is replaced by the next of `numbers`: "<line x1=\"%f\" ...". The numbers have at
 * most two decimals and a point in every locale. */
void organ_svg_put(FILE *out, const char *format, const double *numbers);
#define ORGAN_SVG(out, format, ...) organ_svg_put(out, format, (const double[]){__VA_ARGS__})

/* Writes any text as XML, cut to `longest` columns. NULL is an empty text. */
void organ_svg_text(FILE *out, const char *s, size_t longest);

/* Returns the approximate width, in pixels, of a text in the font size of 12 pixels. */
double organ_svg_pixels(const char *s);
/* The same for a text that is cut to `longest` columns. */
double organ_svg_pixels_cut(const char *s, size_t longest);

/* Writes the text `s`, cut to `longest` columns (organ_svg_text), as one line with its baseline at `y`. `anchor`, which
 * is "start", "middle" or "end", names the point of the line that is at `x`. `class` is "" or a list of CSS classes
 * with a blank before each. */
void organ_svg_label(FILE *out, double x, double y, const char *class, const char *anchor, const char *s,
                     size_t longest);

/* Writes, from the x coordinate `left` on, the title, and below it the subtitle (NULL: none) and a note ("": none).
 * Subtitle and note together are cut to `longest` columns. */
void organ_svg_head(FILE *out, double left, const char *title, const char *subtitle, const char *note, size_t longest);

/* Writes `s`, cut to `longest` columns, as the label of the vertical axis: rotated, at the left edge of the chart, with
 * its middle at the y coordinate `middle`. */
void organ_svg_upright(FILE *out, double middle, const char *s, size_t longest);

/* Ends an open <path> element of a line with the colour and the dashes of style number `style`. */
void organ_svg_line_end(FILE *out, unsigned style);

/* Returns the index of the marker and dash of style number `style`, 0 to ORGAN_SVG_LOOKS - 1. Colours repeat after six
 * styles, but with other markers and dashes, so that 18 styles are distinguishable. */
unsigned organ_svg_shape(unsigned style);

/* Draws the marker of a style, centred at (x, y). The <path> stays open, so that the caller can add a <title>; the
 * caller writes "</path>". */
void organ_svg_marker(FILE *out, unsigned style, double x, double y);

/* ---- the numbers of a figure ---- */

/* Begin and end the values of a figure as text inside the document, for screen readers and for readers who need exact
 * numbers. The text is between <metadata> and </metadata>: a line for each row, a tab after each cell, the names of
 * the columns in the first row. A page makes a table from this text. */
void organ_svg_numbers_begin(FILE *out);
void organ_svg_numbers_end(FILE *out);

/* Writes a text as the next cell of the row; NULL is an empty cell. */
void organ_svg_numbers_text(FILE *out, const char *s);
/* Writes a number as the next cell of the row; a number that is not finite is an empty cell. */
void organ_svg_numbers_value(FILE *out, double value);

/* Ends the row. */
void organ_svg_numbers_row(FILE *out);

/* ---- figures inside a page: their style, and their numbers as tables ---- */

/* The rules that all charts share, without <style>. A page that holds several charts has them once. */
extern const char organ_svg_style[];

/* The rules of heat maps. The classes oc-q0 to oc-q20 are the colours of a scale, and oc-d0 to oc-d20 those of a
 * diverging scale. oc-tq0 ... and oc-td0 ... are the colours of text in cells with these colours. */
extern const char organ_svg_heat_style[];

/* Writes the numbers of a chart as <thead> and <tbody> of an HTML table. [from, to) is the text of the chart between
 * "<metadata>" and "</metadata>". */
void organ_svg_numbers_html(FILE *out, const char *from, const char *to);

/* ---- the axis of a chart ---- */

/* The axis of a chart: positions of values, ticks, and numbers as text independent of the locale. */

/* The scale of an axis. A linear one begins at first * step and ends at last * step, with a tick at each whole multiple
 * of `step`. A logarithmic one begins at 10^first and ends at 10^last, with a tick every `step` decades. */
typedef struct organ_scale {
    bool log;
    double step, first, last;
    int mantissa, exponent; /* linear: step = mantissa * 10^exponent, mantissa 1, 2 or 5 */
} organ_scale;

#define ORGAN_MAX_TICKS 16

/* A tick of an axis. */
typedef struct organ_tick {
    double at; /* position: 0 at the beginning of the axis, 1 at its end */
    char text[32];
} organ_tick;

/* Returns a scale that contains low and high and begins and ends at ticks. It has about `ticks` ticks, at most
 * ORGAN_MAX_TICKS; with `integers` only at whole numbers. low and high are finite, and above 0 if `log`. low > high
 * means that there are no values; the result is then a default scale. */
organ_scale organ_scale_over(double low, double high, unsigned ticks, bool log, bool integers);

/* Returns a linear scale that has the step of organ_scale_over, but begins exactly at `low` and ends exactly at `high`;
 * these two ends need not be ticks. low < high. */
organ_scale organ_scale_tight(double low, double high, unsigned ticks, bool integers);

/* Returns the position of a value on the axis: 0 at its beginning, 1 at its end. On a logarithmic axis the value must
 * be above 0. */
double organ_scale_place(const organ_scale *scale, double value);

/* Writes the ticks in ascending order and returns their number. */
size_t organ_scale_ticks(const organ_scale *scale, organ_tick ticks[ORGAN_MAX_TICKS]);

/* A scale with its ticks. */
typedef struct organ_axis {
    organ_scale scale;
    organ_tick ticks[ORGAN_MAX_TICKS];
    size_t count;
} organ_axis;
/* Returns the scale with the ticks of organ_scale_ticks. */
organ_axis organ_axis_of(organ_scale scale);

/* A range of values; low > high if it contains none (ORGAN_EXTENT_NONE). */
typedef struct organ_extent {
    double low, high;
} organ_extent;
#define ORGAN_EXTENT_NONE ((organ_extent){INFINITY, -INFINITY})
/* Extends the range so that it contains the value; ignores a value that is not finite. */
void organ_extent_widen(organ_extent *extent, double value);

/* Writes a finite number with at most `digits` significant digits (1 to 9), without trailing zeros: "0.00412", "-120",
 * "1.5e-7", "3". Returns `out`. */
char *organ_number_text(double value, int digits, char out[32]);

/* Returns the number of decimals (0 to 6) for all numbers of a column, so that the number `largest` has `digits`
 * significant digits (1 to 9). Returns -1 if `largest` is too large or too small for this; each number should then be
 * formatted by organ_number_text. */
int organ_decimals_for(double largest, int digits);

/* Writes a number with a fixed number of decimals, 0 to 6, so that a column of numbers aligns: "4.90". |value| is below
 * 10^9. Returns `out`. */
char *organ_fixed_text(double value, int decimals, char out[32]);

#endif
