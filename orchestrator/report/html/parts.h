/* SPDX-License-Identifier: MIT
 * What pages of several reports say the same way. */
#ifndef ORGAN_HTML_PARTS_H
#define ORGAN_HTML_PARTS_H

#include "orchestrator/report/html/page.h"
#include "orchestrator/report/svg/scatter.h"

/* Fails the page, where something that was to be on it could not be made for want of memory. */
void organ_html_fail(organ_html *html);

/* A table that shows the first `most` of `all` rows: the sentence that says so, or nothing where they are all there. */
void organ_html_left_out(organ_html *html, size_t all, size_t most, const char *what);

/* The chart of these points, which are freed, for organ_html_chart; `look` says all the rest. NULL without memory, or where there
 * was none for them: they are NULL. */
char *organ_scatter_of(organ_scatter look, organ_point *points, size_t count);

/* A number of a row; NaN where it is none. Percent: of a share. */
double organ_json_number(const json_t *row, const char *key);
double organ_json_percent(const json_t *row, const char *key);

#endif
