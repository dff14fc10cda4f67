/* SPDX-License-Identifier: MIT
 * A document organ.audit/1 for people. */
#ifndef ORGAN_AUDIT_REPORT_H
#define ORGAN_AUDIT_REPORT_H

#include "orchestrator/report/text/text.h"

#include <jansson.h>

/* Tables, checks, problems and the verdict as the last line; for the caller to free. */
organ_status organ_audit_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The same as a page, for the caller to free. */
organ_status organ_audit_report_html(const json_t *report, char **html, organ_error *error);

#endif
