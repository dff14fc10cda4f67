/* SPDX-License-Identifier: MIT
 * What a figure shows, as text inside it: for those who do not see it, and for those who want the number and not its place. It stands
 * between <metadata> and </metadata>, a row a line, cells apart by tabs, the first row naming the columns; a page makes a table of it. */
#ifndef ORGAN_SVG_NUMBERS_H
#define ORGAN_SVG_NUMBERS_H

#include <stdio.h>

void organ_svg_numbers_begin(FILE *out);
void organ_svg_numbers_end(FILE *out);

/* The next cell of the row; NULL and what is not finite: empty. */
void organ_svg_numbers_text(FILE *out, const char *s);
void organ_svg_numbers_value(FILE *out, double value);

/* Ends the row. */
void organ_svg_numbers_row(FILE *out);

/* Writes what stands there, from behind "<metadata>" up to "</metadata>", as the parts of an HTML table: <thead> and <tbody>. */
void organ_svg_numbers_html(FILE *out, const char *from, const char *to);

#endif
