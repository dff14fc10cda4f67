/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/width/job.h"

#include "orchestrator/surgery/output/tally.h"

#include <string.h>

static json_t *share_json(const organ_width_share *share, size_t multiple, size_t query_heads)
{
    if (!share->keep)
        return json_null();
    return ORGAN_OBJECT(SET_COUNT("before", share->whole), SET_COUNT("after", share->keep),
                        SET_IF(multiple, "multiple_of", json_integer((json_int_t)multiple)),
                        SET_IF(query_heads, "query_heads_before", json_integer((json_int_t)query_heads)),
                        SET_IF(query_heads, "query_heads_after", json_integer((json_int_t)(query_heads / share->whole * share->keep))));
}

json_t *organ_width_parameters(void *context)
{
    const organ_width_job *const job = context;
    const organ_width_options *const o = job->options;
    return ORGAN_OBJECT(SET_BYTES_OF("ffn", o->ffn), SET_BYTES_OF("heads", o->heads), SET_TEXT("score", o->score),
                        SET_FLAG("resolve", !o->no_resolve), SET_REAL("damping", ORGAN_NARROW_DAMPING), SET_COUNT("samples", o->samples),
                        SET_COUNT("context", o->context), SET("channels", share_json(&job->ffn, job->multiple, 0)),
                        SET("kv_heads", share_json(&job->heads, 0, job->query_heads)));
}

json_t *organ_width_identity(void *context)
{
    const organ_width_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("text", job->digest));
}

/* What goes of the squares of the outputs. */
static double lost_percent(double loss, double energy) { return energy > 0 ? organ_millionth(100 * loss / energy) : 0.0; }

static json_t *part_json(const void *context, size_t k)
{
    const organ_width_job *const job = context;
    const organ_width_part *const part = &job->parts[k];
    const organ_narrow_report *const r = &part->report;
    json_t *const row = ORGAN_OBJECT(SET_TEXT("tensor", part->tensor->name), SET_PLACE(&part->tensor->anatomy),
                                     SET_TEXT("what", part->heads ? "heads" : "channels"), SET_COUNT("before", part->share->whole),
                                     SET_COUNT("after", part->share->keep));
    if (job->options->dry_run)
        return row;
    return organ_json_joined(row, ORGAN_OBJECT(SET_REAL("lost_percent", lost_percent(r->loss, r->energy)),
                                               SET_REAL("foretold_percent", lost_percent(r->foretold, r->energy)),
                                               SET_REAL("energy", organ_billionth(r->energy)), SET_COUNT("tokens", r->tokens),
                                               SET_FLAG("block_diagonal", r->block_diagonal)));
}

/* Means over the layers, of channels or of heads; null where none go. */
static json_t *means_json(const organ_width_job *job, bool heads)
{
    double lost = 0;
    size_t count = 0;
    for (size_t k = 0; k < job->targets.count; k++)
        if (job->parts[k].heads == heads) {
            lost += lost_percent(job->parts[k].report.loss, job->parts[k].report.energy);
            count++;
        }
    if (!count)
        return json_null();
    return ORGAN_OBJECT(SET_COUNT("projections", count),
                        SET_REAL_OF("lost_percent", !job->options->dry_run, organ_millionth(lost / (double)count)));
}

static json_t *definitions_json(const organ_width_job *job)
{
    return ORGAN_OBJECT(
        SET_TEXT("lost",
                 "What of a projection's output on the text is missing after its columns have gone: trace(D H D^T) / trace(W H W^T) "
                 "with D = W - W', H the second moments of its inputs behind the layers that were narrowed before, with 1 % of "
                 "the mean of its diagonal added to it. It says what a layer loses, not what the model does: --evaluate says that."),
        SET_TEXT("choice", strcmp(job->options->score, "wanda") == 0
                               ? "The channels (or heads) with the least sum of w^2 times the mean square of the input go, as they stand."
                               : "One channel (or head of K and V with its query heads) goes after the other, each time the one by which "
                                 "the output loses least when all columns that stay are solved anew."),
        SET_TEXT("values", job->options->no_resolve
                               ? "What stays keeps its values."
                               : "The columns that stay of the down (output) projections are the least-squares solution "
                                 "for the output that all columns gave; everything else that stays is copied byte for byte."));
}

json_t *organ_width_document(void *context, const organ_cut_run *run, const organ_unit_output *made)
{
    const organ_width_job *const job = context;
    return organ_json_joined(
        organ_cut_json(run, made),
        ORGAN_OBJECT(SET_HELD("calibration", job->calibration), SET("ffn", means_json(job, false)), SET("attention", means_json(job, true)),
                     SET("projections", organ_json_rows(job->targets.count, part_json, job)), SET("definitions", definitions_json(job))));
}
