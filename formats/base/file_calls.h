/* SPDX-License-Identifier: MIT
 * System calls that are repeated if a signal interrupts them (EINTR), which happens on network file systems and
 * FUSE. close is not among them, because an interrupted close has already released the descriptor. Results and errno
 * are those of the system call. Paths below a folder that this process holds (held_folder.h) are looked up in it. */
#ifndef ORGAN_FILE_CALLS_H
#define ORGAN_FILE_CALLS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* open, openat and opendir; descriptors get O_CLOEXEC */
int organ_open(const char *path, int flags, mode_t mode);
int organ_open_at(int folder, const char *name, int flags, mode_t mode);
DIR *organ_open_folder(const char *path);

/* Opens a file and locks it against other processes (flock) without waiting. On success `path` leads to the locked
 * file: if its former holder renamed or removed it, opens the path again. Returns the descriptor, or -1 with errno:
 * EWOULDBLOCK if another process holds the lock. */
int organ_open_locked(const char *path, int flags, mode_t mode);

/* flock with LOCK_NB; `kind` is LOCK_EX or LOCK_SH. Returns 0, or -1 with errno: EWOULDBLOCK if another process holds
 * the lock. */
int organ_lock_at_once(int fd, int kind);

/* scandir: sets *entries to the entries that `is_selected` accepts, in the order of `order`; the caller frees them.
 * Returns their number, or -1 with errno. */
int organ_list_folder(const char *path, struct dirent ***entries, int (*is_selected)(const struct dirent *entry),
                      int (*order)(const struct dirent **a, const struct dirent **b));

/* mkdir, unlink, rmdir, renameat2 (`flags` 0: rename) and link. They return 0, or -1 with errno. */
int organ_make_folder(const char *path, mode_t mode);
int organ_remove_file(const char *path);
int organ_remove_folder(const char *path);
int organ_rename_file(const char *from, const char *to, unsigned flags);
int organ_link_file(const char *from, const char *to);

/* fsync and ftruncate. They return 0, or -1 with errno. */
int organ_sync_file(int fd);
int organ_resize_file(int fd, off_t size);

/* Reads up to `count` bytes at `offset`, fewer only at the end of the file. Returns the number of bytes, or -1 with
 * errno. */
ssize_t organ_pread_full(int fd, void *bytes, size_t count, off_t offset);

/* Returns true if `reason`, the errno of a call that opens or examines a file, means that the disk or the system
 * failed (EIO, ENOMEM, EMFILE, ...). The caller then cannot conclude that the file does not exist. */
bool organ_is_system_failure(int reason);

/* Writes all `count` bytes at the current position. Returns 0, or -1 with errno. */
int organ_write_all(int fd, const void *bytes, size_t count);

#endif
