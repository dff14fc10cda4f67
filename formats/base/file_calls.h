/* SPDX-License-Identifier: MIT
 * Calls that a signal can end before they have begun, on file systems across a network or in user space: they are made
 * again. Close is not among them: where it is interrupted, the descriptor is gone. */
#ifndef ORGAN_FILE_CALLS_H
#define ORGAN_FILE_CALLS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* open and openat, always with O_CLOEXEC. */
int organ_open(const char *path, int flags, mode_t mode);
int organ_open_at(int folder, const char *name, int flags, mode_t mode);
DIR *organ_open_folder(const char *path);

/* scandir: how many entries, -1 with errno. */
int organ_list_folder(const char *path, struct dirent ***entries, int (*wanted)(const struct dirent *entry),
                      int (*order)(const struct dirent **a, const struct dirent **b));

int organ_sync_file(int fd);
int organ_resize_file(int fd, off_t size);

/* As many of the bytes at `offset` as the file has; -1 with errno. */
ssize_t organ_read_most(int fd, void *bytes, size_t count, off_t offset);

/* Whether that errno of a call that looks for a file says nothing about the file: the disk or the system has failed. */
bool organ_cannot_tell(int reason);

/* All of the bytes, where the descriptor stands; 0, or -1 with errno. */
int organ_write_all(int fd, const void *bytes, size_t count);

#endif
