/* SPDX-License-Identifier: MIT */
#include "formats/base/closed_modes.h"

#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEPEST_FOLDER 8 /* a model directory has folders in one or two levels */
#define ALL_CLOSED     077u

/* A class gets nothing if it cannot read the file or enter the directory. A class that cannot write it cannot write
 * its outputs. */
static unsigned closed_by(const struct stat *info)
{
    const unsigned needed = S_ISDIR(info->st_mode) ? 1 : 4;
    unsigned closed = 0;
    for (unsigned shift = 0; shift <= 3; shift += 3) {
        const unsigned has = (unsigned)info->st_mode >> shift & 7;
        closed |= (has & needed ? ~has & 2 : 7u) << shift;
    }
    return closed;
}

/* Links to folders are followed only at depth 0, as no file is copied through them (copy_tree.h): many links to the
 * folder itself would never end. */
static unsigned closed_at(int folder, const char *name, int depth)
{
    struct stat info;
    const int below = depth ? O_NOFOLLOW : 0;
    if (fstatat(folder, name, &info, 0) || (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)))
        return 0;
    const int fd = S_ISDIR(info.st_mode) && depth < DEEPEST_FOLDER
                       ? organ_open_at(folder, name, O_RDONLY | O_DIRECTORY | O_NONBLOCK | below, 0)
                       : -1;
    if (below && fd < 0 && S_ISDIR(info.st_mode) && (errno == ELOOP || errno == ENOTDIR))
        return 0;
    unsigned closed = closed_by(&info);
    DIR *const entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !entries)
        close(fd);
    for (const struct dirent *entry; entries && closed != ALL_CLOSED && (entry = readdir(entries));)
        if (entry->d_name[0] != '.')
            closed |= closed_at(fd, entry->d_name, depth + 1);
    if (entries)
        closedir(entries);
    return closed;
}

unsigned organ_closed_modes(const char *path) { return closed_at(AT_FDCWD, path, 0); }

static int close_one(int fd, unsigned closed)
{
    struct stat info;
    if (fstat(fd, &info))
        return errno;
    return info.st_mode & closed && fchmod(fd, info.st_mode & 07777 & ~closed) ? errno : 0;
}

static int close_folder(int folder, unsigned closed, int depth)
{
    const int again = depth < DEEPEST_FOLDER ? organ_open_at(folder, ".", O_RDONLY | O_DIRECTORY, 0) : -1;
    DIR *const entries = again >= 0 ? fdopendir(again) : NULL;
    int fault = entries ? close_one(folder, closed) : errno;
    if (again >= 0 && !entries)
        close(again);
    for (const struct dirent *entry; entries && !fault && (entry = readdir(entries));) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(again, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) ||
            (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)))
            continue;
        const int fd = organ_open_at(again, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0)
            fault = errno;
        else
            fault = S_ISDIR(info.st_mode) ? close_folder(fd, closed, depth + 1) : close_one(fd, closed);
        if (fd >= 0)
            close(fd);
    }
    if (entries)
        closedir(entries);
    return fault;
}

int organ_close_modes(int folder, unsigned closed) { return closed ? close_folder(folder, closed, 0) : 0; }
