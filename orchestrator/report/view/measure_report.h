/* SPDX-License-Identifier: MIT
 * A document organ.measure/1 for people. */
#ifndef ORGAN_MEASURE_REPORT_H
#define ORGAN_MEASURE_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* One model: roles, layers, wells; several: one ranked table and their groups. For the caller to free. */
organ_status organ_measure_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* The same with every tensor. */
organ_status organ_measure_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* Z_MEASURE_REPORT.md; for the caller to free. */
organ_status organ_measure_markdown(const json_t *report, char **text, organ_error *error);

/* A page: of one model everything, of several how they stand beside each other and a short section for each. */
organ_status organ_measure_report_html(const json_t *report, char **html, organ_error *error);

/* What no reader of theta may miss. */
#define ORGAN_MEASURE_CAUTION                                                                                                              \
    "theta tells how far the distribution of the values is from noise. A higher theta is no evidence of a better model: damage can raise " \
    "it."

/* Tables that all are made of; `model` is an entry of report.models. */
organ_table *organ_measure_ranking_table(const json_t *report);
organ_table *organ_measure_groups_table(const json_t *report);
organ_table *organ_measure_roles_table(const json_t *model);
organ_table *organ_measure_layers_table(const json_t *model);
organ_table *organ_measure_wells_table(const json_t *model);
organ_table *organ_measure_tensors_table(const json_t *model);

/* The same of the older measure, where model.seed is there. */
organ_table *organ_measure_seed_table(const json_t *model);
organ_table *organ_measure_seed_tensors_table(const json_t *model);
organ_table *organ_measure_seed_ranking_table(const json_t *report);

/* "12 ***, 3 **, 0 *, 20 without a star" and what has no theta, one sentence. */
void organ_measure_ratings_line(FILE *out, const json_t *model);

#endif
