/* SPDX-License-Identifier: MIT
 * Makes the report of organ lora merge. */
#include "orchestrator/surgery/lora/merge_job.h"

#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>

#define ERASED 0.5 /* if less than this share of a module's change is in the output, the report marks it as erased */

/* The change is erased if T is less than half as long as D, or the component of T in the direction of D is less than
 * half as long as D (T and D: organ_merge_sums). */
static bool is_erased(const organ_merge_sums *s)
{
    return s->delta > 0 && (sqrt(s->applied) < ERASED * sqrt(s->delta) || s->dot < ERASED * s->delta);
}

static json_t *merge_document_module_json(const void *context, size_t k)
{
    char stored[120];
    const organ_merge_job *const job = context;
    const organ_merge_part *const part = &job->parts[k];
    if (!part->pair)
        return NULL;
    const organ_weight *const w = &job->weights->weights[part->weight];
    const organ_adapter_pair *const p = part->pair;
    const organ_merge_sums *const s = &part->sums;
    json_t *const row =
        ORGAN_OBJECT(SET_TEXT("module", p->module), SET_TEXT("tensor", w->name),
                     SET_TEXT("role", organ_anatomy_role_name(&p->anatomy)), SET_COUNT("layer", p->anatomy.layer),
                     SET_COUNT("rank", p->rank), SET_COUNT("elements", w->elements), SET_REAL("scale", part->scale),
                     SET_TEXT("stored", organ_weight_text(w, stored, sizeof stored)),
                     SET_DTYPE("dtype", job->pieces[part->weight].dtype), SET_FLAG("dora", part->magnitudes != NULL));
    if (job->options->write.dry_run || json_array_size(job->unplaced))
        return row;
    ORGAN_ADD(row, SET_REAL("delta_norm", sqrt(s->delta)), SET_REAL("applied_norm", sqrt(s->applied)),
              SET_REAL("applied_ratio", organ_ratio(sqrt(s->applied), sqrt(s->delta))),
              SET_REAL("arrived", organ_ratio(s->dot, s->delta)),
              SET_REAL("rounding_error", organ_ratio(sqrt(s->miss), sqrt(s->delta))), SET_FLAG("erased", is_erased(s)));
    return row;
}

static json_t *replaced_json(const void *context, size_t k)
{
    const organ_merge_job *const job = context;
    const organ_merge_part *const part = &job->parts[k];
    if (!part->saved)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", job->weights->weights[part->weight].name),
                        SET_TEXT("from", part->saved->name), SET_DTYPE("dtype_in", part->saved->dtype),
                        SET_DTYPE("dtype", job->pieces[part->weight].dtype));
}

static json_t *tokens_json(const void *context, size_t k)
{
    const organ_merge_job *const job = context;
    const organ_merge_part *const part = &job->parts[k];
    if (!part->tokens)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", job->weights->weights[part->weight].name),
                        SET_TEXT("from", part->tokens->name), SET_COUNT("rows", part->tokens->shape[0]));
}

/* organ_unmatched_tensor.dropped is set for tensors that a plain model does not need. */
static json_t *merge_document_unmatched_json(const organ_merge_job *job, size_t k, bool dropped)
{
    const organ_unmatched_tensor *const one = &job->weights->unmatched[k];
    if (one->dropped != dropped)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", one->tensor->name), SET_TEXT("reason", one->why));
}

static json_t *dropped_json(const void *job, size_t k) { return merge_document_unmatched_json(job, k, true); }
static json_t *not_understood_json(const void *job, size_t k) { return merge_document_unmatched_json(job, k, false); }

static json_t *merge_document_totals_json(const organ_merge_job *job)
{
    organ_merge_sums all = {0};
    json_int_t modules = 0, replaced = 0, erased = 0, changed = 0;
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_merge_part *const part = &job->parts[k];
        modules += part->pair != NULL;
        replaced += part->saved != NULL;
        erased += part->pair && is_erased(&part->sums);
        changed += (json_int_t)job->weights->weights[part->weight].elements;
        all.delta += part->sums.delta;
        all.applied += part->sums.applied;
        all.dot += part->sums.dot;
        all.miss += part->sums.miss;
    }
    return ORGAN_OBJECT(SET_COUNT("modules", modules), SET_COUNT("replaced", replaced), SET_COUNT("elements", changed),
                        SET_COUNT("weights", job->weights->count), SET_COUNT("dequantised", job->packed),
                        SET_REAL("delta_norm", sqrt(all.delta)),
                        SET_REAL("applied_ratio", organ_ratio(sqrt(all.applied), sqrt(all.delta))),
                        SET_REAL("arrived", organ_ratio(all.dot, all.delta)),
                        SET_REAL("rounding_error", organ_ratio(sqrt(all.miss), sqrt(all.delta))),
                        SET_COUNT("erased", erased));
}

static const organ_weight *changed_weight(const void *context, size_t k)
{
    const organ_merge_job *const job = context;
    return &job->weights->weights[job->parts[k].weight];
}

static json_t *merge_document_definitions_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT("delta_norm", "||scale B A||, Frobenius, computed in FP32; with DoRA the norm of the whole change"),
        SET_TEXT("applied_ratio", "||T|| / ||scale B A||, where T is the rounded sum W + scale B A minus the rounded "
                                  "W: the change as written to the output"),
        SET_TEXT("arrived", "<T, scale B A> / ||scale B A||^2"),
        SET_TEXT("rounding_error", "||T - scale B A|| / ||scale B A||"),
        SET_TEXT("erased",
                 "applied_ratio or arrived is below 0.5: rounding to the type discarded more than half of the change"));
}

json_t *organ_merge_document(void *context, const organ_writing *made)
{
    const organ_merge_job *const job = context;
    json_t *const run =
        made ? organ_output_run(organ_write_output(made), organ_resharding_bytes(organ_write_files(made)))
             : json_object();
    ORGAN_ADD(run, SET_BYTES("adapter", job->options->adapter));
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.lora_merge/1"), SET_TEXT("organ", ORGAN_VERSION),
        SET_TEXT("definition", job->options->feedback ? "W + scale B A in FP32, rounded once with feedback"
                                                      : "W + scale B A in FP32, rounded once"),
        SET_FLAG("dry_run", job->options->write.dry_run), SET("base", organ_model_json(job->base)),
        SET("adapter", organ_adapter_json(job->adapter)), SET_REAL("scale", job->options->scale),
        SET_TEXT("dtype", job->options->dtype ? job->options->dtype : ""), SET_FLAG("feedback", job->options->feedback),
        SET("unplaced", json_incref(job->unplaced)),
        SET("modules", organ_json_rows(job->part_count, merge_document_module_json, job)),
        SET("replaced", organ_json_rows(job->part_count, replaced_json, job)),
        SET("tokens", organ_json_rows(job->part_count, tokens_json, job)),
        SET("head", job->head ? ORGAN_OBJECT(SET_TEXT("tensor", job->pieces[job->head_piece].name),
                                             SET_TEXT("from", job->head->name))
                              : json_null()),
        SET_COUNT_OF("words", job->words, job->words),
        SET("dropped", organ_json_rows(job->weights->unmatched_count, dropped_json, job)),
        SET("not_understood", organ_json_rows(job->weights->unmatched_count, not_understood_json, job)),
        SET("output", ORGAN_OBJECT(SET_COUNT("files", made ? organ_resharding_files(organ_write_files(made)) : 0),
                                   SET_COUNT("bytes", made ? organ_resharding_bytes(organ_write_files(made)) : 0))),
        SET("totals", merge_document_totals_json(job)),
        SET("matrices", organ_matrices_among(job->weights, job->part_count, changed_weight, job)),
        SET("definitions", merge_document_definitions_json()), SET("run", run));
}
