/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/publish.h"

#include "formats/base/file_calls.h"
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/rename_output.h"
#include "orchestrator/stream/journal.h"
#include "orchestrator/stream/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Returns whether `path` is a directory without entries; false also if the directory cannot be read. */
static bool is_empty_directory(const char *path)
{
    DIR *directory = organ_open_folder(path);
    if (!directory)
        return false;
    size_t entries = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) && entries == 0;)
        entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return entries == 0;
}

/* Sets publish->final, parent, partial and note from the user's path. Returns ORGAN_USAGE if the path is empty, or if
 * its last component is ".", ".." or the root. */
organ_status organ_publish_split(const char *path, organ_publish *publish, organ_error *error)
{
    publish->final = strdup(path);
    char *for_parent = strdup(path), *for_name = strdup(path);
    if (publish->final && for_parent && for_name) {
        publish->final[organ_path_length(publish->final)] = '\0';
        const char *name = basename(for_name);
        publish->parent = strdup(dirname(for_parent));
        if (*path == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0)
            organ_fail(error, ORGAN_USAGE, "'%s' cannot be the name of an output", path);
        else if (publish->parent)
            publish->partial = organ_format("%s/.%s.organ-partial", publish->parent, name);
        if (publish->partial)
            publish->note = organ_format("%s/.%s.organ-finished", publish->parent, name);
    }
    free(for_parent);
    free(for_name);
    return error->status || publish->note ? error->status : organ_fail_memory(error, path);
}

/* Opens and locks the partial directory, and keeps the descriptor in publish->lock. Returns ORGAN_USAGE if another
 * process has locked it. */
static organ_status lock_partial(organ_publish *publish, organ_error *error)
{
    publish->lock = organ_open(publish->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (publish->lock < 0)
        return organ_fail_errno(error, errno, "%s: cannot be opened", publish->partial);
    if (flock(publish->lock, LOCK_EX | LOCK_NB)) {
        const int errnum = errno;
        close(publish->lock);
        publish->lock = -1;
        if (errnum == EWOULDBLOCK)
            return organ_fail(error, ORGAN_USAGE, "%s: another process is writing this output", publish->final);
        return organ_fail_errno(error, errnum, "%s: cannot be locked against other writers", publish->partial);
    }
    return ORGAN_OK;
}

/* ---- the mark (ORGAN_GROWING_MARK), a file in every unfinished output; a complete output has none ---- */

/* Fails because the partial directory could not be synchronised; `fault` is the errno. */
static organ_status fail_names(const organ_publish *publish, int fault, organ_error *error)
{
    return organ_fail_errno(error, fault, "%s: cannot be synchronised with the disk", publish->partial);
}

/* Creates the mark of an unfinished output in the partial directory and synchronises the directory. */
static organ_status set_mark(const organ_publish *publish, organ_error *error)
{
    const int fd = organ_open_at(publish->lock, ORGAN_GROWING_MARK, O_WRONLY | O_CREAT | O_NOFOLLOW, 0666);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s/%s: cannot be created", publish->partial, ORGAN_GROWING_MARK);
    close(fd);
    /* The mark must be on the disk before any file: otherwise a power cut could leave incomplete files without it, and
     * a later run would accept them as a complete output. */
    return organ_sync_file(publish->lock) ? fail_names(publish, errno, error) : ORGAN_OK;
}

/* Removes file `name` of the partial directory; a missing file is no error. */
static organ_status remove_entry(const organ_publish *publish, const char *name, organ_error *error)
{
    if (unlinkat(publish->lock, name, 0) && errno != ENOENT)
        return organ_fail_errno(error, errno, "%s/%s: cannot be removed", publish->partial, name);
    return error->status;
}

/* Removes the mark, which makes the output complete (ORGAN_OUTPUT_KEPT). */
static organ_status remove_mark(organ_publish *publish, organ_error *error)
{
    if (remove_entry(publish, ORGAN_GROWING_MARK, error) == ORGAN_OK)
        publish->stage = ORGAN_OUTPUT_KEPT;
    return error->status;
}

/* Removes the folder of journals if it is empty. A folder that contains reports stays, without an error. */
static organ_status remove_journal_folder(const organ_publish *publish, organ_error *error)
{
    if (unlinkat(publish->lock, ORGAN_JOURNAL_FOLDER, AT_REMOVEDIR) && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s/%s: cannot be removed", publish->partial, ORGAN_JOURNAL_FOLDER);
    return error->status;
}

/* Renames the journal, a file in the partial directory, to the note next to that directory; with `back`, renames the
 * note to the journal. */
static organ_status move_journal(const organ_publish *publish, const char *journal, bool back, organ_error *error)
{
    const bool moved = back ? renameat(AT_FDCWD, publish->note, publish->lock, journal) == 0
                            : renameat(publish->lock, journal, AT_FDCWD, publish->note) == 0;
    return moved ? ORGAN_OK
                 : organ_fail_errno(error, errno, "%s: the journal cannot be renamed to or from it", publish->note);
}

/* Writes the note of a finished output (naming_note.h), all of whose data is on the disk. `names`: the files of the
 * output, terminated by NULL; NULL: the output is the whole partial directory. If `journal` is NULL, creates the note
 * as a new file. Otherwise `journal` is the journal of rank 0: the function removes the journals of the other ranks,
 * appends the line of the note to `journal` and renames `journal` to the note. It also removes the folder of journals
 * if this is then empty. */
static organ_status write_finished_note(const organ_publish *publish, const char *const *names, const char *journal,
                                        organ_error *error)
{
    organ_naming_note note = {.force = publish->force, .choice = publish->choice};
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
    return move_journal(publish, journal, false, error) ? error->status : remove_journal_folder(publish, error);
}

/* Last step of a commit: removes the output with the run's choices, if publish->choice is set and the output is
 * renamed, and the note of the run. The note stays in two cases. A finished output that could not be renamed keeps its
 * note if the note has a journal, so that the same command can continue. A renamed output keeps its note if the partial
 * directory still exists or the output with the run's choices cannot be removed; the next run then removes these and
 * the note. */
static void end_note(const organ_publish *publish, const char *journal, organ_error *error)
{
    struct stat info;
    const bool kept = publish->stage != ORGAN_OUTPUT_NAMED;
    const bool rest = !kept && (lstat(publish->partial, &info) == 0 ||
                                (publish->choice && organ_naming_remove_choice(publish->final)));
    if (!rest && (!kept || !journal) && unlink(publish->note) && errno != ENOENT && !error->status)
        organ_fail_errno(error, errno, "%.300s is complete, but %.300s cannot be removed", publish->final,
                         publish->note);
}

/* Returns whether the partial directory has an entry of this name. */
static bool entry_exists(const organ_publish *publish, const char *name)
{
    struct stat info;
    return fstatat(publish->lock, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Returns whether the output is a single file, not a directory: its name ends with .gguf or .safetensors. */
static bool is_single(const organ_publish *publish)
{
    return organ_ends_with(publish->final, ".gguf") || organ_ends_with(publish->final, ".safetensors");
}

/* Returns whether the partial directory has the mark of an unfinished output, or a journal. */
static bool is_unfinished(const organ_publish *publish)
{
    return entry_exists(publish, ORGAN_GROWING_MARK) || entry_exists(publish, ORGAN_JOURNAL_NAME);
}

/* Returns whether the partial directory contains nothing of value: it is empty, because a run was killed at its
 * beginning, or the output is a single file that has been renamed and only reports remain, which
 * organ_check_replaceable accepts. */
static bool has_nothing_of_value(const organ_publish *publish)
{
    const char *const name = organ_path_name(publish->final);
    if (is_empty_directory(publish->partial))
        return true;
    return is_single(publish) && !entry_exists(publish, name) &&
           organ_check_replaceable(publish->partial, NULL, &(organ_error){0}) == ORGAN_OK;
}

/* Fails with ORGAN_USAGE because the partial directory contains a finished output without its name. The message has the
 * shell command that renames the output. The run may have taken hours, so only the user may remove the output. */
static organ_status fail_awaiting_name(const organ_publish *publish, organ_error *error)
{
    char *const file = organ_publish_path(publish, organ_path_name(publish->final));
    struct stat info;
    const bool single = file && lstat(file, &info) == 0, noted = lstat(publish->note, &info) == 0;
    char *command = NULL;
    if (single)
        command = organ_rename_command(file, publish->final, NULL);
    else if (file)
        command = organ_rename_command(publish->partial, publish->final, noted ? publish->note : NULL);
    if (command)
        organ_fail(error, ORGAN_USAGE,
                   "%.200s: %.200s contains a finished output that could not be renamed to this name; to discard it, "
                   "remove that directory; to rename it: %.400s",
                   publish->final, publish->partial, command);
    else
        organ_fail_memory(error, publish->final);
    free(command);
    free(file);
    return error->status;
}

/* Returns whether the partial directory contains the finished output that the note lists: the directory, or the model's
 * file in it, has the first inode of the note. */
static bool has_noted_output(const organ_publish *publish, const organ_naming_note *note)
{
    struct stat info;
    const char *const name = is_single(publish) ? organ_path_name(publish->final) : ".";
    return note->there && fstatat(publish->lock, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           info.st_ino == note->nodes[0];
}

/* Turns a finished output back into an unfinished run: sets the mark and renames the note to the journal, which lists
 * all tensors as done. Sets publish->whole and publish->resumed to true unless that fails. */
static organ_status reopen_finished(organ_publish *publish, organ_error *error)
{
    if (mkdirat(publish->lock, ORGAN_JOURNAL_FOLDER, 0777) && errno != EEXIST)
        return organ_fail_errno(error, errno, "%s/%s: cannot be created", publish->partial, ORGAN_JOURNAL_FOLDER);
    if (set_mark(publish, error) == ORGAN_OK)
        move_journal(publish, ORGAN_JOURNAL_NAME, true, error);
    publish->whole = publish->resumed = !error->status;
    return error->status;
}

/* Reopens, removes or rejects the partial directory of an earlier run:
 *   - a finished output whose note has a journal, if the caller uses journals (way.journal): reopens it;
 *   - a finished output of which neither the note nor the caller has a journal: like an unfinished run;
 *   - any other finished output: returns ORGAN_USAGE;
 *   - an unfinished run: continues it with way.resume, else removes it with way.force, else returns ORGAN_USAGE;
 *   - a directory without anything of value: continues it with way.resume, else removes it.
 * Sets publish->resumed if the directory is reopened or continued. */
static organ_status take_over_partial(organ_publish *publish, organ_publish_mode way, organ_error *error)
{
    organ_naming_note note;
    if (lock_partial(publish, error) || organ_naming_note_read(publish->note, &note, error))
        return error->status;
    organ_status refused = ORGAN_OK;
    const bool complete = has_noted_output(publish, &note),
               unfinished = complete ? !note.journal && !way.journal : is_unfinished(publish);
    if (complete && note.journal && way.journal)
        return reopen_finished(publish, error);
    if (!unfinished && (complete || !has_nothing_of_value(publish)))
        refused = fail_awaiting_name(publish, error);
    else if (unfinished && !way.resume && !way.force)
        refused = organ_fail(error, ORGAN_USAGE,
                             "%s: an unfinished run was found in %s: --resume continues it, --force starts over",
                             publish->final, publish->partial);
    publish->resumed = way.resume && !refused;
    if (publish->resumed)
        return set_mark(publish, error);
    close(publish->lock);
    publish->lock = -1;
    if (!refused && organ_remove_tree(publish->partial))
        return organ_fail_errno(error, errno, "%s: cannot be removed", publish->partial);
    if (!refused)
        unlink(publish->note);
    return error->status;
}

/* Creates the partial directory, or continues that of an earlier run. Returns ORGAN_USAGE if the parent directory does
 * not exist. */
static organ_status make_partial(organ_publish *publish, organ_publish_mode way, organ_error *error)
{
    struct stat info;
    const bool exists = stat(publish->parent, &info) == 0;
    if (!exists || !S_ISDIR(info.st_mode))
        return organ_fail(error, ORGAN_USAGE,
                          exists ? "%s: its parent '%s' is not a directory"
                                 : "%s: its parent directory '%s' does not exist",
                          publish->final, publish->parent);
    if (lstat(publish->partial, &info) == 0 && (take_over_partial(publish, way, error) || publish->resumed))
        return error->status;
    if (mkdir(publish->partial, 0777))
        return organ_fail_errno(error, errno, "%s: cannot be created", publish->partial);
    if (lock_partial(publish, error) == ORGAN_OK && set_mark(publish, error) == ORGAN_OK)
        return ORGAN_OK;
    organ_remove_tree(publish->partial);
    return error->status;
}

/* Finishes the renaming of an earlier run that was killed after its output got its name (organ_naming_finish). */
static organ_status finish_killed(const organ_publish *publish, organ_error *error)
{
    const organ_naming_place place = {publish->final, publish->partial, publish->parent, publish->note, publish->like};
    return organ_naming_finish(&place, error);
}

/* First finishes the renaming of an earlier run that was killed. Then returns ORGAN_USAGE if a file or directory has
 * the name publish->final, unless it is an empty directory, or `force` is set and organ_check_replaceable accepts it.
 * publish->final has no slash at its end, because lstat would follow a symbolic link with a slash. */
static organ_status publish_check_place(const organ_publish *publish, organ_error *error)
{
    struct stat info;
    const char *const path = publish->final;
    if (finish_killed(publish, error) == ORGAN_OK && lstat(path, &info) == 0 &&
        !(S_ISDIR(info.st_mode) && is_empty_directory(path)) &&
        organ_check_replaceable(path, publish->like, error) == ORGAN_OK && !publish->force)
        organ_fail(error, ORGAN_USAGE, "%s exists; --force replaces it once the new output is complete", path);
    return error->status;
}

/* Checks whether organ_publish_begin would accept the name, without creating anything. */
organ_status organ_publish_check(const char *final, const char *like, bool force, organ_error *error)
{
    organ_publish publish = {.lock = -1, .like = like, .force = force};
    if (organ_publish_split(final, &publish, error) == ORGAN_OK)
        publish_check_place(&publish, error);
    organ_publish_end(&publish);
    return error->status;
}

/* Sets the paths, checks that the name may be used, and creates or continues the partial directory, locked and with the
 * mark. */
organ_status organ_publish_begin(const char *final, const char *like, organ_publish_mode way, organ_publish *publish,
                                 organ_error *error)
{
    *publish = (organ_publish){.lock = -1, .force = way.force, .like = like};
    if (organ_publish_split(final, publish, error))
        return error->status;
    publish->empty = is_empty_directory(publish->final);
    return publish_check_place(publish, error) ? error->status : make_partial(publish, way, error);
}

/* Finishes the renaming of an earlier run whose output `final` has its name already (organ_naming_finish). */
organ_status organ_publish_finish(const char *final, organ_error *error)
{
    organ_publish publish = {.lock = -1};
    if (organ_publish_split(final, &publish, error) == ORGAN_OK)
        finish_killed(&publish, error);
    organ_publish_end(&publish);
    return error->status;
}

/* Removes a finished output that could not get its name, and its note. An unfinished output stays for --resume. */
organ_status organ_publish_give_up(const char *final, organ_error *error)
{
    organ_publish publish = {.lock = -1};
    struct stat info;
    if (organ_publish_split(final, &publish, error) == ORGAN_OK && lstat(publish.partial, &info) == 0 &&
        lock_partial(&publish, error) == ORGAN_OK && !is_unfinished(&publish)) {
        if (organ_remove_tree(publish.partial))
            organ_fail_errno(error, errno, "%s: cannot be removed", publish.partial);
        else
            unlink(publish.note);
    }
    organ_publish_end(&publish);
    return error->status;
}

/* Returns the path of file `name` in the partial directory; NULL if memory runs out. The caller frees the path. */
char *organ_publish_path(const organ_publish *publish, const char *name)
{
    return organ_format("%s/%s", publish->partial, name);
}

/* Synchronises a directory with the disk. Returns 0 or an errno. */
static int sync_folder(const char *path)
{
    const int fd = organ_open(path, O_RDONLY | O_DIRECTORY, 0);
    const int fault = fd >= 0 && organ_sync_file(fd) == 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    return fault;
}

/* Synchronises a directory with the disk; ORGAN_IO if that fails. */
organ_status organ_sync_directory(const char *path, organ_error *error)
{
    const int fault = sync_folder(path);
    return fault ? organ_fail_errno(error, fault, "%s: cannot be synchronised with the disk", path) : ORGAN_OK;
}

/* ---- renaming ---- */

/* A planned renaming of a complete output or of one of its files. The plan is made, with all its allocations, before
 * the mark of the output is removed. Afterwards no allocation can fail: either the output gets its name, or the message
 * states how to rename it. */
typedef struct naming_plan {
    char *grown, *final; /* present and final path */
    char *command;       /* shell command that renames the output by hand, for messages */
} naming_plan;

static void free_plan(naming_plan *plan)
{
    free(plan->grown);
    free(plan->final);
    free(plan->command);
}

/* Sets *plan, which the caller frees with free_plan. The present path is file `name` of the partial directory, or that
 * directory if `name` is NULL. The new path is `final`, or `name` in the parent directory if `final` is NULL. `note` is
 * the note that stays if the directory cannot be renamed; the command for the user then also removes the note. NULL: no
 * note. If `name` is not NULL, `note` is not used. */
static organ_status plan_name(const organ_publish *publish, const char *name, const char *final, const char *note,
                              naming_plan *plan, organ_error *error)
{
    plan->grown = name ? organ_publish_path(publish, name) : strdup(publish->partial);
    plan->final = final ? strdup(final) : organ_format("%s/%s", publish->parent, name);
    plan->command =
        plan->grown && plan->final ? organ_rename_command(plan->grown, plan->final, name ? NULL : note) : NULL;
    return plan->command ? ORGAN_OK : organ_fail_memory(error, publish->final);
}

/* Renames the output, or one of its files, as planned. If this succeeds, sets the stage to ORGAN_OUTPUT_NAMED. An
 * output of single files has this stage as soon as its first file, the model, is renamed, even if a report cannot be
 * renamed afterwards. If the renaming fails, `error` has the command that the user can run. */
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

/* Fails because the output has its name but `path` could not be synchronised with the disk. */
static organ_status fail_unsynchronised(const organ_publish *publish, const char *path, int errnum, organ_error *error)
{
    return organ_fail_errno(error, errnum,
                            "%.300s is complete, but %.300s cannot be synchronised with the disk: after a power "
                            "failure the name may be missing",
                            publish->final, path);
}

/* Before the directory `former` is removed, sets the mark of an unfinished output in it and flushes the mark to the
 * disk. If a kill or a power cut ends the removal, the mark permits the next run to remove the rest. Ignores failures:
 * without the mark, the next run keeps the rest and says so. */
static void mark_former(const char *former)
{
    const int folder = organ_open(former, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    const int fd = folder >= 0 ? organ_open_at(folder, ORGAN_GROWING_MARK, O_WRONLY | O_CREAT | O_NOFOLLOW, 0666) : -1;
    if (fd >= 0)
        close(fd);
    if (folder >= 0) {
        organ_sync_file(folder);
        close(folder);
    }
}

/* Synchronises the parent directory with the output's new name, then removes the output that had the name before if
 * `removes`; `former` is its path now. In the reverse order, a power cut could leave a part of the former output under
 * the name. */
static organ_status finish_name(const organ_publish *publish, const char *former, bool removes, organ_error *error)
{
    const int fault = sync_folder(publish->parent);
    if (removes)
        mark_former(former);
    if (removes && organ_remove_tree(former))
        return organ_fail_errno(error, errno,
                                "%.300s is complete, but the output that it replaced cannot be removed from %.300s",
                                publish->final, former);
    return fault ? fail_unsynchronised(publish, publish->parent, fault, error) : ORGAN_OK;
}

/* Synchronises the folder of journals, if it exists, and the partial directory, because reports, journal and mark were
 * created or removed in them after the data was synchronised. Returns 0 or an errno. */
static int sync_names(const organ_publish *publish)
{
    const int folder = organ_open_at(publish->lock, ORGAN_JOURNAL_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    int fault = folder >= 0 || errno == ENOENT ? 0 : errno;
    if (folder >= 0 && organ_sync_file(folder))
        fault = errno;
    if (folder >= 0)
        close(folder);
    return fault == 0 && organ_sync_file(publish->lock) ? errno : fault;
}

/* Renames the partial directory to its final name: synchronises its entries, writes the note, removes the mark,
 * renames, and removes the output that had the name before. The order ensures that after a crash an incomplete output
 * never has the final name. */
organ_status organ_publish_commit(organ_publish *publish, const char *journal, organ_error *error)
{
    naming_plan plan = {0};
    int fault = sync_names(publish);
    if (fault ? fail_names(publish, fault, error)
              : plan_name(publish, NULL, publish->final, journal ? publish->note : NULL, &plan, error)) {
        free_plan(&plan);
        return error->status;
    }
    organ_rename_result naming = ORGAN_RENAME_FAILED;
    if (write_finished_note(publish, NULL, journal, error) == ORGAN_OK && remove_mark(publish, error) == ORGAN_OK) {
        fault = sync_names(publish); /* removed and synchronised before the renaming, so that a directory with the final
                                        name never has the mark or a journal */
        if (publish->empty)
            rmdir(publish->final); /* fails if another program has put a file into it */
        naming = publish_rename(publish, &plan, error);
    }
    free_plan(&plan);
    if (!error->status)
        finish_name(publish, publish->partial, naming == ORGAN_RENAMED_REPLACING, error);
    if (publish->stage != ORGAN_OUTPUT_GROWING)
        end_note(publish, journal, error);
    if (error->status)
        return error->status;
    return fault ? fail_unsynchronised(publish, publish->final, fault, error) : ORGAN_OK;
}

/* Renames one file of a single-file output. If another file had the name, removes that file at once, because the
 * partial directory must be empty in the end. */
static organ_status commit_file(organ_publish *publish, const naming_plan *plan, organ_error *error)
{
    if (publish_rename(publish, plan, error) == ORGAN_RENAMED_REPLACING && organ_remove_tree(plan->grown))
        organ_fail_errno(error, errno, "%s: cannot be removed", plan->grown);
    return error->status;
}

/* Renames the files of a finished output to their final names, one at a time, the model first. Before that,
 * synchronises the partial directory, writes the note and removes the mark and an empty folder at the final name. At
 * the end removes the partial directory and the note (end_note). */
organ_status organ_publish_commit_files(organ_publish *publish, const char *const *names, const char *journal,
                                        organ_error *error)
{
    naming_plan plans[ORGAN_PUBLISH_FILES] = {0};
    size_t count = 0;
    const int fault = sync_names(publish);
    if (fault)
        fail_names(publish, fault, error);
    for (; !error->status && names[count]; count++)
        plan_name(publish, names[count], count == 0 ? publish->final : NULL, NULL, &plans[count], error);
    if (!error->status)
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
    if (!error->status)
        finish_name(publish, publish->partial, true, error);
    if (publish->stage != ORGAN_OUTPUT_GROWING)
        end_note(publish, journal, error);
    return error->status;
}

/* Turns a reopened output (publish->whole) back into a finished output under its temporary name: renames the journal to
 * the note and removes the mark. Then fails with the command that renames the output. */
organ_status organ_publish_keep(organ_publish *publish, const char *journal, organ_error *error)
{
    *error = (organ_error){0};
    if (move_journal(publish, journal, false, error) == ORGAN_OK && remove_journal_folder(publish, error) == ORGAN_OK &&
        remove_mark(publish, error) == ORGAN_OK)
        fail_awaiting_name(publish, error);
    return error->status;
}

/* Removes the partial directory and the note, unless the output is complete or another rank owns the directory. */
void organ_publish_abandon(organ_publish *publish)
{
    if (publish->lock >= 0 && publish->stage == ORGAN_OUTPUT_GROWING && organ_remove_tree(publish->partial) == 0)
        unlink(publish->note);
}

/* Frees the paths and releases the lock; keeps all files. */
void organ_publish_end(organ_publish *publish)
{
    if (publish->partial && publish->lock >= 0)
        close(publish->lock);
    free(publish->final);
    free(publish->partial);
    free(publish->parent);
    free(publish->note);
    *publish = (organ_publish){.lock = -1};
}
