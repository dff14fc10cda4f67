/* SPDX-License-Identifier: MIT
 * A report as one HTML page that stands alone: style and script inside, nothing asked from a network. Light and dark,
 * narrow and printed, with landmarks, captions and real tables. Everything said to it is text: it can hold anything and
 * is shown as it is. */
#ifndef ORGAN_HTML_PAGE_H
#define ORGAN_HTML_PAGE_H

#include "orchestrator/report/text/report_text.h"

#include <jansson.h>

/* SHA-256 of the script that every page contains, in the form of a Content-Security-Policy: browsers run no other
 * script in a page. */
extern const char organ_html_script_hash[];

typedef struct organ_html organ_html;

/* `kind` says what is reported ("Pruning"), `title` of what ("tiny-qwen2"), `lead` in one or two sentences what came
 * out; NULL: none. NULL and ORGAN_IO without memory. Where memory runs out later organ_html_finish reports it. */
organ_html *organ_html_create(const char *kind, const char *title, const char *lead, organ_error *error);

/* The few numbers that a reader came for, side by side on top: each a value ("21.89 %") and what it is ("of the target
 * weights"). To be called once, before the first section. */
typedef struct organ_html_figure_of_merit {
    const char *value, *meaning;
} organ_html_figure_of_merit;
void organ_html_figures_of_merit(organ_html *html, const organ_html_figure_of_merit *figures, size_t count);

/* A heading, and an entry in the page's table of contents. */
void organ_html_section(organ_html *html, const char *title);

void organ_html_paragraph(organ_html *html, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A sentence set apart that must be read: what the numbers do not mean. */
void organ_html_caution(organ_html *html, const char *text);

/* An array of sentences that must be read, set apart together under `title`. */
void organ_html_cautions(organ_html *html, const char *title, const json_t *sentences);

/* An array of sentences as a list. */
void organ_html_list(organ_html *html, const json_t *sentences);

/* A command line to copy. */
void organ_html_command(organ_html *html, const char *command);

/* Shows and destroys the table. Columns sort by what stands in them (1,234 and 4.2 MB as numbers), rows filter by text
 * where there are more than a dozen; totals stay last. Without a script all rows are there. NULL caption: none is seen,
 * and the table is called after its section. */
void organ_html_table(organ_html *html, organ_table *table, const char *caption);

/* Shows and frees a chart as svg/chart.h and its neighbours make them; the caption says what to see in it. Where making
 * it failed (`svg` is NULL) the page fails. */
void organ_html_chart(organ_html *html, char *svg, const char *caption);

/* An array of {"check", "ok", "detail"} with marks that need no colour. */
void organ_html_checks(organ_html *html, const json_t *checks);

/* A table of an object of terms and sentences, with these titles. */
void organ_html_terms(organ_html *html, const json_t *terms, const char *term, const char *meaning);

/* Definitions, such an object; then the "run" object as the last section. Either may be missing. */
void organ_html_ending(organ_html *html, const json_t *definitions, const json_t *run);

/* Fails the page, where something that was to be on it could not be made for want of memory. */
void organ_html_fail(organ_html *html);

/* The page, for the caller to free, and the end of `html`. Valid UTF-8 whatever it was given. ORGAN_IO without memory.
 */
organ_status organ_html_finish(organ_html *html, char **text, organ_error *error);

#endif
