/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/lora/rewrite.h"
#include "orchestrator/verbs/lora/servers.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/merge/merge_input.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <organ/lora.h>
#include <stdlib.h>
#include <string.h>

typedef struct sanitize_job {
    const organ_lora_sanitize_options *options;
    /* The adapter as opened, and with the names of a base of the other file format (NULL: no such base). */
    organ_adapter *stored, *translated;
    const organ_adapter *adapter;  /* `translated` if it is set, else `stored` */
    organ_model *base;             /* NULL: no base was given */
    organ_weights *weights;        /* of the base; NULL: no base was given */
    organ_lora_names names;        /* finds weights of the base */
    organ_lora_rewrite rewrite;    /* has a row for each pair that is kept */
    const organ_adapter *fit;      /* the adapter with the names of the base, or `adapter` */
    json_t *findings, *conditions; /* rows of organ_lora_findings */
    json_t *dropped;               /* rows of removed tensors */
    json_t *targets_removed;       /* removed entries of target_modules */
    json_t *config;                /* the new adapter_config.json */
} sanitize_job;

/* An adapter of the base's format keeps its names and experts, unless vLLM loads factors of stacks for the base. */
static bool takes_layout_of_base(const sanitize_job *j)
{
    return j->stored->gguf != (j->base->gguf != NULL) ||
           (!j->options->to && organ_vllm_stacks_experts(j->base->config.architecture));
}

static organ_status open_sanitized(sanitize_job *j, organ_error *error)
{
    const organ_lora_sanitize_options *const o = j->options;
    if (!o->check && !o->output)
        return organ_fail(error, ORGAN_USAGE, "-o OUT is missing; only `check` works without it");
    if (o->check && o->output)
        return organ_fail(error, ORGAN_USAGE, "%s: `check` writes no output", o->output);
    if (organ_adapter_open(o->adapter, &j->stored, error) != ORGAN_OK)
        return error->status;
    j->fit = j->adapter = j->stored;
    if (!o->check && (organ_output_check_not_adapter(o->output, j->adapter, error) ||
                      organ_output_check(o->output, j->adapter->path, o->force, error)))
        return error->status;
    if (!o->base)
        organ_adapter_warn(j->rewrite.progress, j->stored, /*lost=*/false);
    if (!o->base || organ_model_open_with(o->base, o->access, &j->base, error) ||
        (!o->check && organ_output_check_not_input(o->output, j->base, error)) ||
        organ_weights_find(j->base, &j->weights, error) ||
        organ_lora_names_build(j->base, j->weights, &j->names, error))
        return error->status;
    organ_progress_warn_of_model(j->rewrite.progress, j->base);
    organ_progress_note_remarks(j->rewrite.progress, j->base->path, j->weights);
    organ_adapter_translate(j->stored, j->base, &j->names, &j->translated, error);
    j->fit = j->translated ? j->translated : j->stored;
    if (takes_layout_of_base(j))
        j->adapter = j->fit;
    if (!error->status)
        organ_adapter_warn(j->rewrite.progress, j->stored, j->stored->gguf && !j->adapter->gguf);
    return error->status;
}

/* ---- conversion to another format ---- */

/* Without a base of the new format, or with one of the other, the names are those of the other format. */
static organ_status check_format(const sanitize_job *j, organ_error *error)
{
    const char *const to = j->options->to;
    const bool gguf = to && strcmp(to, "gguf") == 0, mlx = to && strcmp(to, "mlx") == 0;
    if (to && j->adapter->gguf != gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "`to` %s: names and order of rows are those of the model: `base` must be a %s model", to,
                          gguf ? "GGUF" : "safetensors");
    for (size_t k = 0; k < j->adapter->pair_count && mlx; k++)
        if (j->adapter->pairs[k].experts > 1 || j->adapter->pairs[k].anatomy.expert >= 0)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: '%s' are factors of experts, which organ does not write for mlx-lm",
                              j->adapter->path, j->adapter->pairs[k].module);
    return ORGAN_OK;
}

/* If all pairs have one scale, the output keeps it; else B takes the scales. */
static void settle_scale(sanitize_job *j)
{
    organ_lora_rewrite *const rw = &j->rewrite;
    rw->mlx = j->options->to && strcmp(j->options->to, "mlx") == 0;
    rw->keeps = j->options->to && rw->count;
    rw->scale = rw->count ? rw->rows[0].pair->scale : 1;
    for (size_t k = 1; k < rw->count; k++)
        rw->keeps = rw->keeps && rw->rows[k].pair->scale == rw->scale;
    rw->keeps = rw->keeps && organ_lora_can_keep_scale(rw);
}

/* ---- removed tensors ---- */

/* `of` names the matrix that has the norm: "scale B A", "its change" or "the tensor". A negative `norm` is unknown. */
static organ_status note_dropped(sanitize_job *j, const organ_tensor *t, const char *why, double norm, const char *of,
                                 organ_error *error)
{
    json_t *const row = ORGAN_OBJECT(SET_BYTES("tensor", t->name), SET_TEXT("why", why), SET_DTYPE("dtype", t->dtype),
                                     SET("shape", organ_shape_json(t)), SET_COUNT("bytes", t->bytes),
                                     SET_REAL_OF("norm", norm >= 0, norm), SET_TEXT("norm_of", of));
    return row && json_array_append_new(j->dropped, row) == 0 ? ORGAN_OK
                                                              : organ_fail_memory(error, j->options->adapter);
}

static organ_status drop_pair(sanitize_job *j, const organ_adapter_pair *pair, const char *why, organ_error *error)
{
    organ_lora_factors f;
    double energy = -1;
    if (organ_lora_factors_read(j->adapter, pair, j->rewrite.engine->kernels, pair->scale, &f, error) == ORGAN_OK &&
        (energy = organ_lora_energy(&f, j->rewrite.engine->kernels)) < 0)
        organ_fail_memory(error, j->options->adapter);
    organ_lora_factors_release(&f);
    if (error->status || note_dropped(j, pair->a, why, sqrt(energy), "scale B A", error))
        return error->status;
    return note_dropped(j, pair->b, why, sqrt(energy), "scale B A", error);
}

static const char *architecture_of(const sanitize_job *j) { return j->base ? j->base->config.architecture : NULL; }

/* The norm is that of the tensor's difference from the base's weight. Without a base, or without a weight of the
 * same shape whose values can be read, it is the norm of the tensor. */
static organ_status drop_stored_tensor(sanitize_job *j, const organ_tensor *t, organ_error *error)
{
    const organ_kernels *const kernels = j->rewrite.engine->kernels;
    char *const name = organ_adapter_plain_name(t->name);
    const organ_weight *w = name && j->weights ? organ_lora_names_find(&j->names, name) : NULL;
    double norm;
    if (!name)
        return organ_fail_memory(error, j->options->adapter);
    free(name);
    if (w && (!ORGAN_SAME_SHAPE(w, t) || !organ_weight_has_numbers(w)))
        w = NULL;
    if (w ? organ_adapter_change(j->adapter, t, j->base, w, kernels, &norm, error)
          : organ_adapter_norm(j->adapter, t, kernels, &norm, error))
        return error->status;
    const char *const why = organ_lora_is_base_copy(t->name) ? "a copy of the base's weight, which servers skip"
                                                             : organ_served_named("whole")->brief;
    return note_dropped(j, t, why, norm, w ? "its change" : "the tensor", error);
}

static organ_status split_tensors(sanitize_job *j, organ_error *error)
{
    const organ_adapter *const adapter = j->adapter;
    organ_lora_rewrite *const rw = &j->rewrite;
    rw->rows = organ_rows_take(adapter->pair_count + 1, sizeof *rw->rows);
    if (!rw->rows)
        return organ_fail_memory(error, j->options->adapter);
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++) {
        const organ_served *const why =
            j->options->to ? NULL : organ_lora_pair_unservable(adapter, architecture_of(j), &adapter->pairs[k]);
        if (why)
            drop_pair(j, &adapter->pairs[k], why->brief, error);
        else
            rw->rows[rw->count++] = organ_lora_row_of(&adapter->pairs[k]);
    }
    for (size_t k = 0; k < adapter->rest_count && !error->status; k++)
        drop_stored_tensor(j, adapter->rest[k], error);
    return error->status;
}

/* ---- the config ---- */

/* Factors of a stack belong to target_parameters. */
static bool is_parameter(const organ_adapter_pair *pair) { return pair->layout == ORGAN_FACTORS_PARAMETER; }

static bool is_kept_target(const sanitize_job *j, const char *target)
{
    for (size_t k = 0; k < j->rewrite.count; k++)
        if (!is_parameter(j->rewrite.rows[k].pair) && organ_lora_is_target(target, j->rewrite.rows[k].pair->module))
            return true;
    return false;
}

/* Returns the new target_modules. A list keeps the entries that select a kept module; the others move to
 * j->targets_removed. A regular expression could match further modules, so it is replaced by the names of the kept
 * modules. */
static json_t *targets_of(sanitize_job *j)
{
    const json_t *const old = json_object_get(j->adapter->config, "target_modules");
    json_t *const list = json_array();
    for (size_t k = 0; k < json_array_size(old); k++) {
        json_t *const target = json_array_get(old, k);
        if (is_kept_target(j, json_string_value(target)))
            json_array_append(list, target);
        else if (!j->adapter->gguf) /* GGUF has no target_modules */
            json_array_append(j->targets_removed, target);
    }
    for (size_t k = 0; k < j->rewrite.count && !json_is_array(old); k++)
        if (!is_parameter(j->rewrite.rows[k].pair))
            json_array_append_new(list, json_string(j->rewrite.rows[k].pair->module));
    return list;
}

/* Returns target_parameters: the stacks that the output has factors for, if the translation made them. */
static json_t *parameters_of(const sanitize_job *j)
{
    json_t *const list = json_array();
    for (size_t k = 0; k < j->rewrite.count && j->adapter == j->translated; k++)
        if (is_parameter(j->rewrite.rows[k].pair))
            json_array_append_new(list, json_string(j->rewrite.rows[k].pair->module));
    return list;
}

static organ_status make_config(sanitize_job *j, organ_error *error)
{
    const json_t *const old = j->adapter->config;
    if (j->rewrite.mlx)
        return (j->config = organ_lora_mlx_config(&j->rewrite, j->base ? j->base->path : j->adapter->base))
                   ? ORGAN_OK
                   : organ_fail_memory(error, j->options->adapter);
    json_t *const config = j->config = organ_lora_folded_config(j->adapter, j->rewrite.rank);
    const bool other = j->base && !j->adapter->gguf && !json_object_get(old, "peft_type"); /* of GGUF or mlx-lm */
    ORGAN_OWNED_JSON json_t *const parameters = parameters_of(j);
    ORGAN_ADD(config, SET_IF(other, "base_model_name_or_path", json_string(j->base->path)),
              SET("target_modules", targets_of(j)), SET_TEXT("bias", "none"), SET_FLAG("use_dora", false),
              SET_NULL("modules_to_save"),
              SET_IF(json_object_get(old, "trainable_token_indices"), "trainable_token_indices", json_null()),
              SET_IF(json_object_get(old, "lora_bias"), "lora_bias", json_false()),
              SET_IF(json_array_size(parameters), "target_parameters", json_incref(parameters)),
              SET_IF(j->rewrite.keeps, "lora_alpha", json_real(j->rewrite.scale * (double)j->rewrite.rank)));
    return config ? ORGAN_OK : organ_fail_memory(error, j->options->adapter);
}

/* ---- the document ---- */

static json_t *sanitize_totals_json(const sanitize_job *j)
{
    json_int_t folded = 0, padded = 0, cut = 0;
    double energy = 0, worst = 0;
    for (size_t k = 0; k < j->rewrite.count; k++) {
        const organ_lora_row *const row = &j->rewrite.rows[k];
        folded += row->pair->scale != 1;
        padded += row->rank < j->rewrite.rank;
        cut += row->rank < row->pair->rank;
        energy += row->norm * row->norm;
        worst = row->folding_error > worst ? row->folding_error : worst;
    }
    return ORGAN_OBJECT(SET_COUNT("modules", j->rewrite.count), SET_COUNT("dropped_keys", json_array_size(j->dropped)),
                        SET_COUNT("folded", folded), SET_COUNT("padded", padded), SET_COUNT("cut", cut),
                        SET_REAL("norm", sqrt(energy)), SET_REAL("worst_folding_error", worst));
}

static json_t *sanitize_document_of(const void *context)
{
    const sanitize_job *const j = context;
    const organ_lora_sanitize_options *const o = j->options;
    /* the --max-lora-rank with which vLLM serves the new adapter; 0: none */
    const uint64_t rank =
        o->check ? organ_lora_compared_rank(j->adapter) : organ_lora_config_rank(j->config, j->rewrite.rank);
    const unsigned served = j->adapter->gguf ? 0 : organ_served_rank(rank);
    json_t *const run = o->check ? json_object() : organ_output_run(&j->rewrite.made, j->rewrite.bytes);
    ORGAN_ADD(run, SET_BYTES("adapter", o->adapter));
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.lora_sanitize/1"), SET_TEXT("organ", ORGAN_VERSION), SET_FLAG("check", o->check),
        SET("adapter", organ_adapter_json(j->adapter)), SET("base", j->base ? organ_model_json(j->base) : json_null()),
        SET_COUNT_OF("max_rank", o->max_rank, o->max_rank), SET("findings", json_incref(j->findings)),
        SET("conditions", json_incref(j->conditions)), SET("dropped", json_incref(j->dropped)),
        SET("targets_removed", json_incref(j->targets_removed)), SET("modules", organ_lora_rows_json(&j->rewrite)),
        SET("output", ORGAN_OBJECT(SET_COUNT("r", j->rewrite.rank), SET_COUNT_OF("max_lora_rank", served, served),
                                   SET_FLAG("gguf", j->adapter->gguf), SET_COUNT("bytes", j->rewrite.bytes),
                                   SET_IF(o->to, "to", json_string(o->to)), SET_IF(j->rewrite.mlx, "mlx", json_true()),
                                   SET_IF(j->rewrite.keeps, "scale", json_real(j->rewrite.scale)))),
        SET("totals", sanitize_totals_json(j)), SET_SENTENCES("organ.lora_sanitize/1", "definitions", NULL),
        SET("run", run));
}

/* ---- the run ---- */

static organ_status write_out(sanitize_job *j, json_t **report, organ_error *error)
{
    if (make_config(j, error))
        return error->status;
    const organ_lora_output output = {.write = {.output = j->options->output,
                                                .force = j->options->force,
                                                .resume = j->options->resume,
                                                .figures = j->options->figures},
                                      .config = j->config,
                                      .view = &organ_lora_sanitize_view,
                                      .context = j,
                                      .document = sanitize_document_of};
    return organ_lora_write(&j->rewrite, &output, report, error);
}

static organ_status reject_unrepairable(const sanitize_job *j, organ_error *error)
{
    const char *const changed = organ_adapter_changed_base(j->adapter);
    if (j->adapter->dora)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: use_dora is set: its magnitudes scale rows of W + scale B A, which cannot be folded "
                          "into B; merge it (organ "
                          "lora merge), or train without DoRA",
                          j->adapter->path);
    if (changed)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: init_lora_weights is \"%s\": the factors fit only the base as changed by the "
                          "initialisation; save the adapter with peft's path_initial_model_for_weight_conversion",
                          j->adapter->path, changed);
    if (j->rewrite.count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: no module remains that a server would accept", j->adapter->path);
    for (size_t k = 0; k < json_array_size(j->findings); k++) {
        const json_t *const row = json_array_get(j->findings, k);
        if (strcmp(json_string_value(json_object_get(row, "rule")), "base") == 0)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: module '%s' does not fit %s: %s; `check` lists all findings",
                              j->adapter->path, json_string_value(json_object_get(row, "where")), j->base->path,
                              json_string_value(json_object_get(row, "text")));
    }
    return ORGAN_OK;
}

static organ_status run_check(sanitize_job *j, json_t **report, organ_error *error)
{
    const size_t count = json_array_size(j->findings);
    if (organ_lora_survey(&j->rewrite, error) != ORGAN_OK)
        return error->status;
    if (!(*report = sanitize_document_of(j)))
        return organ_fail_memory(error, j->options->adapter);
    if (count)
        organ_fail(error, ORGAN_CHECK_FAILED, "%s: %zu finding%s that a server would reject", j->adapter->path, count,
                   count == 1 ? "" : "s");
    return error->status;
}

static organ_status sanitize_adapter(sanitize_job *j, json_t **report, organ_error *error)
{
    const organ_lora_sanitize_options *const o = j->options;
    const uint64_t served = o->max_rank ? o->max_rank : ORGAN_SERVED_RANK;
    if (open_sanitized(j, error))
        return error->status;
    if (check_format(j, error))
        return error->status;
    j->findings = json_array();
    j->conditions = json_array();
    j->dropped = json_array();
    j->targets_removed = json_array();
    if (!j->findings || !j->conditions || !j->dropped || !j->targets_removed)
        return organ_fail_memory(error, j->options->adapter);
    j->rewrite.adapter = j->adapter;
    j->rewrite.stage = "sanitizing";
    /* A check reports the ranks without cutting them; writing cuts them only if requested. */
    j->rewrite.max = o->check || !o->max_rank ? UINT64_MAX : o->max_rank;
    const organ_lora_check check = {j->adapter, j->fit, j->base, j->base ? &j->names : NULL, served};
    if (organ_lora_findings(&check, j->findings, j->conditions, error) || split_tensors(j, error))
        return error->status;
    if (o->check)
        return run_check(j, report, error);
    if (reject_unrepairable(j, error) || organ_lora_survey(&j->rewrite, error))
        return error->status;
    settle_scale(j);
    return write_out(j, report, error);
}

static void close_sanitizing(sanitize_job *j)
{
    organ_lora_rewrite_release(&j->rewrite);
    ORGAN_DECREF(j->findings, j->conditions, j->dropped, j->targets_removed, j->config);
    organ_lora_names_release(&j->names);
    organ_weights_free(j->weights);
    organ_model_close(j->base);
    organ_adapter_translated_free(j->translated);
    organ_adapter_close(j->stored);
}

organ_status organ_lora_sanitize(const organ_lora_sanitize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_lora_sanitize_options, options, report, error, "adapter", options->adapter))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    sanitize_job j = {.options = options,
                      .rewrite = {.engine = engine, .progress = organ_warnings_begin(&work.kept, progress)}};
    sanitize_adapter(&j, report, error);
    close_sanitizing(&j);
    return organ_report_end(&work, options->adapter, error);
}
