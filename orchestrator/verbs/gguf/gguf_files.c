/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/gguf/gguf_job.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/view/views.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the document ---- */

static json_t *part_json(const void *layout, size_t f)
{
    const organ_layout_file *const file = &((const organ_layout *)layout)->files[f];
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("tensors", file->count),
                        SET_COUNT("bytes", file->size));
}

static json_t *gguf_document(void *context, const organ_writing *made)
{
    const organ_gguf_job *const job = context;
    const uint64_t bytes = organ_layout_bytes(&job->layout);
    const organ_gguf after = organ_gguf_writer_view(job->parts[0].writer);
    json_t *const run = organ_output_run(organ_write_output(made), bytes);
    ORGAN_ADD(run, SET_BYTES("model", job->path), SET_FLAG("single_file", true));
    return ORGAN_OBJECT(
        SET_TEXT("operation", job->operation),
        SET("files", organ_json_rows(job->layout.file_count, part_json, &job->layout)),
        SET("totals", ORGAN_OBJECT(SET_COUNT("tensors", job->layout.piece_count), SET_COUNT("bytes", bytes))),
        SET_COUNT("files_before", job->model->file_count),
        SET("keys", organ_gguf_differences(job->model->gguf, &after)),
        SET_SENTENCES("organ.gguf/1", "definitions", NULL), SET("run", run));
}

/* ---- the run ---- */

static void release_job(organ_gguf_job *job)
{
    organ_layout_release(&job->layout);
    for (size_t f = 0; f < job->part_count; f++)
        organ_gguf_writer_destroy(job->parts[f].writer);
    ORGAN_FREE_ARRAYS(job->parts, job->output);
    organ_model_close(job->model);
    organ_arena_release(&job->arena);
}

/* An organ directory of a GGUF model has the key-values, but its tensors are files. */
static organ_status open_gguf(organ_gguf_job *job, organ_error *error)
{
    if (organ_model_open_with(job->path, job->access, &job->model, error))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->model);
    if (!job->model->gguf || job->model->manifest)
        return organ_fail(error, ORGAN_USAGE, "%s: is no GGUF file but %s: %s", job->path, job->model->format,
                          job->model->manifest ? "organ assemble makes a GGUF file of it"
                                               : "organ convert --to gguf makes a GGUF file of it");
    return organ_layout_copy(job->model, &job->layout, error);
}

/* With the key-values of the output the model must open, and must have no faults that it did not have before. */
static organ_status check_begun(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_gguf_job *const job = context;
    organ_model *made = NULL;
    (void)to;
    if (organ_model_open_codes(path, NULL, &made, error) == ORGAN_OK && made->problem_count > job->model->problem_count)
        organ_fail(error, ORGAN_BAD_INPUT, "with the new key-values: %s", made->problems[made->problem_count - 1]);
    organ_model_close(made);
    return error->status;
}

static organ_status write_job(organ_gguf_job *job, const organ_stop *stop, json_t **report, organ_error *error)
{
    char stage[32];
    const organ_write made = {.model = job->model,
                              .requested = &job->write,
                              .layout = &job->layout,
                              .ranks = job->ranks,
                              .stop = stop,
                              .names = {"gguf/1", &organ_gguf_view, stage, "model", NULL},
                              .progress = job->progress,
                              .engine = job->engine,
                              .context = job,
                              .check = {.parameters = job->parameters, .inputs = job->inputs},
                              .make.begun = check_begun,
                              .report.document = gguf_document};
    snprintf(stage, sizeof stage, "%s", strcmp(job->operation, "edit") == 0 ? "copying" : job->operation);
    return organ_write_run(&made, report, error);
}

/* The names of parts belong to the arena; the path of the output is that of the first. */
static organ_status gguf_work(organ_gguf_job *job, const organ_stop *stop, json_t **report, organ_error *error)
{
    if (open_gguf(job, error) || !(job->parts = calloc(ORGAN_OUTPUT_PARTS, sizeof *job->parts)))
        return error->status ? error->status : organ_fail_memory(error, job->path);
    job->part_count = 1;
    if (organ_layout_metadata(job->model->gguf, &job->parts[0].writer, error) || job->plan(job, error) ||
        organ_layout_divide(&job->layout, job->parts, job->part_count, error))
        return error->status;
    if (job->write.output) {
        const char *const given = job->write.output;
        job->output = organ_format("%.*s%s", (int)(organ_path_name(given) - given), given, job->parts[0].name);
        if (!job->output)
            return organ_fail_memory(error, given);
        job->write.output = job->output;
    }
    return organ_output_check_not_input(job->write.output, job->model, error) ? error->status
                                                                              : write_job(job, stop, report, error);
}

organ_status organ_gguf_job_run(organ_gguf_job *job, const organ_progress *progress, const organ_stop *stop,
                                json_t **report, organ_error *error)
{
    organ_report_work work = organ_report_begin(report);
    job->progress = organ_warnings_begin(&work.kept, progress);
    gguf_work(job, stop, report, error);
    release_job(job);
    return organ_report_end(&work, job->path, error);
}

organ_status organ_gguf_name_single(organ_gguf_job *job, organ_error *error)
{
    const char *const output = job->write.output;
    if (output && !organ_ends_with(output, ".gguf"))
        return organ_fail(error, ORGAN_USAGE, "%s: the output is one GGUF file: name a .gguf", output);
    job->parts[0].name = output ? organ_path_name(output) : "model.gguf";
    job->parts[0].pieces = job->layout.piece_count;
    return ORGAN_OK;
}

/* ---- join ---- */

static organ_status plan_join(organ_gguf_job *job, organ_error *error)
{
    if (job->model->file_count < 2 && !organ_gguf_find(job->model->gguf, "split.count"))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is not split: it has no key split.count", job->path);
    return organ_gguf_name_single(job, error);
}

static json_t *join_parameters(void *context)
{
    const organ_gguf_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("operation", job->operation));
}

organ_status organ_gguf_join(const organ_gguf_join_options *options, const organ_progress *progress,
                             const organ_stop *stop, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_gguf_join_options, options, report, error, "model", options->model, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_gguf_job job = {.operation = "join",
                          .path = options->model,
                          .write = options->write,
                          .access = options->access,
                          .ranks = options->ranks,
                          .engine = options->engine,
                          .options = options,
                          .plan = plan_join,
                          .parameters = join_parameters};
    return organ_gguf_job_run(&job, progress, stop, report, error);
}

/* ---- split ---- */

/* llama-gguf-split counts the tensors with the padding of the default alignment, and no header. */
static uint64_t padded_bytes(const organ_piece *piece)
{
    uint64_t padded = piece->bytes;
    return organ_gguf_pad(piece->bytes, ORGAN_GGUF_DEFAULT_ALIGNMENT, &padded) ? padded : piece->bytes;
}

static organ_status refuse_count(const organ_gguf_job *job, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE,
                      "%s: the model would have more than %d files, which are named together: "
                      "increase `write.max_shard_size` or `max_tensors`",
                      job->path, (int)ORGAN_OUTPUT_PARTS);
}

/* A new file begins if the next tensor would exceed a bound. */
static organ_status assign_pieces(organ_gguf_job *job, organ_error *error)
{
    const organ_gguf_split_options *const o = job->options;
    const uint64_t most = o->write.max_shard_size;
    uint64_t bytes = 0;
    job->part_count = o->no_tensor_first_split ? 2 : 1;
    for (size_t k = 0; k < job->layout.piece_count; k++) {
        organ_gguf_part *part = &job->parts[job->part_count - 1];
        const organ_piece *const piece = &job->layout.pieces[k];
        const uint64_t next = padded_bytes(piece);
        char text[32];
        if (most && next > most)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: tensor '%s' has %" PRIu64 " bytes, which do not fit: `write.max_shard_size` must be "
                              "at least %s",
                              job->path, piece->name, next, organ_quantity_option(next, text));
        if (part->pieces > 0 && ((most && next > most - bytes) || (o->max_tensors && part->pieces == o->max_tensors))) {
            if (job->part_count == ORGAN_OUTPUT_PARTS)
                return refuse_count(job, error);
            part = &job->parts[job->part_count++];
            bytes = 0;
        }
        part->pieces++;
        bytes += next;
    }
    return ORGAN_OK;
}

/* Types and order are those of llama-gguf-split, so that the files have the same bytes. */
static organ_status number_part(organ_gguf_job *job, size_t f, const char *prefix, organ_error *error)
{
    organ_gguf_part *const part = &job->parts[f];
    const int64_t count = (int64_t)job->part_count, tensors = (int64_t)job->layout.piece_count;
    if (!(part->name =
              organ_gguf_split_name(&job->arena, prefix, strlen(prefix), (unsigned)f + 1, (unsigned)job->part_count)))
        return organ_fail_memory(error, job->path);
    if ((part->writer || organ_gguf_writer_create(&part->writer, error) == ORGAN_OK) &&
        organ_gguf_writer_set_integer(part->writer, "split.no", ORGAN_GGUF_U16, (int64_t)f, error) == ORGAN_OK &&
        organ_gguf_writer_set_integer(part->writer, "split.tensors.count", ORGAN_GGUF_I32, tensors, error) == ORGAN_OK)
        organ_gguf_writer_set_integer(part->writer, "split.count", ORGAN_GGUF_U16, count, error);
    return error->status;
}

/* A prefix with ".gguf" at its end would make names such as X.gguf-00001-of-00002.gguf. */
static organ_status plan_split(organ_gguf_job *job, organ_error *error)
{
    const organ_gguf_split_options *const o = job->options;
    const char *const output = job->write.output, *const prefix = output ? organ_path_name(output) : "model";
    if (!*prefix || organ_ends_with(prefix, ".gguf"))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: name the beginning of the files' names, without .gguf: PREFIX becomes "
                          "PREFIX-00001-of-00003.gguf and so on",
                          output);
    if ((o->write.max_shard_size > 0) == (o->max_tensors > 0))
        return organ_fail(error, ORGAN_USAGE,
                          "gguf split: give either `write.max_shard_size` or `max_tensors`, which bounds each file");
    assign_pieces(job, error);
    for (size_t f = 0; f < job->part_count && !error->status; f++)
        number_part(job, f, prefix, error);
    return error->status;
}

static json_t *split_parameters(void *context)
{
    const organ_gguf_job *const job = context;
    const organ_gguf_split_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("operation", job->operation),
                        SET_COUNT_OF("max_shard_size", o->write.max_shard_size, o->write.max_shard_size),
                        SET_COUNT_OF("max_tensors", o->max_tensors, o->max_tensors),
                        SET_FLAG("no_tensor_first_split", o->no_tensor_first_split));
}

organ_status organ_gguf_split(const organ_gguf_split_options *options, const organ_progress *progress,
                              const organ_stop *stop, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_gguf_split_options, options, report, error, "model", options->model, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_gguf_job job = {.operation = "split",
                          .path = options->model,
                          .write = options->write,
                          .access = options->access,
                          .ranks = options->ranks,
                          .engine = options->engine,
                          .options = options,
                          .plan = plan_split,
                          .parameters = split_parameters};
    return organ_gguf_job_run(&job, progress, stop, report, error);
}
