/* SPDX-License-Identifier: MIT
 * Writes an output that a verb has laid out (output/layout.h): files as loaders open them, or an organ directory, and
 * copies of the model's files without tensors. */
#include "orchestrator/surgery/write/writing.h"

#include "formats/base/file_calls.h"
#include "formats/base/paged_rows.h"
#include "formats/base/text_buffer.h"
#include "formats/model/recognise_lists.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/facts/facts.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static organ_status write_layout_units(organ_writing *w, organ_error *error)
{
    const organ_layout *const layout = w->write->layout;
    if (!(w->units = w->own_units = organ_rows_take(layout->piece_count + 1, sizeof *w->units)))
        return organ_fail_memory(error, w->write->requested->output);
    for (size_t k = 0; k < layout->piece_count; k++) {
        w->units[k] = (organ_unit){.first = k, .count = 1, .item = k, .bytes = layout->pieces[k].from->bytes};
        w->source_bytes += w->units[k].bytes;
    }
    w->plan = layout->plan;
    w->pieces = layout->copies;
    w->piece_count = w->unit_count = layout->piece_count;
    return ORGAN_OK;
}

/* For an output with tensors of a second model, the obsolete settings that the copy of config.json will lose are
 * counted too. */
organ_status organ_writing_plan_layout(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if ((!w->output.single && organ_extra_files_list(m->model, &w->root, &w->extra, error)) ||
        organ_layout_plan(m->layout, m->model, m->apart, error) || write_layout_units(w, error))
        return error->status;
    /* A layout of one model restores the donor, whose config.json keeps all settings. With tensors of a second model
     * the output is a new model, so obsolete settings are removed. */
    return m->source && !m->apart && !w->output.single ? organ_leftovers_strip_copy(m->model, NULL, &w->stripped, error)
                                                       : ORGAN_OK;
}

organ_status organ_writing_begin_layout(const organ_writing *w, const char *to, organ_error *error)
{
    const organ_write *const m = w->write;
    size_t again = 0; /* not used: w->stripped has the number of removed settings already */
    if ((m->apart && organ_layout_folders(m->layout, to, error)) ||
        organ_extra_files_copy(w->root, &w->extra, to, m->apart ? ORGAN_FILES_FOLDER : "", error))
        return error->status;
    return w->stripped ? organ_leftovers_strip_copy(m->model, to, &again, error) : ORGAN_OK;
}

static organ_status write_layout_manifest(const organ_writing *w, const char *to, organ_error *error)
{
    json_t *const about = organ_model_json(w->write->model);
    if (about)
        organ_layout_manifest(w->write->layout, to, about, error);
    else
        organ_fail_memory(error, w->write->model->path);
    json_decref(about);
    return error->status;
}

/* A layout has no report, so the folder organ/ of `to` is created first. */
static organ_status write_layout_record(const char *to, organ_error *error)
{
    char *const folder = organ_format("%s/" ORGAN_REPORT_FOLDER, to);
    if (!folder)
        organ_fail_memory(error, to);
    else if (organ_make_folder(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", folder);
    else
        organ_file_record_write(to, error);
    free(folder);
    return error->status;
}

/* A model directory with tensors of a second model (write->source) gets the record of its files. A single file, and
 * a model directory that restores the donor, get neither record nor manifest.json. */
organ_status organ_writing_end_layout(const organ_writing *w, const char *to, organ_error *error)
{
    if (!organ_ranks_first(w->output.ranks) || w->output.single)
        return ORGAN_OK;
    if (w->write->apart)
        return write_layout_manifest(w, to, error);
    /* Without a second model the output restores the donor byte for byte, so no file may be added. */
    return w->write->source ? write_layout_record(to, error) : ORGAN_OK;
}
