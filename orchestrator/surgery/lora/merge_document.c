/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/merge_job.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/version.h"

#include <math.h>
#include <string.h>

#define ERASED 0.5 /* less of a change than this arrived: the report warns */

static double ratio(double part, double whole) { return whole > 0 ? round(part / whole * 1e6) / 1e6 : 0.0; }

/* Less than half of the change is in the output. */
static bool is_erased(const organ_merge_sums *s)
{
    return s->delta > 0 && (sqrt(s->applied) < ERASED * sqrt(s->delta) || s->dot < ERASED * s->delta);
}

static json_t *module_json(const organ_merge_job *job, const organ_merge_part *part)
{
    char stored[120];
    const organ_weight *const w = &job->weights->weights[part->weight];
    const organ_adapter_pair *const p = part->pair;
    const organ_merge_sums *const s = &part->sums;
    json_t *const row =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:s, s:s}", "module", p->module, "tensor", w->name, "role",
                  organ_anatomy_role_name(&p->anatomy), "layer", (json_int_t)p->anatomy.layer, "rank", (json_int_t)p->rank, "elements",
                  (json_int_t)w->elements, "scale", part->scale, "stored", organ_weight_text(w, stored, sizeof stored), "dtype",
                  organ_dtype_describe(job->pieces[part->weight].dtype)->name);
    if (row)
        json_object_set_new(row, "dora", json_boolean(part->magnitudes != NULL));
    if (!row || job->options->dry_run || json_array_size(job->unplaced))
        return row;
    json_object_set_new(row, "delta_norm", json_real(sqrt(s->delta)));
    json_object_set_new(row, "applied_norm", json_real(sqrt(s->applied)));
    json_object_set_new(row, "applied_ratio", json_real(ratio(sqrt(s->applied), sqrt(s->delta))));
    json_object_set_new(row, "arrived", json_real(ratio(s->dot, s->delta)));
    json_object_set_new(row, "rounding_error", json_real(ratio(sqrt(s->miss), sqrt(s->delta))));
    json_object_set_new(row, "erased", json_boolean(is_erased(s)));
    return row;
}

static json_t *modules_json(const organ_merge_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->part_count; k++)
        if (job->parts[k].pair)
            json_array_append_new(rows, module_json(job, &job->parts[k]));
    return rows;
}

static json_t *replaced_json(const organ_merge_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_merge_part *const part = &job->parts[k];
        if (part->saved)
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s}", "tensor", job->weights->weights[part->weight].name, "from",
                                                  part->saved->name, "dtype_in", organ_dtype_describe(part->saved->dtype)->name, "dtype",
                                                  organ_dtype_describe(job->pieces[part->weight].dtype)->name));
    }
    return rows;
}

/* Tensors of the base that have no use in a plain model, and those that nothing is known of. */
static json_t *strays_json(const organ_merge_job *job, bool dropped)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->weights->stray_count; k++) {
        const organ_stray *const stray = &job->weights->strays[k];
        if (stray->dropped == dropped)
            json_array_append_new(rows, json_pack("{s:s, s:s}", "tensor", stray->tensor->name, "reason", stray->why));
    }
    return rows;
}

static json_t *totals_json(const organ_merge_job *job)
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
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "modules", modules, "replaced", replaced, "elements", changed,
                     "weights", (json_int_t)job->weights->count, "dequantised", (json_int_t)job->packed, "delta_norm", sqrt(all.delta),
                     "applied_ratio", ratio(sqrt(all.applied), sqrt(all.delta)), "arrived", ratio(all.dot, all.delta), "rounding_error",
                     ratio(sqrt(all.miss), sqrt(all.delta)), "erased", erased);
}

static json_t *definitions_json(void)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s}", "delta_norm", "||scale B A||, Frobenius, computed in FP32; with DoRA the norm of all that changes",
        "applied_ratio",
        "||T|| / ||scale B A||, where T is the rounded sum W + scale B A less the rounded W: what the output has of the change", "arrived",
        "<T, scale B A> / ||scale B A||^2", "rounding_error", "||T - scale B A|| / ||scale B A||", "erased",
        "applied_ratio or arrived is below 0.5: rounding to the type took more than half of the change");
}

json_t *organ_merge_document(const organ_merge_job *job, const organ_output *output, const organ_resharding *plan)
{
    json_t *const run = output ? organ_output_run(output, organ_resharding_bytes(plan)) : json_object();
    if (run)
        json_object_set_new(run, "adapter", organ_document_string(job->options->adapter));
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:f, s:s, s:O, s:o, s:o, s:o, s:o, s:{s:I, s:I}, s:o, s:o, s:o}", "schema",
                     "organ.lora_merge/1", "organ", ORGAN_VERSION, "definition", "W + scale B A in FP32, rounded once", "dry_run",
                     (int)job->options->dry_run, "base", organ_model_json(job->base), "adapter", organ_adapter_json(job->adapter), "scale",
                     job->options->scale, "dtype", job->options->dtype ? job->options->dtype : "", "unplaced", job->unplaced, "modules",
                     modules_json(job), "replaced", replaced_json(job), "dropped", strays_json(job, true), "not_understood",
                     strays_json(job, false), "output", "files", (json_int_t)(plan ? organ_resharding_files(plan) : 0), "bytes",
                     (json_int_t)(plan ? organ_resharding_bytes(plan) : 0), "totals", totals_json(job), "definitions", definitions_json(),
                     "run", run);
}
