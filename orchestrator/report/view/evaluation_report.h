/* SPDX-License-Identifier: MIT
 * "evaluation" of the reports of operations that write a model: what --evaluate found, the same in every one of them. Nothing is written
 * where a report has none. */
#ifndef ORGAN_EVALUATION_REPORT_H
#define ORGAN_EVALUATION_REPORT_H

#include "orchestrator/report/html/page.h"

/* For the terminal: a table of both models and the experiment below it, an empty line before it; of a dry run what would be scored. */
organ_status organ_evaluation_terminal(FILE *out, const json_t *report, const organ_page *page, organ_error *error);

/* The section "Evaluation", an empty line before it. */
organ_status organ_evaluation_markdown(FILE *out, const json_t *report, organ_error *error);

/* The same on a page. */
void organ_evaluation_html(organ_html *html, const json_t *report);

#endif
