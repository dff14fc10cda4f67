/* SPDX-License-Identifier: MIT
 * Reports of dequantisation (organ.dequantize/1) and of quantisation (organ.quantize/1) for people. */
#ifndef ORGAN_PRECISION_REPORT_H
#define ORGAN_PRECISION_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* For the terminal: a table by scheme or by role, what stayed as it was, what there is to know. *text is for the caller to free. */
organ_status organ_dequantize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_quantize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* As Markdown, with every tensor. */
organ_status organ_dequantize_report_markdown(const json_t *report, char **markdown, organ_error *error);
organ_status organ_quantize_report_markdown(const json_t *report, char **markdown, organ_error *error);

/* Pages. */
organ_status organ_dequantize_report_html(const json_t *report, char **html, organ_error *error);
organ_status organ_quantize_report_html(const json_t *report, char **html, organ_error *error);

enum { ORGAN_DEQUANTIZE_COLUMNS = 8 }; /* weight, scheme, shape, before, after, infinite, NaN, note */

/* Parts that several views show: packed weights by scheme, the first `most` of them with the first `columns`; quantised ones by role, the
 * first `most`. */
organ_table *organ_dequantize_schemes_table(const json_t *report);
organ_table *organ_dequantize_weights_table(const json_t *report, size_t most, size_t columns);
organ_table *organ_quantize_roles_table(const json_t *report);
organ_table *organ_quantize_tensors_table(const json_t *report, size_t most);

/* What stays plain; values that are not finite; blocks that servers clip. A line each, or nothing; as Markdown where `page` is NULL. */
void organ_precision_plain(FILE *out, const json_t *report, const organ_page *page);
void organ_dequantize_not_finite(FILE *out, const json_t *report, const organ_page *page);
void organ_quantize_clipped(FILE *out, const json_t *report, const organ_page *page);

#endif
