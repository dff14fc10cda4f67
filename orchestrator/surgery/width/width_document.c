/* SPDX-License-Identifier: MIT
 * Makes the report of organ width. */
#include "orchestrator/surgery/width/width_job.h"

#include "orchestrator/surgery/facts/facts.h"

#include <string.h>

static json_t *share_json(const organ_width_job *job, organ_width_kind kind)
{
    const organ_width_share *const share = &job->shares[kind];
    const size_t multiple = share->multiple, query_heads = kind == ORGAN_WIDTH_HEADS ? job->query_heads : 0;
    if (!share->keep)
        return json_null();
    return ORGAN_OBJECT(
        SET_COUNT("before", share->total), SET_COUNT("after", share->keep),
        SET_IF(multiple, "multiple_of", json_integer((json_int_t)multiple)),
        SET_IF(query_heads, "query_heads_before", json_integer((json_int_t)query_heads)),
        SET_IF(query_heads, "query_heads_after", json_integer((json_int_t)(query_heads / share->total * share->keep))));
}

json_t *organ_width_parameters(void *context)
{
    const organ_width_job *const job = context;
    const organ_width_options *const o = job->options;
    return ORGAN_OBJECT(
        SET_BYTES_OF("ffn", o->ffn), SET_BYTES_OF("heads", o->heads), SET_TEXT("score", o->score),
        SET_FLAG("resolve", !o->no_refit), SET_REAL("damping", ORGAN_NARROW_DAMPING),
        SET_COUNT("samples", o->calibration.samples), SET_COUNT("context", o->calibration.context),
        SET("channels", share_json(job, ORGAN_WIDTH_CHANNELS)),
        SET("expert_channels", share_json(job, ORGAN_WIDTH_EXPERTS)),
        SET_IF(job->shares[ORGAN_WIDTH_SHARED].keep, "shared_channels", share_json(job, ORGAN_WIDTH_SHARED)),
        SET("kv_heads", share_json(job, ORGAN_WIDTH_HEADS)));
}

json_t *organ_width_identity(void *context)
{
    const organ_width_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("text", job->digest));
}

static double lost_percent(double loss, double energy)
{
    return energy > 0 ? organ_millionth(100 * loss / energy) : 0.0;
}

static int64_t expert_of(const organ_width_part *part)
{
    const organ_anatomy *const a = &part->tensor->anatomy;
    if (part->kind != ORGAN_WIDTH_EXPERTS)
        return -1;
    return a->expert < 0 ? (int64_t)part->matrix : a->expert;
}

/* `foretold_percent` is the loss that the choice predicted, `lost_percent` the loss after refitting. */
static json_t *document_part_json(const void *context, size_t k)
{
    const organ_width_job *const job = context;
    const organ_width_part *const part = &job->parts[k];
    const organ_narrow_report *const r = &part->report;
    const organ_anatomy *const a = &part->tensor->anatomy;
    json_t *const row =
        ORGAN_OBJECT(SET_TEXT("tensor", part->tensor->name), SET_PLACE(a), SET_INDEX("expert", expert_of(part)),
                     SET_TEXT("what", part->kind == ORGAN_WIDTH_HEADS ? "heads" : "channels"),
                     SET_COUNT("before", part->share->total), SET_COUNT("after", part->share->keep));
    if (job->options->write.dry_run)
        return row;
    return organ_json_joined(
        row, ORGAN_OBJECT(SET_REAL_OF("lost_percent", r->tokens, lost_percent(r->loss, r->energy)),
                          SET_REAL_OF("foretold_percent", r->tokens, lost_percent(r->expected_loss, r->energy)),
                          SET_TEXT("chosen_by", r->tokens ? job->options->score : "norms"),
                          SET_REAL("energy", organ_billionth(r->energy)), SET_COUNT("tokens", r->tokens),
                          SET_FLAG("block_diagonal", r->block_diagonal)));
}

/* The mean loss is over the parts that had calibration tokens; the channels of the others were chosen by norms. In a
 * dry run it is null. */
static json_t *means_json(const organ_width_job *job, organ_width_kind kind)
{
    const bool chosen = !job->options->write.dry_run;
    double lost = 0;
    size_t count = 0, reached = 0;
    uint64_t fewest = UINT64_MAX;
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_narrow_report *const r = &job->parts[k].report;
        if (job->parts[k].kind != kind)
            continue;
        lost += r->tokens ? lost_percent(r->loss, r->energy) : 0;
        reached += r->tokens > 0;
        fewest = r->tokens < fewest ? r->tokens : fewest;
        count++;
    }
    if (!count)
        return json_null();
    return ORGAN_OBJECT(
        SET_COUNT("projections", count),
        SET_REAL_OF("lost_percent", chosen && reached, organ_millionth(lost / (double)reached)),
        SET_IF(kind == ORGAN_WIDTH_EXPERTS && chosen, "by_norms", json_integer((json_int_t)(count - reached))),
        SET_IF(kind == ORGAN_WIDTH_EXPERTS && chosen, "fewest_tokens", json_integer((json_int_t)fewest)));
}

/* If --memory permits, the moments of all experts of a layer are in memory at the same time. */
static uint64_t moments_bytes(const organ_width_job *job)
{
    uint64_t max = 0;
    for (size_t l = 0; l < job->layer_count; l++) {
        uint64_t bytes = 0;
        for (size_t k = 0; k < job->part_count; k++)
            if (job->parts[k].kind == ORGAN_WIDTH_EXPERTS && job->parts[k].tensor->anatomy.layer == (int32_t)l)
                bytes +=
                    organ_calibration_memory(job->parts[k].share->total, organ_width_rows(&job->parts[k]), false, true);
        max = bytes > max ? bytes : max;
    }
    return max;
}

static json_t *memory_json(const organ_width_job *job)
{
    const uint64_t moments = moments_bytes(job);
    return job->options->write.dry_run && job->calib ? ORGAN_OBJECT(SET_COUNT_OF("expert_moments", moments, moments),
                                                                    SET_COUNT("choices_on_disk", job->choices.bytes))
                                                     : json_null();
}

static json_t *width_definitions_json(const organ_width_job *job)
{
    return ORGAN_OBJECT(
        SET_TEXT("lost", "Share of a projection's squared output on the text that is lost with its columns: trace(D H "
                         "D^T) / trace(W H W^T) with D = W - W' and H the second moments of its inputs from the "
                         "narrowed layers before, plus 1 % of the mean of its diagonal. It is the loss of a layer, not "
                         "of the model, which --evaluate measures."),
        SET_TEXT(
            "choice",
            strcmp(job->options->score, "wanda") == 0
                ? "Removes the channels (or heads) with the smallest sum of w^2 times the mean square of the input."
                : "Removes one channel (or head of K and V with its query heads) at a time: each time the one with the "
                  "smallest loss of the output when the remaining columns are refitted."),
        SET_IF(job->shares[ORGAN_WIDTH_EXPERTS].keep, "experts",
               json_string("Each expert chooses its own channels, on its routed tokens, weighted by their router "
                           "weights. An expert without tokens keeps the channels with the largest product of the norms "
                           "of the row of gate, the row of up and the column of down, unchanged.")),
        SET_IF(job->shares[ORGAN_WIDTH_SHARED].keep, "shared",
               json_string("The width of the shared expert stays the same multiple of that of a routed one: its "
                           "channels are chosen like those of a feed-forward.")),
        SET_TEXT("values", job->options->no_refit
                               ? "Kept weights are unchanged."
                               : "The kept columns of the down (output) projections are the least-squares solution for "
                                 "the original output; all other kept weights are copied byte for byte."));
}

json_t *organ_width_document(void *context, const organ_writing *made)
{
    const organ_width_job *const job = context;
    return organ_json_joined(
        organ_cut_json(made),
        ORGAN_OBJECT(SET_HELD("calibration", job->calibration), SET("memory", memory_json(job)),
                     SET("ffn", means_json(job, ORGAN_WIDTH_CHANNELS)),
                     SET("experts", means_json(job, ORGAN_WIDTH_EXPERTS)),
                     SET_IF(job->shares[ORGAN_WIDTH_SHARED].keep, "shared", means_json(job, ORGAN_WIDTH_SHARED)),
                     SET("attention", means_json(job, ORGAN_WIDTH_HEADS)),
                     SET("projections", organ_json_rows(job->part_count, document_part_json, job)),
                     SET("definitions", width_definitions_json(job))));
}
