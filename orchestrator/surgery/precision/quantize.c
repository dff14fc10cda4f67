/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/precision/quantize_gguf_job.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include "formats/base/memory_watch.h"
#include "formats/base/paged_rows.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/output/plain_only.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t two[] = {2};

static bool quantize_by_text(const organ_quantize_options *o) { return o->method && strcmp(o->method, "gptq") == 0; }

static organ_status check_method(const organ_quantize_options *o, organ_error *error)
{
    if (quantize_by_text(o)) {
        if (!o->calibration.text)
            return organ_fail(error, ORGAN_USAGE, "--method gptq needs --calibration FILE, a text");
        return organ_along_check(o->calibration.samples, o->calibration.context, error);
    }
    if (o->method && strcmp(o->method, "nearest") != 0)
        return organ_fail(error, ORGAN_USAGE, "--method '%s' is not known: nearest or gptq", o->method);
    const struct {
        bool given;
        const char *option;
    } useless[] = {{o->calibration.text != NULL, "--calibration"},
                   {o->calibration.samples && o->calibration.samples != 128, "--samples"},
                   {o->calibration.context && o->calibration.context != 512, "--context"},
                   {o->calibration.scratch != NULL, "--scratch"},
                   {o->all_experts, "--all-experts"},
                   {o->no_resolve, "--no-resolve"}};
    for (size_t k = 0; k < sizeof useless / sizeof *useless; k++)
        if (useless[k].given)
            return organ_fail(error, ORGAN_USAGE, "%s has no meaning for --method nearest", useless[k].option);
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
    job->scheme = organ_quantize_scheme_named(job->options->scheme);
    if (!job->scheme)
        return organ_fail(error, ORGAN_USAGE,
                          "scheme '%s' is none of fp8-block128, fp8-tensor, fp8-channel, int8-channel, int8-group128, "
                          "int8-group64, int8-group32, "
                          "of int4, int3 and int2 with the same groups, mixed, and of GGUF models " ORGAN_GGUF_SCHEMES,
                          job->options->scheme);
    if (organ_quantize_widths_check(job->options, organ_quantize_is_mixed(job->scheme), error) ||
        check_method(job->options, error))
        return error->status;
    if (job->options->imatrix)
        return organ_fail(error, ORGAN_USAGE,
                          "--imatrix has no meaning with scheme %s: it weighs the blocks of GGUF models",
                          job->scheme->name);
    if (organ_output_is_file(job->options->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: a quantised model needs its config.json beside it: name a directory",
                          job->options->write.output);
    return ORGAN_OK;
}

static organ_status quantize_check_model(const organ_quantize_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    if (model->gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: is GGUF, but %s is a scheme of safetensors models; those of GGUF: " ORGAN_GGUF_SCHEMES,
                          model->path, job->scheme->name);
    if (job->weights->packed || *job->weights->method)
        return organ_dequantize_first(model, error, "%.300s: is quantised already (%.100s)", model->path,
                                      *job->weights->method ? job->weights->method : "by its tensors");
    if (!model->config.present)
        return organ_fail(error, ORGAN_USAGE, "%s: has no config.json, which is to tell of the scheme", model->path);
    return ORGAN_OK;
}

/* ---- what becomes of each tensor ---- */

static const char *name_beside(organ_quantize_job *job, const char *weight, const char *end)
{
    char *text = NULL;
    const int length = asprintf(&text, "%.*s%s", (int)(strlen(weight) - strlen("weight")), weight, end);
    const char *const kept = length < 0 ? NULL : organ_arena_copy(&job->arena, text, (size_t)length);
    if (length >= 0)
        free(text);
    return kept;
}

static size_t quantize_add_piece(organ_quantize_job *job, const char *name, organ_dtype dtype, unsigned rank,
                                 const uint64_t *shape)
{
    job->pieces[job->piece_count] = (organ_shard_piece){.name = name, .dtype = dtype, .rank = rank, .shape = shape};
    return job->piece_count++;
}

static unsigned shape_scales(const organ_quantize_scheme *scheme, organ_quantize_part *part)
{
    const uint64_t size = scheme->grid.size;
    const bool whole = scheme->grid.scale_of == ORGAN_SCALE_TENSOR;
    part->groups = size ? part->cols / size + (part->cols % size != 0) : 1;
    part->scale_shape[0] = whole                                        ? 1
                           : scheme->grid.scale_of == ORGAN_SCALE_BLOCK ? part->rows / size + (part->rows % size != 0)
                                                                        : part->rows;
    part->scale_shape[1] = part->groups;
    return whole ? 1 : 2;
}

static size_t add_unit(organ_quantize_job *job, size_t first, size_t count, uint64_t bytes)
{
    job->units[job->unit_count] =
        (organ_unit){.first = first, .count = count, .item = job->part_count - 1, .bytes = bytes};
    return job->unit_count++;
}

static organ_status quantize_take_target(organ_quantize_job *job, const organ_weight *weight,
                                         const organ_quantize_scheme *scheme, organ_error *error)
{
    organ_quantize_part *const part = &job->parts[job->part_count++];
    *part =
        (organ_quantize_part){.weight = weight, .scheme = scheme, .rows = weight->shape[0], .cols = weight->shape[1]};
    const unsigned rank = shape_scales(scheme, part);
    job->regrouped += scheme != job->scheme && !job->widths;
    if (scheme->grid.scale_of == ORGAN_SCALE_BLOCK &&
        (part->rows % scheme->grid.size != 0 || part->cols % scheme->grid.size != 0))
        job->partial++;
    const char *const codes = scheme->packed ? name_beside(job, weight->name, "weight_packed") : weight->name;
    const char *const scale = name_beside(
        job, weight->name, scheme->grid.scale_of == ORGAN_SCALE_BLOCK ? "weight_scale_inv" : "weight_scale");
    const char *const shape = name_beside(job, weight->name, "weight_shape");
    if (!codes || !scale || !shape)
        return organ_fail_memory(error, job->options->model);
    const organ_dtype plain = scheme->grid.bits ? ORGAN_I8 : ORGAN_F8_E4M3;
    part->words[0] = part->rows;
    part->words[1] = part->cols / 32 * scheme->grid.bits;
    part->codes = scheme->packed ? quantize_add_piece(job, codes, ORGAN_I32, 2, part->words)
                                 : quantize_add_piece(job, codes, plain, 2, weight->shape);
    part->scale = quantize_add_piece(job, scale, scheme->grid.scale_of == ORGAN_SCALE_BLOCK ? ORGAN_F32 : ORGAN_BF16,
                                     rank, part->scale_shape);
    if (scheme->packed)
        part->shape = quantize_add_piece(job, shape, ORGAN_I64, 1, two);
    part->unit = add_unit(job, part->codes, job->piece_count - part->codes, weight->codes->bytes);
    job->units[part->unit].along = quantize_by_text(job->options);
    return ORGAN_OK;
}

static void keep_tensor(organ_quantize_job *job, const organ_tensor *tensor)
{
    add_unit(job, job->piece_count, 1, tensor->bytes);
    job->pieces[job->piece_count++] = organ_piece_same(tensor);
}

/* What a tensor becomes; NULL: what it is. */
static const organ_quantize_scheme *scheme_of(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return job->scheme_of[tensor - job->model->tensors];
}

static organ_status quantize_plan_pieces(organ_quantize_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    const size_t room = model->tensor_count + 1;
    job->pieces = organ_rows_take(3 * room, sizeof *job->pieces);
    job->units = organ_rows_take(room, sizeof *job->units);
    job->parts = organ_rows_take(room, sizeof *job->parts);
    job->left = organ_rows_take(room, sizeof *job->left);
    if (!job->pieces || !job->units || !job->parts || !job->left)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->weights->count && !error->status; k++) {
        const organ_weight *const weight = &job->weights->weights[k];
        const organ_tensor *const tensor = weight->codes;
        const bool meant = job->targets.chosen[tensor - model->tensors];
        const char *const why = meant ? organ_quantize_obstacle(job, tensor) : NULL;
        organ_rows_passed();
        const organ_quantize_scheme *const scheme = meant && !why ? scheme_of(job, tensor) : NULL;
        if (why)
            job->left[job->left_count++] = (organ_quantize_left){tensor, why};
        if (scheme)
            quantize_take_target(job, weight, scheme, error);
        else
            keep_tensor(job, tensor);
    }
    for (size_t k = 0; k < job->weights->stray_count && !error->status; k++)
        keep_tensor(job, job->weights->strays[k].tensor);
    if (!error->status && job->part_count == 0 && job->left_count == 0)
        return organ_fail(error, ORGAN_USAGE, "--budget %s holds all targets as they are: nothing is to be quantised",
                          job->options->allocate.budget);
    if (!error->status && job->part_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: no target can be quantised as %s; tensor '%s': %s", model->path,
                          job->options->scheme, job->left[0].tensor->name, job->left[0].why);
    return error->status;
}

/* ---- the run ---- */

static organ_status open_plain(organ_quantize_job *job, organ_error *error)
{
    if (organ_model_open(job->options->model, &job->model, error) ||
        organ_model_is_here(job->model, "quantised", error) || organ_weights_find(job->model, &job->weights, error) ||
        quantize_check_model(job, error) ||
        organ_targets_select(job->model, job->options->targets, &job->targets, error) ||
        organ_quantize_forms(job, error))
        return error->status;
    if (organ_quantize_is_mixed(job->scheme) && organ_quantize_widths_find(job, error) != ORGAN_OK)
        return error->status;
    if (quantize_plan_pieces(job, error) != ORGAN_OK || !quantize_by_text(job->options))
        return error->status;
    return organ_quantize_open_text(job, error);
}

static void quantize_tell_before(const organ_quantize_job *job)
{
    organ_quantize_tell_loaders(job);
    if (job->left_count)
        organ_progress_note(job->progress,
                            "%zu of the targets stay%s as %s: %s is the first; the report lists all and why",
                            job->left_count, job->left_count == 1 ? "s" : "",
                            job->left_count == 1 ? "it is" : "they are", job->left[0].tensor->name);
}

static organ_status quantize_all(void *context, organ_writing *run, organ_error *error)
{
    organ_quantize_job *const job = context;
    job->run = run;
    return job->along ? organ_quantize_along(job, error) : organ_quantize_pass(job, error);
}

static void close_quantize(organ_quantize_job *job)
{
    organ_quantize_close_text(job);
    organ_quantize_widths_close(job->widths);
    free(job->scheme_of);
    organ_rows_free(job->pieces);
    organ_rows_free(job->units);
    for (size_t k = 0; k < job->part_count; k++)
        json_decref(job->parts[k].fallback);
    organ_rows_free(job->parts);
    organ_rows_free(job->left);
    organ_targets_free(&job->targets);
    organ_arena_release(&job->arena);
    organ_weights_free(job->weights);
    organ_model_close(job->model);
}

/* Adds the work of the job to the plan. The measurement of mixed widths added its own work when it was opened. */
static organ_status quantize_foresee(organ_quantize_job *job, organ_error *error)
{
    const organ_plan_solve solve = organ_quantize_solve(job);
    if (!job->along)
        return organ_quantize_foresee_pass(job, error);
    organ_along_foresee(job->along, &solve, &job->plan);
    if (job->pruning && job->pruning->foresee)
        job->pruning->foresee(job->pruning->context, &job->plan);
    return ORGAN_OK;
}

static organ_status quantize(organ_quantize_job *job, json_t **report, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (quantize_check_options(job, error) || open_plain(job, error) ||
        (o->write.dry_run && quantize_foresee(job, error)))
        return error->status;
    const organ_write made = {.model = job->model,
                              .asked = &o->write,
                              ORGAN_WRITE_BY(job),
                              ORGAN_WRITE_PIECES(job),
                              .unit_count = job->unit_count,
                              .plan = &job->plan,
                              .definition = job->pruning          ? "sparse-gptq-resolved/1"
                                            : quantize_by_text(o) ? o->no_resolve ? "gptq/1" : "gptq-resolved/1"
                                                                  : "quantize/1",
                              .stage = "quantizing",
                              .name = "quantize.json",
                              .markdown_name = "QUANTIZE_REPORT.md",
                              .model_is = "model",
                              .made_as = ORGAN_MADE_PACKED,
                              .repacked = true,
                              .edit = organ_quantize_config,
                              .fill = quantize_all,
                              .recall = organ_quantize_recall,
                              .schema = "organ.quantize/1",
                              .parameters = organ_quantize_parameters,
                              .identity = organ_quantize_identity,
                              .document = organ_quantize_document};
    quantize_tell_before(job);
    return organ_write_run(&made, report, error);
}

static organ_status quantize_and_close(organ_quantize_job *job, json_t **report, organ_error *error)
{
    const organ_memory_work memory = organ_memory_work_begin();
    *report = NULL;
    quantize(job, report, error);
    close_quantize(job);
    return organ_memory_work_end(&memory, report, job->options->model, error);
}

organ_status organ_quantize_model(const organ_quantize_options *options, const organ_engine *engine,
                                  const organ_progress *progress, json_t **report, organ_error *error)
{
    if (organ_quantize_is_gguf(options->scheme))
        return check_gguf(options, error) ? error->status
                                          : organ_quantize_gguf(options, engine, progress, report, error);
    organ_quantize_job job = {.options = options, .engine = engine, .progress = progress};
    return quantize_and_close(&job, report, error);
}

organ_status organ_quantize_pruned(const organ_quantize_options *options, const organ_quantize_pruning *pruning,
                                   const organ_engine *engine, const organ_progress *progress, json_t **report,
                                   organ_error *error)
{
    organ_quantize_job job = {.options = options, .pruning = pruning, .engine = engine, .progress = progress};
    if (organ_quantize_is_gguf(options->scheme))
        return organ_fail(error, ORGAN_USAGE,
                          "scheme %s has no meaning here: blocks of GGUF are not made while a model is pruned",
                          options->scheme);
    return quantize_and_close(&job, report, error);
}
