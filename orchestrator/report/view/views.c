/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/views.h"

#include "orchestrator/report/blocks/walk.h"
#include "orchestrator/report/text/document.h"

#include <string.h>

const organ_view *const organ_views[ORGAN_VIEWS] = {
    &organ_assemble_view,     &organ_audit_view,         &organ_autopsy_view,     &organ_dequantize_view,    &organ_evaluate_view,
    &organ_extract_view,      &organ_fleet_view,         &organ_generate_view,    &organ_graft_view,         &organ_inspect_view,
    &organ_lora_extract_view, &organ_lora_merge_view,    &organ_lora_resize_view, &organ_lora_sanitize_view, &organ_measure_view,
    &organ_noise_pairs_view,  &organ_orthogonality_view, &organ_perplexity_view,  &organ_prune_view,         &organ_purify_view,
    &organ_quantize_view,     &organ_tokenize_view,      &organ_topology_view};

const organ_view *organ_view_of(const json_t *report)
{
    for (size_t k = 0; k < ORGAN_VIEWS; k++)
        if (strcmp(organ_views[k]->schema, organ_json_text(report, "schema")) == 0)
            return organ_views[k];
    return NULL;
}

organ_status organ_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return organ_view_terminal(organ_view_of(report), report, page, false, text, error);
}

organ_status organ_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    return organ_view_terminal(organ_view_of(report), report, page, true, text, error);
}

organ_status organ_report_markdown(const json_t *report, char **text, organ_error *error)
{
    return organ_view_markdown(organ_view_of(report), report, text, error);
}
