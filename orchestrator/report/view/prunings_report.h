/* SPDX-License-Identifier: MIT
 * "prunings" of a fleet: the pruned models in it, a table for each experiment, and what must be read with their numbers. Nothing is written
 * where a report has none. */
#ifndef ORGAN_PRUNINGS_REPORT_H
#define ORGAN_PRUNINGS_REPORT_H

#include "orchestrator/report/html/page.h"

/* For the terminal, or as a section of Markdown where `page` is NULL. */
organ_status organ_prunings_put(FILE *out, const json_t *report, const organ_page *page, organ_error *error);
void organ_prunings_html(organ_html *html, const json_t *report);

#endif
