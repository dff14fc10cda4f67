/* SPDX-License-Identifier: MIT
 * A document organ.inspect/1 for people. */
#ifndef ORGAN_INSPECT_REPORT_H
#define ORGAN_INSPECT_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* For the caller to free. */
organ_status organ_inspect_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* A page: how the file is made, what it holds by role, type and layer, and whether it is sound. */
organ_status organ_inspect_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that both are made of. */
organ_table *organ_inspect_roles_table(const json_t *report);
organ_table *organ_inspect_tensors_table(const json_t *report);
organ_table *organ_inspect_schemes_table(const json_t *quantization);
organ_table *organ_inspect_weights_table(const json_t *weights);
void organ_inspect_config(FILE *out, const json_t *report, const organ_page *page);
void organ_inspect_notes(FILE *out, const json_t *report, const organ_page *page);

#endif
