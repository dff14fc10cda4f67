/* SPDX-License-Identifier: MIT
 * Opens models by name or URL. A host that is a GGUF file or at a URL gets an outline in safetensors, with the
 * configuration, the tokenizer and the names of the output, from which the driver takes the other files. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/names/hub_requests.h"
#include "formats/remote/remote.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and URLs ---- */

/* Returns whether a URL has a password or a query. */
static bool is_secret(const char *name)
{
    const char *const scheme_end = strstr(name, "://");
    const char *const host = scheme_end ? scheme_end + strlen("://") : NULL;
    return organ_http_is_url(name) && host && (memchr(host, '@', strcspn(host, "/?#")) || strchr(name, '?'));
}

organ_status organ_merge_find_model(model_merge *job, const char *name, const char **path, organ_error *error)
{
    if (is_secret(name))
        return organ_fail(error, ORGAN_USAGE,
                          "a model is a URL with a password or a query, which the saved recipe would show: `headers` "
                          "gives credentials");
    return organ_hub_find(name, &job->access, &job->arena, path, error);
}

organ_status organ_merge_open_model(model_merge *job, merge_donor *donor, organ_error *error)
{
    if (organ_model_open_with(donor->path, &job->access, &donor->model, error))
        return error->status;
    if (donor->model->problem_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s", donor->model->problems[0]);
    organ_progress_warn_of_model(job->progress, donor->model);
    if (job->recipe.sliced)
        organ_warn_of_type(job->progress, donor->model, "what layers take from their numbers");
    return organ_weights_find(donor->model, &donor->weights, error);
}

/* ---- the outline of a host at a URL ---- */

#define COMPANION_BYTES ((size_t)256 << 20)

static const char *const companions[] = {ORGAN_COMPANIONS,
                                         "tokenizer.model",
                                         "preprocessor_config.json",
                                         "processor_config.json",
                                         "video_preprocessor_config.json",
                                         "README.md"};
enum { COMPANIONS = sizeof companions / sizeof *companions };

static json_t *no_document(void *context, const organ_writing *writing)
{
    (void)context;
    (void)writing;
    return json_object();
}

static organ_status write_outline(const model_merge *job, const organ_model *model, const char *path,
                                  organ_written_file *files, organ_error *error)
{
    const organ_write_options requested = {.output = path, .max_shard_size = ORGAN_SHARD_BYTES};
    ORGAN_OWNED_ROWS organ_piece *const pieces = organ_rows_take(model->tensor_count + 1, sizeof *pieces);
    organ_engine engine = *job->engine;
    ORGAN_OWNED_JSON json_t *report = NULL;
    engine.ranks = NULL;
    for (size_t k = 0; k < model->tensor_count && pieces; k++) {
        const organ_tensor *const t = &model->tensors[k];
        pieces[k] =
            (organ_piece){.name = t->name, .dtype = t->dtype, .rank = t->rank, .shape = t->shape, .cost = t->bytes};
    }
    const organ_write made = {.model = model,
                              .requested = &requested,
                              .engine = &engine,
                              .outline = true,
                              .pieces.list = pieces,
                              .pieces.count = model->tensor_count,
                              .pieces.files = files,
                              .names = {"merge/1", &organ_merge_view, NULL, "base", NULL},
                              .report.document = no_document};
    organ_error own = {0}; /* without a note that the outline is complete */
    if (!pieces)
        organ_fail_memory(error, model->path);
    else if (organ_write_run(&made, &report, &own))
        *error = own;
    return error->status;
}

static organ_status make_outline_of_url(const model_merge *job, const organ_model *model, const char *path,
                                        organ_error *error)
{
    organ_written_file files[COMPANIONS + 1] = {{0}};
    size_t count = 0;
    for (size_t k = 0; k < COMPANIONS && !error->status; k++) {
        organ_written_file *const file = &files[count];
        if (organ_model_load(model, companions[k], COMPANION_BYTES, &file->bytes, &file->length, error) == ORGAN_OK &&
            file->bytes)
            files[count++].name = companions[k];
    }
    if (!error->status)
        write_outline(job, model, path, files, error);
    for (size_t k = 0; k < COMPANIONS; k++)
        free(files[k].bytes);
    return error->status;
}

/* ---- the outline of a host ---- */

/* Sets the time of all files to that of the host, because a continued run must find the same times. */
static organ_status set_times(const char *folder, struct timespec time, organ_error *error)
{
    const struct timespec times[2] = {time, time};
    organ_file_list files;
    if (organ_list_files(folder, NULL, 0, &files, error))
        return error->status;
    for (size_t k = 0; k < files.count && !error->status; k++) {
        ORGAN_OWNED char *const path = organ_format("%s/%s", folder, files.names[k]);
        if (!path)
            organ_fail_memory(error, folder);
        else if (utimensat(AT_FDCWD, path, times, 0))
            organ_fail_errno(error, errno, "%s: its time cannot be set", path);
    }
    organ_list_release(&files);
    return error->status;
}

static organ_status make_form(const model_merge *job, const merge_donor *donor, const char *form, organ_error *error)
{
    organ_convert_options options = organ_convert_defaults();
    options.mmproj = "none";
    uint64_t bytes = 0;
    if (!donor->stored->gguf)
        return make_outline_of_url(job, donor->stored, form, error);
    options.model = donor->path;
    options.to = "safetensors";
    return organ_convert_outline(&options, donor->stored, job->engine, NULL, form, &bytes, error);
}

organ_status organ_merge_open_form(model_merge *job, merge_donor *donor, organ_error *error)
{
    const char *const name = organ_path_name(donor->path), *const dot = strrchr(name, '.');
    const size_t length = donor->model->gguf && dot && dot > name ? (size_t)(dot - name) : strlen(name);
    if (donor->model->gguf && organ_model_is_here(donor->model, "the base of a merge if it is GGUF", error))
        return error->status;
    donor->stored = donor->model;
    donor->stored_weights = donor->weights;
    donor->model = NULL;
    donor->weights = NULL;
    if (organ_outline_folder_open(job->options->write.output, "organ-host-outline", job->engine->ranks,
                                  &donor->outline_folder, error))
        return error->status;
    ORGAN_OWNED char *const form =
        organ_format("%s/%.*s", donor->outline_folder.path, (int)length, length ? name : "model");
    if (!form)
        organ_fail_memory(error, donor->path);
    else if (make_form(job, donor, form, error) == ORGAN_OK &&
             set_times(form, donor->stored->files[0].modified, error) == ORGAN_OK &&
             organ_model_open(form, &donor->model, error) == ORGAN_OK)
        organ_weights_find(donor->model, &donor->weights, error);
    return error->status;
}

organ_status organ_merge_close_form(merge_donor *donor, organ_error *error)
{
    organ_weights_free(donor->stored_weights);
    organ_model_close(donor->stored);
    return organ_hidden_folder_remove(&donor->outline_folder, error);
}
