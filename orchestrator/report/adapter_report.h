/* SPDX-License-Identifier: MIT
 * Documents about LoRA adapters for people: organ.lora_merge/1, organ.lora_sanitize/1, organ.lora_resize/1. The text is for the caller to
 * free. */
#ifndef ORGAN_ADAPTER_REPORT_H
#define ORGAN_ADAPTER_REPORT_H

#include "orchestrator/report/text.h"

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

#endif
