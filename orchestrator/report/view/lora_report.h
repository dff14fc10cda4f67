/* SPDX-License-Identifier: MIT
 * The document organ.lora_extract/1 for people. The text is for the caller to free. */
#ifndef ORGAN_LORA_REPORT_H
#define ORGAN_LORA_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* LORA_REPORT.md, and what `organ lora extract` says at its end, also of a dry run. */
organ_status organ_lora_report_markdown(const json_t *report, char **markdown, organ_error *error);
organ_status organ_lora_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* A page. */
organ_status organ_lora_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that several views show: projections; the first `most` modules; the first `most` tensors that changed without factors. */
organ_table *organ_lora_roles_table(const json_t *report);
organ_table *organ_lora_modules_table(const json_t *report, size_t most);
organ_table *organ_lora_others_table(const json_t *report, size_t most);

#endif
