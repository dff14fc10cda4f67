/* SPDX-License-Identifier: MIT
 * Downloads one file of a model, continuing what an earlier run has received. */
#include "orchestrator/surgery/fetch/fetch_file.h"

#include "formats/base/digest.h"
#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

organ_status organ_fetch_folders(const char *path, organ_error *error)
{
    char folder[4096];
    if (strlen(path) >= sizeof folder)
        return organ_fail(error, ORGAN_USAGE, "%s: the path is too long", path);
    strcpy(folder, path);
    for (char *slash = folder; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return organ_fail_errno(error, errno, "%s", folder);
        *slash = '/';
    }
    return ORGAN_OK;
}

/* The hub lists SHA-256 for LFS files, git's blob SHA-1 for others. */
static void begin_digest(const organ_hub_file *file, organ_digest *digest)
{
    char head[40];
    organ_digest_begin(digest, !file->lfs);
    if (!file->lfs) /* git's name of a blob is the digest of "blob SIZE", a NUL and the content */
        organ_digest_add(digest, head, (size_t)snprintf(head, sizeof head, "blob %" PRIu64, file->bytes) + 1);
}

static organ_status add_received(const organ_fetch_file *f, int fd, uint64_t bytes, organ_digest *digest,
                                 organ_error *error)
{
    for (uint64_t at = 0; at < bytes;) {
        const size_t part = bytes - at < ORGAN_FETCH_BUFFER ? (size_t)(bytes - at) : ORGAN_FETCH_BUFFER;
        const ssize_t got = organ_pread_full(fd, f->buffer, part, (off_t)at);
        if (got != (ssize_t)part)
            return organ_fail_errno(error, got < 0 ? errno : EIO, "%s: cannot be read", f->part);
        organ_digest_add(digest, f->buffer, part);
        at += part;
    }
    return ORGAN_OK;
}

/* A file with another size or digest is an error, because a download never overwrites files. */
static organ_status compare_present(const organ_fetch_file *f, bool *same, organ_error *error)
{
    struct stat about;
    organ_digest digest;
    char text[ORGAN_DIGEST_TEXT];
    *same = false;
    const int fd = organ_open(f->path, O_RDONLY, 0);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", f->path);
    if (fstat(fd, &about) != 0)
        organ_fail_errno(error, errno, "%s", f->path);
    begin_digest(f->file, &digest);
    if (!error->status && S_ISREG(about.st_mode) && (uint64_t)about.st_size == f->file->bytes &&
        add_received(f, fd, f->file->bytes, &digest, error) == ORGAN_OK) {
        organ_digest_end(&digest, text);
        *same = strcmp(text, f->file->digest) == 0;
    }
    close(fd);
    if (!error->status && !*same)
        return organ_fail(error, ORGAN_USAGE, "%s: exists, but its content differs from %s on the server: remove it",
                          f->path, f->file->path);
    return error->status;
}

static organ_status receive_rest(const organ_fetch_file *f, int fd, uint64_t from, organ_digest *digest,
                                 organ_error *error)
{
    organ_http_file *source = NULL;
    if (f->file->bytes == from)
        return ORGAN_OK;
    if (organ_http_open(f->http, f->file->path, &source, NULL, error) != ORGAN_OK)
        return error->status;
    if (organ_http_size(source) != f->file->bytes)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the server has %" PRIu64 " bytes, but its list states %" PRIu64,
                   f->file->path, organ_http_size(source), f->file->bytes);
    for (uint64_t at = from; !error->status && at < f->file->bytes;) {
        const uint64_t remaining = f->file->bytes - at;
        const size_t part = remaining < ORGAN_FETCH_BUFFER ? (size_t)remaining : ORGAN_FETCH_BUFFER;
        if (organ_http_read(source, f->buffer, part, at, error) != ORGAN_OK)
            break;
        organ_digest_add(digest, f->buffer, part);
        if (organ_write_all(fd, f->buffer, part) != 0)
            organ_fail_errno(error, errno, "%s: cannot be written", f->part);
        at += part;
        organ_progress_advance(f->progress, part, at == f->file->bytes ? f->file->path : NULL, NULL);
    }
    organ_http_close(source);
    return error->status;
}

/* An earlier run has received the first `from` bytes. They may be of another commit, so another digest is an error
 * only if `from` is 0; otherwise the caller downloads the file again. */
static organ_status receive_file(const organ_fetch_file *f, int fd, uint64_t from, bool *same, organ_error *error)
{
    organ_digest digest;
    char text[ORGAN_DIGEST_TEXT];
    if (organ_resize_file(fd, (off_t)from) != 0 || lseek(fd, (off_t)from, SEEK_SET) < 0)
        return organ_fail_errno(error, errno, "%s", f->part);
    begin_digest(f->file, &digest);
    if (add_received(f, fd, from, &digest, error) != ORGAN_OK || receive_rest(f, fd, from, &digest, error) != ORGAN_OK)
        return error->status;
    organ_digest_end(&digest, text);
    *same = strcmp(text, f->file->digest) == 0;
    if (!*same && from == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the received bytes have the digest %s, but the list states %s",
                          f->file->path, text, f->file->digest);
    return ORGAN_OK;
}

static organ_status finish_file(const organ_fetch_file *f, int fd, organ_error *error)
{
    if (organ_sync_file(fd) != 0)
        return organ_fail_errno(error, errno, "%s: cannot be written", f->part);
    if (rename(f->part, f->path) != 0)
        return organ_fail_errno(error, errno, "%s: cannot be renamed to %s", f->part, f->path);
    return ORGAN_OK;
}

/* f->part is open and locked as `fd`. If the digest is wrong and the file has bytes of an earlier run, all bytes are
 * downloaded again. A file with a wrong size or digest is removed. */
static organ_status fill_part(const organ_fetch_file *f, int fd, organ_fetched *how, organ_error *error)
{
    struct stat about;
    bool same = false;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s: is not a regular file", f->part);
    const uint64_t from = (uint64_t)about.st_size <= f->file->bytes ? (uint64_t)about.st_size : 0;
    *how = from ? ORGAN_FETCH_CONTINUED : ORGAN_FETCH_NEW;
    if (receive_file(f, fd, from, &same, error) == ORGAN_OK && !same) {
        *how = ORGAN_FETCH_NEW;
        receive_file(f, fd, 0, &same, error);
    }
    if (error->status == ORGAN_BAD_INPUT)
        unlink(f->part);
    return error->status ? error->status : finish_file(f, fd, error);
}

/* The lock on the temporary file prevents two processes from downloading it at the same time. */
organ_status organ_fetch_one(const organ_fetch_file *f, organ_fetched *how, organ_error *error)
{
    struct stat about;
    bool same;
    if (lstat(f->path, &about) == 0) {
        *how = ORGAN_FETCH_PRESENT;
        return compare_present(f, &same, error);
    }
    if (organ_fetch_folders(f->part, error) != ORGAN_OK)
        return error->status;
    const int fd = organ_open_locked(f->part, O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
    if (fd < 0)
        return errno == EWOULDBLOCK ? organ_fail(error, ORGAN_USAGE, "%s: another process downloads this file", f->part)
                                    : organ_fail_errno(error, errno, "%s", f->part);
    if (lstat(f->path, &about) == 0) { /* another process has completed it before this one had the lock */
        *how = ORGAN_FETCH_PRESENT;
        if (compare_present(f, &same, error) == ORGAN_OK)
            unlink(f->part);
    } else
        fill_part(f, fd, how, error);
    close(fd);
    return error->status;
}
