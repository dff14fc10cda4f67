/* SPDX-License-Identifier: MIT
 * Writes a report as one self-contained HTML page: style and script are inline, and nothing is loaded from a network.
 * The page supports light and dark schemes, narrow screens and print, and has landmarks, captions and real tables. All
 * arguments are plain text; the functions escape markup and make control characters visible. */
#ifndef ORGAN_REPORT_HTML_PAGE_H
#define ORGAN_REPORT_HTML_PAGE_H

#include "orchestrator/report/text/report_text.h"

#include <jansson.h>

/* SHA-256 of the script that every page contains. The Content-Security-Policy of the page permits only a script with
 * this hash, so browsers run no other. */
extern const char organ_html_script_hash[];

typedef struct organ_html organ_html;

/* Begins a page. `kind` is the sort of report ("Pruning"), `title` its subject ("tiny-qwen2"), `lead` its result in one
 * or two sentences (NULL: none). Returns NULL and sets ORGAN_IO if out of memory. If memory runs out later,
 * organ_html_finish reports it. */
organ_html *organ_html_create(const char *kind, const char *title, const char *lead, organ_error *error);

/* A main result: a value ("21.89 %") and its meaning ("of the target weights"). */
typedef struct organ_html_metric {
    const char *value, *meaning;
} organ_html_metric;
/* Prints `count` main results in one row at the top. Call it at most once, before the first section. */
void organ_html_metrics(organ_html *html, const organ_html_metric *figures, size_t count);

/* Writes a heading and adds it to the page's table of contents. */
void organ_html_section(organ_html *html, const char *title);

/* Prints a formatted text as a paragraph. */
void organ_html_paragraph(organ_html *html, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints a warning in a box: a limit on the interpretation of the numbers. */
void organ_html_caution(organ_html *html, const char *text);

/* Prints an array of warnings in one box titled `title`. */
void organ_html_cautions(organ_html *html, const char *title, const json_t *sentences);

/* Prints an array of sentences as a list. */
void organ_html_list(organ_html *html, const json_t *sentences);

/* Writes a command line with a button that copies it. */
void organ_html_command(organ_html *html, const char *command);

/* Prints and destroys the table. In a browser, a script sorts columns by their contents (1,234 and 4.2 MB as numbers)
 * and filters the rows of tables with more than a dozen rows; totals stay last. Without scripts all rows are visible.
 * `caption` NULL: no caption is displayed, and screen readers get the title of the section. */
void organ_html_table(organ_html *html, organ_table *table, const char *caption);

/* Prints and frees an SVG chart (svg/svg.h); the caption explains it. If `svg` is NULL (the chart failed),
 * organ_html_finish fails. */
void organ_html_chart(organ_html *html, char *svg, const char *caption);

/* Prints an array of {"check", "ok", "detail"}; the marks are distinguishable without colour. */
void organ_html_checks(organ_html *html, const json_t *checks);

/* Prints an object of terms and sentences as a table with the column titles `term` and `meaning`. */
void organ_html_terms(organ_html *html, const json_t *terms, const char *term, const char *meaning);

/* Prints `definitions` (an object of terms and sentences), then `run` as the last section. Either may be NULL. */
void organ_html_ending(organ_html *html, const json_t *definitions, const json_t *run);

/* Records that memory ran out while the caller made a part of the page: organ_html_finish fails. */
void organ_html_fail(organ_html *html);

/* Returns the page in *text, which the caller frees, and destroys `html`. The text is valid UTF-8 for any input.
 * Returns ORGAN_IO if out of memory. */
organ_status organ_html_finish(organ_html *html, char **text, organ_error *error);

#endif
