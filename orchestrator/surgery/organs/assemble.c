/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/organs/assemble.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/layout_output.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct assembly {
    const organ_assemble_options *options;
    organ_model *model;
    organ_layout layout;
    organ_file_list beside;
    bool merged; /* files of the donor became one */
    organ_layout_output written;
} assembly;

/* The single file keeps its bytes and gets the name of the output. */
static organ_status rename_only(assembly *a, organ_error *error)
{
    const char *const name = organ_output_name(&a->written.made.output);
    a->layout.files[0].name = organ_arena_copy(&a->layout.arena, name, strlen(name));
    return a->layout.files[0].name ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s", name);
}

static organ_status merge_gguf(assembly *a, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    if (organ_layout_metadata(a->model->gguf, &writer, error) == ORGAN_OK)
        organ_layout_merge_gguf(&a->layout, organ_output_name(&a->written.made.output), writer, error);
    organ_gguf_writer_destroy(writer);
    return error->status;
}

static organ_status plan(assembly *a, organ_error *error)
{
    const char *const path = a->options->output;
    if (organ_layout_copy(a->model, &a->layout, error))
        return error->status;
    const bool gguf = strcmp(a->layout.format, "GGUF") == 0;
    const char *const dot = strrchr(path, '.');
    a->written.made.output = (organ_output){.path = path,
                                            .like = organ_output_like(a->model),
                                            .force = a->options->force,
                                            .resume = a->options->resume,
                                            .single = organ_output_is_file(path)};
    if (!a->written.made.output.single)
        return ORGAN_OK;
    if (strcmp(dot, gguf ? ".gguf" : ".safetensors") != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: %s was made from %s files: nothing is converted here, the output is %s or a directory",
                          path, a->options->directory, a->layout.format, gguf ? "a .gguf" : "a .safetensors");
    if (a->layout.file_count == 1)
        return rename_only(a, error);
    a->merged = true;
    return gguf ? merge_gguf(a, error) : organ_layout_merge_safetensors(&a->layout, organ_output_name(&a->written.made.output), error);
}

/* Tensors whose bytes are not those that were taken out of the donor. */
static json_t *changed_json(const organ_layout *layout)
{
    json_t *const names = json_array();
    for (size_t k = 0; k < layout->piece_count; k++)
        if (organ_layout_piece_changed(layout, k))
            json_array_append_new(names, json_string(layout->pieces[k].as.name));
    return names;
}

static json_t *files_json(const organ_layout *layout)
{
    json_t *const rows = json_array();
    for (size_t f = 0; f < layout->file_count; f++)
        json_array_append_new(rows, json_pack("{s:o, s:I, s:I}", "name", organ_document_string(layout->files[f].name), "tensors",
                                              (json_int_t)layout->files[f].count, "bytes", (json_int_t)layout->files[f].size));
    return rows;
}

/* What the model consists of. */
static bool add_anatomy(json_t *document, const organ_layout *layout)
{
    organ_layer_amount *const rows = organ_layout_amounts(layout, NULL);
    const bool whole = json_object_set_new(document, "groups", organ_by_group_json(rows, layout->piece_count)) == 0 &&
                       json_object_set_new(document, "by_layer", organ_by_layer_json(rows, layout->piece_count, false)) == 0;
    free(rows);
    return whole;
}

static json_t *document_of(const assembly *a)
{
    const uint64_t bytes = organ_layout_bytes(&a->layout);
    json_t *const changed = a->options->dry_run ? json_null() : changed_json(&a->layout);
    json_t *run = organ_output_run(&a->written.made.output, bytes);
    if (run)
        json_object_set_new(run, "directory", organ_document_string(a->options->directory));
    const bool same = a->model->manifest && !a->merged && !a->layout.changed && json_is_array(changed) && json_array_size(changed) == 0;
    json_t *document =
        json_pack("{s:s, s:s, s:b, s:o, s:s, s:o, s:{s:I, s:I}, s:{s:I, s:I}, s:b, s:o, s:o}", "schema", "organ.assemble/1", "organ",
                  ORGAN_VERSION, "dry_run", (int)a->options->dry_run, "model", organ_model_json(a->model), "format", a->layout.format,
                  "files", files_json(&a->layout), "totals", "tensors", (json_int_t)a->layout.piece_count, "bytes", (json_int_t)bytes,
                  "beside", "files", (json_int_t)a->beside.count, "bytes", (json_int_t)a->beside.bytes, "merged", (int)a->merged,
                  "donor_again", a->options->dry_run ? json_null() : json_boolean(same), "changed", changed);
    const bool whole = add_anatomy(document, &a->layout);
    if (json_object_set_new(document, "run", run) == 0 && whole) /* which is the document's in any case */
        return document;
    json_decref(document);
    return NULL;
}

static organ_status tell(void *context, json_t **report, organ_error *error)
{
    const assembly *const a = context;
    *report = document_of(a);
    return *report ? ORGAN_OK : organ_fail_errno(error, ENOMEM, "%s", a->options->directory);
}

static organ_status run(assembly *a, const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error)
{
    organ_layout_output *const written = &a->written;
    written->made.dry_run = a->options->dry_run;
    written->made.beside_bytes = a->beside.bytes;
    written->made.definition = "assemble/1";
    written->made.stage = "assembling";
    written->made.progress = progress;
    written->made.stop = stop;
    written->layout = &a->layout;
    written->model = a->model;
    written->model_is = "model";
    written->context = a;
    written->tell = tell;
    return organ_layout_output_make(written, report, error);
}

organ_status organ_assemble(const organ_assemble_options *options, const organ_progress *progress, const organ_stop *stop, json_t **report,
                            organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    assembly a = {.options = options};
    char *root = NULL;
    *report = NULL;
    if (organ_model_open_with(options->directory, options->access, &a.model, error) == ORGAN_OK &&
        organ_output_spares(options->output, a.model, error) == ORGAN_OK && plan(&a, error) == ORGAN_OK &&
        (a.written.made.output.single || organ_beside_list(a.model, &root, &a.beside, error) == ORGAN_OK))
        run(&a, progress, stop, report, error);
    organ_list_free(&a.beside);
    free(root);
    organ_layout_release(&a.layout);
    organ_model_close(a.model);
    return organ_memory_work_end(&work, report, options->directory, error);
}
