/* SPDX-License-Identifier: MIT
 * A document organ.orthogonality/1 for people; the text is for the caller to free. */
#ifndef ORGAN_ORTHOGONALITY_REPORT_H
#define ORGAN_ORTHOGONALITY_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

/* The content of ORTHOGONALITY_REPORT.md, which shows the plots beside it. */
organ_status organ_orthogonality_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* What `organ orthogonality` says at its end. */
organ_status organ_orthogonality_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

#endif
