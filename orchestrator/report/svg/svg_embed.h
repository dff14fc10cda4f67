/* SPDX-License-Identifier: MIT
 * Figures inside a page: their style, and their numbers as tables. */
#ifndef ORGAN_SVG_EMBED_H
#define ORGAN_SVG_EMBED_H

#include <stdio.h>

/* The rules that all charts share, without <style>. A page that holds several charts has them once. */
extern const char organ_svg_style[];

/* The rules of heat maps. The classes oc-q0 to oc-q20 are the colours of a scale, and oc-d0 to oc-d20 those of a
 * diverging scale. oc-tq0 ... and oc-td0 ... are the colours of text in cells with these colours. */
extern const char organ_svg_heat_style[];

/* Writes the numbers of a chart as <thead> and <tbody> of an HTML table. [from, to) is the text of the chart between
 * "<metadata>" and "</metadata>". */
void organ_svg_numbers_html(FILE *out, const char *from, const char *to);

#endif
