/* SPDX-License-Identifier: MIT
 * Documents about LoRA adapters for people: organ.lora_merge/1, organ.lora_sanitize/1, organ.lora_resize/1. The text is for the caller to
 * free. */
#ifndef ORGAN_ADAPTER_REPORT_H
#define ORGAN_ADAPTER_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* LORA_MERGE_REPORT.md, and what `organ lora merge` says at its end: also of a dry run, and where keys found no place. */
organ_status organ_merge_report_markdown(const json_t *report, char **markdown, organ_error *error);
organ_status organ_merge_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* LORA_SANITIZE_REPORT.md, and what `organ lora sanitize` says, with --check too. */
organ_status organ_sanitize_report_markdown(const json_t *report, char **markdown, organ_error *error);
organ_status organ_sanitize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* LORA_RESIZE_REPORT.md, and what `organ lora resize` says. */
organ_status organ_resize_report_markdown(const json_t *report, char **markdown, organ_error *error);
organ_status organ_resize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);

/* Pages. */
organ_status organ_merge_report_html(const json_t *report, char **html, organ_error *error);
organ_status organ_sanitize_report_html(const json_t *report, char **html, organ_error *error);
organ_status organ_resize_report_html(const json_t *report, char **html, organ_error *error);

/* Parts that several views show. Of a merge: roles, the first `most` modules, what else came of the adapter, what rounding took. */
organ_table *organ_merge_roles_table(const json_t *report);
organ_table *organ_merge_modules_table(const json_t *report, size_t most);
void organ_merge_rest(FILE *out, const json_t *report, const organ_page *page);
void organ_merge_warning(FILE *out, const json_t *report, const organ_page *page);

/* Of both others: roles and the first `most` modules. */
organ_table *organ_adapter_roles_table(const json_t *report);
organ_table *organ_adapter_modules_table(const json_t *report, size_t most);

/* Of sanitising: what was left out, what was changed, with which rank a server serves it. Of resizing: what there is to know. */
organ_table *organ_adapter_dropped_table(const json_t *report);
void organ_adapter_changes(FILE *out, const json_t *report, const organ_page *page);
void organ_adapter_served(FILE *out, const json_t *report, const organ_page *page);
void organ_adapter_notes(FILE *out, const json_t *report, const organ_page *page);

#endif
