/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/layout_output.h"

#include "formats/base/text_buffer.h"
#include "formats/model/recognise_lists.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/file_record.h"
#include "orchestrator/surgery/output/leftovers.h"
#include "orchestrator/surgery/output/tally.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The files of a model, and what tells of them beside them. NULL without memory. */
static json_t *layout_files_json(const organ_model *model)
{
    char *const about = organ_format("%s/%s", model->directory, model->manifest ? ORGAN_MANIFEST : "config.json");
    if (!about)
        return NULL;
    json_t *const files = organ_run_files(model, about);
    free(about);
    return files;
}

static json_t *layout_identity(void *context)
{
    const organ_layout_output *const w = context;
    json_t *identity = json_object();
    if ((w->parameters && json_object_set_new(identity, "parameters", w->parameters(w->context))) ||
        json_object_set_new(identity, w->model_is, layout_files_json(w->model)) ||
        (w->source && json_object_set_new(identity, "source", layout_files_json(w->source)))) {
        json_decref(identity);
        return NULL;
    }
    return identity;
}

static organ_status layout_begin(void *context, const char *to, organ_error *error)
{
    organ_layout_output *const w = context;
    if (w->apart && organ_layout_folders(&w->layout, to, error))
        return error->status;
    size_t again = 0;
    if (organ_beside_copy(w->root, &w->beside, to, w->apart ? ORGAN_FILES_FOLDER : "", error) == ORGAN_OK &&
        w->stripped)
        organ_leftovers_strip_copy(w->model, to, &again, error);
    return error->status;
}

static organ_status write_manifest(organ_layout_output *w, const char *to, organ_error *error)
{
    json_t *about = organ_model_json(w->model);
    if (about)
        organ_layout_manifest(&w->layout, to, about, error);
    else
        organ_fail_memory(error, w->model->path);
    json_decref(about);
    return error->status;
}

/* Of a directory that has no report; what is only put together again is its donor again, with nothing more in it. */
static organ_status write_record(const char *to, organ_error *error)
{
    char *const folder = organ_format("%s/" ORGAN_REPORT_FOLDER, to);
    if (!folder)
        organ_fail_memory(error, to);
    else if (mkdir(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be made", folder);
    else
        organ_file_record_write(to, error);
    free(folder);
    return error->status;
}

static organ_status layout_finish(void *context, const char *to, organ_error *error)
{
    organ_layout_output *const w = context;
    if ((w->source && organ_model_unchanged(w->source, error)) || organ_model_unchanged(w->model, error))
        return error->status;
    if (!organ_ranks_first(w->made.output.ranks) || w->made.output.single)
        return ORGAN_OK;
    return w->apart ? write_manifest(w, to, error) : w->source ? write_record(to, error) : ORGAN_OK;
}

static organ_status layout_tell(void *context, json_t **report, organ_error *error)
{
    const organ_layout_output *const w = context;
    *report = w->document(w->context);
    organ_leftovers_tell(*report, w->stripped);
    return *report ? ORGAN_OK : organ_fail_memory(error, w->model->path);
}

organ_status organ_layout_output_make(organ_layout_output *w, json_t **report, organ_error *error)
{
    organ_layout *const layout = &w->layout;
    *report = NULL;
    w->made.output.like = organ_output_like(w->model);
    if ((!w->made.output.single && organ_beside_list(w->model, &w->root, &w->beside, error)) ||
        organ_layout_plan(layout, w->model, w->apart, error))
        return error->status;
    /* What is only taken apart and put together again is its donor again. */
    if (w->source && !w->apart && !w->made.output.single &&
        organ_leftovers_strip_copy(w->model, NULL, &w->stripped, error))
        return error->status;
    organ_leftovers_note(w->made.progress, w->stripped);
    w->made.plan = layout->plan;
    w->made.pieces = layout->copies;
    w->made.piece_count = w->made.unit_count = layout->piece_count;
    w->made.units = layout->units;
    w->made.beside_bytes = w->beside.bytes;
    for (size_t k = 0; k < layout->piece_count; k++)
        w->made.source_bytes += layout->pieces[k].from->bytes;
    w->made.context = w;
    w->made.identity = layout_identity;
    w->made.begin = layout_begin;
    w->made.finish = layout_finish;
    w->made.tell = layout_tell;
    return organ_unit_output_make(&w->made, report, error);
}

void organ_layout_output_release(organ_layout_output *w)
{
    organ_layout_release(&w->layout);
    organ_list_free(&w->beside);
    free(w->root);
}
