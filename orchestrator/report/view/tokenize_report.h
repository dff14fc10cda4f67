/* SPDX-License-Identifier: MIT
 * A document organ.tokenize/1 for people: a summary, or the ids, one a line, where it has them. The text is for the caller to free. */
#ifndef ORGAN_TOKENIZE_REPORT_H
#define ORGAN_TOKENIZE_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

organ_status organ_tokenize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* A page of the summary. */
organ_status organ_tokenize_report_html(const json_t *report, char **html, organ_error *error);

/* The first tokens: ids and pieces. */
organ_table *organ_tokenize_first_table(const json_t *report);

#endif
