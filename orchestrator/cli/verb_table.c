/* SPDX-License-Identifier: MIT
 * The one table of verbs. */
#include "orchestrator/cli/verb_table.h"

#include "orchestrator/cli/verb_parts.h"

#include <string.h>

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_verb *const verbs[] = {
    &organ_inspect_verb,
    &organ_prune_verb, &organ_audit_verb, &organ_purify_verb,
    &organ_measure_verb, &organ_fleet_verb, &organ_autopsy_verb, &organ_orthogonality_verb, &organ_report_verb,
    &organ_extract_verb, &organ_assemble_verb, &organ_graft_verb, &organ_chimera_verb,
    &organ_dequantize_verb, &organ_quantize_verb,
    &organ_experts_verb, &organ_layers_verb, &organ_width_verb,
    &organ_lora_extract_verb, &organ_lora_sanitize_verb, &organ_lora_merge_verb, &organ_lora_resize_verb,
    &organ_tokenize_verb, &organ_perplexity_verb, &organ_evaluate_verb, &organ_generate_verb,
    &organ_serve_verb,
    &organ_version_verb, &organ_topology_verb, &organ_help_verb, &organ_manual_verb, &organ_completion_verb};
_Static_assert(COUNT(verbs) <= ORGAN_MOST_VERBS, "more verbs than the search has room for");

static const organ_verb_section sections[] = {
    {"Look", &organ_inspect_verb},
    {"Prune and prove it", &organ_prune_verb},
    {"Measure", &organ_measure_verb},
    {"Take apart and put together", &organ_extract_verb},
    {"Precision", &organ_dequantize_verb},
    {"Make smaller", &organ_experts_verb},
    {"LoRA adapters", &organ_lora_extract_verb},
    {"Compute with a model", &organ_tokenize_verb},
    {"Serve", &organ_serve_verb},
    {"This program", &organ_version_verb}};
const organ_verb_table organ_all_verbs = {verbs, COUNT(verbs), sections, COUNT(sections)};

static bool call_is_stopped(void *stop) { return organ_stop_asked(stop); }

void organ_call_complete(organ_call *call)
{
    call->access = (organ_model_access){.headers = call->headers.word,
                                        .header_count = call->headers.count,
                                        .patience = call->patience,
                                        .context = (void *)call->stop,
                                        .stopped = call_is_stopped};
    call->inspect.access = call->audit.access = call->extract.access = call->assemble.access = &call->access;
    call->graft.access = call->orthogonality.access = call->autopsy.access = call->lora_sanitize.access = &call->access;
    call->tokenize.access = call->generate.access = call->perplexity.experiment.access = &call->access;
    call->evaluate.experiment.access = &call->access;
    const organ_experiment_options *const evaluation = call->evaluation.text ? &call->evaluation : NULL;
    call->prune.write.evaluate = call->purify.write.evaluate = call->layers.write.evaluate = evaluation;
    call->graft.write.evaluate = call->dequantize.write.evaluate = call->quantize.write.evaluate = evaluation;
    call->lora_merge.write.evaluate = call->experts.write.evaluate = call->width.write.evaluate = evaluation;
    call->measure.models = call->models.word;
    call->measure.model_count = call->models.count;
    call->measure.headers = call->access.headers;
    call->measure.header_count = call->access.header_count;
    call->measure.patience = call->access.patience;
    call->measure.seed = call->definition && strcmp(call->definition, "seed") == 0;
    call->evaluate.pruned = call->pruned.word;
    call->evaluate.count = call->pruned.count;
    call->evaluate.experiments = call->experiments.word;
    call->evaluate.experiment_count = call->experiments.count;
}

organ_call organ_call_make(const organ_stop *stop)
{
    return (organ_call){
        .prune = {.sparsity = -1.0}, .purify = {.threshold = -1.0}, .stop = stop, .table = &organ_all_verbs};
}
