/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/graft/graft_block.h"
#include "formats/model/recognise.h"

#include "formats/base/results.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/view/views.h"

#include <organ/weights.h>
#include <string.h>

/* A run of organ_assemble or organ_extract. */
typedef struct assembly_job {
    const organ_assemble_options *assemble; /* NULL in a run of organ_extract */
    const organ_extract_options *extract;   /* NULL in a run of organ_assemble */
    organ_model *model;
    bool merged; /* several files of the donor become one, or tensors are left out */
    organ_layout layout;
} assembly_job;

/* Runs the job and releases what it opens; `progress` has the warnings that the report gets. */
static organ_status run_job(assembly_job *job, const organ_progress *progress, const organ_stop *stop,
                            organ_status (*run)(assembly_job *job, const organ_progress *progress,
                                                const organ_stop *stop, json_t **report, organ_error *error),
                            json_t **report, organ_error *error)
{
    organ_report_work work = organ_report_begin(report);
    run(job, organ_warnings_begin(&work.kept, progress), stop, report, error);
    organ_layout_release(&job->layout);
    organ_model_close(job->model);
    return organ_report_end(&work, job->assemble ? job->assemble->directory : job->extract->model, error);
}

static json_t *beside_json(const organ_writing *made)
{
    const organ_file_list *const extra = organ_write_extra_files(made);
    return ORGAN_OBJECT(SET_COUNT("files", extra->count), SET_COUNT("bytes", extra->bytes));
}

/* The only file of a model gets the output's name; several files are merged into one with a new header. */
static organ_status make_single_file(assembly_job *a, organ_error *error)
{
    organ_layout *const layout = &a->layout;
    organ_gguf_writer *writer = NULL;
    a->merged = layout->file_count > 1;
    if (!a->merged || !a->model->gguf || organ_layout_metadata(a->model->gguf, &writer, error) == ORGAN_OK)
        organ_layout_name(layout, organ_path_name(a->assemble->write.output), a->merged, writer, error);
    organ_gguf_writer_destroy(writer);
    return error->status;
}

static organ_status check_assembled(const assembly_job *a, organ_error *error)
{
    const char *const path = a->assemble->write.output, *const format = a->layout.format;
    const char *const ending = strcmp(format, "GGUF") == 0 ? ".gguf" : ".safetensors";
    if (organ_output_is_file(path) && strcmp(strrchr(path, '.'), ending) != 0)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: %s was made from %s files, and assemble does not convert: name a %s or a directory",
                          path, a->assemble->directory, format, ending);
    return ORGAN_OK;
}

/* ---- the document ---- */

static json_t *changed_json(const void *layout, size_t k)
{
    return organ_layout_piece_changed(layout, k) ? json_string(((const organ_layout *)layout)->pieces[k].name) : NULL;
}

static json_t *file_json(const void *layout, size_t f)
{
    const organ_layout_file *const file = &((const organ_layout *)layout)->files[f];
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("tensors", file->count),
                        SET_COUNT("bytes", file->size));
}

static json_t *assemble_group_json(const void *layout, size_t group)
{
    const organ_amount in = organ_layout_amount(layout, (organ_group)group, NULL);
    return in.tensors ? ORGAN_OBJECT(SET_TEXT("group", organ_group_name((organ_group)group)), SET_AMOUNT(in)) : NULL;
}

static json_t *assemble_document(void *context, const organ_writing *made)
{
    const assembly_job *const a = context;
    const organ_layout *const layout = &a->layout;
    const uint64_t bytes = organ_layout_bytes(layout);
    const bool dry = a->assemble->write.dry_run;
    json_t *const changed = dry ? json_null() : organ_json_rows(layout->piece_count, changed_json, layout);
    json_t *const run = organ_output_run(organ_write_output(made), bytes);
    const bool same =
        a->model->manifest && !a->merged && !layout->changed && json_is_array(changed) && json_array_size(changed) == 0;
    ORGAN_ADD(run, SET_BYTES("directory", a->assemble->directory));
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.assemble/1"), SET_TEXT("organ", ORGAN_VERSION), SET_FLAG("dry_run", dry),
        SET("model", organ_model_json(a->model)), SET_TEXT("format", layout->format),
        SET("files", organ_json_rows(layout->file_count, file_json, layout)),
        SET("totals", ORGAN_OBJECT(SET_COUNT("tensors", layout->piece_count), SET_COUNT("bytes", bytes))),
        SET("beside", beside_json(made)), SET_FLAG("merged", a->merged),
        SET("donor_again", dry ? json_null() : json_boolean(same)), SET("changed", changed),
        SET("groups", organ_json_rows(ORGAN_ALL_GROUPS, assemble_group_json, layout)),
        SET("by_layer", organ_layout_by_layer_json(layout, NULL)), SET("run", run));
}

/* A run of other tensors is another run. */
static json_t *assembly_identity(void *context)
{
    const assembly_job *const a = context;
    const char *const select = a->assemble ? a->assemble->select : a->extract->select;
    return ORGAN_OBJECT(SET_BYTES_OF("select", select));
}

/* The index lists files that an output of one file does not have. */
static const char *const indices[] = {"model.safetensors.index.json", NULL};

/* ---- the run ---- */

static organ_status assemble_model(assembly_job *a, const organ_progress *progress, const organ_stop *stop,
                                   json_t **report, organ_error *error)
{
    const organ_assemble_options *const o = a->assemble;
    if (organ_model_open_with(o->directory, o->access, &a->model, error) ||
        organ_output_check_not_input(o->write.output, a->model, error) ||
        organ_layout_copy(a->model, &a->layout, error) || check_assembled(a, error))
        return error->status;
    const char *const name = organ_output_is_file(o->write.output) ? organ_path_name(o->write.output) : NULL;
    if (organ_graft_select_block(a->model, o->select, name, &a->layout, &a->merged, error) ||
        (!a->merged && name && make_single_file(a, error)))
        return error->status;
    const organ_write made = {.model = a->model,
                              .requested = &o->write,
                              .layout = &a->layout,
                              .ranks = o->ranks,
                              .stop = stop,
                              .names = {"assemble/1", &organ_assemble_view, "assembling", "model", NULL},
                              .progress = progress,
                              .engine = o->engine,
                              .context = a,
                              .left_out = a->merged ? indices : NULL,
                              .check.identity = assembly_identity,
                              .report.document = assemble_document};
    return organ_write_run(&made, report, error);
}

organ_status organ_assemble(const organ_assemble_options *options, const organ_progress *progress,
                            const organ_stop *stop, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_assemble_options, options, report, error, "directory", options->directory,
                         "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return run_job(&(assembly_job){.assemble = options}, progress, stop, assemble_model, report, error);
}

/* ---- extraction ---- */

static json_t *folder_json(const void *layout, size_t group)
{
    const organ_amount in = organ_layout_amount(layout, (organ_group)group, NULL);
    return ORGAN_OBJECT(SET_TEXT("folder", organ_group_folder((organ_group)group)),
                        SET_TEXT("group", organ_group_name((organ_group)group)), SET_AMOUNT(in));
}

/* Fillers are the bytes of a file that belong to no tensor: the header comes first, then parts of the gaps between
 * and after tensors that are not all zero. "gap_bytes" leaves out the first. */
static json_t *extract_source_json(const void *layout, size_t f)
{
    const organ_layout_file *const file = &((const organ_layout *)layout)->files[f];
    uint64_t gaps = 0;
    for (size_t k = 1; k < file->filler_count; k++)
        gaps += file->fillers[k].bytes;
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("bytes", file->size),
                        SET_COUNT("header_bytes", file->fillers[0].bytes), SET_COUNT("gap_bytes", gaps));
}

static json_t *extract_document(void *context, const organ_writing *made)
{
    const assembly_job *const e = context;
    const organ_layout *const layout = &e->layout;
    const organ_amount all = organ_layout_amount(layout, ORGAN_ALL_GROUPS, NULL);
    json_t *const run = organ_output_run(organ_write_output(made), all.bytes);
    ORGAN_ADD(run, SET_BYTES("model", e->extract->model));
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.extract/1"), SET_TEXT("organ", ORGAN_VERSION),
                        SET_FLAG("dry_run", e->extract->write.dry_run), SET("model", organ_model_json(e->model)),
                        SET("folders", organ_json_rows(ORGAN_ALL_GROUPS, folder_json, layout)),
                        SET("totals", ORGAN_OBJECT(SET_AMOUNT(all))),
                        SET("by_layer", organ_layout_by_layer_json(layout, NULL)),
                        SET("sources", organ_json_rows(layout->file_count, extract_source_json, layout)),
                        SET("beside", beside_json(made)), SET("run", run));
}

static organ_status extract_model(assembly_job *e, const organ_progress *progress, const organ_stop *stop,
                                  json_t **report, organ_error *error)
{
    const organ_extract_options *const o = e->extract;
    if (organ_model_open_codes(o->model, o->access, &e->model, error))
        return error->status;
    organ_progress_warn_of_model(progress, e->model);
    if (organ_output_check_not_input(o->write.output, e->model, error) ||
        organ_layout_copy(e->model, &e->layout, error) ||
        organ_graft_select_block(e->model, o->select, /*name=*/NULL, &e->layout, &e->merged, error))
        return error->status;
    e->layout.apart = true;
    const organ_write made = {.model = e->model,
                              .requested = &o->write,
                              .names = {"extract/1", &organ_extract_view, "extracting", "model", o->resumed_by},
                              .layout = &e->layout,
                              .ranks = o->ranks,
                              .stop = stop,
                              .progress = progress,
                              .engine = o->engine,
                              .context = e,
                              .left_out = e->merged ? indices : NULL,
                              .check.identity = assembly_identity,
                              .report.document = extract_document};
    return organ_write_run(&made, report, error);
}

organ_status organ_extract(const organ_extract_options *options, const organ_progress *progress, const organ_stop *stop,
                           json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_extract_options, options, report, error, "model", options->model, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    return run_job(&(assembly_job){.extract = options}, progress, stop, extract_model, report, error);
}

static bool is_packed(const organ_weight *weight) { return weight->scheme != ORGAN_SCHEME_PLAIN; }

bool organ_graft_packed_alike(const organ_weight *a, const organ_weight *b)
{
    char one[160], other[160];
    return a->scheme == b->scheme && a->divides == b->divides && a->labelled_v2 == b->labelled_v2 &&
           strcmp(organ_weight_text(a, one, sizeof one), organ_weight_text(b, other, sizeof other)) == 0;
}

bool organ_graft_counterpart(const organ_graft_job *job, const char *name, const organ_anatomy *anatomy,
                             char counterpart[ORGAN_COUNTERPART_SIZE])
{
    const int32_t layer = organ_layer_mapped(&job->map, anatomy->layer);
    const bool to_gguf = job->target->gguf != NULL;
    return job->names_differ ? organ_counterpart_across(to_gguf ? job->target : job->source, name, anatomy, to_gguf,
                                                        layer, counterpart, ORGAN_COUNTERPART_SIZE)
                             : organ_counterpart_at(name, anatomy, layer, counterpart, ORGAN_COUNTERPART_SIZE);
}

static const organ_weight *replaced_by(const organ_graft_job *job, const organ_weights *targets,
                                       const organ_weight *weight)
{
    char name[ORGAN_COUNTERPART_SIZE];
    return organ_graft_counterpart(job, weight->name, &weight->anatomy, name) ? organ_weights_named(targets, name)
                                                                              : NULL;
}

/* Weights that are not selected or replace nothing pass. */
static organ_status check_packed_pair(const organ_graft_job *job, const organ_weights *targets,
                                      const organ_weight *weight, organ_error *error)
{
    char source_text[160], target_text[160];
    if (!organ_selected(&job->selection, weight->codes))
        return ORGAN_OK;
    const organ_weight *const replaced = replaced_by(job, targets, weight);
    if (!replaced || (!is_packed(weight) && !is_packed(replaced)) || organ_graft_packed_alike(weight, replaced))
        return ORGAN_OK;
    const organ_model *const packed = is_packed(weight) ? job->source : job->target;
    return organ_dequantize_first(packed, error, "%.200s: is %s in %.150s and %s in %.150s", weight->name,
                                  organ_weight_text(weight, source_text, sizeof source_text), job->source->path,
                                  organ_weight_text(replaced, target_text, sizeof target_text), job->target->path);
}

organ_status organ_graft_packed(organ_graft_job *job, organ_error *error)
{
    organ_weights *sources = NULL, *targets = NULL;
    if (organ_weights_find(job->source, &sources, error) == ORGAN_OK &&
        organ_weights_find(job->target, &targets, error) == ORGAN_OK &&
        organ_refuse_rotated(job->source, sources, error) == ORGAN_OK &&
        organ_refuse_rotated(job->target, targets, error) == ORGAN_OK)
        job->packed = sources->packed + targets->packed > 0;
    for (size_t k = 0; job->packed && k < sources->count && !error->status; k++)
        check_packed_pair(job, targets, &sources->weights[k], error);
    for (size_t k = 0; !error->status && k < targets->count && organ_graft_whole_layers(job); k++)
        if (organ_layers_axis(&targets->weights[k]) && !organ_selected(&job->selection, targets->weights[k].codes))
            organ_say(job->notes, "%s has entries for each layer: those of the target stay.", targets->weights[k].name);
    organ_weights_free(sources);
    organ_weights_free(targets);
    return error->status;
}
