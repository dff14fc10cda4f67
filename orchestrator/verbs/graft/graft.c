/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/graft/graft_block.h"
#include "formats/model/recognise.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/verbs/graft/graft_refit.h"

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/view/views.h"

#include <organ/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- key-values ---- */

static void note_array(void *context, const organ_settings *at, const char *key, json_t *before, json_t *after)
{
    organ_graft_job *const job = context;
    (void)at;
    organ_say(job->metadata, "%s was adapted to the new layers.", key);
    job->written_again = true;
    json_decref(before);
    json_decref(after);
}

static void note_lack(void *context, const char *key, const organ_layer_origin *origin)
{
    organ_say(((organ_graft_job *)context)->mismatches,
              "metadata: %s has a value for every layer of the target, the source has none for its layer %zu", key,
              origin->layer);
}

/* The arrays with a value for each layer have those of the source for grafted layers. */
static organ_status adapt_layer_arrays(organ_graft_job *job, const organ_settings *settings, organ_error *error)
{
    const size_t count = (size_t)job->layers_after, trunk = (size_t)job->block.target.trunk;
    ORGAN_OWNED_ROWS organ_layer_origin *const origins = organ_rows_take(count + 1, sizeof *origins);
    organ_layer_plan plan = {.s = *settings,
                             .layers = job->block.chosen ? trunk : (size_t)job->target_layers,
                             .all = (size_t)job->target_layers,
                             .origins = origins,
                             .after = job->block.chosen ? trunk : count,
                             .count = count,
                             .lacks = note_lack};
    plan.s.changed = note_array;
    plan.s.context = job;
    if (!origins)
        return organ_fail_memory(error, job->options->target);
    for (size_t n = 0; n < count; n++)
        origins[n] = (organ_layer_origin){NULL, job->target_config.layers, n, job->target->gguf};
    for (size_t k = 0; k < job->pair_count; k++) /* a pair that leaves out layers before it is a mismatch */
        if ((size_t)job->pairs[k].to < count)
            origins[job->pairs[k].to] =
                (organ_layer_origin){NULL, job->source_config.layers, (size_t)job->pairs[k].from, job->source->gguf};
    return organ_layers_edit_arrays(&plan);
}

/* The key changes if the graft adds layers. It is a mismatch if the target's block_count is not the number of layers
 * of its tensors. */
static void set_block_count(organ_graft_job *job, const organ_settings *settings)
{
    char key[ORGAN_SETTING_ROOM];
    const uint64_t declared = organ_settings_get(settings, ORGAN_SETTING_LAYERS);
    organ_settings_name(settings, ORGAN_SETTING_LAYERS, key);
    if (job->layers_after == job->target_layers)
        return;
    if (declared != (uint64_t)job->target_layers) {
        organ_say(job->mismatches,
                  "metadata: %s is %llu, but the tensors of the target have %d layers: none can be added", key,
                  (unsigned long long)declared, (int)job->target_layers);
        return;
    }
    organ_say(job->metadata, "%s: %d, was %d.", key, (int)job->layers_after, (int)job->target_layers);
    organ_settings_set_number(settings, ORGAN_SETTING_LAYERS, (uint64_t)job->layers_after);
}

static void set_blocks(organ_graft_job *job, const organ_settings *settings)
{
    const graft_block *const b = &job->block;
    if (!b->chosen || b->target.stated == b->source.blocks)
        return;
    organ_say(job->metadata, "%s: %d.", b->target.member, (int)b->source.blocks);
    job->written_again = true;
    organ_settings_set_number(settings, ORGAN_SETTING_DRAFTS, (uint64_t)b->source.blocks);
}

/* Creates the key-values of the output: those of the target, in which arrays with one value for each layer are adapted
 * to the new layers. Sets *writer to NULL if nothing changes and the header of the target is used. Appends a sentence
 * for each change to job->metadata, and one for each value that cannot be adapted to job->mismatches. */
static organ_status graft_metadata(organ_graft_job *job, organ_gguf_writer **writer, organ_error *error)
{
    *writer = NULL;
    if (!organ_graft_header_is_free(job) || organ_layout_metadata(job->target->gguf, writer, error))
        return error->status;
    const organ_settings settings = organ_settings_of(job->target, *writer, error);
    if (!organ_graft_whole_layers(job) || adapt_layer_arrays(job, &settings, error) == ORGAN_OK) {
        set_block_count(job, &settings);
        set_blocks(job, &settings);
    }
    if (error->status || !job->written_again) {
        organ_gguf_writer_destroy(*writer);
        *writer = NULL;
    }
    return error->status;
}

/* ---- checks before anything is written ---- */

/* An output of one file must have the ending of the target's format. If the target is one file (and no organ
 * directory), the output must be one too. A dry run, and a run that fits before it writes, also checks that the output
 * could be written. */
static organ_status check_grafted(organ_graft_job *job, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    const char *const path = o->write.output, *const format = job->layout.format;
    const char *const ending = strcmp(format, "GGUF") == 0 ? ".gguf" : ".safetensors";
    if (job->single && strcmp(strrchr(path, '.'), ending) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: the target's format is %s: name a %s or a directory", path, format,
                          ending);
    if (path && !job->single && !job->target->manifest && !job->target->whole_directory && job->layout.file_count == 1)
        return organ_fail(error, ORGAN_USAGE, "%s: the target is one file, so the output must be one: name a %s", path,
                          ending);
    if (organ_output_check_not_input(path, job->source, error) ||
        organ_output_check_not_input(path, job->target, error))
        return error->status;
    return o->write.dry_run || o->refit
               ? organ_output_check(path, organ_output_like(job->target), o->write.force, error)
               : ORGAN_OK;
}

/* The name of the only file. Loaders look for model.safetensors if there is no index. */
static const char *name_of_file(const organ_graft_job *job)
{
    if (job->single)
        return organ_path_name(job->options->write.output);
    return !job->target->gguf && (job->target->index || job->layout.file_count > 1) ? "model.safetensors"
                                                                                    : job->layout.files[0].name;
}

/* A block that is added to several files of safetensors gets a file of its own: the others, which may be large, stay.
 */
#define BLOCK_FILE "model-mtp.safetensors"
static bool gets_own_file(const organ_graft_job *job)
{
    for (size_t f = 0; f < job->layout.file_count; f++)
        if (strcmp(job->layout.files[f].name, BLOCK_FILE) == 0)
            return false;
    return job->block.chosen && !job->target->gguf && !job->target->manifest && !job->block.removed &&
           job->layout.file_count > 1 && job->layout.piece_count > job->target->tensor_count;
}

/* The header is new if the graft changes types, layers or key-values, or merges several files into one
 * (job->written_again); else the header of the target is copied. With mismatches there is no output, so nothing is
 * created. */
static organ_status choose_header(organ_graft_job *job, organ_error *error)
{
    organ_layout *const layout = &job->layout;
    organ_gguf_writer *writer = NULL;
    if (gets_own_file(job))
        return organ_layout_add_file(layout, BLOCK_FILE, job->target->tensor_count, error);
    job->written_again = job->written_again || (job->single && layout->file_count > 1);
    if (graft_metadata(job, &writer, error) == ORGAN_OK && !json_array_size(job->mismatches) &&
        (job->written_again || job->single))
        organ_layout_name(layout, name_of_file(job), job->written_again, writer, error);
    organ_gguf_writer_destroy(writer);
    return error->status;
}

/* ---- the document ---- */

static json_t *group_json(const void *context, size_t group)
{
    const organ_graft_job *const job = context;
    const organ_amount all = organ_layout_amount(&job->layout, (organ_group)group, NULL);
    const organ_amount taken = organ_layout_amount(&job->layout, (organ_group)group, job->source);
    if (!all.tensors)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("group", organ_group_name((organ_group)group)),
                        SET("grafted", ORGAN_OBJECT(SET_AMOUNT(taken))), SET("output", ORGAN_OBJECT(SET_AMOUNT(all))));
}

static json_t *tensor_json(const void *context, size_t k)
{
    const organ_graft_job *const job = context;
    const organ_piece *const piece = &job->layout.pieces[k];
    if (piece->model != job->source)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("name", piece->name), SET_TEXT("from", piece->same->name),
                        SET_DTYPE("dtype", piece->dtype), SET_DTYPE("source_dtype", piece->same->dtype),
                        SET("xxh3", job->options->write.dry_run ? json_null() : organ_layout_digest(&job->layout, k)));
}

static json_t *totals_json(const organ_graft_job *job)
{
    const organ_amount all = organ_layout_amount(&job->layout, ORGAN_ALL_GROUPS, NULL);
    const organ_amount taken = organ_layout_amount(&job->layout, ORGAN_ALL_GROUPS, job->source);
    return ORGAN_OBJECT(SET("grafted", ORGAN_OBJECT(SET_AMOUNT(taken))), SET("output", ORGAN_OBJECT(SET_AMOUNT(all))),
                        SET_REAL("percent_of_elements", organ_percent(taken.elements, all.elements)));
}

static json_t *graft_parameters(void *job)
{
    const organ_graft_options *const o = ((const organ_graft_job *)job)->options;
    return ORGAN_OBJECT(SET("type", organ_selection_json(o->types, o->layers, /*of_layers=*/false)),
                        SET("layers", organ_selection_json(o->types, o->layers, /*of_layers=*/true)),
                        SET_BYTES_OF("map", o->map), SET_FLAG("refit", o->refit),
                        SET_BYTES_OF("calibration", o->refit ? organ_path_name(o->calibration.text) : NULL),
                        SET_COUNT_OF("samples", o->refit, o->calibration.samples),
                        SET_COUNT_OF("context", o->refit, o->calibration.context),
                        SET_REDUCED_COMPUTE(o->engine, o->refit ? o->calibration.compute : NULL));
}

/* The projections depend on the text, too. */
static json_t *graft_identity(void *context)
{
    const organ_graft_job *const job = context;
    return ORGAN_OBJECT(SET_IF(job->refit, "text", json_string(organ_graft_refit_text(job->refit))));
}

static organ_status graft_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_graft_options *const o = ((const organ_graft_job *)context)->options;
    return o->refit ? organ_run_inputs_add(inputs, "text", o->calibration.text, error) : error->status;
}

/* With mismatches nothing is written: `output` then has only a path, and the report has no totals, groups and
 * tensors. */
static json_t *document_of(organ_graft_job *job, const organ_output *output)
{
    const organ_graft_options *const o = job->options;
    const organ_layout *const layout = &job->layout;
    json_t *const run = organ_output_run(output, organ_layout_bytes(layout));
    json_t *const document = ORGAN_OBJECT(
        SET_TEXT("schema", "organ.graft/1"), SET_TEXT("organ", ORGAN_VERSION), SET_FLAG("dry_run", o->write.dry_run),
        SET("source", organ_model_json(job->source)), SET("target", organ_model_json(job->target)),
        SET("parameters", graft_parameters(job)), SET("mismatches", json_incref(job->mismatches)));
    if (document && json_array_size(job->mismatches) == 0)
        ORGAN_ADD(document, SET("totals", totals_json(job)),
                  SET("groups", organ_json_rows(ORGAN_ALL_GROUPS, group_json, job)),
                  SET("by_layer", organ_layout_by_layer_json(layout, job->source)),
                  SET_FLAG("header_anew", job->written_again), SET("metadata", json_incref(job->metadata)),
                  SET("clashes", json_incref(job->clashes)), SET("notes", json_incref(job->notes)),
                  SET("refit", organ_graft_refit_json(job->refit)),
                  SET("tensors", organ_json_rows(layout->piece_count, tensor_json, job)));
    ORGAN_ADD(run, SET_BYTES("source", o->source), SET_BYTES("target", o->target));
    ORGAN_ADD(document, SET("run", run));
    return document;
}

/* ---- the run ---- */

static json_t *graft_document(void *context, const organ_writing *made)
{
    return document_of(context, organ_write_output(made));
}

static organ_status check_block_options(const organ_graft_job *job, organ_error *error)
{
    const organ_selection *const s = &job->selection;
    if (s->groups == ORGAN_SELECTION_MTP && !s->pattern_count && !s->span_count && !job->map.count)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "`types` mtp: a block is grafted as a whole: without other words, layers and `map`");
}

/* Mismatches are not errors here: they are in job->mismatches. */
static organ_status plan_graft(organ_graft_job *job, organ_error *error)
{
    const organ_graft_options *const o = job->options;
    job->mismatches = json_array();
    job->notes = json_array();
    job->metadata = json_array();
    job->clashes = json_array();
    if (!job->mismatches || !job->notes || !job->metadata || !job->clashes)
        return organ_fail_memory(error, o->target);
    if (organ_selection_parse(o->types, o->layers, "types", &job->selection, error) ||
        organ_layer_map_parse(o->map, &job->map, error) || organ_graft_refit_check(job, error) ||
        organ_model_open_codes(job->source_path, o->access, &job->source, error) ||
        organ_model_open_codes(o->target, o->access, &job->target, error))
        return error->status;
    organ_progress_warn_of_model(job->progress, job->source);
    organ_progress_warn_of_model(job->progress, job->target);
    if (organ_layout_copy(job->target, &job->layout, error) || check_grafted(job, error))
        return error->status;
    if (job->selection.groups & ORGAN_SELECTION_MTP) {
        job->block.chosen = true;
        return check_block_options(job, error) || organ_graft_plan_block(job, error) || json_array_size(job->mismatches)
                   ? error->status
                   : choose_header(job, error);
    }
    if (organ_graft_pair_layers(job, error) || organ_graft_packed(job, error) || organ_graft_load_configs(job, error) ||
        organ_graft_match(job, error) || organ_graft_compare_settings(job, error))
        return error->status;
    if (organ_graft_whole_layers(job))
        organ_warn_of_type(job->progress, job->target, "what layers take from their numbers");
    organ_graft_compare_layers(job, organ_graft_whole_layers(job));
    return choose_header(job, error);
}

static organ_status report_mismatches(organ_graft_job *job, json_t **report, organ_error *error)
{
    const size_t count = json_array_size(job->mismatches);
    if (!(*report = document_of(job, &(organ_output){.path = job->options->write.output})))
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
    if (organ_graft_refit_open(job, &job->refit, error) || organ_graft_refit_run(job->refit, error))
        return error->status;
    const char *const index[] = {job->target->index ? job->target->index : "model.safetensors.index.json", NULL};
    job->layout.changed = true;
    job->layout.apart = job->target->manifest && !job->single;
    job->layout.kernels = job->kernels;
    const organ_write made = {.model = job->target,
                              .requested = &o->write,
                              .layout = &job->layout,
                              .source = job->source,
                              .ranks = o->ranks,
                              .stop = job->stop,
                              .names = {"graft/1", &organ_graft_view, "grafting", "target", NULL},
                              .progress = job->progress,
                              .engine = o->engine,
                              .context = job,
                              .make.edit = organ_graft_edit_config,
                              .left_out = job->written_again && !job->target->gguf ? index : NULL,
                              .check = {.parameters = graft_parameters,
                                        .identity = graft_identity,
                                        .inputs = graft_inputs,
                                        .early = o->refit},
                              .report = {.document = graft_document, .plan = organ_graft_refit_plan(job->refit)}};
    return organ_write_run(&made, report, error);
}

static void close_graft(organ_graft_job *job, organ_error *error)
{
    organ_graft_refit_close(job->refit, error);
    organ_layout_release(&job->layout);
    organ_model_close(job->source);
    organ_model_close(job->target);
    ORGAN_DECREF(job->mismatches, job->notes, job->metadata, job->clashes, job->source_config.root,
                 job->target_config.root);
    organ_rows_free(job->block.quantised);
    organ_weights_free(job->block.sources);
    organ_weights_free(job->block.targets);
    organ_rows_free(job->pairs);
    organ_selection_release(&job->selection);
    free(job->taken);
}

static organ_status graft_from(void *context, const char *source, json_t **report, organ_error *error)
{
    organ_graft_job *const job = context;
    job->source_path = source;
    graft_model(job, report, error);
    close_graft(job, error);
    return error->status;
}

organ_status organ_graft(const organ_graft_options *options, const organ_kernels *kernels,
                         const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_graft_options, options, report, error, "source", options->source, "target",
                         options->target, "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    organ_graft_job job = {.options = options,
                           .single = organ_output_is_file(options->write.output),
                           .kernels = kernels,
                           .progress = organ_warnings_begin(&work.kept, progress),
                           .stop = stop};
    organ_graft_across(options, job.progress, graft_from, &job, report, error);
    return organ_report_end_partial(&work, options->target, error);
}
