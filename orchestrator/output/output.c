/* SPDX-License-Identifier: MIT
 * Checks the path of an output, creates it under a hidden name together with other ranks, and publishes it. */
#include "orchestrator/output/output.h"
#include "orchestrator/output/layout.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_copy.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool organ_output_is_file(const char *path)
{
    return path && (organ_ends_with(path, ".gguf") || organ_ends_with(path, ".safetensors"));
}

char *organ_output_copy_path(const char *directory, const organ_model *donor, const char *single)
{
    const char *name = single;
    if (!single && !donor->whole_directory)
        name = donor->index ? donor->index : donor->files[0].name;
    return organ_format("%s%s%s", directory, name ? "/" : "", name ? name : "");
}

const char *organ_output_name(const organ_output *output)
{
    return output->path ? organ_path_name(output->path) : "model.gguf";
}

static bool is_within(const char *path, const char *directory)
{
    const size_t n = strlen(directory);
    return strncmp(path, directory, n) == 0 && (path[n] == '\0' || path[n] == '/' || strcmp(directory, "/") == 0);
}

/* `path` need not exist. Returns false if its parent does not exist; organ_publish_begin reports that error. */
static bool place_of(const char *path, char place[PATH_MAX])
{
    if (realpath(path, place))
        return true;
    char copy[PATH_MAX], parent[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy || !realpath(dirname(copy), parent))
        return false;
    snprintf(copy, sizeof copy, "%s", path);
    return snprintf(place, PATH_MAX, "%s/%s", strcmp(parent, "/") ? parent : "", basename(copy)) < PATH_MAX;
}

static organ_status fail_is_input(const char *path, const char *input, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s: the output cannot be the input %s or a directory in it", path, input);
}

/* Links are resolved. If the user named single files of a directory, other names in that directory are allowed. */
organ_status organ_output_check_not_input(const char *path, const organ_model *model, organ_error *error)
{
    char home[PATH_MAX], place[PATH_MAX], file[PATH_MAX];
    if (!path || !realpath(model->directory, home) || !place_of(path, place))
        return ORGAN_OK; /* the model is not on this machine, or the output's parent does not exist */
    if (strcmp(place, home) == 0 || (model->whole_directory && is_within(place, home)))
        return fail_is_input(path, model->path, error);
    for (size_t f = 0; f < model->file_count && !model->whole_directory; f++)
        if (realpath(model->files[f].path, file) && strcmp(place, file) == 0)
            return fail_is_input(path, model->path, error);
    if (is_within(home, place))
        return organ_fail(error, ORGAN_USAGE, "%s: the input %s is in this directory, which the output would replace",
                          path, model->path);
    return ORGAN_OK;
}

organ_status organ_output_check_not_file(const char *path, const char *input, organ_error *error)
{
    char file[PATH_MAX], place[PATH_MAX];
    if (realpath(input, file) && place_of(path, place) && strcmp(place, file) == 0)
        return fail_is_input(path, input, error);
    return ORGAN_OK;
}

organ_status organ_output_check_inputs(const char *path, const organ_run_inputs *inputs, organ_error *error)
{
    char file[PATH_MAX], place[PATH_MAX];
    const json_t *row;
    size_t k;
    if (!place_of(path, place))
        return ORGAN_OK;
    json_array_foreach(inputs->rows, k, row)
    {
        const char *const input = json_string_value(json_object_get(row, "path"));
        if (!input || !realpath(input, file))
            continue;
        if (strcmp(place, file) == 0)
            return fail_is_input(path, input, error);
        if (is_within(file, place))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: the input %s is in this directory, which the output would replace", path, input);
    }
    return ORGAN_OK;
}

organ_status organ_output_check_distinct(const char *directory, const char *input, organ_error *error)
{
    char copy[PATH_MAX], home[PATH_MAX], place[PATH_MAX];
    struct stat info;
    if (stat(input, &info) || !place_of(directory, place))
        return ORGAN_OK; /* `input` is a URL, or is missing, which the function that opens it reports */
    const bool is_directory = S_ISDIR(info.st_mode);
    if (snprintf(copy, sizeof copy, "%s", input) >= (int)sizeof copy ||
        !realpath(is_directory ? copy : dirname(copy), home))
        return ORGAN_OK;
    if (is_directory ? is_within(place, home) : strcmp(place, home) == 0)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: reports cannot be written to the directory of the input %s: name another one", directory,
                          input);
    return ORGAN_OK;
}

organ_status organ_output_check_reports(const char *directory, const char *const *names, organ_error *error)
{
    for (; directory && *names && !error->status; names++) {
        ORGAN_OWNED char *path = NULL;
        if (asprintf(&path, "%s/%s", directory, *names) < 0)
            return organ_fail_memory(error, directory);
        organ_check_report_place(path, error);
    }
    return error->status;
}

const char *organ_output_like(const organ_model *model)
{
    return model->whole_directory || model->manifest ? model->directory : NULL;
}

organ_status organ_output_check_parts(const organ_output *output, const organ_model *model, organ_error *error)
{
    for (size_t f = 0; f < output->part_count && !error->status; f++) {
        ORGAN_OWNED char *const path = organ_format("%.*s%s", (int)(organ_output_name(output) - output->path),
                                                    output->path, output->parts[f].name);
        if (!path)
            organ_fail_memory(error, output->path);
        else if (organ_output_check_not_input(path, model, error) == ORGAN_OK)
            organ_publish_check(path, output->like, output->force, error);
    }
    return error->status;
}

unsigned organ_output_closed(const organ_model *model)
{
    unsigned closed = model->whole_directory ? organ_closed_modes(model->directory) : 0;
    for (size_t f = 0; f < model->file_count && !model->whole_directory; f++)
        closed |= model->files[f].remote ? 0 : organ_closed_modes(model->files[f].path);
    return closed;
}

organ_status organ_output_check(const char *path, const char *like, bool force, organ_error *error)
{
    return path ? organ_publish_check(path, like, force, error) : ORGAN_OK;
}

organ_status organ_output_still_free(const char *path, const char *like, bool force, organ_error *error)
{
    if (organ_output_check(path, like, force, error) != ORGAN_USAGE)
        return error->status;
    const organ_error found = *error;
    *error = (organ_error){0};
    organ_fail(error, ORGAN_IO, "the name of the output was free when the run began: %s", found.message);
    error->errnum = EEXIST;
    return error->status;
}

/* The seal of the file is not checked, because that would need memory. */
void organ_output_remove_report(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISREG(info.st_mode) &&
        (info.st_size == 0 || organ_is_report_start_at(AT_FDCWD, path, &(organ_error){0})))
        unlink(path);
}

/* A run without a journal cannot be continued, so it always replaces the files of an interrupted run. */
static organ_publish_mode mode_of(const organ_output *output, bool resume)
{
    return (organ_publish_mode){.resume = resume,
                                .force = output->force,
                                .discard = !output->journal,
                                .journal = output->journal,
                                .closed = output->closed};
}

static organ_status begin_partial(organ_output *output, bool resume, organ_error *error)
{
    return organ_publish_begin(output->path, output->like, mode_of(output, resume), &output->publish, error);
}

organ_status organ_output_try(const organ_output *output, organ_error *error)
{
    const organ_publish_mode mode = mode_of(output, output->journal && output->resume);
    return output->path ? organ_publish_try(output->path, output->like, mode, error) : ORGAN_OK;
}

/* An interrupted run that had no journal, or wrote no first line into it, cannot be continued: its hidden directory
 * is removed and a new one is created. */
static organ_status begin_journal(organ_output *output, organ_error *error)
{
    if (organ_run_journal_open(&output->publish, output->journal, error) || !output->publish.resumed ||
        json_array_size(output->journal->lines) > 0)
        return error->status;
    organ_run_journal_close(output->journal);
    organ_publish_abandon(&output->publish);
    organ_publish_end(&output->publish);
    return begin_partial(output, /*resume=*/false, error)
               ? error->status
               : organ_run_journal_open(&output->publish, output->journal, error);
}

organ_status organ_output_begin(organ_output *output, uint64_t bytes, organ_error *error)
{
    output->started = organ_seconds_now();
    output->publish = (organ_publish){.lock = -1};
    if (organ_publish_check(output->path, output->like, output->force, error))
        return error->status;
    if (begin_partial(output, output->journal && output->resume, error) == ORGAN_OK) {
        if ((output->journal && begin_journal(output, error)) ||
            (!output->publish.resumed &&
             organ_transfer_room(output->publish.partial, output->path, "the output needs", bytes, error)))
            organ_output_end(output, error);
    } else if (output->publish.resumed && error->status == ORGAN_IO)
        organ_output_end(output, error); /* the message says that the unfinished run can still be continued */
    else
        organ_publish_end(&output->publish);
    return error->status;
}

/* Rank 0 writes a unique token into the hidden directory that the others must find, then every rank writes a mark
 * and reads the marks of all ranks. If that fails, the ranks do not share a file system. */
static organ_status output_share(organ_output *output, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    const bool first = organ_ranks_first(output->ranks);
    char token[ORGAN_PARTIAL_TOKEN] = "";
    if (!output->ranks)
        return error->status;
    if (first && !error->status) {
        snprintf(token, sizeof token, "%.32s%c", output->publish.token, output->publish.resumed ? 'r' : 'n');
        organ_publish_set_token(&output->publish, token, error);
    }
    organ_ranks_gather(output->ranks, "creating the output", token, first ? strlen(token) : 0, &all, error);
    if (!first && !error->status && organ_publish_join(output->path, all.of[0], &output->publish, error) == ORGAN_OK) {
        output->started = organ_seconds_now();
        output->publish.resumed = organ_ends_with(all.of[0], "r");
    }
    output->publish.writers = organ_ranks_count(output->ranks);
    if (organ_ranks_agree(output->ranks, "checking that the output is visible", error) == ORGAN_OK)
        organ_publish_mark(&output->publish, organ_ranks_rank(output->ranks), error);
    if (organ_ranks_agree(output->ranks, "marking the output", error) == ORGAN_OK)
        organ_publish_verify(&output->publish, organ_ranks_count(output->ranks), error);
    return organ_ranks_agree(output->ranks, "checking the marks", error);
}

organ_status organ_output_begin_together(organ_output *output, uint64_t bytes, bool *begun, organ_error *error)
{
    *begun = !organ_ranks_first(output->ranks) || organ_output_begin(output, bytes, error) == ORGAN_OK;
    return output_share(output, error);
}

const char *organ_output_directory(const organ_output *output) { return output->publish.partial; }

static organ_status remove_file(const organ_output *output, const char *name, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_publish_path(&output->publish, name);
    if (!path)
        organ_fail_memory(error, output->path);
    else if (organ_remove_file(path))
        organ_fail_errno(error, errno, "%s: cannot be removed", path);
    return error->status;
}

organ_status organ_output_clear_rest(const organ_output *output, bool (*keeps)(const void *context, const char *name),
                                     const void *context, organ_error *error)
{
    static const char *const kept[] = {ORGAN_JOURNAL_NAME, ORGAN_CHOICES_NAME};
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list there = {0};
    if (organ_list_files(organ_output_directory(output), kept, 2, &there, error))
        return error->status;
    for (size_t k = 0; k < there.count && !error->status; k++)
        if (!keeps(context, there.names[k]))
            remove_file(output, there.names[k], error);
    return error->status;
}

organ_status organ_output_sync(organ_output *output, organ_error *error)
{
    organ_transfer_sync(output->publish.partial, error);
    output->seconds = organ_seconds_now() - output->started;
    return error->status;
}

/* Names the model's files, then the reports. */
static organ_status commit_files(organ_output *output, const char *journal, organ_error *error)
{
    size_t count = 0;
    ORGAN_OWNED const char **const names = calloc(ORGAN_PUBLISH_FILES + 1, sizeof *names);
    if (!names)
        return organ_fail_memory(error, output->path);
    names[count++] = organ_output_name(output);
    for (size_t f = 1; f < output->part_count; f++)
        names[count++] = output->parts[f].name;
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS && output->reports[k]; k++)
        names[count++] = output->reports[k];
    return organ_publish_commit_files(&output->publish, names, journal, error);
}

organ_status organ_output_end(organ_output *output, organ_error *error)
{
    const char *const journal = output->journal ? ORGAN_JOURNAL_NAME : NULL;
    const bool first = organ_ranks_first(output->ranks);
    /* If memory ran out anywhere, the output is not published: its report could lack members. */
    if (first && !error->status && organ_memory_work_check(output->path, error) == ORGAN_OK) {
        if (output->single)
            commit_files(output, journal, error);
        else
            organ_publish_commit(&output->publish, journal, error);
        organ_error_set_output(error, output->path);
    }
    if (output->journal)
        output->journal->resumed_by = output->resumed_by;
    if (first && error->status && output->journal)
        organ_run_finish(&output->publish, output->journal, output->done, output->all, error);
    else if (first && error->status)
        organ_publish_abandon(&output->publish);
    organ_publish_end(&output->publish);
    for (size_t k = 0; k < ORGAN_OUTPUT_REPORTS; k++)
        organ_clear(&output->reports[k]);
    return error->status;
}

double organ_output_seconds(const organ_output *output, const organ_engine *engine)
{
    return output->seconds + (engine->began > 0 && output->seconds > 0 ? output->started - engine->began : 0.0);
}

static json_t *run_json(const organ_output *output, uint64_t bytes, double seconds)
{
    return ORGAN_OBJECT(SET_BYTES_OF("output", output->path), SET_REAL("seconds", organ_rounded_seconds(seconds)),
                        SET_REAL("bytes_per_second", seconds > 0 ? round((double)bytes / seconds) : 0.0),
                        SET_IF(output->journal, "resumed", json_boolean(output->publish.resumed)),
                        SET_IF(output->seconds > 0, "activity", organ_run_activity_json()));
}

json_t *organ_output_run(const organ_output *output, uint64_t bytes)
{
    return run_json(output, bytes, output->seconds);
}

json_t *organ_output_run_on(const organ_output *output, uint64_t bytes, const char *model, const organ_engine *engine)
{
    return organ_json_joined(
        run_json(output, bytes, organ_output_seconds(output, engine)),
        ORGAN_OBJECT(SET_BYTES("model", model), SET_COUNT("threads", organ_workers_count(engine->workers)),
                     SET_TEXT("cpu_isa", engine->kernels->isa), SET_FLAG("single_file", output->single)));
}
