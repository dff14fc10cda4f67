/* SPDX-License-Identifier: MIT
 * Checks the path and the inputs of a run; plans files and units of its output, edits config.json, and lists the files
 * without tensors that are copied. organ_rows_passed (formats/base/rows.h) frees the memory of
 * large arrays from time to time. */
#include "orchestrator/surgery/write/writing.h"

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/safetensors/safetensors.h"
#include <organ/report.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG "config.json"

/* ---- the path of the output ---- */

/* In a run that decides, the key-values are made later. A verb may lay out files of either format. */
bool organ_writing_makes_gguf(const organ_write *m)
{
    if (m->layout && !m->layout->only_copies && m->layout->format)
        return strcmp(m->layout->format, "GGUF") == 0;
    return m->decide && !m->replaced.chosen ? m->model->gguf != NULL : m->pieces.gguf != NULL;
}

/* An output with GGUF key-values must be one .gguf file, unless the verb has laid out files. A copy with replaced
 * tensors can be a single file only if the model is a single file with the same extension. Any other single file must
 * be .safetensors. */
static organ_status prepare_check_ending(const organ_write *m, bool single, organ_error *error)
{
    const bool gguf = organ_writing_makes_gguf(m);
    const char *const dot = strrchr(m->requested->output, '.');
    const bool one_file = !m->model->whole_directory && m->model->file_count == 1;
    const char *const its = one_file ? strrchr(m->model->files[0].name, '.') : NULL;
    const char *const kind = gguf ? ".gguf" : ".safetensors";
    if (gguf && !single && !m->layout)
        return organ_fail(error, ORGAN_USAGE, "%s: the output of a GGUF model is one file: name a .gguf",
                          m->requested->output);
    if (!single)
        return ORGAN_OK;
    if (m->replaced.chosen && (!its || strcmp(dot, its) != 0))
        return organ_fail(error, ORGAN_USAGE, "%s: %s is not one %s file: name a directory for its copy",
                          m->requested->output, m->model->path, dot);
    if (!m->replaced.chosen && strcmp(dot, kind) != 0)
        return organ_fail(error, ORGAN_USAGE, "%s: the output has the format of %s: name a %s%s", m->requested->output,
                          m->model->path, kind, gguf ? "" : " or a directory");
    return ORGAN_OK;
}

/* A dry run may have no name of an output. */
static organ_status prepare_check_path(const organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if (prepare_check_ending(m, w->output.single, error) ||
        organ_output_check_not_input(m->requested->output, m->model, error))
        return error->status;
    if (m->check.early)
        organ_output_still_free(m->requested->output, w->output.like, m->requested->force, error);
    else
        organ_output_check(m->requested->output, w->output.like, m->requested->force, error);
    return error->status;
}

static organ_status prepare_check_destination(const organ_writing *w, organ_error *error)
{
    const organ_report_files files = organ_writing_files(w);
    if (!w->write->requested->output || (!organ_writing_only_copies(w) && prepare_check_path(w, error)) ||
        organ_output_check_parts(&w->output, w->write->model, error))
        return error->status;
    return files.json ? organ_output_reports_check(&w->output, &files, error) : ORGAN_OK;
}

/* ---- files and units ---- */

/* The stretches are the same on every machine. Sums over rows are added range by range, so they are the same on every
 * machine, too. */
static organ_status prepare_row_stretches(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    const organ_model *const model = m->model;
    size_t count = 0;
    w->stretches = &w->own_stretches;
    if (!(w->tensors = calloc(model->tensor_count + 1, sizeof *w->tensors)))
        return organ_fail_memory(error, m->requested->output);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (m->replaced.chosen[t])
            w->tensors[count++] = &model->tensors[t];
    if (organ_stretches_make(w->tensors, count, ORGAN_STRETCH_ROWS, w->stretches, error) == ORGAN_OK &&
        !(m->replaced.rows->results = organ_rows_take(w->stretches->count + 1, sizeof *m->replaced.rows->results)))
        organ_fail_memory(error, m->requested->output);
    return error->status;
}

/* Each row range of a replaced tensor is a piece at the same file and offset as in the model. The row ranges are those
 * of organ_write.stretches or, with organ_write.rows, those of prepare_row_stretches. */
static organ_status plan_in_place(organ_writing *w, organ_error *error)
{
    w->stretches = w->write->replaced.stretches;
    if (w->write->replaced.rows && prepare_row_stretches(w, error))
        return error->status;
    const size_t count = w->stretches->count;
    organ_piece *const pieces = organ_rows_take(count + 1, sizeof *pieces);
    for (size_t k = 0; k < count && pieces; k++) {
        pieces[k] = organ_piece_same(&w->stretches->list[k].tensor);
        pieces[k].name = w->stretches->list[k].unit;
        pieces[k].same = NULL;
        pieces[k].item = k;
        pieces[k].calib = w->write->replaced.calib;
        organ_rows_passed();
    }
    return organ_layout_in_place(w->write->model, w->output.single ? organ_output_name(&w->output) : NULL, pieces,
                                 count, w->plan, error);
}

/* New files are safetensors shards of at most --max-shard-size, or one GGUF file. */
static organ_status plan_new_files(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    const char *const name = w->output.single ? organ_output_name(&w->output) : NULL;
    const uint64_t most = m->requested->max_shard_size ? m->requested->max_shard_size : ORGAN_SHARD_BYTES;
    return w->made.gguf
               ? organ_layout_plan_gguf(m->model, w->made.list, w->made.count, name, w->made.gguf, w->plan, error)
               : organ_layout_plan(m->model, w->made.list, w->made.count, most, name, w->output.single, w->plan, error);
}

static organ_status plan_files(organ_writing *w, organ_error *error)
{
    w->plan = w->write->layout ? w->write->layout : &w->own_plan;
    if (w->write->layout)
        return w->plan->apart ? organ_layout_take_apart(w->plan, error) : ORGAN_OK;
    return w->write->replaced.chosen ? plan_in_place(w, error) : plan_new_files(w, error);
}

/* An earlier run may have used the pieces. For new files w->source_bytes counts all tensors of the model. */
static organ_status prepare_pieces(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if (plan_files(w, error))
        return error->status;
    const bool new_files = !m->layout && !w->plan->in_place;
    ORGAN_EACH_UNIT (u, w) {
        w->plan->pieces[u].done = false;
        w->source_bytes += new_files ? 0 : w->plan->pieces[u].cost;
        w->unit_count++;
        organ_rows_passed();
    }
    w->source_bytes += new_files ? organ_model_tensor_bytes(m->model) : 0;
    return ORGAN_OK;
}

/* ---- config.json ---- */

/* Obsolete settings are removed before the verb's `edit`. If the model has no config.json,
 * w->config_path becomes NULL and `edit` is not called. */
static organ_status prepare_config(organ_writing *w, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    if (!(w->config_path = organ_format("%s/" CONFIG, w->root)))
        return organ_fail_memory(error, w->write->requested->output);
    if (access(w->config_path, F_OK)) {
        organ_clear(&w->config_path);
        return ORGAN_OK;
    }
    if (organ_input_load(w->config_path, w->config_path, ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK &&
        organ_json_edit_begin(&w->config, w->config_path, bytes, length, error) == ORGAN_OK &&
        organ_leftovers_strip(w->write->model, &w->config, &w->stripped, error) == ORGAN_OK && w->write->make.edit)
        w->write->make.edit(organ_write_inner(w), &w->config, error);
    w->config_changed = !error->status && (w->config.length != length || memcmp(w->config.bytes, bytes, length) != 0);
    return error->status;
}

/* A layout that only copies tensors of the model restores the donor, whose config.json keeps all settings. GGUF files
 * do not use config.json. The output of a layout has a config.json only if the model's is among the files that are
 * copied. */
static bool gets_config(const organ_writing *w)
{
    const organ_write *const m = w->write;
    bool listed = !m->layout;
    for (size_t k = 0; k < w->extra.count && !listed; k++)
        listed = strcmp(w->extra.names[k], CONFIG) == 0;
    return listed && (!m->layout || (m->source && !m->model->gguf));
}

/* This run writes its own config.json, shards and index, and a verb may leave out further files. Only a layout keeps
 * the model's index. */
static bool prepare_is_copied(const organ_writing *w, const char *name)
{
    const organ_model *const model = w->write->model;
    size_t count;
    const organ_layout_file *const files = organ_layout_written(w->plan, &count);
    const bool is_index = strcmp(name, ORGAN_INDEX_NAME) == 0 || (model->index && strcmp(name, model->index) == 0);
    bool copied = !(w->config_path && strcmp(name, CONFIG) == 0) && !(is_index && !w->write->layout) &&
                  !(w->write->left_out && organ_is_one_of(name, w->write->left_out));
    for (size_t f = 0; f < count && copied; f++)
        copied = strcmp(name, files[f].name) != 0;
    return copied;
}

/* For a copy with replaced tensors only obsolete settings are counted in w->stripped, because organ_model_copy_begin
 * copies all files. An output of one file has no extra files, and a verb may write its own (organ_write.files). */
static organ_status prepare_extra(organ_writing *w, organ_error *error)
{
    const organ_model *const model = w->write->model;
    size_t kept = 0;
    if (w->output.single || w->made.files)
        return ORGAN_OK;
    if (w->plan->in_place)
        return organ_leftovers_strip_copy(model, NULL, &w->stripped, error);
    if (organ_extra_files_list(model, &w->root, &w->extra, error) || (gets_config(w) && prepare_config(w, error)))
        return error->status;
    for (size_t k = 0; k < w->extra.count; k++) {
        if (prepare_is_copied(w, w->extra.names[k]))
            w->extra.names[kept++] = w->extra.names[k];
        else
            free(w->extra.names[k]);
    }
    w->extra.count = kept;
    return ORGAN_OK;
}

/* A single safetensors file has no config.json of its own, and with `repacked` the model's does not describe its
 * weights. */
static organ_status prepare_evaluation(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if (m->requested->evaluate && w->output.single && !organ_writing_makes_gguf(m) && m->pieces.repacked)
        return organ_fail(error, ORGAN_USAGE,
                          "`evaluate`: %s would have tensors only, but the config.json of %s describes packed weights: "
                          "name a directory",
                          m->requested->output, m->model->path);
    return organ_evaluation_prepare(&w->evaluation, error);
}

static organ_status prepare_files(organ_writing *w, organ_error *error)
{
    if (prepare_pieces(w, error))
        return error->status;
    return prepare_extra(w, error);
}

/* Lists the inputs before anything is written, and checks that the output replaces none of them. Permissions that an
 * input lacks are closed in the output, too. */
static organ_status prepare_inputs(organ_writing *w, organ_error *error)
{
    const organ_write *const m = w->write;
    if (m->outline)
        return ORGAN_OK;
    organ_run_inputs_add_model(&w->inputs, m->names.model, m->model, error);
    if (m->source)
        organ_run_inputs_add_model(&w->inputs, "source", m->source, error);
    if (m->check.inputs && !error->status)
        m->check.inputs(m->context, &w->inputs, error);
    w->output.closed |= w->inputs.closed;
    return error->status || !m->requested->output ? error->status
                                                  : organ_output_check_inputs(m->requested->output, &w->inputs, error);
}

organ_status organ_writing_check(organ_writing *w, organ_error *error)
{
    if (prepare_check_destination(w, error) || prepare_inputs(w, error))
        return error->status;
    return prepare_evaluation(w, error);
}

organ_status organ_writing_plan(organ_writing *w, organ_error *error)
{
    if (prepare_files(w, error) == ORGAN_OK)
        organ_leftovers_note(w->write->progress, w->stripped);
    return error->status;
}

/* ---- files without tensors ---- */

/* The model's own reports in organ/ become organ/donor/, because organ/ gets the reports about the output. A layout
 * without a second model restores the donor. */
static char *new_name_of(const organ_writing *w, const char *name)
{
    const organ_write *const m = w->write;
    const bool record = organ_is_report_path(name) && (!m->layout || m->source);
    if (organ_writing_is_apart(w))
        return organ_format(ORGAN_FILES_FOLDER "/%s", name);
    return organ_format("%s%s", record ? "organ/donor/" : "", record ? name + strlen("organ/") : name);
}

static organ_status copy_extra(const organ_writing *w, const char *to, organ_error *error)
{
    for (size_t k = 0; k < w->extra.count && !error->status; k++) {
        const char *const name = w->extra.names[k];
        ORGAN_OWNED char *const new_name = new_name_of(w, name);
        if (!new_name)
            return organ_fail_memory(error, w->write->requested->output);
        organ_copy_model_file(w->write->model, w->root, name, to, new_name, error);
    }
    return error->status;
}

static organ_status prepare_write_text(const organ_writing *w, const char *to, const char *name, const char *bytes,
                                       organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", to, name);
    if (!path)
        return organ_fail_memory(error, w->write->requested->output);
    return organ_text_write(path, bytes, error);
}

static organ_status print_bytes(const void *file, FILE *out, organ_error *error)
{
    const organ_written_file *const own = file;
    fwrite(own->bytes, 1, own->length, out);
    return error->status;
}

/* The name of a file may begin with folders. */
static organ_status prepare_folders(const char *to, const char *name, organ_error *error)
{
    for (const char *slash = strchr(name, '/'); slash && !error->status; slash = strchr(slash + 1, '/')) {
        ORGAN_OWNED char *const path = organ_format("%s/%.*s", to, (int)(slash - name), name);
        if (!path)
            organ_fail_memory(error, to);
        else if (organ_make_folder(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be created", path);
    }
    return error->status;
}

static organ_status prepare_write_file(const organ_writing *w, const char *to, const organ_written_file *file,
                                       organ_error *error)
{
    if (prepare_folders(to, file->name, error))
        return error->status;
    if (!file->length && !file->exact)
        return prepare_write_text(w, to, file->name, file->bytes, error);
    ORGAN_OWNED char *const path = organ_format("%s/%s", to, file->name);
    if (!path)
        return organ_fail_memory(error, w->write->requested->output);
    if (file->exact)
        return organ_transfer_file(path, file->length, /*reserved=*/false, error)
                   ? error->status
                   : organ_transfer_bytes(path, file->bytes, file->length, 0, error);
    return organ_printed_write(path, print_bytes, file, error);
}

static organ_status write_config(const organ_writing *w, const char *to, organ_error *error)
{
    const organ_written_file file = {.name = organ_writing_is_apart(w) ? ORGAN_FILES_FOLDER "/" CONFIG : CONFIG,
                                     .bytes = w->config.bytes};
    return w->config_path ? prepare_write_file(w, to, &file, error) : ORGAN_OK;
}

organ_status organ_writing_begin(const organ_writing *w, const char *to, organ_error *error)
{
    for (const organ_written_file *file = w->made.files; file && file->name; file++)
        if (prepare_write_file(w, to, file, error))
            return error->status;
    return write_config(w, to, error) ? error->status : copy_extra(w, to, error);
}
