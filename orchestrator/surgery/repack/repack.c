/* SPDX-License-Identifier: MIT
 * Conversion of a quantised safetensors model between AWQ, GPTQ and compressed-tensors: options, pass, document. Each
 * worker turns one weight at a time, whose codes it holds in both formats. */
#include "orchestrator/surgery/repack/repack.h"

#include "formats/base/results.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/stream_parts.h"
#include "orchestrator/surgery/repack/repack_parts.h"
#include "orchestrator/surgery/scoring/scoring.h"

#include <organ/base.h>
#include <stdlib.h>
#include <string.h>

/* Operations of a matrix product that take as long as a code, to plan a dry run. */
#define TURNED 30.0

/* ---- the document organ.convert/1 ---- */

static json_t *parameters(void *context)
{
    const repack_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("to", job->options->to), SET_TEXT("type", job->options->type),
                        SET_TEXT("format", organ_repack_names[job->to]),
                        SET_COUNT("max_shard_bytes", job->options->write.max_shard_size));
}

static json_t *document(void *context, const organ_writing *made)
{
    const repack_job *const job = context;
    return ORGAN_OBJECT(
        SET_TEXT("architecture", job->model->config.architecture), SET_FLAG("by_name", 0),
        SET("totals", organ_layout_totals_json(organ_write_files(made), /*left_out=*/0)),
        SET("codes", ORGAN_OBJECT(SET_COUNT("weights", job->part_count), SET_FLAG("symmetric", job->symmetric),
                                  SET_FLAG("indexed", job->indexed))),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
        SET("types", organ_pieces_types_json(job->pieces, job->piece_count)),
        SET("files", organ_layout_files_json(organ_write_files(made))));
}

/* ---- the pass ---- */

static organ_status work(void *context, size_t number, size_t worker, organ_error *error)
{
    const repack_job *const job = context;
    const repack_part *const part = &job->parts[number];
    ORGAN_OWNED void *const scratch = malloc(ORGAN_PUT_SCRATCH);
    (void)worker;
    if (organ_write_done(job->run, part->pieces[REPACK_CODES]))
        return ORGAN_OK;
    return scratch ? organ_repack_write(job, part, scratch, error) : organ_fail_memory(error, part->weight->name);
}

static organ_status retire(void *context, size_t number, organ_error *error)
{
    const repack_job *const job = context;
    const repack_part *const part = &job->parts[number];
    if (!organ_write_done(job->run, part->pieces[REPACK_CODES]) &&
        organ_write_finish(job->run, part->pieces[REPACK_CODES], json_object(), error) == ORGAN_OK)
        organ_progress_advance(job->progress, organ_weight_bytes(part->weight), part->weight->name, NULL);
    return error->status;
}

static const repack_part *largest(const repack_job *job)
{
    const repack_part *found = job->parts;
    for (size_t k = 1; k < job->part_count; k++)
        if (organ_repack_memory(job, &job->parts[k]) > organ_repack_memory(job, found))
            found = &job->parts[k];
    return found;
}

static organ_status fill(void *context, organ_writing *run, organ_error *error)
{
    repack_job *const job = context;
    job->run = run;
    const organ_parts parts = {.count = job->part_count,
                               .workers = organ_memory_workers(job->engine, job->plan.memory_enough, 0),
                               .context = job,
                               .work = work,
                               .retire = retire};
    return organ_parts_run(&parts, job->engine, error);
}

/* ---- the run ---- */

/* Codes are equal, so the layers of the output are those of the model. */
static organ_status check_output(void *context, const char *to, const char *path, organ_error *error)
{
    const repack_job *const job = context;
    const organ_trial trial = {.model = job->model,
                               .path = path,
                               .engine = job->engine,
                               .progress = job->progress,
                               .tolerance = ORGAN_TRIAL_ERROR_32};
    (void)to;
    return organ_trial_run(&trial, error);
}

static organ_status check_options(repack_job *job, organ_error *error)
{
    const organ_convert_options *const o = job->options;
    while (organ_repack_names[job->to] && strcmp(organ_repack_names[job->to], o->format) != 0)
        job->to++;
    if (job->to == REPACK_FORMATS)
        return organ_fail(error, ORGAN_USAGE, "`format` %s: compressed-tensors, gptq and awq are known", o->format);
    if (strcmp(o->to, "safetensors") != 0)
        return organ_fail(error, ORGAN_USAGE, "`format` %s: such models are safetensors, not %s", o->format, o->to);
    if (strcmp(o->type, "same") != 0 && strcmp(o->type, "codes") != 0)
        return organ_fail(error, ORGAN_USAGE, "`type` %s: `format` %s keeps the codes of the model", o->type,
                          o->format);
    if (organ_output_is_file(o->write.output))
        return organ_fail(error, ORGAN_USAGE, "%s: safetensors have files next to them: name a directory",
                          o->write.output);
    return ORGAN_OK;
}

static organ_status estimate(repack_job *job, organ_error *error)
{
    const repack_part *const part = largest(job);
    const uint64_t need = organ_repack_memory(job, part);
    organ_plan_memory(&job->plan, need, 0);
    for (size_t k = 0; k < job->part_count; k++)
        job->plan.products += TURNED * (double)job->parts[k].weight->elements;
    return organ_memory_claim(job->engine, need, error, "the codes of '%s' in both formats", part->weight->name);
}

/* The outputs that vLLM 0.32, or transformers 5.24 with compressed-tensors 0.20.1, refuses. docs/verbs/convert.md has
 * the same list. */
static const struct refusal {
    repack_format to;
    bool ordered; /* applies to columns in the order of an index, else to zero points that are not half of the range */
    const char *text;
} refusals[] = {
    {REPACK_COMPRESSED, false,
     "transformers refuses pack-quantized weights with zero points; vLLM opens them. transformers opens them with "
     "gptqmodel as GPTQ or AWQ, or after organ dequantize"},
    {REPACK_COMPRESSED, true,
     "vLLM and transformers refuse pack-quantized groups that follow an index of columns (actorder \"group\"). "
     "transformers opens them with gptqmodel as GPTQ; both open the model after organ dequantize"},
    {REPACK_GPTQ, false,
     "vLLM refuses GPTQ with zero points (sym false), and opens the codes as compressed-tensors. transformers opens it "
     "with gptqmodel"},
    {REPACK_GPTQ, true,
     "vLLM refuses GPTQ with an index of columns (desc_act true), and opens the model after organ dequantize. "
     "transformers opens it with gptqmodel"},
};

static void note_refusals(const repack_job *job)
{
    for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++)
        if (refusals[k].to == job->to && (refusals[k].ordered ? job->indexed : !job->symmetric))
            organ_progress_note_once(job->progress, "%s", refusals[k].text);
}

static organ_status repack_model(repack_job *job, json_t **report, organ_error *error)
{
    const organ_convert_options *const o = job->options;
    if (check_options(job, error) || organ_repack_plan(job, error))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->model);
    for (size_t k = 0; k < job->weights->note_count; k++)
        organ_progress_note(job->progress, "%s", job->weights->notes[k]);
    note_refusals(job);
    if (estimate(job, error))
        return error->status;
    const organ_write made = {.model = job->model,
                              .requested = &o->write,
                              .report.plan = &job->plan,
                              ORGAN_WRITE_BY(job),
                              .pieces.list = job->pieces,
                              .pieces.count = job->piece_count,
                              .pieces.repacked = true,
                              .names = {"convert/1", &organ_convert_view, "converting", "model", NULL},
                              .left_out = organ_packed_files,
                              .report.made_as = ORGAN_TYPES_STAY,
                              .make = {.edit = organ_repack_config, .fill = fill, .check = check_output},
                              .check.parameters = parameters,
                              .report.document = document};
    return organ_write_run(&made, report, error);
}

organ_status organ_repack(const organ_convert_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_repack_release)
    repack_job job = {.options = options, .engine = engine, .progress = progress};
    return repack_model(&job, report, error);
}
