/* SPDX-License-Identifier: MIT
 * Views of an organ.autopsy/1. */
#ifndef ORGAN_AUTOPSY_REPORT_H
#define ORGAN_AUTOPSY_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* Roles, findings and remarks for a terminal; with a table of all tensors. *text is the caller's to free. */
organ_status organ_autopsy_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_autopsy_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* AUTOPSY_REPORT.md: all of it but the run. */
organ_status organ_autopsy_markdown(const json_t *report, char **text, organ_error *error);

/* A page; *html is the caller's to free. */
organ_status organ_autopsy_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that several views show: the roles, the first `most` tensors, the ranges. */
organ_table *organ_autopsy_roles_table(const json_t *report);
organ_table *organ_autopsy_tensors_table(const json_t *report, size_t most);
organ_table *organ_autopsy_ranges_table(const json_t *report);

/* "Healthy: 50 weights, no finding, 15 remarks." */
void organ_autopsy_verdict(FILE *out, const json_t *report, const organ_page *page);

/* What the model is stored as, and how far copies in such schemes usually are from their originals. */
void organ_autopsy_schemes(FILE *out, const json_t *report, const organ_page *page);

/* How many remarks say that something is outside of what is expected; `text` becomes "4 q_proj, 1 embed". */
unsigned long long organ_autopsy_unexpected(const json_t *report, char text[400]);

#endif
