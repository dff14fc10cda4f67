/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/organs/graft_job.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static organ_status no_memory(const organ_graft_job *job, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s", job->options->target);
}

/* ---- before anything is written ---- */

/* The output is of the target's format. */
static organ_status check_output(organ_graft_job *job, organ_error *error)
{
    const char *const path = job->options->output, *const dot = strrchr(path, '.');
    const bool gguf = strcmp(job->layout.format, "GGUF") == 0;
    organ_output *const output = &job->written.made.output;
    *output = (organ_output){.path = path,
                             .like = organ_output_like(job->target),
                             .force = job->options->force,
                             .resume = job->options->resume,
                             .single = organ_output_is_file(path)};
    if (output->single && strcmp(dot, gguf ? ".gguf" : ".safetensors") != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: the target's format is %s: the output is %s or a directory", path, job->layout.format,
                          gguf ? "a .gguf" : "a .safetensors");
    if (!output->single && !job->target->manifest && !job->target->whole_directory && job->layout.file_count == 1)
        return organ_fail(error, ORGAN_USAGE, "%s: the target is one file, so is the output: name a %s", path,
                          gguf ? ".gguf" : ".safetensors");
    if (organ_output_spares(path, job->source, error) || organ_output_spares(path, job->target, error))
        return error->status;
    return job->options->dry_run ? organ_output_check(path, output->like, job->options->force, error) : ORGAN_OK;
}

/* A name for the file of a new header. */
static const char *file_name(organ_graft_job *job)
{
    return job->written.made.output.single ? organ_output_name(&job->written.made.output) : job->layout.files[0].name;
}

/* The header of the output: the target's, unless something in it changes. */
static organ_status settle_header(organ_graft_job *job, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    const bool gguf = strcmp(job->layout.format, "GGUF") == 0;
    job->anew = job->anew || (job->written.made.output.single && job->layout.file_count > 1);
    if (organ_graft_metadata(job, &writer, error) || json_array_size(job->mismatches)) {
        organ_gguf_writer_destroy(writer);
        return error->status;
    }
    if (gguf && job->anew)
        organ_layout_merge_gguf(&job->layout, file_name(job), writer, error);
    else if (job->anew)
        organ_layout_merge_safetensors(&job->layout, file_name(job), error);
    else if (job->written.made.output.single)
        job->layout.files[0].name = organ_arena_copy(&job->layout.arena, file_name(job), strlen(file_name(job)));
    organ_gguf_writer_destroy(writer);
    return error->status || job->layout.files[0].name ? error->status : no_memory(job, error);
}

/* ---- the document ---- */

typedef struct counts {
    uint64_t tensors, elements, bytes;
} counts;

static void count_in(counts *c, const organ_piece *piece)
{
    c->tensors++;
    c->elements += piece->as.elements;
    c->bytes += piece->as.bytes;
}

static json_t *counts_json(const counts *c)
{
    return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)c->tensors, "elements", (json_int_t)c->elements, "bytes",
                     (json_int_t)c->bytes);
}

static bool is_grafted(const organ_graft_job *job, const organ_piece *piece) { return piece->model == job->source; }

static json_t *groups_json(const organ_graft_job *job)
{
    json_t *const rows = json_array();
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER; g++) {
        counts taken = {0}, all = {0};
        for (size_t k = 0; k < job->layout.piece_count; k++)
            if (job->layout.pieces[k].as.anatomy.group == g) {
                count_in(&all, &job->layout.pieces[k]);
                if (is_grafted(job, &job->layout.pieces[k]))
                    count_in(&taken, &job->layout.pieces[k]);
            }
        if (all.tensors)
            json_array_append_new(rows, json_pack("{s:s, s:o, s:o}", "group", organ_group_name(g), "grafted", counts_json(&taken), "output",
                                                  counts_json(&all)));
    }
    return rows;
}

static json_t *tensors_json(const organ_graft_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->layout.piece_count; k++) {
        const organ_piece *const piece = &job->layout.pieces[k];
        json_t *const digest = job->options->dry_run ? json_null() : organ_layout_digest(&job->layout, k);
        if (is_grafted(job, piece))
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s, s:O}", "name", piece->as.name, "from", piece->from->name, "dtype",
                                                  organ_dtype_describe(piece->as.dtype)->name, "source_dtype",
                                                  organ_dtype_describe(piece->from->dtype)->name, "xxh3", digest));
        json_decref(digest);
    }
    return rows;
}

static json_t *totals_json(const organ_graft_job *job)
{
    counts taken = {0}, all = {0};
    for (size_t k = 0; k < job->layout.piece_count; k++) {
        count_in(&all, &job->layout.pieces[k]);
        if (is_grafted(job, &job->layout.pieces[k]))
            count_in(&taken, &job->layout.pieces[k]);
    }
    return json_pack("{s:o, s:o, s:f}", "grafted", counts_json(&taken), "output", counts_json(&all), "percent_of_elements",
                     organ_percent(taken.elements, all.elements));
}

static json_t *layers_json(const organ_graft_job *job)
{
    organ_layer_amount *const rows = organ_layout_amounts(&job->layout, job->source);
    json_t *const layers = organ_by_layer_json(rows, job->layout.piece_count, true);
    free(rows);
    return layers;
}

static json_t *text_or_null(const char *text) { return text ? organ_document_string(text) : json_null(); }

static json_t *parameters_json(void *context)
{
    const organ_graft_options *const o = ((const organ_graft_job *)context)->options;
    return ORGAN_OBJECT(SET("type", text_or_null(o->types)), SET("layers", text_or_null(o->layers)), SET("map", text_or_null(o->map)));
}

static json_t *document_of(organ_graft_job *job)
{
    const organ_graft_options *const o = job->options;
    const bool fits = json_array_size(job->mismatches) == 0;
    json_t *run = organ_output_run(&job->written.made.output, organ_layout_bytes(&job->layout));
    if (run) {
        json_object_set_new(run, "source", organ_document_string(o->source));
        json_object_set_new(run, "target", organ_document_string(o->target));
    }
    json_t *document = json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:O}", "schema", "organ.graft/1", "organ", ORGAN_VERSION, "dry_run",
                                 (int)o->dry_run, "source", organ_model_json(job->source), "target", organ_model_json(job->target),
                                 "parameters", parameters_json(job), "mismatches", job->mismatches);
    json_t *rest = fits ? json_pack("{s:o, s:o, s:o, s:b, s:O, s:O, s:o, s:o}", "totals", totals_json(job), "groups", groups_json(job),
                                    "by_layer", layers_json(job), "header_anew", (int)job->anew, "metadata", job->metadata, "notes",
                                    job->notes, "tensors", tensors_json(job), "run", run)
                        : json_pack("{s:o}", "run", run);
    if (!document || !rest || json_object_update(document, rest)) {
        json_decref(document);
        document = NULL;
    }
    json_decref(rest);
    return fits ? organ_evaluated_json(&job->evaluation, document) : document;
}

/* ---- the run ---- */

static organ_status prepare_evaluation(organ_graft_job *job, const organ_progress *progress, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    job->evaluation = (organ_evaluation){
        .options = o->evaluate, .engine = o->engine, .progress = progress, .before = o->target, .before_is = "target", .output = o->output};
    return organ_evaluation_prepare(&job->evaluation, error);
}

static void evaluate(organ_graft_job *job)
{
    const organ_output *const output = &job->written.made.output;
    char *const path =
        organ_output_copy_path(organ_output_directory(output), job->target, output->single ? organ_output_name(output) : NULL);
    organ_evaluation_run(&job->evaluation, path);
    free(path);
}

static organ_status tell(void *context, json_t **report, organ_error *error)
{
    organ_graft_job *const job = context;
    if (!job->options->dry_run)
        evaluate(job);
    *report = document_of(job);
    return *report ? ORGAN_OK : no_memory(job, error);
}

static organ_status run(organ_graft_job *job, const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error)
{
    organ_layout_output *const written = &job->written;
    written->made.dry_run = job->options->dry_run;
    written->made.definition = "graft/1";
    written->made.stage = "grafting";
    written->made.progress = progress;
    written->made.stop = stop;
    written->layout = &job->layout;
    written->model = job->target;
    written->source = job->source;
    written->model_is = "target";
    written->apart = job->target->manifest && !written->made.output.single;
    written->context = job;
    written->parameters = parameters_json;
    written->tell = tell;
    return organ_layout_output_make(written, report, error) ? error->status : organ_evaluation_end(&job->evaluation, error);
}

static organ_status plan(organ_graft_job *job, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    job->mismatches = json_array();
    job->notes = json_array();
    job->metadata = json_array();
    if (!job->mismatches || !job->notes || !job->metadata)
        return no_memory(job, error);
    if (organ_selection_parse(o->types, o->layers, &job->selection, error) || organ_layer_map_parse(o->map, &job->map, error) ||
        organ_model_open_with(o->source, o->access, &job->source, error) ||
        organ_model_open_with(o->target, o->access, &job->target, error) || organ_layout_copy(job->target, &job->layout, error) ||
        check_output(job, error) || organ_graft_match(job, error))
        return error->status;
    return settle_header(job, error);
}

organ_status organ_graft(const organ_graft_options *options, const organ_kernels *kernels, const organ_progress *progress,
                         const organ_stop *stop, json_t **report, organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    organ_graft_job job = {.options = options};
    *report = NULL;
    if (plan(&job, error) == ORGAN_OK) {
        const size_t count = json_array_size(job.mismatches);
        job.layout.kernels = kernels;
        job.layout.changed = true;
        if (count == 0) {
            if (prepare_evaluation(&job, progress, error) == ORGAN_OK)
                run(&job, progress, stop, report, error);
        } else if (!(*report = document_of(&job)))
            no_memory(&job, error);
        else
            organ_fail(error, ORGAN_BAD_INPUT, "%s does not fit into %s: %s%s", options->source, options->target,
                       json_string_value(json_array_get(job.mismatches, 0)), count > 1 ? " (and more; the report lists everything)" : "");
    }
    organ_evaluation_release(&job.evaluation);
    organ_layout_release(&job.layout);
    organ_model_close(job.source);
    organ_model_close(job.target);
    json_decref(job.mismatches);
    json_decref(job.notes);
    json_decref(job.metadata);
    free(job.pairs);
    free(job.taken);
    return organ_memory_work_end(&work, report, options->target, error);
}
