/* SPDX-License-Identifier: MIT
 * A document organ.orthogonality/1 for people; the text is for the caller to free. */
#ifndef ORGAN_ORTHOGONALITY_REPORT_H
#define ORGAN_ORTHOGONALITY_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* The content of ORTHOGONALITY_REPORT.md, which shows the plots beside it. */
organ_status organ_orthogonality_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* What `organ orthogonality` says at its end. */
organ_status organ_orthogonality_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* A page. */
organ_status organ_orthogonality_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that several views show: a noise (a member of report.noises) by projection and by layer, report.agreement by projection. */
organ_table *organ_orthogonality_projections(const json_t *noise);
organ_table *organ_orthogonality_layers(const json_t *noise);
organ_table *organ_orthogonality_agreement(const json_t *agreement);

/* The modules in which the numbers of noise n are largest, a line each with `lead` before it. */
void organ_orthogonality_extremes(FILE *out, const json_t *report, size_t n, const organ_page *page, const char *lead);

#endif
