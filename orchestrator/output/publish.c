/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/publish.h"
#include "orchestrator/output/journal.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/rename_output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_empty_directory(const char *path)
{
    ORGAN_OWNED_FILE const int folder = organ_open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    return folder >= 0 && organ_is_empty_folder(folder);
}

/* A name is missing if the path is empty, or if its last component is ".", ".." or the root. */
static organ_status publish_split(const char *path, organ_publish *publish, organ_error *error)
{
    publish->folder = publish->mark = -1;
    publish->final = strdup(path);
    ORGAN_OWNED char *for_parent = strdup(path), *for_name = strdup(path);
    if (publish->final && for_parent && for_name) {
        publish->final[organ_path_length(publish->final)] = '\0';
        const char *name = basename(for_name);
        publish->parent = strdup(dirname(for_parent));
        if (*path == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0)
            organ_fail(error, ORGAN_USAGE, "'%s' cannot be the name of an output", path);
        else if (publish->parent)
            publish->partial = organ_format("%s/.%s" ORGAN_PARTIAL_ENDING, publish->parent, name);
        if (publish->partial)
            publish->note = organ_format("%s/.%s.organ-finished", publish->parent, name);
    }
    return error->status || publish->note ? error->status : organ_fail_memory(error, path);
}

/* ---- holding the partial directory ---- */

static organ_partial partial_of(const organ_publish *publish)
{
    return (organ_partial){.folder = publish->lock, .mark = publish->mark};
}

/* The errnum EBUSY tells this error from faults of the file system. */
static organ_status fail_busy(const char *final, const char *who, organ_error *error)
{
    organ_fail(error, ORGAN_IO, "%s: %s writing this output", final, who);
    error->errnum = EBUSY;
    return error->status;
}

/* Fails with ORGAN_IO and errnum EBUSY because another process writes the output `final`. `path` is the file or
 * directory that it has locked; the message names the process if the system shows it. */
static organ_status fail_locked(const char *final, const char *path, organ_error *error)
{
    const long holder = organ_partial_holder(path);
    char who[64];
    snprintf(who, sizeof who, "another process (%ld) is", holder);
    return fail_busy(final, holder ? who : "another process is", error);
}

organ_status organ_partial_judge(organ_partial_state state, const char *path, const char *final, int fault,
                                 organ_error *error)
{
    if (state == ORGAN_PARTIAL_LOCKED)
        return ORGAN_OK;
    if (state == ORGAN_PARTIAL_BUSY)
        return fail_locked(final, path, error);
    return organ_fail_errno(
        error, fault,
        state == ORGAN_PARTIAL_LOCKLESS ? "%s: cannot be locked against other writers" : "%s: cannot be opened", path);
}

/* Sets *missing if there is no directory. Returns ORGAN_IO if another process has locked it. */
static organ_status lock_partial(organ_publish *publish, bool *missing, organ_error *error)
{
    organ_partial partial;
    int fault = 0;
    const bool own = organ_reserved_take(publish->partial, &partial);
    organ_partial_state state = own ? ORGAN_PARTIAL_LOCKED : organ_partial_lock(publish->partial, &partial, &fault);
    struct stat info;
    if (own && publish->closed && (fault = organ_close_modes(partial.folder, publish->closed)) != 0) {
        organ_partial_unlock(&partial);
        return organ_fail_errno(error, fault, "%s: permissions cannot be changed", publish->partial);
    }
    if (state == ORGAN_PARTIAL_LOCKED && (fstat(partial.folder, &info) || !S_ISDIR(info.st_mode))) {
        organ_partial_unlock(&partial);
        state = ORGAN_PARTIAL_UNKNOWN;
        fault = ENOTDIR;
    }
    *missing = state == ORGAN_PARTIAL_MISSING;
    publish->lock = publish->folder = partial.folder;
    publish->mark = partial.mark;
    return *missing ? ORGAN_OK : organ_partial_judge(state, publish->partial, publish->final, fault, error);
}

static void release_partial(organ_publish *publish)
{
    organ_held_folder_drop(publish->held);
    publish->held = NULL;
    if (publish->lock < 0 && publish->folder >= 0)
        close(publish->folder); /* with a lock, organ_partial_unlock closes this descriptor */
    organ_partial partial = partial_of(publish);
    organ_partial_unlock(&partial);
    publish->lock = publish->folder = publish->mark = -1;
}

/* Makes all paths below publish->partial lead into the open directory publish->folder, until
 * organ_publish_end or until the directory is renamed. */
static organ_status publish_hold(organ_publish *publish, organ_error *error)
{
    publish->held = organ_held_folder_add(publish->partial, publish->folder);
    return publish->held ? ORGAN_OK : organ_fail_memory(error, publish->final);
}

/* The mark gets a new random token. From then on, paths below the directory lead to the locked one. */
static organ_status own_partial(organ_publish *publish, organ_error *error)
{
    organ_partial partial = partial_of(publish);
    int fault = organ_partial_new_token(publish->token);
    if (!fault)
        fault = organ_partial_set_mark(&partial, publish->token);
    publish->mark = partial.mark;
    if (fault == EEXIST)
        return fail_busy(publish->final, "a process on another host is", error);
    return fault ? organ_fail_errno(error, fault, "%s/%s: cannot be created", publish->partial, ORGAN_GROWING_MARK)
                 : publish_hold(publish, error);
}

static organ_status remove_partial(const organ_publish *publish, organ_error *error)
{
    const organ_partial partial = partial_of(publish);
    const int fault = organ_partial_remove(&partial, publish->partial, publish->note);
    return fault ? organ_fail_errno(error, fault, "%s: cannot be removed", publish->partial) : ORGAN_OK;
}

organ_status organ_publish_move_journal(const organ_publish *publish, const char *journal, bool back,
                                        organ_error *error)
{
    const bool moved = back ? renameat(AT_FDCWD, publish->note, publish->lock, journal) == 0
                            : renameat(publish->lock, journal, AT_FDCWD, publish->note) == 0;
    return moved ? ORGAN_OK
                 : organ_fail_errno(error, errno, "%s: the journal cannot be renamed to or from it", publish->note);
}

static bool entry_exists(const organ_publish *publish, const char *name)
{
    struct stat info;
    return fstatat(publish->lock, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_single(const organ_publish *publish)
{
    return organ_ends_with(publish->final, ".gguf") || organ_ends_with(publish->final, ".safetensors");
}

static bool is_unfinished(const organ_publish *publish)
{
    return entry_exists(publish, ORGAN_GROWING_MARK) || entry_exists(publish, ORGAN_JOURNAL_NAME);
}

/* Reports alone have no value: the output is a single file that has been renamed, and organ_check_replaceable
 * accepts them. */
static bool has_nothing_of_value(const organ_publish *publish)
{
    const char *const name = organ_path_name(publish->final);
    return is_single(publish) && !entry_exists(publish, name) &&
           organ_check_replaceable(publish->partial, NULL, &(organ_error){0}) == ORGAN_OK;
}

/* The run may have taken hours, so only the user may remove the output. */
organ_status organ_publish_fail_awaiting(const organ_publish *publish, organ_error *error)
{
    ORGAN_OWNED char *const file = organ_publish_path(publish, organ_path_name(publish->final));
    struct stat info;
    const bool single = file && lstat(file, &info) == 0, noted = lstat(publish->note, &info) == 0;
    ORGAN_OWNED char *command = NULL;
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
    return error->status;
}

static bool has_noted_output(const organ_publish *publish, const organ_naming_note *note)
{
    struct stat info;
    const char *const name = is_single(publish) ? organ_path_name(publish->final) : ".";
    return note->there && fstatat(publish->lock, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           info.st_ino == note->nodes[0];
}

/* The note becomes the journal, which lists all tensors as done. */
static organ_status reopen_finished(organ_publish *publish, organ_error *error)
{
    if (mkdirat(publish->lock, ORGAN_JOURNAL_FOLDER, 0777) && errno != EEXIST)
        return organ_fail_errno(error, errno, "%s/%s: cannot be created", publish->partial, ORGAN_JOURNAL_FOLDER);
    if (own_partial(publish, error) == ORGAN_OK)
        organ_publish_move_journal(publish, ORGAN_JOURNAL_NAME, /*back=*/true, error);
    publish->whole = publish->resumed = !error->status;
    return error->status;
}

/* The state of a partial directory in which an earlier run left files. */
typedef struct leftovers {
    bool complete; /* the output that the note names */
    bool reopened; /* this output has a journal, as the caller's outputs do */
} leftovers;

/* Returns ORGAN_USAGE if organ_publish_begin rejects what an earlier run left in publish->lock. Changes nothing. */
static organ_status judge_leftovers(const organ_publish *publish, organ_publish_mode way, leftovers *left,
                                    organ_error *error)
{
    organ_naming_note note;
    if (organ_naming_note_read(publish->note, &note, error))
        return error->status;
    left->complete = has_noted_output(publish, &note);
    left->reopened = left->complete && note.journal && way.journal;
    const bool unfinished = left->complete ? !note.journal && !way.journal : is_unfinished(publish);
    if (left->reopened)
        return ORGAN_OK;
    if (!unfinished && (left->complete || !has_nothing_of_value(publish)))
        return organ_publish_fail_awaiting(publish, error);
    if (unfinished && !way.resume && !way.force && !way.discard)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: an unfinished run was found in %s: `resume` continues it, `force` starts over",
                          publish->final, publish->partial);
    return ORGAN_OK;
}

/* Reopens, removes or rejects the locked partial directory of an earlier run:
 *   - an empty directory, because a run has just created it: takes it;
 *   - a finished output whose note has a journal, if the caller uses journals (way.journal): reopens it;
 *   - a finished output of which neither the note nor the caller has a journal: like an unfinished run;
 *   - any other finished output: returns ORGAN_USAGE;
 *   - an unfinished run: continues it with way.resume, removes it with way.force or way.discard, else returns
 *     ORGAN_USAGE;
 *   - a directory without anything of value: continues it with way.resume, else removes it.
 * Sets publish->resumed if the directory is reopened or continued. Sets *gone if it was removed; until then the
 * directory stays locked, so that no other process can have taken its path. */
static organ_status take_over_partial(organ_publish *publish, organ_publish_mode way, bool *gone, organ_error *error)
{
    leftovers left;
    organ_partial partial = partial_of(publish);
    const bool empty = organ_is_empty_folder(partial.folder);
    if (!empty && errno) {
        organ_fail_errno(error, errno, "%s: cannot be read", publish->partial);
        rmdir(publish->partial); /* if it is empty */
        return error->status;
    }
    if (empty) {
        unlink(publish->note); /* of an output that the user has renamed; its inode may be that of the directory now */
        if (own_partial(publish, error) != ORGAN_OK && error->errnum != EBUSY)
            remove_partial(publish, &(organ_error){0});
        return error->status;
    }
    if (judge_leftovers(publish, way, &left, error))
        return error->status;
    if (left.reopened)
        return reopen_finished(publish, error);
    publish->resumed = way.resume;
    if (way.resume)
        return own_partial(publish, error);
    /* The mark is set first: after a kill it permits the next run to remove the rest, also without the note. */
    const int fault = left.complete ? organ_partial_set_mark(&partial, "") : 0;
    publish->mark = partial.mark;
    if (fault)
        return organ_fail_errno(error, fault, "%s/%s: cannot be created", publish->partial, ORGAN_GROWING_MARK);
    *gone = true;
    return remove_partial(publish, error);
}

#define LOOKS 8 /* at an output that other runs replace while it is looked at */

/* Returns ORGAN_USAGE if another file or directory has the name publish->final, unless it is an empty directory, or
 * `force` is set and organ_check_replaceable accepts it. publish->final has no slash at its end, because lstat would
 * follow a symbolic link with a slash. If another run replaces the output meanwhile, its files may be missing (ENOENT):
 * then looks again. */
static organ_status check_name_free(const organ_publish *publish, organ_error *error)
{
    struct stat info;
    const char *const path = publish->final;
    bool taken = true;
    for (int k = 0; k < LOOKS && (k == 0 || error->errnum == ENOENT); k++) {
        *error = (organ_error){0};
        taken = lstat(path, &info) == 0 && !(S_ISDIR(info.st_mode) && is_empty_directory(path));
        if (taken)
            organ_check_replaceable(path, publish->like, error);
    }
    if (taken && !error->status && !publish->force)
        organ_fail(error, ORGAN_USAGE, "%s exists; `force` replaces it once the new output is complete", path);
    return error->status;
}

/* Another run may have published the output since publish_check_place, so the name is checked again. */
static organ_status take_partial(organ_publish *publish, organ_publish_mode way, bool *gone, organ_error *error)
{
    if (check_name_free(publish, error) && organ_is_empty_folder(publish->lock))
        remove_partial(publish, &(organ_error){0});
    return error->status ? error->status : take_over_partial(publish, way, gone, error);
}

#define TAKES 64 /* attempts at a partial directory that other runs create and remove meanwhile */

/* The process that gets the lock takes a new directory, even if another process has created it. */
static organ_status make_partial(organ_publish *publish, organ_publish_mode way, organ_error *error)
{
    if (organ_check_parent(publish->final, publish->parent, error))
        return error->status;
    for (int k = 0; k < TAKES; k++) {
        bool missing, gone = false;
        if (lock_partial(publish, &missing, error))
            return error->status;
        if (!missing && take_partial(publish, way, &gone, error) == ORGAN_OK && !gone)
            return ORGAN_OK;
        release_partial(publish);
        if (error->status)
            return error->status;
        if (mkdir(publish->partial, 0777 & ~publish->closed) && errno != EEXIST)
            return organ_fail_errno(error, errno, "%s: cannot be created", publish->partial);
    }
    return fail_busy(publish->final, "other processes are", error);
}

static organ_status finish_killed(const organ_publish *publish, organ_error *error)
{
    const organ_naming_place place = {publish->final, publish->partial, publish->parent, publish->note, publish->like};
    return organ_naming_finish(&place, error);
}

static organ_status publish_check_place(const organ_publish *publish, organ_error *error)
{
    return finish_killed(publish, error) ? error->status : check_name_free(publish, error);
}

organ_status organ_publish_check(const char *final, const char *like, bool force, organ_error *error)
{
    organ_publish publish = {.lock = -1, .like = like, .force = force};
    if (publish_split(final, &publish, error) == ORGAN_OK &&
        organ_check_parent(publish.final, publish.parent, error) == ORGAN_OK)
        publish_check_place(&publish, error);
    organ_publish_end(&publish);
    return error->status;
}

organ_status organ_publish_try(const char *final, const char *like, organ_publish_mode way, organ_error *error)
{
    organ_publish publish = {.lock = -1, .like = like, .force = way.force};
    leftovers left;
    if (publish_split(final, &publish, error) == ORGAN_OK &&
        organ_check_parent(publish.final, publish.parent, error) == ORGAN_OK &&
        publish_check_place(&publish, error) == ORGAN_OK && organ_partial_is_begun(publish.partial)) {
        publish.lock = open(publish.partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (publish.lock >= 0)
            judge_leftovers(&publish, way, &left, error);
    }
    if (publish.lock >= 0)
        close(publish.lock);
    publish.lock = -1;
    organ_publish_end(&publish);
    return error->status;
}

organ_status organ_publish_begin(const char *final, const char *like, organ_publish_mode way, organ_publish *publish,
                                 organ_error *error)
{
    *publish = (organ_publish){.lock = -1, .force = way.force, .like = like, .closed = way.closed};
    if (publish_split(final, publish, error))
        return error->status;
    publish->empty = is_empty_directory(publish->final);
    return publish_check_place(publish, error) ? error->status : make_partial(publish, way, error);
}

organ_status organ_publish_finish(const char *final, organ_error *error)
{
    organ_publish publish = {.lock = -1};
    if (publish_split(final, &publish, error) == ORGAN_OK)
        finish_killed(&publish, error);
    organ_publish_end(&publish);
    return error->status;
}

char *organ_publish_partial(const char *final)
{
    organ_publish publish = {.lock = -1};
    organ_error ignored = {0};
    char *partial = NULL;
    if (publish_split(final, &publish, &ignored) == ORGAN_OK)
        partial = strdup(publish.partial);
    organ_publish_end(&publish);
    return partial;
}

bool organ_partial_is_begun(const char *partial) { return access(partial, F_OK) == 0 && !is_empty_directory(partial); }

bool organ_publish_is_begun(const char *final)
{
    ORGAN_OWNED char *const partial = organ_publish_partial(final);
    return partial && organ_partial_is_begun(partial);
}

/* Returns whether the path was changed at `time` or before, or is missing. */
static bool is_older(const char *path, struct timespec time)
{
    struct stat about;
    return stat(path, &about) != 0 || about.st_mtim.tv_sec < time.tv_sec ||
           (about.st_mtim.tv_sec == time.tv_sec && about.st_mtim.tv_nsec <= time.tv_nsec);
}

/* The folder of a directory `made` changed last when `made` got its name. That of a file has other files, which may be
 * removed already. */
void organ_publish_tidy(const char *final, const char *folder, const char *made)
{
    struct stat about, of;
    const bool file = stat(made, &of) == 0 && S_ISREG(of.st_mode);
    ORGAN_OWNED char *const partial = organ_publish_partial(made);
    ORGAN_OWNED char *const parent = strndup(made, (size_t)(organ_path_name(made) - made));
    if (partial && parent && stat(final, &about) == 0 && access(partial, F_OK) &&
        (access(made, F_OK) || is_older(file ? made : parent, about.st_mtim)))
        organ_remove_tree(folder);
}

bool organ_publish_waits(const char *final)
{
    organ_publish publish = {.lock = -1};
    organ_naming_note note;
    organ_error ignored = {0};
    bool waits = false;
    if (publish_split(final, &publish, &ignored) == ORGAN_OK &&
        organ_naming_note_read(publish.note, &note, &ignored) == ORGAN_OK && note.journal) {
        publish.lock = publish.folder = organ_open(publish.partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        waits = publish.lock >= 0 && has_noted_output(&publish, &note);
    }
    organ_publish_end(&publish);
    return waits;
}

/* The mark is set and the note removed first: after a kill the rest is an unfinished run without a journal. */
organ_status organ_publish_discard_waiting(const char *final, organ_partial *own, organ_error *error)
{
    organ_publish publish = {.lock = -1};
    if (!organ_publish_waits(final) || publish_split(final, &publish, error))
        return error->status;
    int fault = organ_partial_set_mark(own, "");
    if (!fault && unlink(publish.note) && errno != ENOENT)
        fault = errno;
    if (!fault)
        fault = organ_partial_clear(own);
    if (fault)
        organ_fail_errno(error, fault, "%s: cannot be removed", publish.partial);
    else if (own->mark >= 0) {
        close(own->mark); /* the mark is removed */
        own->mark = -1;
    }
    organ_publish_end(&publish);
    return error->status;
}

/* An unfinished output stays for --resume. */
organ_status organ_publish_give_up(const char *final, organ_error *error)
{
    organ_publish publish = {.lock = -1};
    bool missing;
    if (publish_split(final, &publish, error) == ORGAN_OK && lock_partial(&publish, &missing, error) == ORGAN_OK &&
        !missing && !is_unfinished(&publish))
        remove_partial(&publish, error);
    organ_publish_end(&publish);
    return error->status;
}

char *organ_publish_path(const organ_publish *publish, const char *name)
{
    return organ_format("%s/%s", publish->partial, name);
}

/* If another rank owns the directory, nothing is removed. */
void organ_publish_abandon(organ_publish *publish)
{
    if (publish->lock >= 0 && publish->stage == ORGAN_OUTPUT_GROWING &&
        !organ_partial_is_foreign(publish->lock, publish->token))
        remove_partial(publish, &(organ_error){0});
}

void organ_publish_end(organ_publish *publish)
{
    if (publish->partial)
        release_partial(publish);
    ORGAN_FREE_ARRAYS(publish->final, publish->partial, publish->parent, publish->note);
    *publish = (organ_publish){.lock = -1};
}

/* ---- several ranks that write one output (publish.h) ---- */

/* The lock of the mark becomes one that all ranks hold: if rank 0 is lost, it keeps other runs away until the last
 * rank has ended. The lock of the directory stays with rank 0. */
organ_status organ_publish_set_token(organ_publish *publish, const char *token, organ_error *error)
{
    organ_partial partial = {.folder = publish->lock, .mark = publish->mark};
    snprintf(publish->token, sizeof publish->token, "%s", token);
    const int fault = organ_partial_set_mark(&partial, publish->token);
    if (fault)
        organ_fail_errno(error, fault, "%s/%s: cannot be written", publish->partial, ORGAN_GROWING_MARK);
    else
        organ_lock_at_once(publish->mark, LOCK_SH); /* a file system without locks has the token */
    return error->status;
}

/* Returns false if the directory or its mark is not visible here, or has another token. */
static bool join_partial(organ_publish *publish, const char *token)
{
    snprintf(publish->token, sizeof publish->token, "%s", token);
    publish->folder = organ_open_at(AT_FDCWD, publish->partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (publish->folder < 0 || organ_partial_is_foreign(publish->folder, token))
        return false;
    publish->mark = organ_open_at(publish->folder, ORGAN_GROWING_MARK, O_RDWR | O_NOFOLLOW, 0);
    if (publish->mark >= 0)
        organ_lock_at_once(publish->mark, LOCK_SH);
    return publish->mark >= 0;
}

organ_status organ_publish_join(const char *final, const char *token, organ_publish *publish, organ_error *error)
{
    *publish = (organ_publish){.lock = -1};
    if (publish_split(final, publish, error))
        return error->status;
    if (!join_partial(publish, token))
        return organ_fail(error, ORGAN_IO,
                          "%s: the output that rank 0 began in %s is not visible here: the output must be on a file "
                          "system that all ranks share",
                          publish->final, publish->partial);
    return publish_hold(publish, error);
}

/* In the file ORGAN_GROWING_MARK, the marks of the ranks follow the token, which has less than MARKS_OFFSET bytes.
 * Marks are adjacent, so that several ranks write to one page, as they will when they write ranges of an output's
 * files. */
#define MARKS_OFFSET ((off_t)64)
#define MARK_BYTES   24

static void make_mark(char mark[MARK_BYTES + 1], size_t rank)
{
    snprintf(mark, MARK_BYTES + 1, "\nrank %0*zx", MARK_BYTES - 6, rank); /* 6: the characters of "\nrank " */
}

organ_status organ_publish_mark(const organ_publish *publish, size_t rank, organ_error *error)
{
    char mark[MARK_BYTES + 1], *const path = organ_publish_path(publish, ORGAN_GROWING_MARK);
    const int fd = path ? organ_open(path, O_WRONLY | O_NOFOLLOW, 0) : -1;
    make_mark(mark, rank);
    errno = path ? errno : ENOMEM;
    if (fd < 0 || pwrite(fd, mark, MARK_BYTES, MARKS_OFFSET + (off_t)(rank * MARK_BYTES)) != MARK_BYTES ||
        organ_sync_file(fd))
        organ_fail_errno(error, errno, "%s/%s: cannot be written", publish->partial, ORGAN_GROWING_MARK);
    if (fd >= 0 && close(fd) && errno != EINTR && !error->status)
        organ_fail_errno(error, errno, "%s/%s: cannot be written", publish->partial, ORGAN_GROWING_MARK);
    free(path);
    return error->status;
}

/* A missing mark means that the file system does not show each rank what the others wrote to the same page. */
organ_status organ_publish_verify(const organ_publish *publish, size_t count, organ_error *error)
{
    char mark[MARK_BYTES + 1], found[MARK_BYTES], *const path = organ_publish_path(publish, ORGAN_GROWING_MARK);
    ORGAN_OWNED_FILE const int fd = path ? organ_open(path, O_RDONLY | O_NOFOLLOW, 0) : -1;
    errno = path ? errno : ENOMEM;
    if (fd < 0)
        organ_fail_errno(error, errno, "%s/%s: cannot be read", publish->partial, ORGAN_GROWING_MARK);
    for (size_t r = 0; r < count && !error->status; r++) {
        make_mark(mark, r);
        if (pread(fd, found, MARK_BYTES, MARKS_OFFSET + (off_t)(r * MARK_BYTES)) != MARK_BYTES ||
            memcmp(found, mark, MARK_BYTES) != 0)
            organ_fail(
                error, ORGAN_IO,
                "%s: the mark that rank %zu wrote to %s is not visible here: the file system must show each host what "
                "another has written and closed, and must keep apart what several hosts write to one page",
                publish->final, r, publish->partial);
    }
    free(path);
    return error->status;
}
