/* SPDX-License-Identifier: MIT
 * organ quantize: checks the options, opens model, imatrix and calibration text, and writes the quantised model. */
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <stdlib.h>
#include <string.h>

/* 128 and 512 are the defaults of --samples and --context. */
static organ_status check_method(const organ_quantize_options *o, organ_error *error)
{
    if (organ_quantize_by_text(o)) {
        if (!o->calibration.text)
            return organ_fail(error, ORGAN_USAGE, "--method gptq needs --calibration FILE, a text");
        return organ_calibration_run_check(o->calibration.samples, o->calibration.context, error);
    }
    if (o->method && strcmp(o->method, "nearest") != 0)
        return organ_fail(error, ORGAN_USAGE, "--method '%s' is unknown: nearest or gptq", o->method);
    const struct {
        bool given;
        const char *option;
    } without_effect[] = {{o->calibration.text != NULL, "--calibration"},
                          {o->calibration.samples && o->calibration.samples != 128, "--samples"},
                          {o->calibration.context && o->calibration.context != 512, "--context"},
                          {o->calibration.scratch != NULL, "--scratch"},
                          {o->all_experts, "--all-experts"},
                          {o->no_refit, "--no-resolve"}};
    for (size_t k = 0; k < sizeof without_effect / sizeof *without_effect; k++)
        if (without_effect[k].given)
            return organ_fail(error, ORGAN_USAGE, "%s has no meaning for --method nearest", without_effect[k].option);
    return ORGAN_OK;
}

static organ_status check_safetensors(const organ_quantize_options *o, const organ_encoding *encoding,
                                      organ_error *error)
{
    if (organ_quantize_widths_check(o, organ_encoding_is_mixed(encoding), error) || check_method(o, error))
        return error->status;
    if (o->imatrix)
        return organ_fail(error, ORGAN_USAGE,
                          "--imatrix has no meaning with scheme %s: it weighs the blocks of GGUF models",
                          encoding->name);
    if (organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: a quantised model needs its config.json next to it: name a directory", o->write.output);
    return ORGAN_OK;
}

static organ_status check_gguf(const organ_quantize_options *o, organ_error *error)
{
    if (o->allocate.allocate)
        return organ_fail(error, ORGAN_USAGE, "--allocate has no meaning with scheme %s: it writes no blocks of GGUF",
                          o->scheme);
    return organ_allocate_check(&o->allocate, error) ? error->status : check_method(o, error);
}

static organ_status quantize_check_options(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    job->encoding = organ_encoding_named(o->scheme);
    if (!job->encoding)
        return organ_fail(
            error, ORGAN_USAGE,
            "scheme '%s' is unknown; the schemes are fp8-block128, fp8-tensor, fp8-channel, int8-channel, "
            "int8-group128, int8-group64, int8-group32, int4, int3 and int2 with the same groups, mixed, "
            "and for GGUF models " ORGAN_GGUF_SCHEMES,
            o->scheme);
    if (!organ_encoding_is_gguf(job->encoding))
        return check_safetensors(o, job->encoding, error);
    return job->pruning ? organ_fail(error, ORGAN_USAGE,
                                     "scheme %s has no meaning here: prune does not write blocks of GGUF", o->scheme)
                        : check_gguf(o, error);
}

static organ_status check_is_safetensors(const organ_quantize_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    if (model->gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: is GGUF, but %s is a scheme of safetensors models; those of GGUF: " ORGAN_GGUF_SCHEMES,
                          model->path, job->encoding->name);
    if (job->weights->packed || *job->weights->method)
        return organ_dequantize_first(model, error, "%.300s: is already quantised (%.100s)", model->path,
                                      *job->weights->method ? job->weights->method : "by its tensors");
    if (!model->config.present)
        return organ_fail(error, ORGAN_USAGE, "%s: has no config.json, in which the scheme is recorded", model->path);
    return ORGAN_OK;
}

static organ_status check_is_gguf(const organ_quantize_job *job, organ_error *error)
{
    const char *const path = job->model->path;
    if (job->model->gguf)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: is not GGUF, but %s is a scheme of GGUF models: convert the model first (organ convert %s "
                      "--to gguf -o X.gguf) and quantise X.gguf; for safetensors models int4-group32 has about 4.5 "
                      "bits per weight, int8-channel 8",
                      path, job->options->scheme, path);
}

/* ---- the run ---- */

static organ_status list_weights(organ_quantize_job *job, organ_error *error)
{
    organ_model *const model = job->model;
    if (!organ_encoding_is_gguf(job->encoding)) {
        if (organ_weights_find(model, &job->weights, error) || check_is_safetensors(job, error))
            return error->status;
        job->candidates = job->weights->weights;
        job->candidate_count = job->weights->count;
        return ORGAN_OK;
    }
    if (check_is_gguf(job, error) != ORGAN_OK)
        return error->status;
    if (!(job->plain = organ_rows_take(model->tensor_count + 1, sizeof *job->plain)))
        return organ_fail_memory(error, job->options->model);
    for (size_t t = 0; t < model->tensor_count; t++) {
        job->plain[t] = organ_weight_plain(&model->tensors[t]);
        organ_rows_passed();
    }
    job->candidates = job->plain;
    job->candidate_count = model->tensor_count;
    return ORGAN_OK;
}

static organ_status quantize_open(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    const bool gguf = organ_encoding_is_gguf(job->encoding);
    if (organ_model_open(o->model, &job->model, error) || organ_model_is_here(job->model, "quantised", error) ||
        list_weights(job, error) || organ_targets_select(job->model, o->targets, &job->targets, error) ||
        organ_targets_need_rows(job->model, &job->targets, false, "quantize", error) ||
        (organ_quantize_by_text(o) && !o->targets &&
         organ_calibration_find_untapped(job->model, job->engine, &job->targets, &job->untapped, error)) ||
        (gguf ? organ_quantize_gguf_forms(job, error) : organ_quantize_forms(job, error)))
        return error->status;
    if (organ_encoding_is_mixed(job->encoding) && organ_quantize_widths_find(job, error) != ORGAN_OK)
        return error->status;
    organ_rows_rest();
    if (organ_quantize_list_parts(job, error) || organ_quantize_gguf_open_imatrix(job, error) ||
        (organ_quantize_by_text(o) && organ_quantize_open_text(job, error)))
        return error->status;
    return gguf ? organ_quantize_gguf_metadata(job, error) : ORGAN_OK;
}

static organ_status quantize_note_before(const organ_quantize_job *job, organ_error *error)
{
    bool blocks = false;
    char *hint = NULL;

    if (job->writer)
        organ_quantize_gguf_note(job);
    else
        organ_quantize_note_loaders(job);
    if (job->left_out_count)
        organ_progress_note(job->progress,
                            "%zu of the targets %s copied unchanged: %s is the first; the report "
                            "lists all with the reasons",
                            job->left_out_count, job->left_out_count == 1 ? "is" : "are",
                            job->left_out[0].tensor->name);
    for (size_t k = 0; k < job->left_out_count; k++)
        blocks |= organ_dtype_is_blocks(job->left_out[k].tensor->dtype);
    if (!blocks || organ_dequantize_hint(job->model, &hint, error))
        return error->status;
    organ_progress_note(job->progress,
                        "targets that are quantised already are copied; to quantise them again, dequantize the "
                        "model first: %s",
                        hint);
    free(hint);
    return ORGAN_OK;
}

/* The calibrated parts come first, because they need more memory: if --memory is too small, the run fails before it
 * has written any code. */
static organ_status quantize_all(void *context, organ_writing *run, organ_error *error)
{
    organ_quantize_job *const job = context;
    job->run = run;
    if (job->calib && organ_quantize_calibrated(job, error) != ORGAN_OK)
        return error->status;
    return organ_quantize_pass(job, error);
}

static organ_status check_imatrix(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_quantize_job *const job = context;
    (void)to;
    (void)path;
    return job->imatrix ? organ_imatrix_unchanged(job->imatrix, error) : ORGAN_OK;
}

static void close_quantize(organ_quantize_job *job)
{
    organ_quantize_close_text(job);
    organ_quantize_widths_close(job->widths);
    organ_gguf_writer_destroy(job->writer);
    free(job->untapped);
    free(job->encodings);
    organ_rows_free(job->pieces);
    organ_rows_free(job->units);
    for (size_t k = 0; k < job->part_count; k++)
        json_decref(job->parts[k].fallback);
    organ_rows_free(job->parts);
    organ_rows_free(job->left_out);
    organ_rows_free(job->plain);
    organ_imatrix_close(job->imatrix);
    organ_targets_release(&job->targets);
    organ_arena_release(&job->arena);
    organ_weights_free(job->weights);
    organ_model_close(job->model);
}

/* organ_quantize_widths_find has already added the measurement of mixed widths. */
static organ_status quantize_estimate(organ_quantize_job *job, organ_error *error)
{
    const organ_plan_solve solve = organ_quantize_solve(job);
    if (organ_quantize_estimate_pass(job, error) != ORGAN_OK || !job->calib)
        return error->status;
    organ_calibration_run_estimate(job->calib, &solve, &job->plan);
    if (job->pruning && job->pruning->estimate)
        job->pruning->estimate(job->pruning->context, &job->plan);
    return ORGAN_OK;
}

static const char *quantize_definition(const organ_quantize_job *job)
{
    const bool gguf = organ_encoding_is_gguf(job->encoding);
    if (job->pruning)
        return "sparse-gptq-resolved/3";
    if (!organ_quantize_by_text(job->options))
        return gguf ? "quantize-gguf/1" : "quantize/2";
    if (job->options->no_refit)
        return gguf ? "gptq-gguf/2" : "gptq/3";
    return gguf ? "gptq-gguf-resolved/2" : "gptq-resolved/3";
}

static organ_status quantize_model(organ_quantize_job *job, json_t **report, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (quantize_check_options(job, error) || quantize_open(job, error) ||
        (o->write.dry_run && quantize_estimate(job, error)))
        return error->status;
    const organ_write made = {.model = job->model,
                              .requested = &o->write,
                              .checked = job->widths && !o->write.dry_run,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .unit_count = job->unit_count,
                              .plan = &job->plan,
                              .definition = quantize_definition(job),
                              .gguf = job->writer,
                              .stage = "quantizing",
                              .name = "quantize.json",
                              .markdown_name = "QUANTIZE_REPORT.md",
                              .model_is = "model",
                              .made_as = ORGAN_TYPES_PACKED,
                              .repacked = true,
                              .edit = job->writer ? NULL : organ_quantize_config,
                              .fill = quantize_all,
                              .recall = organ_quantize_recall,
                              .schema = "organ.quantize/1",
                              .parameters = organ_quantize_parameters,
                              .identity = organ_quantize_identity,
                              .check = check_imatrix,
                              .document = organ_quantize_document};
    return quantize_note_before(job, error) ? error->status : organ_write_run(&made, report, error);
}

organ_status organ_quantize_pruned(const organ_quantize_options *options, const organ_quantize_pruning *pruning,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error)
{
    organ_quantize_job job = {.options = options, .pruning = pruning, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    quantize_model(&job, report, error);
    close_quantize(&job);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_quantize(const organ_quantize_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_quantize_options, options, report, error, "model", options->model, "scheme",
                         options->scheme, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_quantize_pruned(options, NULL, engine, progress, report, error);
}
