/* SPDX-License-Identifier: MIT
 * The document of a removal of experts. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/experts/experts_job.h"
#include "orchestrator/surgery/facts/facts.h"

#include <string.h>

json_t *organ_experts_parameters(void *context)
{
    const organ_experts_job *const job = context;
    const organ_experts_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("keep", o->keep), SET_TEXT("score", organ_expert_score_name(job->score)),
                        SET_TEXT("per_layer", job->global ? "global" : "uniform"), SET_FLAG("heal", o->heal),
                        SET_COUNT("max_shard_bytes", o->write.max_shard_size));
}

static json_t *missed_json(const void *context, size_t l)
{
    const organ_experts_job *const job = context;
    const bool there = job->known && job->scores.with_loss && !job->scores.of[l].dense;
    return ORGAN_OBJECT(
        SET_COUNT("layer", l), SET_COUNT("keep", job->counts[l]),
        SET_REAL_OF("missed", there,
                    there ? organ_millionth(organ_expert_scores_missed(&job->scores, l, job->counts[l])) : 0));
}

static json_t *experts_document_definitions_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT(
            "kept",
            "Experts are counted from 0 as in the original model; the kept ones are renumbered in their order. Their "
            "bytes, including scales and other companions, are unchanged, except for refitted down projections."),
        SET_TEXT(
            "loss",
            "Squared error of the layer's output, summed over tokens, when the router chooses only among the kept "
            "experts. Experts are removed one at a time, each time the one whose removal adds the smallest error."),
        SET_TEXT("reap", "Mean over the expert's tokens of its gate times the norm of its output."),
        SET_TEXT("sum", "The same, summed."), SET_TEXT("frequency", "Tokens that were routed to an expert."),
        SET_TEXT("missed", "The loss of a layer's choice relative to the squared norm of its output."),
        SET_TEXT("heal", "The down projections of a layer's kept experts are refitted together, so that the hidden "
                         "state after the layer approximates that with all experts. Before and after are its squared "
                         "errors per token on the held-out windows, every fourth; lambda is the ridge with the "
                         "smallest error there. A layer whose error does not fall stays unchanged."));
}

/* Blocks for multi-token prediction may have names of their own, such as mtp.layers.0, and no number in the sequence
 * of layers. The cut copies their tensors unchanged. */
static size_t count_draft_experts(const organ_model *model)
{
    size_t count = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        count += model->tensors[t].anatomy.role == ORGAN_ROLE_MTP && model->tensors[t].anatomy.layer < 0 &&
                 strstr(model->tensors[t].name, ".experts.");
    return count;
}

/* Member "layers" is empty in two cases: in a dry run without scores, because the kept experts are then unknown; and
 * if layers keep different numbers of experts, which no loader supports. */
json_t *organ_experts_document(void *context, const organ_writing *made)
{
    const organ_experts_job *const job = context;
    json_t *const cut = organ_cut_json(made);
    const size_t drafts = count_draft_experts(job->model);
    if (cut && (!job->known || job->uneven) && !ORGAN_ADD(cut, SET("layers", json_array()))) {
        json_decref(cut);
        return NULL;
    }
    return organ_json_joined(
        cut,
        ORGAN_OBJECT(SET_FLAG("uneven", job->uneven), SET_COUNT("left_out", job->layer_count - job->scores.layers),
                     SET_IF(drafts, "draft_tensors", json_integer((json_int_t)drafts)), SET_COUNT("keep", job->keep),
                     SET_TEXT("score", organ_expert_score_name(job->score)), SET_FLAG("measured", job->known),
                     SET_HELD("measurement", job->needs),
                     SET("losses", organ_json_rows(job->scores.layers, missed_json, job)),
                     SET_HELD("calibration", job->scores.calibration),
                     SET("scores", job->known ? organ_expert_scores_json(&job->scores, job->identity) : json_null()),
                     SET("heal", job->heal ? organ_expert_heal_json(job->heal) : json_null()),
                     SET("definitions", experts_document_definitions_json())));
}
