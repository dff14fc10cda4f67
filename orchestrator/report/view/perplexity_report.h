/* SPDX-License-Identifier: MIT
 * organ.perplexity/1, organ.evaluate/1 and organ.generate/1 for people. */
#ifndef ORGAN_PERPLEXITY_REPORT_H
#define ORGAN_PERPLEXITY_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* Of perplexity and evaluate. *text is to be freed, NULL on error. */
organ_status organ_perplexity_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_perplexity_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* A page; *html is to be freed, NULL on error. */
organ_status organ_perplexity_report_html(const json_t *report, char **html, organ_error *error);

/* "20.692 +- 0.123" with decimals that show two digits of the error, or "too large" where a number was too large for a report. */
const char *organ_measured_text(const json_t *row, const char *key, const char *error_key, double scale, bool sign, char out[64]);

/* Text, tokenizer and protocol of an "experiment" in sentences, to be freed; NULL with an error. */
char *organ_experiment_text(const json_t *experiment, organ_error *error);
/* The same as a table for a page: what has to be the same wherever these numbers are set beside others. */
organ_table *organ_experiment_table(const json_t *experiment);

/* Which models' killed weights could not be counted, and why: on a page, or as Markdown where that is NULL. */
void organ_perplexity_not_counted(FILE *out, const json_t *report, const organ_page *page);

#endif
