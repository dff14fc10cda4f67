/* SPDX-License-Identifier: MIT
 * The view of each document: what its "schema" says. */
#ifndef ORGAN_VIEWS_H
#define ORGAN_VIEWS_H

#include "orchestrator/report/blocks/block.h"

extern const organ_view organ_assemble_view, organ_audit_view, organ_autopsy_view, organ_dequantize_view, organ_evaluate_view,
    organ_extract_view, organ_fleet_view, organ_generate_view, organ_graft_view, organ_inspect_view, organ_lora_extract_view,
    organ_lora_merge_view, organ_lora_resize_view, organ_lora_sanitize_view, organ_measure_view, organ_noise_pairs_view,
    organ_orthogonality_view, organ_perplexity_view, organ_prune_view, organ_purify_view, organ_quantize_view, organ_tokenize_view,
    organ_topology_view;

enum { ORGAN_VIEWS = 23 };
extern const organ_view *const organ_views[ORGAN_VIEWS];

/* NULL: a document without a view. */
const organ_view *organ_view_of(const json_t *report);

/* The report for a screen, the same with a line for every tensor, and as a Markdown file. *text is to be freed; NULL on error. ORGAN_IO
 * without memory. */
organ_status organ_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_report_markdown(const json_t *report, char **text, organ_error *error);

#endif
