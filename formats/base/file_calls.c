/* SPDX-License-Identifier: MIT */
#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* openat with O_CLOEXEC, repeated after EINTR. */
int organ_open_at(int folder, const char *name, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(folder, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* open with O_CLOEXEC, repeated after EINTR. */
int organ_open(const char *path, int flags, mode_t mode) { return organ_open_at(AT_FDCWD, path, flags, mode); }

/* opendir, repeated after EINTR. */
DIR *organ_open_folder(const char *path)
{
    DIR *folder;
    do
        folder = opendir(path);
    while (!folder && errno == EINTR);
    return folder;
}

/* scandir, repeated after EINTR. Returns the number of *entries, or -1 with errno. */
int organ_list_folder(const char *path, struct dirent ***entries, int (*is_selected)(const struct dirent *entry),
                      int (*order)(const struct dirent **a, const struct dirent **b))
{
    int count;
    do
        count = scandir(path, entries, is_selected, order);
    while (count < 0 && errno == EINTR);
    return count;
}

/* fsync, repeated after EINTR. */
int organ_sync_file(int fd)
{
    int fault;
    do
        fault = fsync(fd);
    while (fault && errno == EINTR);
    return fault;
}

/* ftruncate, repeated after EINTR. */
int organ_resize_file(int fd, off_t size)
{
    int fault;
    do
        fault = ftruncate(fd, size);
    while (fault && errno == EINTR);
    return fault;
}

/* Reads `count` bytes, or fewer at the end of the file; continues after interruptions. Returns -1 after an error. */
ssize_t organ_pread_full(int fd, void *bytes, size_t count, off_t offset)
{
    size_t done = 0;
    while (done < count) {
        const ssize_t got = pread(fd, (char *)bytes + done, count - done, offset + (off_t)done);
        if (got < 0 && errno != EINTR)
            return -1;
        if (got == 0)
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    return (ssize_t)done;
}

/* Returns true if the errno `reason` means that the disk, network or system failed, so that the caller cannot conclude
 * that the file does not exist. */
bool organ_is_system_failure(int reason)
{
    return reason == EIO || reason == ESTALE || reason == ENOMEM || reason == EMFILE || reason == ENFILE ||
           reason == ETIMEDOUT;
}

/* Writes all bytes; continues after interruptions. Returns 0, or -1 after an error. */
int organ_write_all(int fd, const void *bytes, size_t count)
{
    const char *from = bytes;
    while (count) {
        const ssize_t put = write(fd, from, count);
        if (put < 0 && errno != EINTR)
            return -1;
        from += put > 0 ? put : 0;
        count -= put > 0 ? (size_t)put : 0;
    }
    return 0;
}
