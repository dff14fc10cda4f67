/* SPDX-License-Identifier: MIT
 * A document organ.prune/1 for people. */
#ifndef ORGAN_PRUNE_REPORT_H
#define ORGAN_PRUNE_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* The content of organ/REPORT.md, for the caller to free. Only its last section, "Run", depends on where, when and on what the run took
 * place. */
organ_status organ_prune_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* What `organ prune` says at its end, for the caller to free. Understands the report of a dry run. */
organ_status organ_prune_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The content of organ/REPORT.html, for the caller to free. As of REPORT.md, only its last section depends on the run. */
organ_status organ_prune_report_html(const json_t *report, char **html, organ_error *error);

/* What was pruned, how, and what went along unchanged: item, value. */
organ_table *organ_prune_inputs_table(const json_t *report);

/* Counts over all targets: quantity, value. */
organ_table *organ_prune_counts_table(const json_t *report);

/* What a dry run would do: projections with their tensors and weights. */
organ_table *organ_prune_plan_table(const json_t *report);

#endif
