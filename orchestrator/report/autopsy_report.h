/* SPDX-License-Identifier: MIT
 * Views of an organ.autopsy/1. */
#ifndef ORGAN_AUTOPSY_REPORT_H
#define ORGAN_AUTOPSY_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

/* Roles, findings and remarks for a terminal; with a table of all tensors. *text is the caller's to free. */
organ_status organ_autopsy_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_autopsy_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* AUTOPSY_REPORT.md: all of it but the run. */
organ_status organ_autopsy_markdown(const json_t *report, char **text, organ_error *error);

#endif
