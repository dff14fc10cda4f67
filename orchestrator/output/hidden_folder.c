/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/hidden_folder.h"

#include "formats/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *organ_hidden_path(const char *output, const char *ending)
{
    const size_t length = organ_path_length(output);
    const char *name = output + length;
    while (name > output && name[-1] != '/')
        name--;
    return organ_format("%.*s.%.*s.%s", (int)(name - output), output, (int)(output + length - name), name, ending);
}

organ_status organ_hidden_path_check(const char *path, organ_error *error)
{
    struct stat info;
    if (lstat(path, &info) || S_ISDIR(info.st_mode))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: is a %s, but a run needs this name for a temporary directory: remove or rename it", path,
                      S_ISLNK(info.st_mode) ? "symbolic link" : "file");
}

static organ_status lock_folder(const char *path, const char *final, organ_partial *held, organ_error *error)
{
    bool made = true;
    int fault = 0;
    if (organ_hidden_path_check(path, error))
        return error->status;
    const organ_partial_state state = organ_partial_take(path, 0700, held, &made, &fault);
    return made ? organ_partial_judge(state, path, final, fault, error)
                : organ_fail_errno(error, fault, "%s: cannot be made", path);
}

organ_status organ_hidden_folder_open(const char *path, const char *final, organ_ranks *ranks,
                                      organ_hidden_folder *folder, organ_error *error)
{
    *folder = (organ_hidden_folder){.held = {-1, -1}, .shared = !organ_ranks_first(ranks)};
    char *const own = strdup(path);
    if (!own)
        return organ_fail_memory(error, path);
    if (!folder->shared && lock_folder(path, final, &folder->held, error)) {
        free(own);
        return error->status;
    }
    folder->path = own;
    return ORGAN_OK;
}

static organ_status temporary_folder(organ_hidden_folder *folder, organ_error *error)
{
    const char *const under = getenv("TMPDIR");
    char *const made = organ_format("%s/organ-outline-XXXXXX", under && *under ? under : "/tmp");
    if (!made)
        return organ_fail_memory(error, "an outline");
    if (mkdtemp(made)) {
        folder->path = made;
        return ORGAN_OK;
    }
    organ_fail_errno(error, errno, "%s: cannot be made", made);
    free(made);
    return error->status;
}

organ_status organ_outline_folder_open(const char *output, const char *ending, organ_ranks *ranks,
                                       organ_hidden_folder *folder, organ_error *error)
{
    *folder = (organ_hidden_folder){.held = {-1, -1}};
    if (!output)
        return temporary_folder(folder, error);
    const size_t rank = organ_ranks_rank(ranks);
    ORGAN_OWNED char *const own = rank ? organ_format("%s.rank%zu", ending, rank) : strdup(ending);
    ORGAN_OWNED char *const path = own ? organ_hidden_path(output, own) : NULL;
    if (!path)
        organ_fail_memory(error, output);
    else if (organ_hidden_folder_open(path, output, NULL, folder, error) == ORGAN_OK) {
        const int fault = organ_partial_clear(&folder->held);
        if (fault)
            organ_fail_errno(error, fault, "%s: what an earlier run left cannot be removed", path);
    }
    return error->status;
}

void organ_hidden_folder_leave(organ_hidden_folder *folder)
{
    if (folder->path && !folder->shared)
        organ_partial_unlock(&folder->held);
    free(folder->path);
    *folder = (organ_hidden_folder){0};
}

organ_status organ_hidden_folder_remove(organ_hidden_folder *folder, organ_error *error)
{
    if (folder->path && !folder->shared && organ_remove_tree(folder->path) && errno != ENOENT && !error->status)
        organ_fail_errno(error, errno, "%s: this temporary directory cannot be removed: remove it", folder->path);
    organ_hidden_folder_leave(folder);
    return error->status;
}

/* ---- a temporary model ---- */

organ_status organ_hidden_model_name(organ_hidden_model *m, const char *output, const char *ending, const char *name,
                                     organ_error *error)
{
    m->folder = organ_hidden_path(output, ending);
    m->path = m->folder ? organ_format("%s/%s", m->folder, name) : NULL;
    m->partial = m->path ? organ_publish_partial(m->path) : NULL;
    return m->partial ? organ_hidden_path_check(m->folder, error) : organ_fail_memory(error, output);
}

/* ---- the steps ---- */

static organ_status drop_outline(organ_hidden_model *m, organ_error *error)
{
    organ_clear(&m->outline);
    return organ_hidden_folder_remove(&m->sketch, error);
}

static organ_status make_outline(organ_hidden_model *m, const organ_steps *steps, const organ_progress *progress,
                                 organ_error *error)
{
    if (steps->sketch && organ_outline_folder_open(m->output, steps->sketch, m->ranks, &m->sketch, error))
        return error->status;
    if (steps->sketch && !(m->outline = organ_format("%s/%s", m->sketch.path, steps->name)))
        return organ_fail_memory(error, m->sketch.path);
    return steps->outline(steps->context, progress, error);
}

static organ_status enter_folder(organ_hidden_model *m, const organ_steps *steps, organ_error *error)
{
    const bool begun = access(m->folder, F_OK) == 0;
    m->begun = true;
    organ_hidden_folder_open(m->folder, m->output, m->ranks, &m->entered, error);
    if (!organ_ranks_agree(m->ranks, "the directory of the temporary model", error) && steps->enter)
        steps->enter(steps->context, begun, error);
    return organ_ranks_agree(m->ranks, "what the temporary model needs", error);
}

/* A model that is not in the record of its inputs is removed. */
static organ_status settle_model(organ_hidden_model *m, const organ_steps *steps, const char *record, bool *whole,
                                 organ_error *error)
{
    if (steps->resume)
        organ_run_record_check(record, steps->inputs, json_object(), m->output, steps->key, m->path, whole, error);
    m->refused = error->status == ORGAN_USAGE;
    if (!error->status && !*whole && organ_ranks_first(m->ranks)) {
        if (access(m->path, F_OK) == 0 && organ_remove_tree(m->path))
            organ_fail_errno(error, errno, "%s: cannot be removed", m->path);
        else
            organ_run_record_begin(record, steps->inputs, json_object(), error);
    }
    return organ_ranks_agree(m->ranks, "the record of the temporary model", error);
}

static organ_status reuse_model(const organ_hidden_model *m, const organ_steps *steps, const organ_progress *progress,
                                json_t **report, organ_error *error)
{
    organ_model *model = NULL;
    if (organ_model_open(m->path, &model, error) == ORGAN_OK &&
        !(*report = organ_own_report(model, steps->report, error)) && !error->status)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: has no report: `force` starts over", m->path);
    if (*report)
        json_object_del(*report, "file"); /* as the run that finished the model had it */
    organ_warnings_repeat(*report, progress);
    organ_model_close(model);
    return error->status;
}

static organ_status make_model(organ_hidden_model *m, const organ_steps *steps, const organ_progress *progress,
                               json_t **report, organ_error *error)
{
    bool whole = false;
    organ_error own = {0}; /* the model is not the output that a later error would call complete */
    if (enter_folder(m, steps, error))
        return error->status;
    ORGAN_OWNED char *const record = organ_format("%s/inputs.json", m->folder);
    if (!record)
        organ_fail_memory(error, m->folder);
    else if (settle_model(m, steps, record, &whole, error) == ORGAN_OK && whole)
        reuse_model(m, steps, progress, report, error);
    else if (!error->status &&
             steps->make(steps->context, steps->resume && organ_publish_is_begun(m->path), report, &own))
        *error = own;
    else if (!error->status && organ_ranks_first(m->ranks))
        organ_run_record_end(record, steps->key, m->path, error);
    return organ_ranks_agree(m->ranks, "the end of the temporary model", error);
}

organ_status organ_steps_run(organ_hidden_model *m, const organ_steps *steps, const organ_progress *progress,
                             json_t **made, json_t **report, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *tried = NULL;
    const organ_progress *const shown = steps->dry ? progress : NULL;
    if (steps->outline)
        make_outline(m, steps, shown, error);
    if (organ_ranks_agree(m->ranks, "the outline of the temporary model", error) == ORGAN_OK &&
        (steps->tries || steps->dry))
        steps->last(steps->context, m->outline, /*try=*/true, shown, steps->dry ? report : &tried, error);
    if (steps->dry)
        return error->status;
    drop_outline(m, error);
    if (organ_ranks_agree(m->ranks, "the try of the last step", error) || make_model(m, steps, progress, made, error))
        return error->status;
    return steps->last(steps->context, m->path, /*try=*/false, progress, report, error);
}

/* ---- the end ---- */

/* The message says that the model stays. */
static void say_kept(const organ_hidden_model *m, organ_error *error)
{
    const organ_error met = *error;
    *error = (organ_error){0};
    organ_fail(error, met.status, "%.700s; %.200s stays: `resume` continues the run", met.message, m->folder);
    error->errnum = met.errnum;
}

void organ_hidden_model_close(organ_hidden_model *m, bool keep, organ_error *error)
{
    const bool stopped = error->status == ORGAN_INTERRUPTED || error->status == ORGAN_IO;
    organ_error met = *error;
    drop_outline(m, error);
    if (m->begun) /* waits until all ranks have closed the model; `error` stays that of this rank */
        organ_ranks_agree(m->ranks, "the end of the steps", &met);
    if (m->entered.path && !m->refused && !(stopped && keep))
        organ_hidden_folder_remove(&m->entered, error);
    else if (m->entered.path && !m->refused && !strstr(error->message, "resume"))
        say_kept(m, error);
    organ_hidden_folder_leave(&m->entered);
    organ_run_names_release(&m->names);
    ORGAN_FREE_ARRAYS(m->folder, m->path, m->partial);
    *m = (organ_hidden_model){0};
}
