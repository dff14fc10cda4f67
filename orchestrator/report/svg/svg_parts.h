/* SPDX-License-Identifier: MIT
 * Parts that all charts share: one style sheet, numbers independent of the locale, escaped text, markers. Coordinates
 * and sizes are in pixels. */
#ifndef ORGAN_SVG_PARTS_H
#define ORGAN_SVG_PARTS_H

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
 * numbers. The text is between <metadata> and </metadata>: a line for each row, cells separated by tabs, the names of
 * the columns in the first row. A page makes a table from this text (svg_embed.h). */
void organ_svg_numbers_begin(FILE *out);
void organ_svg_numbers_end(FILE *out);

/* Writes a text as the next cell of the row; NULL is an empty cell. */
void organ_svg_numbers_text(FILE *out, const char *s);
/* Writes a number as the next cell of the row; a number that is not finite is an empty cell. */
void organ_svg_numbers_value(FILE *out, double value);

/* Ends the row. */
void organ_svg_numbers_row(FILE *out);

#endif
