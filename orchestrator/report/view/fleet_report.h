/* SPDX-License-Identifier: MIT
 * A document organ.fleet/1 for people. */
#ifndef ORGAN_FLEET_REPORT_H
#define ORGAN_FLEET_REPORT_H

#include "orchestrator/report/text/text.h"
#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* One row a model, then what failed and where the reports are; for the caller to free. */
organ_status organ_fleet_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The members "others" of a report, what lies among the models and is none: as a table, and written out where there are any (Markdown where
 * `page` is NULL). */
organ_table *organ_fleet_others_table(const json_t *report);
organ_status organ_fleet_others(FILE *out, const json_t *report, const organ_page *page, organ_error *error);

/* A page. Where the report has a member "measure", an organ.measure/1 of the same models, all that this tells of them as well. */
organ_status organ_fleet_report_html(const json_t *report, char **html, organ_error *error);

#endif
