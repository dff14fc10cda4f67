/* SPDX-License-Identifier: MIT
 * Reports of dequantisation (organ.dequantize/1) and of quantisation (organ.quantize/1) for people. */
#ifndef ORGAN_PRECISION_REPORT_H
#define ORGAN_PRECISION_REPORT_H

#include "orchestrator/report/text.h"

#include <jansson.h>

/* For the terminal: a table by scheme or by role, what stayed as it was, what there is to know. *text is for the caller to free. */
organ_status organ_dequantize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_quantize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* As Markdown, with every tensor. */
organ_status organ_dequantize_report_markdown(const json_t *report, char **markdown, organ_error *error);
organ_status organ_quantize_report_markdown(const json_t *report, char **markdown, organ_error *error);

#endif
