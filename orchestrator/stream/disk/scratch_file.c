/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/disk/scratch_file.h"

#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* For file systems without O_TMPFILE. Returns the descriptor, or -1 with errno. */
static int open_named(const char *directory)
{
    char *path = NULL;
    if (asprintf(&path, "%s/.organ-scratch-XXXXXX", directory) < 0) {
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0 && unlink(path)) {
        const int errnum = errno;
        close(fd);
        errno = errnum;
        fd = -1;
    }
    free(path);
    return fd;
}

/* The system removes a file without a name when the process ends. */
organ_status organ_scratch_open(const char *directory, organ_direct_file *file, organ_error *error)
{
    *file = (organ_direct_file){.path = directory, .direct = -1};
    file->fd = organ_open(directory, O_TMPFILE | O_EXCL | O_RDWR, 0600);
    if (file->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        file->fd = open_named(directory);
    return file->fd >= 0 ? ORGAN_OK
                         : organ_fail_errno(error, errno, "%s: no scratch file can be created in it", directory);
}

organ_status organ_scratch_read(const organ_direct_file *file, void *data, size_t bytes, uint64_t offset,
                                organ_error *error)
{
    for (char *to = data; bytes;) {
        const ssize_t got = pread(file->fd, to, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return organ_fail_errno(error, got ? errno : EIO, "%s: cannot read %zu bytes of a scratch file", file->path,
                                    bytes);
        to += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return ORGAN_OK;
}

void organ_scratch_announce(const organ_direct_file *file, size_t bytes, uint64_t offset)
{
    posix_fadvise(file->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED);
}
