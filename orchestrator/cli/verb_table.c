/* SPDX-License-Identifier: MIT
 * The table of all verbs of the program. */
#include "orchestrator/cli/cli_parts.h"

#include <stdlib.h>

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_verb *const verbs[] = {
    &organ_inspect_verb, &organ_models_verb, &organ_fetch_verb,
    &organ_vocabulary_verb,
    &organ_quantize_verb, &organ_dequantize_verb, &organ_convert_verb, &organ_imatrix_verb,
    &organ_prune_verb, &organ_audit_verb, &organ_purify_verb,
    &organ_experts_verb, &organ_layers_verb, &organ_width_verb,
    &organ_evaluate_verb, &organ_perplexity_verb, &organ_generate_verb, &organ_tokenize_verb,
    &organ_lora_extract_verb, &organ_lora_merge_verb, &organ_lora_combine_verb, &organ_lora_resize_verb,
    &organ_lora_sanitize_verb,
    &organ_merge_verb, &organ_extract_verb, &organ_assemble_verb, &organ_graft_verb,
    &organ_gguf_split_verb, &organ_gguf_join_verb, &organ_gguf_edit_verb,
    &organ_patch_extract_verb, &organ_patch_apply_verb,
    &organ_measure_verb, &organ_fleet_verb, &organ_autopsy_verb, &organ_orthogonality_verb, &organ_compare_verb,
    &organ_report_verb,
    &organ_serve_verb,
    &organ_version_verb, &organ_topology_verb, &organ_schema_verb, &organ_help_verb, &organ_manual_verb,
    &organ_completion_verb};
_Static_assert(COUNT(verbs) <= ORGAN_MAX_VERBS, "more verbs than the search has room for");

static const organ_verb_section sections[] = {
    {"Find and inspect", &organ_inspect_verb},
    {"Quantise and convert", &organ_quantize_verb},
    {"Prune and verify", &organ_prune_verb},
    {"Make smaller", &organ_experts_verb},
    {"Evaluate and run", &organ_evaluate_verb},
    {"LoRA adapters", &organ_lora_extract_verb},
    {"Merge, extract, assemble", &organ_merge_verb},
    {"Measure weights", &organ_measure_verb},
    {"Serve", &organ_serve_verb},
    {"This program", &organ_version_verb}};
static const organ_topic *const topics[] = {
    &organ_topic_outputs, &organ_topic_calibration, &organ_topic_budget, &organ_topic_evaluation, &organ_topic_scoring,
    &organ_topic_machine, &organ_topic_urls, &organ_topic_reports};
const organ_verb_table organ_all_verbs = {verbs, COUNT(verbs), sections, COUNT(sections), topics, COUNT(topics)};

/* This is organ_model_access.stopped. */
static bool call_is_stopped(void *stop) { return organ_stop_is_requested(stop); }

void organ_call_complete(organ_call *call)
{
    call->access = (organ_model_access){.headers = call->headers.word,
                                        .header_count = call->headers.count,
                                        .patience = call->patience,
                                        .context = (void *)call->stop,
                                        .stopped = call_is_stopped};
}

organ_call *organ_call_create(const organ_verb *verb, const organ_stop *stop, organ_error *error)
{
    organ_call *const call = calloc(1, verb->call_size);
    if (!call)
        organ_fail_memory(error, verb->name);
    else
        *call = (organ_call){.verb = verb, .stop = stop, .table = &organ_all_verbs};
    return call;
}
