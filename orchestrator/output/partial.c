/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/partial.h"
#include "orchestrator/output/publish.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/rename_output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEEPEST 64 /* nested folders: each needs a descriptor and a buffer on the stack */

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

bool organ_is_empty_folder(int folder)
{
    _Alignas(struct dirent64) char entries[4096];
    ssize_t got = lseek(folder, 0, SEEK_SET) < 0 ? -1 : 1; /* bytes read last; -1: an error, 0: the end */
    bool empty = true;
    while (empty && got > 0) {
        got = getdents64(folder, entries, sizeof entries);
        for (ssize_t at = 0; at < got && empty; at += ((const struct dirent64 *)(const void *)(entries + at))->d_reclen)
            empty = is_dots(((const struct dirent64 *)(const void *)(entries + at))->d_name);
    }
    if (got >= 0)
        errno = 0;
    return empty && got == 0;
}

static int remove_at(int folder, const char *name, int depth);

/* `entries` has `bytes` bytes of getdents64. Leaves the mark of an unfinished output (ORGAN_GROWING_MARK), and
 * continues after an entry that cannot be removed. Returns 0 or the first errno. */
static int remove_listed(int folder, const char *entries, ssize_t bytes, int depth)
{
    int fault = 0, one;
    for (ssize_t at = 0; at < bytes;) {
        const struct dirent64 *const entry = (const struct dirent64 *)(const void *)(entries + at);
        if (!is_dots(entry->d_name) && strcmp(entry->d_name, ORGAN_GROWING_MARK) != 0)
            if ((one = remove_at(folder, entry->d_name, depth)) != 0 && fault == 0)
                fault = one;
        at += entry->d_reclen;
    }
    return fault;
}

/* Removes all that is in the folder. Returns 0 or an errno. */
static int empty_folder(int folder, int depth)
{
    _Alignas(struct dirent64) char entries[4096];
    ssize_t got = 0;
    int fault = lseek(folder, 0, SEEK_SET) < 0 ? errno : 0;
    while (fault == 0 && (got = getdents64(folder, entries, sizeof entries)) > 0)
        fault = remove_listed(folder, entries, got, depth);
    if (fault || got < 0)
        return fault ? fault : errno;
    /* The mark is removed last, after the other removals are on the disk: after a kill or a power cut it permits the
     * next run to remove the rest. */
    if (faccessat(folder, ORGAN_GROWING_MARK, F_OK, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : errno;
    organ_sync_file(folder); /* a failure matters only after a power cut */
    return unlinkat(folder, ORGAN_GROWING_MARK, 0) ? errno : 0;
}

/* Tries unlink and rmdir first, because they need no descriptor, and then empties the folder. Returns 0 or an errno;
 * ELOOP if folders are nested deeper than DEEPEST. */
static int remove_at(int folder, const char *name, int depth)
{
    if (unlinkat(folder, name, 0) == 0 || (depth > 0 && errno == ENOENT)) /* another process removes the tree too */
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    if (unlinkat(folder, name, AT_REMOVEDIR) == 0)
        return 0;
    int fault = errno;
    if (fault != ENOTEMPTY && fault != EEXIST)
        return fault;
    ORGAN_OWNED_FILE const int below =
        depth < DEEPEST ? organ_open_at(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0) : -1;
    if (below < 0)
        return depth < DEEPEST ? errno : ELOOP;
    for (int k = 0; k < ORGAN_EMPTYING_ROUNDS && (fault == ENOTEMPTY || fault == EEXIST); k++)
        if ((fault = empty_folder(below, depth + 1)) == 0 && unlinkat(folder, name, AT_REMOVEDIR))
            fault = errno;
    return fault;
}

int organ_remove_tree(const char *path)
{
    const char *name;
    ORGAN_USE_HELD_FOLDERS;
    const int folder = organ_held_folder_of(path, &name), fault = remove_at(folder, name, 0);
    errno = fault;
    return fault ? -1 : 0;
}

#define TRIES                                                                                                          \
    64 /* directories that are locked before one keeps its path; more are other processes' that come and go            \
        */

/* Returns false if another host holds the lock of the mark. A file system that cannot lock it leaves the lock of the
 * directory and the token, which the holder reads before it publishes. */
static bool lock_mark(organ_partial *partial)
{
    partial->mark = organ_open_at(partial->folder, ORGAN_GROWING_MARK, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    return partial->mark < 0 || organ_lock_at_once(partial->mark, LOCK_EX) == 0 || errno != EWOULDBLOCK;
}

bool organ_partial_is_at(const organ_partial *partial, const char *path)
{
    struct stat held, named;
    return fstat(partial->folder, &held) == 0 && fstatat(AT_FDCWD, path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

static organ_partial_state lock_once(const char *path, organ_partial *partial, int *fault)
{
    /* not organ_open, which would open a directory that this process holds instead of the path */
    partial->folder = organ_open_at(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    *fault = partial->folder < 0 ? errno : 0;
    if (partial->folder < 0)
        return *fault == ENOENT ? ORGAN_PARTIAL_MISSING : ORGAN_PARTIAL_UNKNOWN;
    if (organ_lock_at_once(partial->folder, LOCK_EX) == 0)
        return lock_mark(partial) ? ORGAN_PARTIAL_LOCKED : ORGAN_PARTIAL_BUSY;
    *fault = errno;
    return *fault == EWOULDBLOCK ? ORGAN_PARTIAL_BUSY : ORGAN_PARTIAL_LOCKLESS;
}

/* The former holder of a lock may have removed or renamed the directory between its opening and its locking: then the
 * path is opened again. */
organ_partial_state organ_partial_lock(const char *path, organ_partial *partial, int *fault)
{
    organ_partial_state state = ORGAN_PARTIAL_BUSY;
    bool again = true;
    for (int k = 0; k < TRIES && again; k++) {
        *partial = (organ_partial){-1, -1};
        state = lock_once(path, partial, fault);
        again = state == ORGAN_PARTIAL_LOCKED && !organ_partial_is_at(partial, path);
        if (state != ORGAN_PARTIAL_LOCKED || again)
            organ_partial_unlock(partial);
    }
    return again ? ORGAN_PARTIAL_BUSY : state;
}

/* Other runs may remove the directory between its creation and the lock. */
organ_partial_state organ_partial_take(const char *path, mode_t mode, organ_partial *partial, bool *made, int *fault)
{
    *made = true;
    for (int k = 0; k < TRIES; k++) {
        const organ_partial_state state = organ_partial_lock(path, partial, fault);
        if (state != ORGAN_PARTIAL_MISSING)
            return state;
        if (organ_make_folder(path, mode) && errno != EEXIST) {
            *made = false;
            *fault = errno;
            return state;
        }
    }
    return ORGAN_PARTIAL_BUSY;
}

void organ_partial_unlock(organ_partial *partial)
{
    if (partial->mark >= 0)
        close(partial->mark);
    if (partial->folder >= 0)
        close(partial->folder);
    *partial = (organ_partial){-1, -1};
}

int organ_partial_clear(const organ_partial *partial) { return empty_folder(partial->folder, /*depth=*/1); }

/* A line of /proc/locks is "1: FLOCK  ADVISORY  WRITE 4711 08:01:131072 0 EOF", with a hexadecimal device number. */
long organ_partial_holder(const char *path)
{
    struct stat info;
    char line[256];
    long holder = 0;
    if (lstat(path, &info))
        return 0;
    FILE *const locks = fopen("/proc/locks", "re");
    while (locks && !holder && fgets(line, sizeof line, locks)) {
        char kind[16];
        long process;
        unsigned major_number, minor_number;
        unsigned long long node;
        if (sscanf(line, "%*s %15s %*s %*s %ld %x:%x:%llu", kind, &process, &major_number, &minor_number, &node) == 5 &&
            strcmp(kind, "FLOCK") == 0 && node == info.st_ino && major_number == major(info.st_dev) &&
            minor_number == minor(info.st_dev))
            holder = process;
    }
    if (locks)
        fclose(locks);
    return holder;
}

/* ---- the mark ---- */

int organ_partial_new_token(char token[ORGAN_PARTIAL_TOKEN])
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return errno;
    snprintf(token, ORGAN_PARTIAL_TOKEN, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    return 0;
}

/* The mark exists but is not open: EEXIST if another process has created it just now, else the errno of its opening. */
static int why_not_open(const organ_partial *partial)
{
    ORGAN_OWNED_FILE const int fd =
        organ_open_at(partial->folder, ORGAN_GROWING_MARK, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    return fd < 0 ? errno : EEXIST;
}

int organ_partial_set_mark(organ_partial *partial, const char *token)
{
    const size_t length = strlen(token);
    if (partial->mark < 0) {
        /* O_EXCL: of two hosts whose locks do not reach each other, one creates the mark. */
        partial->mark =
            organ_open_at(partial->folder, ORGAN_GROWING_MARK, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
        if (partial->mark < 0)
            return errno == EEXIST ? why_not_open(partial) : errno;
        if (organ_lock_at_once(partial->mark, LOCK_EX) && errno == EWOULDBLOCK)
            return EEXIST;
    }
    /* The mark must be on the disk before any file: otherwise a power cut could leave incomplete files without it, and
     * a later run would accept them as a complete output. */
    return organ_resize_file(partial->mark, 0) || lseek(partial->mark, 0, SEEK_SET) ||
                   organ_write_all(partial->mark, token, length) || organ_sync_file(partial->folder)
               ? errno
               : 0;
}

bool organ_partial_is_foreign(int folder, const char *token)
{
    char found[ORGAN_PARTIAL_TOKEN] = "";
    ORGAN_OWNED_FILE const int fd = organ_open_at(folder, ORGAN_GROWING_MARK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return errno == ENOENT;
    const ssize_t length = organ_pread_full(fd, found, sizeof found - 1, 0);
    return length >= 0 && strcmp(found, token) != 0;
}

/* ---- removal ---- */

/* On a file system whose locks do not reach another host, a directory of that host may have the path after the check of
 * the path. rmdir removes it only while it is empty, and its process then creates it again. */
int organ_partial_remove(const organ_partial *partial, const char *path, const char *note)
{
    int fault = ENOTEMPTY;
    for (int k = 0; k < ORGAN_EMPTYING_ROUNDS && (fault == ENOTEMPTY || fault == EEXIST); k++) {
        fault = empty_folder(partial->folder, /*depth=*/1);
        if (fault == 0 && note && unlink(note) && errno != ENOENT)
            fault = errno;
        if (fault == 0 && organ_partial_is_at(partial, path) && rmdir(path) && errno != ENOENT)
            fault = errno;
    }
    if (fault == ENOTDIR)
        fault = organ_partial_is_at(partial, path) && unlink(path) && errno != ENOENT ? errno : 0;
    return fault;
}

#define LARGEST_NOTE ((size_t)1 << 30) /* bytes; a larger file is not read */

/* note->there stays false if the line has no inodes. Sets *no_memory if an allocation failed, which would otherwise
 * look like a malformed line. */
static void read_note_line(const char *line, size_t length, organ_naming_note *note, bool *no_memory)
{
    json_error_t fault;
    ORGAN_OWNED_JSON json_t *const json = organ_json_load(line, length, JSON_REJECT_DUPLICATES, &fault, no_memory);
    const json_t *const nodes = json_object_get(json, "finished");
    for (; note->count < json_array_size(nodes) && note->count < ORGAN_NAMING_MAX; note->count++)
        note->nodes[note->count] = (uint64_t)json_integer_value(json_array_get(nodes, note->count));
    note->there = note->count > 0;
    note->force = json_is_true(json_object_get(json, "force"));
}

/* Lines before the last are the journal of the run. An incomplete last line counts as no note. */
organ_status organ_naming_note_read(const char *path, organ_naming_note *note, organ_error *error)
{
    ORGAN_OWNED char *text = NULL;
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
    const char *const before = end ? memrchr(text, '\n', (size_t)(end - text)) : NULL;
    const char *const last = before ? before + 1 : text;
    if (end)
        read_note_line(last, (size_t)(end - last), note, &no_memory);
    note->journal = note->there && before;
    return no_memory ? organ_fail_errno(error, ENOMEM, "%s: cannot be read", path) : ORGAN_OK;
}

int organ_naming_note_append(int at, const char *name, bool make, const organ_naming_note *note)
{
    char line[96 + ORGAN_NAMING_MAX * 24]; /* 24: a number of at most 20 digits and a comma; 96: all other text */
    int length = snprintf(line, sizeof line, "{\"finished\":[");
    for (size_t k = 0; k < note->count; k++)
        length += snprintf(line + length, sizeof line - (size_t)length, "%s%" PRIu64, k ? "," : "", note->nodes[k]);
    length +=
        snprintf(line + length, sizeof line - (size_t)length, "],\"force\":%s}\n", note->force ? "true" : "false");
    const int fd = organ_open_at(at, name, O_WRONLY | O_APPEND | O_NOFOLLOW | (make ? O_CREAT | O_TRUNC : 0), 0666);
    if (fd < 0)
        return errno;
    const int fault = organ_write_all(fd, line, (size_t)length) || organ_sync_file(fd) ? errno : 0;
    return close(fd) && errno != EINTR && !fault ? errno : fault;
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
    ORGAN_OWNED char *const grown = organ_format("%s/%s", p->partial, name);
    ORGAN_OWNED char *const final = organ_format("%s/%s", p->parent, name);
    ORGAN_OWNED char *const command = grown && final ? organ_rename_command(grown, final, NULL) : NULL;
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
    ORGAN_OWNED struct dirent **entries = NULL;
    const int count = organ_list_folder(p->partial, &entries, is_entry, NULL);
    if (count < 0)
        organ_fail_errno(error, errno, "%s: cannot be listed", p->partial);
    for (int k = 0; k < count; k++) {
        if (!error->status)
            publish_file(p, note, entries[k]->d_name, error);
        free(entries[k]);
    }
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
