/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/unfinished/partial.h"

#include "formats/base/file_calls.h"
#include "formats/base/held_folder.h"
#include "formats/model/recognise.h"
#include "orchestrator/stream/unfinished/remove_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

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

void organ_partial_unlock(organ_partial *partial)
{
    if (partial->mark >= 0)
        close(partial->mark);
    if (partial->folder >= 0)
        close(partial->folder);
    *partial = (organ_partial){-1, -1};
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
    const int fd = organ_open_at(partial->folder, ORGAN_GROWING_MARK, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    close(fd);
    return EEXIST;
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
    const int fd = organ_open_at(folder, ORGAN_GROWING_MARK, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return errno == ENOENT;
    const ssize_t length = organ_pread_full(fd, found, sizeof found - 1, 0);
    close(fd);
    return length >= 0 && strcmp(found, token) != 0;
}

/* ---- removal ---- */

/* On a file system whose locks do not reach another host, a directory of that host may have the path after the check of
 * the path. rmdir removes it only while it is empty, and its process then creates it again. */
int organ_partial_remove(const organ_partial *partial, const char *path, const char *note)
{
    int fault = ENOTEMPTY;
    for (int k = 0; k < ORGAN_EMPTYING_ROUNDS && (fault == ENOTEMPTY || fault == EEXIST); k++) {
        fault = organ_empty_folder(partial->folder);
        if (fault == 0 && note && unlink(note) && errno != ENOENT)
            fault = errno;
        if (fault == 0 && organ_partial_is_at(partial, path) && rmdir(path) && errno != ENOENT)
            fault = errno;
    }
    if (fault == ENOTDIR)
        fault = organ_partial_is_at(partial, path) && unlink(path) && errno != ENOENT ? errno : 0;
    return fault;
}

static bool discard_own(const char *path, int *fault)
{
    const char *name;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name);
    const bool own = folder != AT_FDCWD && strcmp(name, ".") == 0;
    if (own)
        *fault = organ_partial_remove(&(organ_partial){folder, -1}, path, NULL);
    organ_held_folders_leave();
    return own;
}

int organ_partial_discard(const char *path, bool own)
{
    organ_partial partial;
    int fault;
    if (own && discard_own(path, &fault))
        return fault;
    switch (organ_partial_lock(path, &partial, &fault)) {
    case ORGAN_PARTIAL_LOCKED:
        fault = organ_partial_remove(&partial, path, NULL);
        organ_partial_unlock(&partial);
        return fault;
    case ORGAN_PARTIAL_MISSING:
        return 0;
    case ORGAN_PARTIAL_BUSY:
        return EWOULDBLOCK;
    default:
        return fault;
    }
}
