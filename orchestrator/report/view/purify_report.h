/* SPDX-License-Identifier: MIT
 * A document organ.purify/1 for people; the text is for the caller to free. */
#ifndef ORGAN_PURIFY_REPORT_H
#define ORGAN_PURIFY_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* The content of PURIFY_REPORT.md. */
organ_status organ_purify_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* What `organ purify` says at its end. Understands the report of a dry run. */
organ_status organ_purify_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* PURIFY_REPORT.html: what was taken away of each layer and role, and what theta did. Understands the report of a dry run. */
organ_status organ_purify_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that all are made of. */
organ_table *organ_purify_roles_table(const json_t *report);
organ_table *organ_purify_tensors_table(const json_t *report);
void organ_purify_parameters(FILE *out, const json_t *report);

#endif
