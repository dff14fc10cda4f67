/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/organs/graft_job.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdlib.h>
#include <string.h>

/* ---- checks before anything is written ---- */

/* An output of one file must have the ending of the target's format. If the target is one file (and no organ
 * directory), the output must be one too. A dry run also checks that the output could be written. */
static organ_status check_grafted(organ_graft_job *job, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    const char *const path = o->write.output, *const format = job->layout.format;
    const char *const ending = strcmp(format, "GGUF") == 0 ? ".gguf" : ".safetensors";
    if (job->single && strcmp(strrchr(path, '.'), ending) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: the target's format is %s: name a %s or a directory", path, format,
                          ending);
    if (!job->single && !job->target->manifest && !job->target->whole_directory && job->layout.file_count == 1)
        return organ_fail(error, ORGAN_USAGE, "%s: the target is one file, so the output must be one: name a %s", path,
                          ending);
    if (organ_output_check_not_input(path, job->source, error) ||
        organ_output_check_not_input(path, job->target, error))
        return error->status;
    return o->write.dry_run ? organ_output_check(path, organ_output_like(job->target), o->write.force, error)
                            : ORGAN_OK;
}

/* The header is new if the graft changes types, layers or key-values, or merges several files into one
 * (job->written_again); else the header of the target is copied. With mismatches there is no output, so nothing is
 * created. */
static organ_status choose_header(organ_graft_job *job, organ_error *error)
{
    organ_layout *const layout = &job->layout;
    organ_gguf_writer *writer = NULL;
    job->written_again = job->written_again || (job->single && layout->file_count > 1);
    if (organ_graft_metadata(job, &writer, error) == ORGAN_OK && !json_array_size(job->mismatches) &&
        (job->written_again || job->single))
        organ_layout_name(layout, job->single ? organ_path_name(job->options->write.output) : layout->files[0].name,
                          job->written_again, writer, error);
    organ_gguf_writer_destroy(writer);
    return error->status;
}

/* ---- the document ---- */

static json_t *graft_group_json(const void *context, size_t group)
{
    const organ_graft_job *const job = context;
    const organ_amount all = organ_layout_amount(&job->layout, (organ_group)group, NULL);
    const organ_amount taken = organ_layout_amount(&job->layout, (organ_group)group, job->source);
    if (!all.tensors)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("group", organ_group_name((organ_group)group)),
                        SET("grafted", ORGAN_OBJECT(SET_AMOUNT(taken))), SET("output", ORGAN_OBJECT(SET_AMOUNT(all))));
}

static json_t *graft_tensor_json(const void *context, size_t k)
{
    const organ_graft_job *const job = context;
    const organ_piece *const piece = &job->layout.pieces[k];
    if (piece->model != job->source)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("name", piece->as.name), SET_TEXT("from", piece->from->name),
                        SET_DTYPE("dtype", piece->as.dtype), SET_DTYPE("source_dtype", piece->from->dtype),
                        SET("xxh3", job->options->write.dry_run ? json_null() : organ_layout_digest(&job->layout, k)));
}

static json_t *graft_totals_json(const organ_graft_job *job)
{
    const organ_amount all = organ_layout_amount(&job->layout, ORGAN_ALL_GROUPS, NULL);
    const organ_amount taken = organ_layout_amount(&job->layout, ORGAN_ALL_GROUPS, job->source);
    return ORGAN_OBJECT(SET("grafted", ORGAN_OBJECT(SET_AMOUNT(taken))), SET("output", ORGAN_OBJECT(SET_AMOUNT(all))),
                        SET_REAL("percent_of_elements", organ_percent(taken.elements, all.elements)));
}

static json_t *graft_parameters(void *job)
{
    const organ_graft_options *const o = ((const organ_graft_job *)job)->options;
    return ORGAN_OBJECT(SET_BYTES_OF("type", o->types), SET_BYTES_OF("layers", o->layers), SET_BYTES_OF("map", o->map));
}

/* With mismatches nothing is written: `output` then has only a path, and the report has no totals, groups and
 * tensors. */
static json_t *graft_document_of(organ_graft_job *job, const organ_output *output)
{
    const organ_graft_options *const o = job->options;
    const organ_layout *const layout = &job->layout;
    json_t *const run = organ_output_run(output, organ_layout_bytes(layout));
    json_t *const document = ORGAN_OBJECT(
        SET_TEXT("schema", "organ.graft/1"), SET_TEXT("organ", ORGAN_VERSION), SET_FLAG("dry_run", o->write.dry_run),
        SET("source", organ_model_json(job->source)), SET("target", organ_model_json(job->target)),
        SET("parameters", graft_parameters(job)), SET("mismatches", json_incref(job->mismatches)));
    if (document && json_array_size(job->mismatches) == 0)
        ORGAN_ADD(document, SET("totals", graft_totals_json(job)),
                  SET("groups", organ_json_rows(ORGAN_ALL_GROUPS, graft_group_json, job)),
                  SET("by_layer", organ_layout_by_layer_json(layout, job->source)),
                  SET_FLAG("header_anew", job->written_again), SET("metadata", json_incref(job->metadata)),
                  SET("notes", json_incref(job->notes)),
                  SET("tensors", organ_json_rows(layout->piece_count, graft_tensor_json, job)));
    ORGAN_ADD(run, SET_BYTES("source", o->source), SET_BYTES("target", o->target));
    ORGAN_ADD(document, SET("run", run));
    return document;
}

/* ---- the run ---- */

static json_t *graft_document(void *context, const organ_writing *made)
{
    return graft_document_of(context, organ_write_output(made));
}

/* Mismatches are not errors here: they are in job->mismatches. */
static organ_status plan_graft(organ_graft_job *job, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    job->mismatches = json_array();
    job->notes = json_array();
    job->metadata = json_array();
    if (!job->mismatches || !job->notes || !job->metadata)
        return organ_fail_memory(error, o->target);
    if (organ_selection_parse(o->types, o->layers, &job->selection, error) ||
        organ_layer_map_parse(o->map, &job->map, error) ||
        organ_model_open_with(o->source, o->access, &job->source, error) ||
        organ_model_open_with(o->target, o->access, &job->target, error) ||
        organ_layout_copy(job->target, &job->layout, error) || check_grafted(job, error) ||
        organ_graft_match(job, error))
        return error->status;
    return choose_header(job, error);
}

static organ_status report_mismatches(organ_graft_job *job, json_t **report, organ_error *error)
{
    const size_t count = json_array_size(job->mismatches);
    if (!(*report = graft_document_of(job, &(organ_output){.path = job->options->write.output})))
        return organ_fail_memory(error, job->options->target);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s does not fit into %s: %s%s", job->options->source,
                      job->options->target, json_string_value(json_array_get(job->mismatches, 0)),
                      count > 1 ? " (and more; the report lists everything)" : "");
}

static organ_status graft_model(organ_graft_job *job, json_t **report, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    if (plan_graft(job, error))
        return error->status;
    if (json_array_size(job->mismatches))
        return report_mismatches(job, report, error);
    job->layout.changed = true;
    job->layout.kernels = job->kernels;
    const organ_write made = {.model = job->target,
                              .requested = &o->write,
                              .layout = &job->layout,
                              .source = job->source,
                              .apart = job->target->manifest && !job->single,
                              .ranks = o->ranks,
                              .stop = job->stop,
                              .definition = "graft/1",
                              .stage = "grafting",
                              .model_is = "target",
                              .progress = job->progress,
                              .engine = o->engine,
                              .context = job,
                              .parameters = graft_parameters,
                              .document = graft_document};
    return organ_write_run(&made, report, error);
}

static void close_graft(organ_graft_job *job)
{
    organ_layout_release(&job->layout);
    organ_model_close(job->source);
    organ_model_close(job->target);
    json_decref(job->mismatches);
    json_decref(job->notes);
    json_decref(job->metadata);
    organ_rows_free(job->pairs);
    free(job->taken);
}

organ_status organ_graft(const organ_graft_options *options, const organ_kernels *kernels,
                         const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_graft_options, options, report, error, "source", options->source, "target",
                         options->target, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_graft_job job = {.options = options,
                           .single = organ_output_is_file(options->write.output),
                           .kernels = kernels,
                           .progress = progress,
                           .stop = stop};
    const organ_report_work work = organ_report_begin(report);
    graft_model(&job, report, error);
    close_graft(&job);
    return organ_report_end_partial(&work, options->target, error);
}
