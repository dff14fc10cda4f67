/* SPDX-License-Identifier: MIT
 * A document organ.prune/1 for people. */
#ifndef ORGAN_PRUNE_REPORT_H
#define ORGAN_PRUNE_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

/* The content of organ/REPORT.md, for the caller to free. Only its last section, "Run", depends on where, when and on what the run took
 * place. */
organ_status organ_prune_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* What `organ prune` says at its end, for the caller to free. Understands the report of a dry run. */
organ_status organ_prune_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The content of organ/REPORT.html, for the caller to free. As of REPORT.md, only its last section depends on the run. */
organ_status organ_prune_report_html(const json_t *report, char **html, organ_error *error);

#endif
