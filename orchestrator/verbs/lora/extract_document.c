/* SPDX-License-Identifier: MIT
 * Makes the report of organ lora extract. */
#include "orchestrator/verbs/lora/lora_parts.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/verbs/lora/rewrite.h"

#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>

static double norm_ratio(double part, double whole) { return whole > 0 ? organ_millionth(sqrt(part / whole)) : 0.0; }

static bool is_dry(const organ_lora_job *job) { return job->options->write.dry_run; }

/* ---- modules ---- */

/* All members except `unchanged` are sums over the changed modules only. */
typedef struct extract_document_sums {
    json_int_t modules, unchanged;   /* number of changed and of unchanged modules */
    json_int_t elements, parameters; /* elements of the weights; elements of A and B */
    size_t rank_from, rank_to;       /* smallest and largest rank of a module */
    double change, norm, rest;       /* sums of the members of organ_lora_module: squared norms */
    double outputs, before, after;   /* sums of the members of organ_lora_module that begin with `outputs` */
    double worst;                    /* smallest share 1 - rest / change of a module */
} extract_document_sums;

static void add_module(extract_document_sums *s, const organ_lora_module *m)
{
    const size_t rank = m->rank;
    s->unchanged += rank == 0;
    if (rank == 0)
        return;
    const double explained = m->change > 0 ? 1 - m->rest / m->change : 0;
    s->rank_from = s->modules == 0 || rank < s->rank_from ? rank : s->rank_from;
    s->rank_to = rank > s->rank_to ? rank : s->rank_to;
    s->worst = s->modules == 0 || explained < s->worst ? explained : s->worst;
    s->modules++;
    s->elements += (json_int_t)m->base->elements;
    const organ_matrices shape = organ_weight_matrices(m->base);
    s->parameters += (json_int_t)(shape.count * (shape.rows + shape.cols) * rank);
    s->change += m->change;
    s->norm += m->norm;
    s->rest += m->rest;
    s->outputs += m->outputs;
    s->before += m->outputs_before;
    s->after += m->outputs_after;
}

static json_t *sums_json(const organ_lora_job *job, const char *role, const extract_document_sums *s)
{
    json_t *const row = ORGAN_OBJECT(SET_IF(role, "role", json_string(role)), SET_COUNT("modules", s->modules),
                                     SET_COUNT("unchanged", s->unchanged), SET_COUNT("elements", s->elements),
                                     SET_COUNT("parameters", s->parameters), SET_COUNT("rank_from", s->rank_from),
                                     SET_COUNT("rank_to", s->rank_to));
    if (!row || is_dry(job))
        return row;
    ORGAN_ADD(row, SET_REAL("change", norm_ratio(s->change, s->norm)),
              SET_REAL("residual", norm_ratio(s->rest, s->change)),
              SET_REAL("explained", organ_ratio(s->change - s->rest, s->change)),
              SET_REAL("least_explained", organ_millionth(s->worst)),
              SET_IF(job->repairs, "outputs_before", json_real(norm_ratio(s->before, s->outputs))),
              SET_IF(job->repairs, "outputs_after", json_real(norm_ratio(s->after, s->outputs))));
    return row;
}

static json_t *role_json(const void *context, size_t role)
{
    const organ_lora_job *const job = context;
    extract_document_sums s = {0};
    for (size_t k = 0; k < job->module_count; k++) {
        if (organ_anatomy_row(&job->modules[k].base->anatomy) == role)
            add_module(&s, &job->modules[k]);
        organ_rows_passed();
    }
    return s.modules + s.unchanged ? sums_json(job, organ_anatomy_row_name((unsigned)role), &s) : NULL;
}

static json_t *module_json(const void *context, size_t k)
{
    const organ_lora_job *const job = context;
    const organ_lora_module *const m = &job->modules[k];
    char base[120], tuned[120];
    json_t *const row = ORGAN_OBJECT(SET_TEXT("module", m->name), SET_PLACE(&m->base->anatomy),
                                     SET("shape", organ_counts_json(m->base->rank, m->base->shape)),
                                     SET_TEXT("base_stored", organ_weight_text(m->base, base, sizeof base)),
                                     SET_TEXT("tuned_stored", organ_weight_text(m->tuned, tuned, sizeof tuned)),
                                     SET_COUNT("rank", m->rank));
    if (!row || is_dry(job))
        return row;
    ORGAN_ADD(row, SET_REAL("change_norm", sqrt(m->change)), SET_REAL("base_norm", sqrt(m->norm)),
              SET_REAL("change", norm_ratio(m->change, m->norm)), SET_REAL("residual", norm_ratio(m->rest, m->change)),
              SET_REAL("explained", organ_ratio(m->change - m->rest, m->change)),
              SET_IF(job->repairs, "outputs_before", json_real(norm_ratio(m->outputs_before, m->outputs))),
              SET_IF(job->repairs, "outputs_after", json_real(norm_ratio(m->outputs_after, m->outputs))),
              SET_IF(job->share > 0, "share_reached", json_boolean(!m->short_of_share)), SET_COUNT("passes", m->passes),
              SET("spectrum", organ_json_reals(m->rank, m->spectrum)));
    return row;
}

static const organ_weight *weight_of_module(const void *job, size_t k)
{
    return ((const organ_lora_job *)job)->modules[k].tuned;
}

/* ---- weights without factors ---- */

static const char *reason_of(const organ_lora_other *other)
{
    const organ_weight *const w = other->tuned ? other->tuned : other->base;
    if (other->why)
        return other->why;
    if (other->reason)
        return other->reason;
    if (w->rank > 2)
        return "experts in one tensor: peft has no pair of factors for it";
    if (w->rank == 2 && w->anatomy.role == ORGAN_ROLE_EMBED)
        return "an embedding";
    if (w->rank == 2)
        return "a matrix that --select excludes";
    if (w->anatomy.role == ORGAN_ROLE_BIAS)
        return "a bias";
    return w->anatomy.role == ORGAN_ROLE_NORM ? "a norm" : "not a matrix";
}

/* A dry run reads no values, so it lists only weights that cannot be compared. */
static json_t *other_json(const void *context, size_t k)
{
    const organ_lora_job *const job = context;
    const organ_lora_other *const other = &job->others[k];
    const organ_weight *const w = other->tuned ? other->tuned : other->base;
    const bool known = !other->why && isfinite(other->change);
    if (is_dry(job) ? !other->why : !organ_lora_other_changed(other))
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", w->name), SET_TEXT("role", organ_anatomy_role_name(&w->anatomy)),
                        SET_TEXT("reason", reason_of(other)), SET_FLAG("kept", other->kept),
                        SET_IF(other->base, "shape_base", organ_counts_json(other->base->rank, other->base->shape)),
                        SET_IF(other->tuned, "shape_tuned", organ_counts_json(other->tuned->rank, other->tuned->shape)),
                        SET_REAL_OF("change_norm", known, sqrt(other->change)),
                        SET_REAL_OF("change", known && other->norm > 0, norm_ratio(other->change, other->norm)));
}

/* ---- text ---- */

/* The method is "A" if no module has a quantised base weight, else "B". */
static json_t *method_json(const organ_lora_job *job)
{
    const char *text =
        "Method B: part of the base is quantised and was dequantised on the way. There, B A approximates the change by "
        "tuning plus the quantisation error, and must be applied to this quantised base.";
    if (job->repairs)
        return ORGAN_OBJECT(SET_TEXT("name", "repair"),
                            SET_TEXT("text",
                                     "Repair: B A brings the outputs of the layers on the calibration text close "
                                     "to those of the original model. It must be applied to this base."),
                            SET_COUNT("quantised_modules", job->packed));
    if (job->packed == 0)
        text = "Method A: the base is plain. B A approximates the change by tuning, and must be applied to this base.";
    else if (job->packed == job->module_count)
        text = "Method B: the base is quantised and was dequantised on the way. B A approximates the change by tuning "
               "plus the quantisation error, and must be applied to this quantised base.";
    return ORGAN_OBJECT(SET_TEXT("name", job->packed ? "B" : "A"), SET_TEXT("text", text),
                        SET_COUNT("quantised_modules", job->packed));
}

/* Returns the number of stacks with factors (target_parameters) that vLLM does not load. */
static size_t count_refused(const organ_lora_job *job)
{
    size_t count = 0;
    for (size_t k = 0; k < job->module_count && !organ_vllm_stacks_experts(job->base->config.architecture); k++)
        count += job->modules[k].parameter && (job->modules[k].rank || job->modules[k].paired);
    return count;
}

/* "vllm_max_lora_rank" is the smallest --max-lora-rank with which vLLM serves the adapter, or null if vLLM cannot
 * serve it. */
static json_t *adapter_json(const organ_lora_job *job, const extract_document_sums *all)
{
    ORGAN_OWNED_JSON json_t *config = organ_lora_config(job);
    json_t *const adapter = ORGAN_OBJECT(SET_COUNT("r", all->rank_to), SET_COUNT("lora_alpha", all->rank_to),
                                         SET_FLAG("ranks_differ", (all->rank_from != all->rank_to)),
                                         SET_HELD("target_modules", json_object_get(config, "target_modules")),
                                         SET_HELD("target_parameters", json_object_get(config, "target_parameters")),
                                         SET_HELD("modules_to_save", json_object_get(config, "modules_to_save")));
    const unsigned fits =
        job->base->gguf || count_refused(job) ? 0 : organ_served_rank(organ_lora_config_rank(config, all->rank_to));
    ORGAN_ADD(adapter, SET_COUNT_OF("vllm_max_lora_rank", fits, fits),
              SET_IF(!is_dry(job), "bytes", json_integer((json_int_t)job->making.bytes)));
    return adapter;
}

static size_t count_others(const organ_lora_job *job, bool kept)
{
    size_t count = 0;
    for (size_t k = 0; k < job->other_count; k++)
        count += organ_lora_other_changed(&job->others[k]) && job->others[k].tuned && job->others[k].kept == kept;
    return count;
}

static size_t count_ignored(const organ_lora_job *job, bool whole)
{
    size_t count = 0;
    for (size_t k = 0; k < job->other_count && whole; k++)
        count += job->others[k].kept && job->others[k].bare;
    for (size_t k = 0; k < job->module_count && !whole; k++)
        count += job->modules[k].rank && job->modules[k].group && !job->modules[k].group->stacked;
    return count;
}

static bool is_tied_and_kept(const organ_lora_job *job)
{
    bool head = false, kept = false;
    for (size_t k = 0; k < job->base_weights->count; k++)
        head = head || job->base_weights->weights[k].anatomy.role == ORGAN_ROLE_OUTPUT;
    for (size_t k = 0; k < job->other_count; k++) {
        const organ_lora_other *const other = &job->others[k];
        head = head || (other->kept && other->tuned->anatomy.role == ORGAN_ROLE_OUTPUT);
        kept = kept || (other->kept && other->tuned->anatomy.role == ORGAN_ROLE_EMBED);
    }
    return kept && !head;
}

static void add_warning(json_t *warnings, size_t count, const char *what)
{
    organ_say(warnings, "%zu %s", count, what);
}

static json_t *warnings_json(const organ_lora_job *job, const extract_document_sums *all)
{
    json_t *const warnings = json_array();
    size_t short_of = 0;
    for (size_t k = 0; k < job->module_count; k++)
        short_of += job->modules[k].short_of_share;
    if (!job->base->gguf && all->rank_to > ORGAN_SERVED_RANK)
        add_warning(warnings, all->rank_to, "is a rank that vLLM does not support: its limit is 512.");
    if (count_refused(job))
        organ_say(warnings, "%zu stacks of experts have factors, which peft applies by target_parameters: %s.",
                  count_refused(job), organ_served_named("stacks")->text);
    if (count_ignored(job, /*whole=*/false))
        add_warning(
            warnings, count_ignored(job, /*whole=*/false),
            "modules of numbered experts have factors that peft ignores; organ lora merge and vLLM apply them.");
    if (count_ignored(job, /*whole=*/true))
        add_warning(warnings, count_ignored(job, /*whole=*/true),
                    "tensors are stored that peft ignores, because they are not weights or biases of its modules. "
                    "organ lora merge applies them.");
    if (is_tied_and_kept(job))
        organ_say(warnings, "The head of the base is its embedding. peft applies the stored embedding to the head only "
                            "after merge_and_unload.");
    if (short_of)
        add_warning(warnings, short_of,
                    "modules need a higher rank than --rank allows for the requested share of their change.");
    if (!is_dry(job) && count_others(job, /*kept=*/false))
        add_warning(warnings, count_others(job, /*kept=*/false),
                    job->base->gguf
                        ? "changed tensors are not in the adapter, so base and adapter do not equal the tuned model. "
                          "llama.cpp loads no whole tensors from an adapter."
                        : "changed tensors are not in the adapter, so base and adapter do not equal the tuned model. "
                          "--save-full stores them.");
    if (!is_dry(job) && count_others(job, /*kept=*/true))
        add_warning(warnings, count_others(job, /*kept=*/true),
                    "tensors are stored whole in the adapter: peft and organ lora merge apply them, but vLLM rejects "
                    "such an adapter.");
    return warnings;
}

json_t *organ_lora_extract_parameters(const organ_lora_job *job)
{
    const organ_lora_extract_options *const o = job->options;
    return ORGAN_OBJECT(SET_COUNT("rank", o->rank),
                        SET("energy_share", job->share > 0 ? json_real(job->share) : json_null()),
                        SET_FLAG("exact", o->exact), SET_DTYPE("dtype", job->dtype), SET_COUNT("seed", o->seed),
                        SET_BYTES_OF("modules", o->modules), SET_FLAG("save_full", o->save_full),
                        SET_IF(job->calib, "text", json_string(organ_calibration_run_facts_of(job->calib)->digest)),
                        SET_IF(job->calib, "samples", json_integer(job->walk.calibration.samples)),
                        SET_IF(job->calib, "context", json_integer(o->calibration.context)),
                        SET_REDUCED_COMPUTE(job->engine, job->calib ? o->calibration.compute : NULL),
                        SET_IF(job->calib && o->all_experts, "all_experts", json_true()),
                        SET_IF(job->calib && job->blocks, "moments", json_string("blocks")));
}

static json_t *run_json(const organ_lora_job *job, const organ_writing *writing)
{
    json_t *const run = is_dry(job) ? ORGAN_OBJECT(SET_BYTES_OF("output", job->options->write.output))
                                    : organ_output_run(organ_write_output(writing), job->making.bytes);
    json_t *const seconds = json_array();
    for (size_t k = 0; k < job->module_count && !is_dry(job); k++)
        json_array_append_new(seconds, json_real(round(job->modules[k].seconds * 1e3) / 1e3));
    ORGAN_ADD(run, SET("module_seconds", seconds), SET_BYTES("base", job->options->base),
              SET_BYTES("tuned", job->options->tuned), SET_COUNT("threads", organ_workers_count(job->engine->workers)));
    return run;
}

json_t *organ_lora_extract_document(void *context, const organ_writing *writing)
{
    const organ_lora_job *const job = context;
    extract_document_sums all = {0};
    for (size_t k = 0; k < job->module_count; k++) {
        add_module(&all, &job->modules[k]);
        organ_rows_passed();
    }
    json_t *const totals = sums_json(job, /*role=*/NULL, &all);
    json_t *const others = organ_json_rows(job->other_count, other_json, job);
    ORGAN_ADD(totals, SET_COUNT("others", job->other_count),
              SET_IF(!is_dry(job), "others_changed", json_integer((json_int_t)json_array_size(others))));
    return ORGAN_OBJECT(
        SET_HEAD("organ.lora_extract/1", job->repairs ? "lora-repair/1" : "lora-extract/1"),
        SET_FLAG("dry_run", is_dry(job)), SET("method", method_json(job)), SET("base", organ_model_json(job->base)),
        SET("tuned", organ_model_json(job->tuned)), SET("parameters", organ_lora_extract_parameters(job)),
        SET_IF(job->calib, "calibration", organ_calibration_run_json(job->calib, "base and adapter, and tuned model")),
        SET("adapter", adapter_json(job, &all)), SET("totals", totals),
        SET("matrices", organ_matrices_among(job->tuned_weights, job->module_count, weight_of_module, job)),
        SET("warnings", warnings_json(job, &all)),
        SET("notes", organ_json_texts(job->note_count, (const char *const *)job->notes)),
        SET("roles", organ_anatomy_rows_json(role_json, job)),
        SET("modules", organ_json_rows(job->module_count, module_json, job)), SET("not_extracted", others),
        SET_SENTENCES("organ.lora_extract/1", "definitions", NULL), SET("run", run_json(job, writing)));
}
