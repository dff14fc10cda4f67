/* SPDX-License-Identifier: MIT */
#include "formats/base/files.h"

#include "formats/base/activity.h"
#include "formats/base/arena.h"
#include "formats/base/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20) /* bytes that are read into rows at a time */

organ_status organ_input_open(const char *path, int *fd, struct stat *info, organ_error *error)
{
    /* With O_NONBLOCK, open() returns at once if the path is a pipe without a writer. Regular files ignore the flag. */
    const int opened = organ_open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
    if (opened < 0)
        return organ_fail_errno(error, errno, "%s: cannot be opened", path);
    organ_status status = ORGAN_OK;
    if (fstat(opened, info) != 0)
        status = organ_fail_errno(error, errno, "%s: cannot be examined", path);
    else if (!S_ISREG(info->st_mode))
        status = organ_refuse(error, path, "is %s, not a file",
                              S_ISDIR(info->st_mode) ? "a directory" : "a device or a pipe");
    if (status == ORGAN_OK)
        *fd = opened;
    else
        close(opened);
    return status;
}

static organ_status read_exactly(int fd, const char *label, void *buffer, size_t size, uint64_t offset,
                                 organ_error *error)
{
    for (size_t done = 0; done < size;) {
        const ssize_t got = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno != EINTR)
            return organ_fail_errno(error, errno, "%s: cannot be read at byte %" PRIu64, label, offset + done);
        if (got == 0)
            return organ_refuse(error, label,
                                "ended at byte %" PRIu64 " while it was read, but %" PRIu64 " bytes were expected",
                                offset + done, offset + size);
        done += got > 0 ? (size_t)got : 0;
    }
    return ORGAN_OK;
}

organ_status organ_input_read(int fd, const char *label, void *buffer, size_t size, uint64_t offset, organ_error *error)
{
    ORGAN_DURING(ORGAN_READING);
    const organ_status status = read_exactly(fd, label, buffer, size, offset, error);
    organ_activity_moved(status ? 0 : size);
    return status;
}

uint64_t organ_little_endian(const void *bytes, size_t count)
{
    uint64_t value = 0;
    while (count-- > 0)
        value = value << 8 | ((const unsigned char *)bytes)[count];
    return value;
}

static organ_status open_within(const char *path, const char *label, size_t limit, int *fd, size_t *length,
                                organ_error *error)
{
    struct stat info;
    if (organ_input_open(path, fd, &info, error) != ORGAN_OK)
        return error->status;
    *length = (size_t)info.st_size;
    if ((uint64_t)info.st_size <= limit)
        return ORGAN_OK;
    close(*fd);
    return organ_refuse(error, label, "has %" PRIu64 " bytes, more than the limit of %zu for such a file",
                        (uint64_t)info.st_size, limit);
}

/* After every PIECE bytes of rows, organ_rows_rest hands the array's memory back to the system. */
static organ_status load(const char *path, const char *label, size_t limit, bool in_rows, char **bytes, size_t *length,
                         organ_error *error)
{
    int fd;
    size_t size = 0;
    organ_status status = open_within(path, label, limit, &fd, &size, error);
    if (status != ORGAN_OK)
        return status;
    char *const text = in_rows ? organ_rows_take(size + 1, 1) : malloc(size + 1);
    if (!text)
        status = organ_fail_errno(error, ENOMEM, "%s: reading %zu bytes", label, size);
    const size_t piece = in_rows && size > PIECE ? PIECE : size;
    for (size_t at = 0; at < size && status == ORGAN_OK; at += piece) {
        status = organ_input_read(fd, label, text + at, size - at < piece ? size - at : piece, at, error);
        if (in_rows)
            organ_rows_rest();
    }
    close(fd);
    if (status == ORGAN_OK) {
        text[size] = '\0';
        *bytes = text;
        *length = size;
    } else if (in_rows)
        organ_rows_free(text);
    else
        free(text);
    return status;
}

organ_status organ_input_load(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                              organ_error *error)
{
    return load(path, label, limit, /*in_rows=*/false, bytes, length, error);
}

organ_status organ_input_load_rows(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                                   organ_error *error)
{
    return load(path, label, limit, /*in_rows=*/true, bytes, length, error);
}
