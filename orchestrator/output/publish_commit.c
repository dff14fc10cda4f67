/* SPDX-License-Identifier: MIT
 * Gives finished outputs their names (publish.h). */
#include "orchestrator/output/journal.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/rename_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* `fault` is an errno. */
static organ_status fail_names(const organ_publish *publish, int fault, organ_error *error)
{
    return organ_fail_errno(error, fault, "%s: cannot be synchronised with the disk", publish->partial);
}

/* A missing file is no error. */
static organ_status remove_entry(const organ_publish *publish, const char *name, organ_error *error)
{
    if (unlinkat(publish->lock, name, 0) && errno != ENOENT)
        return organ_fail_errno(error, errno, "%s/%s: cannot be removed", publish->partial, name);
    return error->status;
}

/* Without the mark the output is complete (ORGAN_OUTPUT_KEPT). */
static organ_status remove_mark(organ_publish *publish, organ_error *error)
{
    if (remove_entry(publish, ORGAN_GROWING_MARK, error))
        return error->status;
    publish->stage = ORGAN_OUTPUT_KEPT;
    if (publish->mark >= 0)
        close(publish->mark);
    publish->mark = -1;
    return ORGAN_OK;
}

/* A folder that contains reports stays, without an error. */
static organ_status remove_journal_folder(const organ_publish *publish, organ_error *error)
{
    if (unlinkat(publish->lock, ORGAN_JOURNAL_FOLDER, AT_REMOVEDIR) && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s/%s: cannot be removed", publish->partial, ORGAN_JOURNAL_FOLDER);
    return error->status;
}

/* All data of the output is on the disk. `names` are the files of the output, terminated by NULL; NULL: the output
 * is the whole partial directory. If `journal` is NULL, creates the note as a new file. Otherwise removes the
 * journals of the other ranks, and renames `journal`, with the line of the note, to the note. */
static organ_status write_finished_note(const organ_publish *publish, const char *const *names, const char *journal,
                                        organ_error *error)
{
    organ_naming_note note = {.force = publish->force};
    struct stat info;
    for (size_t r = 1; journal && r < publish->writers && !error->status; r++) {
        char name[64];
        snprintf(name, sizeof name, ORGAN_JOURNAL_OF_RANK, r);
        remove_entry(publish, name, error);
    }
    for (size_t k = 0; k < ORGAN_NAMING_MAX && !error->status && (names ? names[k] != NULL : k == 0); k++) {
        if (names ? fstatat(publish->lock, names[k], &info, AT_SYMLINK_NOFOLLOW) : fstat(publish->lock, &info))
            organ_fail_errno(error, errno, "%s: cannot be examined", publish->partial);
        note.nodes[note.count++] = info.st_ino;
    }
    const int at = journal ? publish->lock : AT_FDCWD;
    const int fault =
        error->status ? 0 : organ_naming_note_append(at, journal ? journal : publish->note, !journal, &note);
    if (fault)
        organ_fail_errno(error, fault, "%s: cannot be written", publish->note);
    if (error->status || !journal)
        return error->status;
    if (organ_publish_move_journal(publish, journal, /*back=*/false, error) == ORGAN_OK &&
        remove_entry(publish, ORGAN_CHOICES_NAME, error) == ORGAN_OK)
        remove_journal_folder(publish, error);
    return error->status;
}

static int sync_folder(const char *path)
{
    ORGAN_OWNED_FILE const int fd = organ_open(path, O_RDONLY | O_DIRECTORY, 0);
    return fd >= 0 && organ_sync_file(fd) == 0 ? 0 : errno;
}

organ_status organ_sync_directory(const char *path, organ_error *error)
{
    const int fault = sync_folder(path);
    return fault ? organ_fail_errno(error, fault, "%s: cannot be synchronised with the disk", path) : ORGAN_OK;
}

/* ---- renaming ---- */

/* The plan is made, with all its allocations, before the mark of the output is removed. Afterwards no allocation can
 * fail: either the output gets its name, or the message states how to rename it. */
typedef struct naming_plan {
    char *grown, *final; /* present and final path */
    char *command;       /* shell command that renames the output by hand, for messages */
} naming_plan;

static void free_plan(naming_plan *plan) { ORGAN_FREE_ARRAYS(plan->grown, plan->final, plan->command); }

/* The present path is file `name` of the partial directory, or that directory if `name` is NULL. The new path is
 * `final`, or `name` in the parent directory if `final` is NULL. `note` (NULL: none) stays if the directory cannot
 * be renamed; the command for the user then also removes it. If `name` is not NULL, `note` is not used. The caller
 * frees *plan with free_plan. */
static organ_status plan_name(const organ_publish *publish, const char *name, const char *final, const char *note,
                              naming_plan *plan, organ_error *error)
{
    plan->grown = name ? organ_publish_path(publish, name) : strdup(publish->partial);
    plan->final = final ? strdup(final) : organ_format("%s/%s", publish->parent, name);
    plan->command =
        plan->grown && plan->final ? organ_rename_command(plan->grown, plan->final, name ? NULL : note) : NULL;
    return plan->command ? ORGAN_OK : organ_fail_memory(error, publish->final);
}

/* An output of single files has the stage ORGAN_OUTPUT_NAMED as soon as its first file, the model, is renamed, even
 * if a report cannot be renamed afterwards. If the renaming fails, `error` has the command that the user can run. */
static organ_rename_result publish_rename(organ_publish *publish, const naming_plan *plan, organ_error *error)
{
    int fault;
    const organ_replace_policy way = publish->force ? ORGAN_REPLACE_OUTPUTS : ORGAN_REPLACE_NOTHING;
    const organ_rename_result naming = organ_rename_output(plan->grown, plan->final, way, publish->like, &fault, error);
    if (naming == ORGAN_RENAME_EXISTS || naming == ORGAN_RENAME_FAILED)
        organ_rename_fail(plan->grown, plan->final, plan->command, naming, fault, error);
    else
        publish->stage = ORGAN_OUTPUT_NAMED;
    return naming;
}

static organ_status fail_unsynchronised(const organ_publish *publish, const char *path, int errnum, organ_error *error)
{
    return organ_fail_errno(error, errnum,
                            "%.300s is complete, but %.300s cannot be synchronised with the disk: after a power "
                            "failure the name may be missing",
                            publish->final, path);
}

/* The file system has locks that do not reach the other run. */
static organ_status fail_lost(organ_publish *publish, organ_error *error)
{
    publish->stage = ORGAN_OUTPUT_LOST;
    return organ_fail(error, ORGAN_IO,
                      "%.300s: another run has taken over %.300s during this one, which is not published: the locks of "
                      "this file system do not reach all hosts",
                      publish->final, publish->partial);
}

/* Called before each step that publishes. Fails if the path no longer leads to the directory of this run, or if
 * another run has written its token into the mark. */
static organ_status check_own(organ_publish *publish, organ_error *error)
{
    return organ_partial_is_at(&(organ_partial){publish->lock, -1}, publish->partial) &&
                   !organ_partial_is_foreign(publish->lock, publish->token)
               ? ORGAN_OK
               : fail_lost(publish, error);
}

/* The mark has the permissions of every new file: if it has none that must be removed, no file has. */
static organ_status close_files(const organ_publish *publish, organ_error *error)
{
    struct stat info;
    const bool open = publish->closed && (fstat(publish->mark, &info) || info.st_mode & publish->closed);
    const int fault = open ? organ_close_modes(publish->lock, publish->closed) : 0;
    return fault ? organ_fail_errno(error, fault, "%s: permissions cannot be changed", publish->partial) : ORGAN_OK;
}

/* Another run may have taken the path of the partial directory before the renaming. */
static bool another_was_named(const organ_publish *publish)
{
    struct stat info;
    ORGAN_OWNED char *const mark = organ_format("%s/" ORGAN_GROWING_MARK, publish->final);
    const bool other =
        mark && !organ_partial_is_at(&(organ_partial){publish->lock, -1}, publish->final) && lstat(mark, &info) == 0;
    return other;
}

/* If another output has the name, locks that first: until this run has removed it, no other run takes it for an
 * unfinished output. *former becomes that lock. */
static organ_rename_result rename_directory(organ_publish *publish, const naming_plan *plan, organ_partial *former,
                                            organ_error *error)
{
    int ignored;
    if (publish->force)
        organ_partial_lock(publish->final, former, &ignored);
    organ_held_folder_drop(publish->held); /* from here on the path is used for the directory itself */
    publish->held = NULL;
    if (!organ_partial_is_at(&(organ_partial){publish->lock, -1}, publish->partial)) {
        fail_lost(publish, error);
        return ORGAN_RENAME_FAILED;
    }
    const organ_rename_result naming = publish_rename(publish, plan, error);
    if (publish->stage != ORGAN_OUTPUT_NAMED)
        return naming;
    if (another_was_named(publish)) {
        organ_rename_file(publish->final, publish->partial,
                          naming == ORGAN_RENAMED_REPLACING ? RENAME_EXCHANGE : RENAME_NOREPLACE);
        fail_lost(publish, error);
        return ORGAN_RENAME_FAILED;
    }
    close(publish->lock);
    publish->lock = publish->folder = -1;
    return naming;
}

/* The former output has the path of the partial directory now. First sets the mark of an unfinished output in it: if
 * a kill or a power cut ends the removal, the mark permits the next run to remove the rest. Returns 0 or an errno; 0
 * also if another run has removed it or is removing it. */
static int remove_former_output(const organ_publish *publish, organ_partial *former, const char *note)
{
    int fault = 0;
    if (former->folder < 0 || !organ_partial_is_at(former, publish->partial)) {
        organ_partial_unlock(former);
        const organ_partial_state state = organ_partial_lock(publish->partial, former, &fault);
        if (state == ORGAN_PARTIAL_UNKNOWN && fault == ELOOP)
            return unlink(publish->partial) ? errno : 0;
        if (state != ORGAN_PARTIAL_LOCKED || former->mark >= 0) /* with a mark, it is of another run */
            return state == ORGAN_PARTIAL_UNKNOWN || state == ORGAN_PARTIAL_LOCKLESS ? fault : 0;
    }
    organ_partial_set_mark(former, ""); /* without the mark, the next run keeps the rest and says so */
    return organ_partial_remove(former, publish->partial, note);
}

/* First synchronises the parent directory and at last removes the note: in the reverse order, a power cut could
 * leave a part of the former output under the name. `removes` includes the former output or the directory in which
 * single files were written (`rest`). If something cannot be removed, the note stays, and the next run removes both. */
static void end_named(const organ_publish *publish, organ_partial *rest, bool removes, organ_error *error)
{
    struct stat info;
    const bool failed = error->status != ORGAN_OK;
    const int fault = failed ? 0 : sync_folder(publish->parent);
    const int remains = removes && !failed ? remove_former_output(publish, rest, publish->note) : 0;
    if (remains)
        organ_fail_errno(error, remains,
                         "%.300s is complete, but the output that it replaced cannot be removed from %.300s",
                         publish->final, publish->partial);
    else if (lstat(publish->partial, &info) && unlink(publish->note) && errno != ENOENT && !failed)
        organ_fail_errno(error, errno, "%.300s is complete, but %.300s cannot be removed", publish->final,
                         publish->note);
    if (fault && !error->status)
        fail_unsynchronised(publish, publish->parent, fault, error);
}

/* A finished output that could not be renamed keeps its note if the note has a journal, so that the same command can
 * continue. */
static void end_commit(const organ_publish *publish, const char *journal, organ_partial *rest, bool removes,
                       organ_error *error)
{
    if (publish->stage == ORGAN_OUTPUT_NAMED)
        end_named(publish, rest, removes, error);
    else if (publish->stage == ORGAN_OUTPUT_KEPT && !journal)
        unlink(publish->note);
}

/* Reports, journal and mark were created or removed in both directories after the data was synchronised. Returns 0
 * or an errno. */
static int sync_names(const organ_publish *publish)
{
    ORGAN_OWNED_FILE const int folder =
        organ_open_at(publish->lock, ORGAN_JOURNAL_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    int fault = folder >= 0 || errno == ENOENT ? 0 : errno;
    if (folder >= 0 && organ_sync_file(folder))
        fault = errno;
    return fault == 0 && organ_sync_file(publish->lock) ? errno : fault;
}

/* The order of the steps ensures that after a crash an incomplete output never has the final name. */
organ_status organ_publish_commit(organ_publish *publish, const char *journal, organ_error *error)
{
    naming_plan plan = {0};
    organ_partial former = {-1, -1};
    int fault = sync_names(publish);
    if (fault ? fail_names(publish, fault, error)
              : plan_name(publish, /*name=*/NULL, publish->final, journal ? publish->note : NULL, &plan, error)) {
        free_plan(&plan);
        return error->status;
    }
    organ_rename_result naming = ORGAN_RENAME_FAILED;
    if (close_files(publish, error) == ORGAN_OK && check_own(publish, error) == ORGAN_OK &&
        write_finished_note(publish, /*names=*/NULL, journal, error) == ORGAN_OK &&
        remove_mark(publish, error) == ORGAN_OK) {
        fault = sync_names(publish); /* removed and synchronised before the renaming, so that a directory with the final
                                        name never has the mark or a journal */
        if (publish->empty)
            rmdir(publish->final); /* fails if another program has put a file into it */
        naming = rename_directory(publish, &plan, &former, error);
    }
    free_plan(&plan);
    end_commit(publish, journal, &former, naming == ORGAN_RENAMED_REPLACING, error);
    organ_partial_unlock(&former);
    if (error->status)
        return error->status;
    return fault ? fail_unsynchronised(publish, publish->final, fault, error) : ORGAN_OK;
}

/* If another file had the name, removes that file at once, because the partial directory must be empty in the end. */
static organ_status commit_file(organ_publish *publish, const naming_plan *plan, organ_error *error)
{
    if (publish_rename(publish, plan, error) == ORGAN_RENAMED_REPLACING && organ_remove_tree(plan->grown))
        organ_fail_errno(error, errno, "%s: cannot be removed", plan->grown);
    return error->status;
}

organ_status organ_publish_commit_files(organ_publish *publish, const char *const *names, const char *journal,
                                        organ_error *error)
{
    ORGAN_OWNED naming_plan *const plans = calloc(ORGAN_PUBLISH_FILES, sizeof *plans);
    size_t count = 0;
    const int fault = sync_names(publish);
    if (!plans)
        organ_fail_memory(error, publish->final);
    else if (fault)
        fail_names(publish, fault, error);
    for (; !error->status && names[count]; count++)
        plan_name(publish, names[count], count == 0 ? publish->final : NULL, /*note=*/NULL, &plans[count], error);
    if (!error->status && close_files(publish, error) == ORGAN_OK && check_own(publish, error) == ORGAN_OK)
        write_finished_note(publish, names, journal,
                            error); /* so that a later run does not treat the finished output as unfinished */
    if (!error->status)
        remove_mark(publish, error);
    if (!error->status && publish->empty)
        rmdir(publish->final); /* fails if another program has put a file into it */
    for (size_t k = 0; k < count && !error->status; k++)
        commit_file(publish, &plans[k], error);
    for (size_t k = 0; k < count; k++)
        free_plan(&plans[k]);
    organ_partial own = {-1, -1};
    if (publish->stage == ORGAN_OUTPUT_NAMED) {
        organ_held_folder_drop(publish->held);
        publish->held = NULL;
        own.folder = publish->lock;
        publish->lock = publish->folder = -1;
    }
    end_commit(publish, journal, &own, /*removes=*/true, error);
    organ_partial_unlock(&own);
    return error->status;
}

organ_status organ_publish_keep(organ_publish *publish, const char *journal, organ_error *error)
{
    *error = (organ_error){0};
    if (organ_publish_move_journal(publish, journal, /*back=*/false, error) == ORGAN_OK &&
        remove_journal_folder(publish, error) == ORGAN_OK && remove_mark(publish, error) == ORGAN_OK)
        organ_publish_fail_awaiting(publish, error);
    return error->status;
}
