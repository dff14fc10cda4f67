/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/layout.h"
#include "orchestrator/output/model_settings.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <organ/base.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the report ---- */

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
    json_t *const row = ORGAN_OBJECT(
        SET_TEXT("module", p->module), SET_TEXT("tensor", job->pieces[organ_merge_piece_of(job, part)].name),
        SET_TEXT("role", organ_anatomy_role_name(&p->anatomy)), SET_INDEX("layer", p->anatomy.layer),
        SET_COUNT("rank", p->rank), SET_COUNT("elements", w->elements), SET_REAL("scale", part->scale),
        SET_TEXT("stored", organ_weight_text(w, stored, sizeof stored)),
        SET_DTYPE("dtype", job->pieces[organ_merge_piece_of(job, part)].dtype),
        SET_FLAG("dora", part->magnitudes != NULL));
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
    if (!part->saved || part->head)
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

/* "from" is the tensor of the adapter, or the base's embedding whose values the head has. */
static json_t *head_json(const organ_merge_job *job)
{
    const bool stored = job->head_part == ORGAN_NO_PART;
    const size_t own = stored ? job->part_of[job->tie.stored - job->weights->weights] : job->head_part;
    const organ_merge_part *const part = own == ORGAN_NO_PART ? NULL : &job->parts[own];
    const organ_tensor *const saved = part ? part->saved : NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", stored ? job->tie.stored->name : job->pieces[job->head_piece].name),
                        SET_TEXT("from", saved ? saved->name : job->tie.embedding->name),
                        SET_FLAG("whole", saved != NULL), SET_FLAG("changed", part && part->pair));
}

/* The head follows an embedding that the adapter changes. */
static bool keeps_tie(const organ_merge_job *job)
{
    const size_t at = job->tied ? job->part_of[job->tie.embedding - job->weights->weights] : ORGAN_NO_PART;
    return job->options->keep_tied && at != ORGAN_NO_PART && (job->parts[at].pair || job->parts[at].saved);
}

/* organ_unmatched_tensor.dropped is set for tensors that a plain model does not need. */
static json_t *merge_document_unmatched_json(const organ_merge_job *job, size_t k, bool dropped)
{
    const organ_unmatched_tensor *const one = &job->weights->unmatched[k];
    if (one->dropped != dropped)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("tensor", one->tensor->name), SET_TEXT("reason", one->why));
}

static json_t *dropped_json(const void *job, size_t k)
{
    return merge_document_unmatched_json(job, k, /*dropped=*/true);
}
static json_t *not_understood_json(const void *job, size_t k)
{
    return merge_document_unmatched_json(job, k, /*dropped=*/false);
}

static json_t *merge_document_totals_json(const organ_merge_job *job)
{
    organ_merge_sums all = {0};
    json_int_t modules = 0, replaced = 0, erased = 0, changed = 0;
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_merge_part *const part = &job->parts[k];
        modules += part->pair != NULL;
        replaced += part->saved && !part->head;
        erased += part->pair && is_erased(&part->sums);
        changed +=
            part->pair || part->saved || part->tokens ? (json_int_t)job->weights->weights[part->weight].elements : 0;
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

/* Returns the report, a document of schema organ.lora_merge/1. `job` is an organ_merge_job. `made` is the finished
 * output; NULL: nothing was written, because job->unplaced is not empty. Returns NULL if out of memory. */
static json_t *merge_document(void *context, const organ_writing *made)
{
    const organ_merge_job *const job = context;
    json_t *const run =
        made ? organ_output_run(organ_write_output(made), organ_layout_bytes(organ_write_files(made))) : json_object();
    ORGAN_ADD(run, SET_BYTES("adapter", job->options->adapter));
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.lora_merge/1"), SET_TEXT("organ", ORGAN_VERSION),
        SET_TEXT("definition", job->options->feedback ? "W + scale B A in FP32, rounded once with feedback"
                                                      : "W + scale B A in FP32, rounded once"),
        SET_FLAG("dry_run", job->options->write.dry_run), SET("base", organ_model_json(job->base)),
        SET("adapter", organ_adapter_json(job->adapter)), SET_REAL("scale", job->options->scale),
        SET_TEXT("dtype", job->options->dtype ? organ_dtype_word(job->options->dtype) : ""),
        SET_FLAG("feedback", job->options->feedback), SET("clashes", json_incref(job->clashes)),
        SET("unplaced", json_incref(job->unplaced)),
        SET("modules", organ_json_rows(job->part_count, merge_document_module_json, job)),
        SET("replaced", organ_json_rows(job->part_count, replaced_json, job)),
        SET("tokens", organ_json_rows(job->part_count, tokens_json, job)),
        SET("head", job->unties ? head_json(job) : json_null()), SET_IF(keeps_tie(job), "kept_tied", json_true()),
        SET_COUNT_OF("words", job->words, job->words),
        SET("dropped", organ_json_rows(job->weights->unmatched_count, dropped_json, job)),
        SET("not_understood", organ_json_rows(job->weights->unmatched_count, not_understood_json, job)),
        SET("output", ORGAN_OBJECT(SET_COUNT("files", made ? organ_write_files(made)->file_count : 0),
                                   SET_COUNT("bytes", made ? organ_layout_bytes(organ_write_files(made)) : 0))),
        SET("totals", merge_document_totals_json(job)),
        SET("matrices", organ_matrices_among(job->weights, job->part_count - (job->head_part != ORGAN_NO_PART),
                                             changed_weight, job)),
        SET_SENTENCES("organ.lora_merge/1", "definitions", NULL), SET("run", run));
}

static organ_status merge_check_options(organ_merge_job *job, organ_error *error)
{
    const organ_lora_merge_options *const o = job->options;
    if (!isfinite(o->scale))
        return organ_fail(error, ORGAN_USAGE, "scale %g is not finite", o->scale);
    return organ_dtype_requested(o->dtype, &job->dtype, error);
}

static organ_status check_adapter(const organ_adapter *adapter, double scale, organ_error *error)
{
    const char *const changed = organ_adapter_changed_base(adapter);
    if (adapter->dora && scale != 1)
        return organ_fail(error, ORGAN_USAGE, "%s: use_dora is set: DoRA cannot be merged with a `scale`",
                          adapter->path);
    if (changed)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: init_lora_weights is \"%s\": the initialisation changed the base, and these factors fit only the "
            "changed base; save the adapter with peft's path_initial_model_for_weight_conversion",
            adapter->path, changed);
    return ORGAN_OK;
}

/* Returns whether the base needs the adapter that is merged into it. */
static bool is_own_adapter(const organ_merge_job *job)
{
    const char *const own = organ_model_adapter(job->base), *const path = job->stored->model->directory;
    const size_t length = organ_path_length(path), end = own ? strlen(own) : 0;
    return own && length >= end && memcmp(path + length - end, own, end) == 0 &&
           (length == end || path[length - end - 1] == '/');
}

/* The last warning of a base that needs an adapter says so. It is left out if that adapter is merged. */
static void warn_of_base(const organ_merge_job *job)
{
    for (size_t k = 0; k + is_own_adapter(job) < job->base->warning_count; k++)
        organ_progress_warn(job->progress, "%s", job->base->warnings[k]);
}

/* The base that the adapter names may be a directory of this machine. If it is not, or cannot be opened, nothing is
 * known of the settings for which the adapter was trained. */
static organ_status compare_bases(organ_merge_job *job, organ_error *error)
{
    const char *const named = job->stored->base;
    ORGAN_OWNED char *const config = organ_format("%s/config.json", named);
    organ_model *own = NULL;
    ORGAN_OWNED_JSON json_t *const sentences = json_array();
    size_t k;
    const json_t *sentence;
    job->clashes = json_array();
    if (!config || !sentences || !job->clashes)
        organ_fail_memory(error, job->base->path);
    else if (*named && access(config, F_OK) == 0 && organ_model_open(named, &own, &(organ_error){0}) == ORGAN_OK) {
        const organ_settings_side sides[] = {{own, "the adapter's base"}, {job->base, "this base"}};
        if (organ_settings_compare_architectures(sides, 2, job->clashes, error) == ORGAN_OK)
            organ_settings_compare(sides, 2, /*form=*/1, /*by_layer=*/true, job->clashes, /*notes=*/NULL, error);
        organ_settings_say(job->clashes, sentences);
    }
    json_array_foreach(sentences, k, sentence) organ_progress_warn(job->progress, "%s", json_string_value(sentence));
    organ_model_close(own);
    return error->status;
}

static void note_towers(const organ_merge_job *job)
{
    size_t count = 0;
    for (size_t k = 0; k < job->adapter->pair_count; k++) {
        const organ_role role = job->adapter->pairs[k].anatomy.role;
        count += role == ORGAN_ROLE_VISION || role == ORGAN_ROLE_AUDIO;
    }
    if (count)
        organ_progress_note(job->progress,
                            "the adapter changes %zu matri%s of a vision or audio tower: a GGUF file of the tower "
                            "(mmproj) that was made from the base lacks the change: make it again from the output",
                            count, count == 1 ? "x" : "ces");
}

static organ_status open_merged(organ_merge_job *job, organ_error *error)
{
    const organ_lora_merge_options *const o = job->options;
    if (organ_adapter_open(o->adapter, &job->stored, error) ||
        organ_donor_open(o->base, "merged with an adapter", NULL, &job->base, error))
        return error->status;
    organ_adapter_warn(job->progress, job->stored, /*lost=*/true);
    warn_of_base(job);
    if (organ_adapter_warn_of_template(job->progress, job->stored, job->base, error) ||
        organ_repair_pair_check(job->stored, job->base, error) || check_adapter(job->stored, o->scale, error) ||
        compare_bases(job, error) || organ_output_check_not_adapter(o->write.output, job->stored, error) ||
        organ_output_check_not_input(o->write.output, job->base, error) ||
        organ_output_check(o->write.output, organ_output_like(job->base), o->write.force, error))
        return error->status;
    if (organ_weights_find(job->base, &job->weights, error) ||
        organ_lora_names_build(job->base, job->weights, &job->names, error) ||
        organ_adapter_translate(job->stored, job->base, &job->names, &job->translated, error))
        return error->status;
    organ_progress_note_remarks(job->progress, /*path=*/NULL, job->weights);
    job->adapter = job->translated ? job->translated : job->stored;
    note_towers(job);
    if (!job->base->gguf)
        return ORGAN_OK;
    if (organ_layout_metadata(job->base->gguf, &job->gguf, error) == ORGAN_OK && is_own_adapter(job)) {
        organ_gguf_writer_remove(job->gguf, ORGAN_REPAIR_ADAPTER_KEY);
        organ_gguf_writer_remove(job->gguf, ORGAN_REPAIR_PAIR_KEY);
    }
    return error->status;
}

/* ---- callbacks of the writer ---- */

/* A packed base loses its quantization_config, because merged weights are stored unpacked. */
static organ_status edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_merge_job *const job = context;
    if (job->packed && organ_config_make_plain(config, job->dtype, /*packed=*/true, error))
        return error->status;
    if (is_own_adapter(job) && organ_repair_pair_forget(config, error))
        return error->status;
    if (job->words &&
        organ_config_set(config, "vocab_size", json_integer((json_int_t)job->words), /*both=*/false, error))
        return error->status;
    return job->unties ? organ_config_set(config, "tie_word_embeddings", json_false(), /*both=*/true, error) : ORGAN_OK;
}

static organ_status merge_all(void *context, organ_writing *run, organ_error *error)
{
    organ_merge_job *const job = context;
    if (organ_merge_run(job, run, error) == ORGAN_OK)
        organ_model_unchanged(job->adapter->model, error);
    return error->status;
}

static json_t *merge_parameters_json(void *context)
{
    const organ_lora_merge_options *const o = ((const organ_merge_job *)context)->options;
    return ORGAN_OBJECT(SET("scale", organ_exact_json(o->scale)),
                        SET_TEXT("dtype", o->dtype ? organ_dtype_word(o->dtype) : ""),
                        SET_IF(o->feedback, "feedback", json_true()), SET_IF(o->keep_tied, "keep_tied", json_true()),
                        SET_COUNT("max_shard_bytes", o->write.max_shard_size));
}

static organ_status adapter_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_merge_job *const job = context;
    return organ_run_inputs_add_model(inputs, "adapter", job->stored->model, error);
}

static organ_status write_merged(organ_merge_job *job, json_t **report, organ_error *error)
{
    const organ_lora_merge_options *const o = job->options;
    if (o->write.dry_run && organ_merge_estimate(job, error))
        return error->status;
    const organ_write made = {.model = job->base,
                              .requested = &o->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .names = {"lora merge/1", &organ_lora_merge_view, "merging", "base", NULL},
                              .left_out = job->packed ? organ_packed_files : NULL,
                              .pieces.repacked = job->packed > 0,
                              .pieces.gguf = job->gguf,
                              .make = {.edit = edit_config, .fill = merge_all, .recall = organ_merge_recall},
                              .check = {.parameters = merge_parameters_json, .inputs = adapter_inputs},
                              .report = {.plan = &job->plan, .document = merge_document}};
    return organ_write_run(&made, report, error);
}

static organ_status note_unplaced(organ_merge_job *job, json_t **report, organ_error *error)
{
    const size_t count = json_array_size(job->unplaced);
    const json_t *const first = json_array_get(job->unplaced, 0);
    if (!(*report = merge_document(job, /*made=*/NULL)))
        return organ_fail_memory(error, job->options->adapter);
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: %zu tensor%s of the adapter fit%s no weight of %s, nothing was written; %s'%s': %s",
                      job->adapter->path, count, count == 1 ? "" : "s", count == 1 ? "s" : "", job->base->path,
                      count == 1 ? "" : "the first (the report lists all) is ",
                      json_string_value(json_object_get(first, "tensor")),
                      json_string_value(json_object_get(first, "reason")));
}

static organ_status plan_and_merge(organ_merge_job *job, json_t **report, organ_error *error)
{
    if (merge_check_options(job, error) || open_merged(job, error) || organ_merge_plan(job, error))
        return error->status;
    return json_array_size(job->unplaced) ? note_unplaced(job, report, error) : write_merged(job, report, error);
}

static void close_merge(organ_merge_job *job)
{
    free(job->part_of);
    for (size_t k = 0; k < job->part_count; k++)
        free(job->parts[k].token_ids);
    free(job->parts);
    organ_rows_free(job->pieces);
    json_decref(job->unplaced);
    json_decref(job->clashes);
    organ_gguf_writer_destroy(job->gguf);
    organ_lora_names_release(&job->names);
    organ_weights_free(job->weights);
    organ_model_close(job->base);
    organ_adapter_translated_free(job->translated);
    organ_adapter_close(job->stored);
}

/* The report is kept after some errors (organ_report_end_partial). */
static organ_status merge_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    const organ_lora_merge_options *const options = given;
    organ_merge_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    plan_and_merge(&job, report, error);
    close_merge(&job);
    return organ_report_end_partial(&work, options->write.output, error);
}

organ_status organ_lora_merge(const organ_lora_merge_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_lora_merge_options, options, report, error, "base", options->base, "adapter",
                         options->adapter, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(merge_verb, options, options->write.dry_run, engine, progress, report, error);
}
