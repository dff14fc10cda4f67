/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/organs/extract.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/layout_output.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <stdlib.h>

typedef struct extraction {
    const organ_extract_options *options;
    organ_model *model;
    organ_layout layout;
    organ_file_list beside;
    organ_layout_output written;
} extraction;

static json_t *folder_json(const extraction *e, organ_group group)
{
    uint64_t tensors = 0, elements = 0, bytes = 0;
    for (size_t k = 0; k < e->layout.piece_count; k++)
        if (e->layout.pieces[k].as.anatomy.group == group) {
            tensors++;
            elements += e->layout.pieces[k].as.elements;
            bytes += e->layout.pieces[k].as.bytes;
        }
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "folder", organ_group_folder(group), "group", organ_group_name(group), "tensors",
                     (json_int_t)tensors, "elements", (json_int_t)elements, "bytes", (json_int_t)bytes);
}

static json_t *sources_json(const organ_layout *layout)
{
    json_t *const rows = json_array();
    for (size_t f = 0; f < layout->file_count; f++) {
        uint64_t gaps = 0;
        for (size_t k = 1; k < layout->files[f].filler_count; k++)
            gaps += layout->files[f].fillers[k].bytes;
        json_array_append_new(rows, json_pack("{s:o, s:I, s:I, s:I}", "name", organ_document_string(layout->files[f].name), "bytes",
                                              (json_int_t)layout->files[f].size, "header_bytes", (json_int_t)layout->files[f].data_offset,
                                              "gap_bytes", (json_int_t)gaps));
    }
    return rows;
}

static json_t *layers_json(const organ_layout *layout)
{
    organ_layer_amount *const rows = organ_layout_amounts(layout, NULL);
    json_t *const layers = organ_by_layer_json(rows, layout->piece_count, false);
    free(rows);
    return layers;
}

static json_t *document_of(const extraction *e)
{
    json_t *const folders = json_array();
    uint64_t bytes = 0, elements = 0;
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER; g++)
        json_array_append_new(folders, folder_json(e, g));
    for (size_t k = 0; k < e->layout.piece_count; k++) {
        bytes += e->layout.pieces[k].as.bytes;
        elements += e->layout.pieces[k].as.elements;
    }
    json_t *run = organ_output_run(&e->written.made.output, bytes);
    if (run)
        json_object_set_new(run, "model", organ_document_string(e->options->model));
    return json_pack("{s:s, s:s, s:b, s:o, s:o, s:{s:I, s:I, s:I}, s:o, s:o, s:{s:I, s:I}, s:o}", "schema", "organ.extract/1", "organ",
                     ORGAN_VERSION, "dry_run", (int)e->options->dry_run, "model", organ_model_json(e->model), "folders", folders, "totals",
                     "tensors", (json_int_t)e->layout.piece_count, "elements", (json_int_t)elements, "bytes", (json_int_t)bytes, "by_layer",
                     layers_json(&e->layout), "sources", sources_json(&e->layout), "beside", "files", (json_int_t)e->beside.count, "bytes",
                     (json_int_t)e->beside.bytes, "run", run);
}

static organ_status tell(void *context, json_t **report, organ_error *error)
{
    const extraction *const e = context;
    *report = document_of(e);
    return *report ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s", e->options->model);
}

organ_status organ_extract(const organ_extract_options *options, const organ_progress *progress, const organ_stop *stop, json_t **report,
                           organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    extraction e = {.options = options};
    char *root = NULL;
    *report = NULL;
    if (organ_model_open_with(options->model, options->access, &e.model, error) == ORGAN_OK &&
        organ_output_spares(options->output, e.model, error) == ORGAN_OK && organ_layout_copy(e.model, &e.layout, error) == ORGAN_OK &&
        organ_beside_list(e.model, &root, &e.beside, error) == ORGAN_OK) {
        e.written = (organ_layout_output){.made = {.output = {.path = options->output,
                                                              .like = organ_output_like(e.model),
                                                              .force = options->force,
                                                              .resume = options->resume,
                                                              .resumed_by = options->resumed_by},
                                                   .dry_run = options->dry_run,
                                                   .beside_bytes = e.beside.bytes,
                                                   .definition = "extract/1",
                                                   .stage = "extracting",
                                                   .progress = progress,
                                                   .stop = stop},
                                          .layout = &e.layout,
                                          .model = e.model,
                                          .model_is = "model",
                                          .apart = true,
                                          .context = &e,
                                          .tell = tell};
        organ_layout_output_make(&e.written, report, error);
    }
    organ_list_free(&e.beside);
    free(root);
    organ_layout_release(&e.layout);
    organ_model_close(e.model);
    return organ_memory_work_end(&work, report, options->model, error);
}
