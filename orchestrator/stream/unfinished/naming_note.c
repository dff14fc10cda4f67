/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/unfinished/naming_note.h"

#include "formats/base/file_calls.h"
#include "formats/base/input_file.h"
#include <organ/base.h>
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/rename_output.h"
#include "orchestrator/stream/unfinished/partial.h"
#include "orchestrator/stream/unfinished/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST_NOTE ((size_t)1 << 30) /* bytes; a larger file is not read */

/* note->there stays false if the line has no inodes. Sets *no_memory if an allocation failed, which would otherwise
 * look like a malformed line. */
static void read_note_line(const char *line, size_t length, organ_naming_note *note, bool *no_memory)
{
    json_error_t fault;
    json_t *const json = organ_json_load(line, length, JSON_REJECT_DUPLICATES, &fault, no_memory);
    const json_t *const nodes = json_object_get(json, "finished");
    for (; note->count < json_array_size(nodes) && note->count < ORGAN_NAMING_MAX; note->count++)
        note->nodes[note->count] = (uint64_t)json_integer_value(json_array_get(nodes, note->count));
    note->there = note->count > 0;
    note->force = json_is_true(json_object_get(json, "force"));
    note->choice = json_is_true(json_object_get(json, "choice"));
    json_decref(json);
}

/* Lines before the last are the journal of the run. An incomplete last line counts as no note. */
organ_status organ_naming_note_read(const char *path, organ_naming_note *note, organ_error *error)
{
    char *text = NULL;
    size_t length = 0;
    struct stat info;
    bool no_memory = false;
    *note = (organ_naming_note){.there = false};
    if (lstat(path, &info) || !S_ISREG(info.st_mode))
        return ORGAN_OK;
    if (organ_input_load(path, path, LARGEST_NOTE, &text, &length, error)) {
        if (error->errnum == ENOENT) /* its run has just removed it */
            *error = (organ_error){0};
        return error->status;
    }
    const char *const end = length && text[length - 1] == '\n' ? text + length - 1 : NULL;
    const char *const before = end ? memrchr(text, '\n', (size_t)(end - text)) : NULL, *const last =
                                                                                           before ? before + 1 : text;
    if (end)
        read_note_line(last, (size_t)(end - last), note, &no_memory);
    note->journal = note->there && before;
    free(text);
    return no_memory ? organ_fail_errno(error, ENOMEM, "%s: cannot be read", path) : ORGAN_OK;
}

int organ_naming_note_append(int at, const char *name, bool make, const organ_naming_note *note)
{
    char line[96 + ORGAN_NAMING_MAX * 24];
    int length = snprintf(line, sizeof line, "{\"finished\":[");
    for (size_t k = 0; k < note->count; k++)
        length += snprintf(line + length, sizeof line - (size_t)length, "%s%" PRIu64, k ? "," : "", note->nodes[k]);
    length += snprintf(line + length, sizeof line - (size_t)length, "],\"force\":%s,\"choice\":%s}\n",
                       note->force ? "true" : "false", note->choice ? "true" : "false");
    const int fd = organ_open_at(at, name, O_WRONLY | O_APPEND | O_NOFOLLOW | (make ? O_CREAT | O_TRUNC : 0), 0666);
    if (fd < 0)
        return errno;
    const int fault = organ_write_all(fd, line, (size_t)length) || organ_sync_file(fd) ? errno : 0;
    return close(fd) && errno != EINTR && !fault ? errno : fault;
}

/* The path is "PARENT/.NAME" and `ending`. Returns false if it is too long. */
static bool hidden_path(const char *final, const char *ending, char path[PATH_MAX])
{
    const char *const name = organ_path_name(final);
    int length = (int)(name - final); /* of the parent's path, as dirname has it: a run that holds it has that path */
    while (length > 1 && final[length - 1] == '/')
        length--;
    return snprintf(path, PATH_MAX, "%.*s/.%s%s", length > 0 ? length : 1, length > 0 ? final : ".", name, ending) <
           PATH_MAX;
}

int organ_naming_remove_choice(const char *final, bool own)
{
    char path[PATH_MAX];
    if (!hidden_path(final, ORGAN_SCORES_ENDING, path))
        return ENAMETOOLONG;
    const int fault = unlink(path) && errno != ENOENT ? errno : 0;
    if (!hidden_path(final, ORGAN_CHOICE_ENDING ".organ-partial", path))
        return ENAMETOOLONG;
    const int other = organ_partial_discard(path, own);
    /* If another run holds the lock, the choices are its own and not those of this output. */
    return fault || other == EWOULDBLOCK ? fault : other;
}

/* ---- finishing the work of a killed run ---- */

/* If organ_check_replaceable does not accept the file, because it was changed meanwhile, renames it to a free name
 * next to `final` and returns an error. */
static organ_status remove_former(const char *path, const char *final, const char *like, organ_error *error)
{
    organ_error why = {0};
    if (organ_check_replaceable(path, like, &why) == ORGAN_OK) {
        if (organ_remove_tree(path))
            organ_fail_errno(error, errno,
                             "%.300s is complete, but the output that it replaced cannot be removed from %.300s", final,
                             path);
        return error->status;
    }
    organ_keep_changed_file(path, final, why.message, error);
    return error->status;
}

/* Without the mark ORGAN_GROWING_MARK, the directory is the output that had the name before, which may be removed
 * only as remove_former allows. With the mark, its removal had begun, or it is an unfinished run; it is removed
 * without a check, as an empty one. */
static organ_status finish_directory(const organ_naming_place *p, const organ_partial *partial, organ_error *error)
{
    organ_error why = {0};
    if (partial->mark < 0 && !organ_is_empty_folder(partial->folder) &&
        organ_check_replaceable(p->partial, p->like, &why) != ORGAN_OK) {
        organ_keep_changed_file(p->partial, p->final, why.message, error);
        return error->status;
    }
    const int fault = organ_partial_remove(partial, p->partial, NULL);
    if (fault)
        organ_fail_errno(error, fault,
                         "%.300s is complete, but the output that it replaced cannot be removed from %.300s", p->final,
                         p->partial);
    return error->status;
}

static bool is_noted(const organ_naming_note *note, const struct stat *info)
{
    bool found = false;
    for (size_t k = 0; k < note->count; k++)
        found = found || note->nodes[k] == info->st_ino;
    return found;
}

/* If the note lists its inode, the file is a report of this output and is renamed to p->parent/name. Otherwise it
 * had that name before the run, and is removed. */
static organ_status publish_file(const organ_naming_place *p, const organ_naming_note *note, const char *name,
                                 organ_error *error)
{
    char *const grown = organ_format("%s/%s", p->partial, name), *const final = organ_format("%s/%s", p->parent, name);
    char *const command = grown && final ? organ_rename_command(grown, final, NULL) : NULL;
    struct stat info;
    int fault = 0;
    if (!command) {
        organ_fail_memory(error, p->final);
    } else if (lstat(grown, &info) == 0 && S_ISREG(info.st_mode) && is_noted(note, &info)) {
        const organ_replace_policy way = note->force ? ORGAN_REPLACE_OUTPUTS : ORGAN_REPLACE_NOTHING;
        const organ_rename_result naming = organ_rename_output(grown, final, way, p->like, &fault, error);
        if (naming == ORGAN_RENAME_EXISTS || naming == ORGAN_RENAME_FAILED)
            organ_rename_fail(grown, final, command, naming, fault, error);
        else if (naming == ORGAN_RENAMED_REPLACING && organ_remove_tree(grown))
            organ_fail_errno(error, errno, "%s: cannot be removed", grown);
    } else {
        remove_former(grown, final, p->like, error);
    }
    free(command);
    free(grown);
    free(final);
    return error->status;
}

static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
           strcmp(entry->d_name, ORGAN_GROWING_MARK) != 0;
}

static organ_status finish_files(const organ_naming_place *p, const organ_naming_note *note,
                                 const organ_partial *partial, organ_error *error)
{
    struct dirent **entries = NULL;
    const int count = organ_list_folder(p->partial, &entries, is_entry, NULL);
    if (count < 0)
        organ_fail_errno(error, errno, "%s: cannot be listed", p->partial);
    for (int k = 0; k < count; k++) {
        if (!error->status)
            publish_file(p, note, entries[k]->d_name, error);
        free(entries[k]);
    }
    free(entries);
    const int fault = error->status ? 0 : organ_partial_remove(partial, p->partial, NULL);
    if (fault)
        organ_fail_errno(error, fault, "%s: cannot be removed", p->partial);
    return error->status;
}

/* The note is complete and the output has its name; *final describes the output. `partial` is the locked partial
 * directory, if it still exists. The note is removed last. */
static organ_status finish_named(const organ_naming_place *p, const organ_naming_note *note,
                                 const organ_partial *partial, const struct stat *final, organ_error *error)
{
    if (partial->folder >= 0)
        S_ISDIR(final->st_mode) ? finish_directory(p, partial, error) : finish_files(p, note, partial, error);
    const int fault = !error->status && note->choice ? organ_naming_remove_choice(p->final, false) : 0;
    if (fault)
        organ_fail_errno(error, fault, "%s" ORGAN_CHOICE_ENDING ": cannot be removed", p->final);
    if (!error->status && unlink(p->note) && errno != ENOENT)
        organ_fail_errno(error, errno, "%s: cannot be removed", p->note);
    return error->status;
}

/* A run that was killed after it had removed its note has left the directory. A failure is no error, because the
 * next run takes the directory. */
static void remove_empty(const char *path)
{
    organ_partial partial;
    int ignored;
    if (organ_partial_lock(path, &partial, &ignored) == ORGAN_PARTIAL_LOCKED && organ_is_empty_folder(partial.folder))
        organ_partial_remove(&partial, path, NULL);
    organ_partial_unlock(&partial);
}

/* A note of an output that the user has renamed by hand stays until the next run, which has the lock, begins to
 * write. */
organ_status organ_naming_finish(const organ_naming_place *p, organ_error *error)
{
    organ_naming_note note;
    organ_partial partial;
    struct stat info, final;
    int fault;
    const bool noted = lstat(p->note, &info) == 0;
    if (lstat(p->final, &final) || (noted && organ_naming_note_read(p->note, &note, error)))
        return error->status;
    if (!noted)
        remove_empty(p->partial);
    if (!noted || !note.there || final.st_ino != note.nodes[0])
        return ORGAN_OK;
    const organ_partial_state state = organ_partial_lock(p->partial, &partial, &fault);
    /* Another process may have finished the renaming before this one got the lock. */
    const bool still = lstat(p->note, &info) == 0 && lstat(p->final, &final) == 0 && final.st_ino == note.nodes[0];
    if (still && (state == ORGAN_PARTIAL_LOCKED || state == ORGAN_PARTIAL_MISSING))
        finish_named(p, &note, &partial, &final, error);
    organ_partial_unlock(&partial);
    return error->status;
}
