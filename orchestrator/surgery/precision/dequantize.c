/* SPDX-License-Identifier: MIT
 * organ dequantize: opens the model, plans the tensors of the output, and writes it with packed weights decoded. A
 * piece is a tensor of the output with a unit of its own (organ_unit), and a part is a weight that is decoded. */
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/precision/dequantize_job.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/output/layout.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/precision/plain_config.h"
#include "orchestrator/surgery/scoring/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- output of each tensor ---- */

static bool is_plain(const organ_weight *weight)
{
    const organ_dtype dtype = weight->codes->dtype;
    return weight->scheme == ORGAN_SCHEME_PLAIN && !weight->scale && !weight->global && !organ_dtype_is_fp8(dtype) &&
           (organ_dtype_describe(dtype)->elements == 1);
}

static bool dequantize_is_supported(const organ_weight *weight)
{
    return weight->scheme != ORGAN_SCHEME_PLAIN || organ_dtype_is_fp8(weight->codes->dtype) ||
           organ_can_widen(weight->codes->dtype);
}

/* `bytes_before`: bytes of the source tensors, for the progress. */
static void dequantize_add_piece(organ_dequantize_job *job, organ_shard_piece piece, uint64_t bytes_before)
{
    job->units[job->piece_count] =
        (organ_unit){.first = job->piece_count, .count = 1, .item = job->part_count, .bytes = bytes_before};
    job->pieces[job->piece_count++] = piece;
}

static void keep_tensor(organ_dequantize_job *job, const organ_tensor *tensor)
{
    dequantize_add_piece(job, organ_piece_same(tensor), tensor->bytes);
}

static void plan_weight(organ_dequantize_job *job, const organ_weight *weight)
{
    if (is_plain(weight)) {
        keep_tensor(job, weight->codes);
    } else if (!dequantize_is_supported(weight)) {
        job->kept[job->kept_count++] = weight->codes;
        keep_tensor(job, weight->codes);
    } else {
        const uint64_t before = organ_weight_bytes(weight);
        job->parts[job->part_count] =
            (organ_dequantize_part){.weight = weight, .piece = job->piece_count, .bytes_before = before};
        dequantize_add_piece(
            job,
            (organ_shard_piece){.name = weight->name, .dtype = job->as, .rank = weight->rank, .shape = weight->shape},
            before);
        job->part_count++;
    }
}

static organ_status dequantize_plan_pieces(organ_dequantize_job *job, organ_error *error)
{
    const size_t capacity = job->model->tensor_count + 1;
    job->pieces = organ_rows_take(capacity, sizeof *job->pieces);
    job->units = organ_rows_take(capacity, sizeof *job->units);
    job->parts = organ_rows_take(capacity, sizeof *job->parts);
    job->kept = calloc(capacity, sizeof(organ_tensor *));
    if (!job->pieces || !job->units || !job->parts || !job->kept)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->weights->count; k++) {
        plan_weight(job, &job->weights->weights[k]);
        organ_rows_passed();
    }
    for (size_t k = 0; k < job->weights->unmatched_count; k++)
        if (!job->weights->unmatched[k].dropped)
            keep_tensor(job, job->weights->unmatched[k].tensor);
    return ORGAN_OK;
}

/* ---- GGUF ---- */

/* A GGUF output has the model's key-values without quantize.*; general.file_type is that of the new type if a weight
 * is converted. */
static organ_status dequantize_make_header(organ_dequantize_job *job, organ_error *error)
{
    const organ_gguf *const gguf = job->model->gguf;
    int64_t file_type = 32; /* ggml's number for a file that is mostly BF16 */
    if (job->as == ORGAN_F32)
        file_type = 0;
    else if (job->as == ORGAN_F16)
        file_type = 1;
    if (!gguf || organ_layout_metadata(gguf, &job->gguf, error))
        return error->status;
    for (size_t k = 0; k < gguf->kv_count; k++)
        if (strncmp(gguf->kvs[k].key, "quantize.", 9) == 0)
            organ_gguf_writer_remove(job->gguf, gguf->kvs[k].key);
    if (job->part_count)
        organ_gguf_writer_set_integer(job->gguf, "general.file_type", ORGAN_GGUF_U32, file_type, error);
    return error->status;
}

/* ---- the run ---- */

static organ_status open_packed(organ_dequantize_job *job, organ_error *error)
{
    if (organ_model_open(job->options->model, &job->model, error) ||
        organ_model_is_here(job->model, "dequantised", error))
        return error->status;
    if (organ_weights_find(job->model, &job->weights, error) || dequantize_plan_pieces(job, error))
        return error->status;
    return dequantize_make_header(job, error);
}

/* The notes of organ_weights_find are printed too, so that users need not search the report for them. */
static void dequantize_note_before(const organ_dequantize_job *job)
{
    const organ_weights *const w = job->weights;
    size_t dropped = 0;
    organ_progress_warn(job->progress, job->model);
    if (job->part_count == 0)
        organ_progress_note(job->progress, "%s has no packed tensor: it is already plain and is only rewritten",
                            job->options->model);
    for (size_t k = 0; k < w->note_count; k++)
        organ_progress_note(job->progress, "%s", w->notes[k]);
    for (size_t k = 0; k < w->unmatched_count; k++) {
        dropped += w->unmatched[k].dropped;
        if (!w->unmatched[k].dropped)
            organ_progress_note(job->progress, "%s is copied unchanged: it %s", w->unmatched[k].tensor->name,
                                w->unmatched[k].why);
    }
    for (size_t k = 0; k < job->kept_count; k++)
        organ_progress_note(job->progress,
                            "%s is copied unchanged: it is %s, a type that cannot be read without its companions",
                            job->kept[k]->name, organ_dtype_describe(job->kept[k]->dtype)->name);
    if (dropped)
        organ_progress_note(job->progress, "%zu scale%s of activations or caches removed; the report names %s", dropped,
                            dropped == 1 ? "" : "s", dropped == 1 ? "it" : "them");
}

static void note_after(const organ_dequantize_job *job)
{
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_dequantize_part *const part = &job->parts[k];
        if (*part->note)
            organ_progress_note(job->progress, "%s: %s", part->weight->name, part->note);
        if (part->infinite || part->nan)
            organ_progress_note(job->progress, "%s: %llu values are infinite and %llu NaN as %s", part->weight->name,
                                (unsigned long long)part->infinite, (unsigned long long)part->nan,
                                organ_dtype_describe(job->as)->name);
    }
}

static organ_status make_plain(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_dequantize_job *const job = context;
    return organ_config_make_plain(config, job->as, job->part_count > 0, error);
}

static organ_status dequantize_all(void *context, organ_writing *run, organ_error *error)
{
    organ_dequantize_job *const job = context;
    job->run = run;
    return organ_dequantize_pass(job, error);
}

/* Tries the first and last layer of the output. An output of one safetensors file has no config.json, so it cannot
 * be opened as a model that the forward pass reads. */
static organ_status dequantize_check(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_dequantize_job *const job = context;
    bool infinite = false;
    for (size_t k = 0; k < job->part_count; k++)
        infinite = infinite || job->parts[k].infinite;
    const double usual = job->as == ORGAN_F32 ? ORGAN_TRIAL_ERROR_32 : ORGAN_TRIAL_ERROR_16;
    const organ_trial trial = {.model = job->model,
                               .path = path,
                               .engine = job->engine,
                               .progress = job->progress,
                               .tolerance = job->options->write.saturate ? (double)INFINITY : usual,
                               .infinite = infinite};
    (void)to;
    if (!job->gguf && organ_output_is_file(job->options->write.output))
        return ORGAN_OK;
    if (job->gguf && organ_trial_tokenizer(path, job->model->gguf, error))
        return error->status;
    return organ_trial_run(&trial, error);
}

static void close_dequantize(organ_dequantize_job *job)
{
    organ_gguf_writer_destroy(job->gguf);
    organ_rows_free(job->pieces);
    organ_rows_free(job->units);
    organ_rows_free(job->parts);
    free(job->kept);
    organ_weights_free(job->weights);
    organ_model_close(job->model);
}

/* `left_out` names the files that describe a quantisation and are not copied. */
static organ_status dequantize_model(organ_dequantize_job *job, json_t **report, organ_error *error)
{
    static const char *const left_out[] = {"quantize_config.json", "quant_config.json", "hf_quant_config.json", NULL};
    const organ_dequantize_options *const o = job->options;
    if (organ_dtype_requested(o->dtype, &job->as, error) || open_packed(job, error))
        return error->status;
    const organ_write made = {.model = job->model,
                              .requested = &o->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .unit_count = job->piece_count,
                              .definition = "dequantize/1",
                              .gguf = job->gguf,
                              .left_out = left_out,
                              .stage = "dequantizing",
                              .name = "dequantize.json",
                              .markdown_name = "DEQUANTIZE_REPORT.md",
                              .model_is = "model",
                              .made_as = job->as == ORGAN_F32 ? ORGAN_TYPES_32 : ORGAN_TYPES_16,
                              .repacked = job->part_count > 0,
                              .edit = make_plain,
                              .fill = dequantize_all,
                              .recall = organ_dequantize_recall,
                              .check = dequantize_check,
                              .schema = "organ.dequantize/1",
                              .parameters = organ_dequantize_parameters,
                              .document = organ_dequantize_document};
    dequantize_note_before(job);
    organ_write_run(&made, report, error);
    if (*report)
        note_after(job);
    return error->status;
}

organ_status organ_dequantize(const organ_dequantize_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_dequantize_options, options, report, error, "model", options->model, "dtype",
                         options->dtype, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_dequantize_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    dequantize_model(&job, report, error);
    close_dequantize(&job);
    return organ_report_end_partial(&work, options->model, error);
}
