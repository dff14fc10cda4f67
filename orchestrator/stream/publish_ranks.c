/* SPDX-License-Identifier: MIT
 * Functions for several ranks that write one output (publish.h). */
#include "formats/base/file_calls.h"
#include "formats/model/recognise.h"
#include "orchestrator/stream/publish_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

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
    if (organ_publish_split(final, publish, error))
        return error->status;
    if (!join_partial(publish, token))
        return organ_fail(error, ORGAN_IO,
                          "%s: the output that rank 0 began in %s is not visible here: the output must be on a file "
                          "system that all ranks share",
                          publish->final, publish->partial);
    return organ_publish_hold(publish, error);
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
    const int fd = path ? organ_open(path, O_RDONLY | O_NOFOLLOW, 0) : -1;
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
    if (fd >= 0)
        close(fd);
    free(path);
    return error->status;
}
