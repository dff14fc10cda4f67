/* SPDX-License-Identifier: MIT */
#include "formats/base/file_calls.h"

#include "formats/base/activity.h"
#include "formats/base/held_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int organ_open_at(int folder, const char *name, int flags, mode_t mode)
{
    int fd;
    do
        fd = openat(folder, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int organ_open(const char *path, int flags, mode_t mode)
{
    const char *name;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name), fd = organ_open_at(folder, name, flags, mode);
    organ_held_folders_leave();
    return fd;
}

int organ_lock_at_once(int fd, int kind)
{
    int fault;
    do
        fault = flock(fd, kind | LOCK_NB);
    while (fault && errno == EINTR);
    return fault;
}

#define LOCK_TRIES 64 /* files that are locked before one keeps its path */

int organ_open_locked(const char *path, int flags, mode_t mode)
{
    struct stat held, named;
    for (int k = 0; k < LOCK_TRIES; k++) {
        const int fd = organ_open(path, flags, mode);
        const bool locked = fd >= 0 && organ_lock_at_once(fd, LOCK_EX) == 0;
        if (fd < 0 || (locked && fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_ino == named.st_ino &&
                       held.st_dev == named.st_dev))
            return fd;
        const int reason = errno;
        close(fd);
        errno = reason;
        if (!locked)
            return -1;
    }
    errno = EWOULDBLOCK;
    return -1;
}

DIR *organ_open_folder(const char *path)
{
    const int fd = organ_open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    DIR *const folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !folder)
        close(fd); /* the reason is a lack of memory, which close does not change */
    return folder;
}

int organ_list_folder(const char *path, struct dirent ***entries, int (*is_selected)(const struct dirent *entry),
                      int (*order)(const struct dirent **a, const struct dirent **b))
{
    const char *name;
    int count;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name);
    do
        count = scandirat(folder, name, entries, is_selected, order);
    while (count < 0 && errno == EINTR);
    organ_held_folders_leave();
    return count;
}

int organ_make_folder(const char *path, mode_t mode)
{
    const char *name;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name), made = mkdirat(folder, name, mode);
    organ_held_folders_leave();
    return made;
}

int organ_remove_file(const char *path)
{
    const char *name;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name), removed = unlinkat(folder, name, 0);
    organ_held_folders_leave();
    return removed;
}

int organ_remove_folder(const char *path)
{
    const char *name;
    organ_held_folders_use();
    const int folder = organ_held_folder_of(path, &name), removed = unlinkat(folder, name, AT_REMOVEDIR);
    organ_held_folders_leave();
    return removed;
}

int organ_rename_file(const char *from, const char *to, unsigned flags)
{
    const char *from_name, *to_name;
    organ_held_folders_use();
    const int from_folder = organ_held_folder_of(from, &from_name), to_folder = organ_held_folder_of(to, &to_name);
    const int renamed = flags ? renameat2(from_folder, from_name, to_folder, to_name, flags)
                              : renameat(from_folder, from_name, to_folder, to_name);
    organ_held_folders_leave();
    return renamed;
}

int organ_link_file(const char *from, const char *to)
{
    const char *from_name, *to_name;
    organ_held_folders_use();
    const int from_folder = organ_held_folder_of(from, &from_name), to_folder = organ_held_folder_of(to, &to_name);
    const int linked = linkat(from_folder, from_name, to_folder, to_name, 0);
    organ_held_folders_leave();
    return linked;
}

int organ_sync_file(int fd)
{
    const organ_activity before = organ_activity_begin(ORGAN_WRITING);
    int fault;
    do
        fault = fsync(fd);
    while (fault && errno == EINTR);
    organ_activity_begin(before);
    return fault;
}

int organ_resize_file(int fd, off_t size)
{
    int fault;
    do
        fault = ftruncate(fd, size);
    while (fault && errno == EINTR);
    return fault;
}

ssize_t organ_pread_full(int fd, void *bytes, size_t count, off_t offset)
{
    const organ_activity before = organ_activity_begin(ORGAN_READING);
    size_t done = 0;
    ssize_t got = 1;
    while (done < count && got != 0) {
        got = pread(fd, (char *)bytes + done, count - done, offset + (off_t)done);
        if (got < 0 && errno != EINTR)
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    organ_activity_moved(done);
    organ_activity_begin(before);
    return got < 0 && done < count ? -1 : (ssize_t)done;
}

bool organ_is_system_failure(int reason)
{
    return reason == EIO || reason == ESTALE || reason == ENOMEM || reason == EMFILE || reason == ENFILE ||
           reason == ETIMEDOUT;
}

int organ_write_all(int fd, const void *bytes, size_t count)
{
    const organ_activity before = organ_activity_begin(ORGAN_WRITING);
    size_t done = 0;
    ssize_t put = 0;
    while (done < count) {
        put = write(fd, (const char *)bytes + done, count - done);
        if (put < 0 && errno != EINTR)
            break;
        done += put > 0 ? (size_t)put : 0;
    }
    organ_activity_moved(done);
    organ_activity_begin(before);
    return done < count ? -1 : 0;
}
