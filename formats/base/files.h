/* SPDX-License-Identifier: MIT
 * System calls that are repeated if a signal interrupts them (EINTR), which happens on network file systems and
 * FUSE. close is not among them, because an interrupted close has already released the descriptor. Results and errno
 * are those of the system call. Paths below a folder that this process holds are looked up in it. */
#ifndef ORGAN_BASE_FILES_H
#define ORGAN_BASE_FILES_H

#include <dirent.h>
#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
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

/* ---- permissions of outputs: a file that is made from others is never more open than these ---- */

/* Returns the permission bits of group and others that files made from the file or directory at `path` must not have.
 * All files below a directory count, except hidden ones. Follows links, in a directory only those to files. 0 if there
 * is nothing at `path`. */
unsigned organ_closed_modes(const char *path);

/* Removes the bits `closed` from the permissions of an open directory and of everything below it. Returns 0 or an
 * errno; ELOOP if folders are nested more than 32 deep. */
int organ_close_modes(int folder, unsigned closed);

/* ---- folders that the process holds open while it writes into them ---- */

/* A path below a held folder is not looked up from the root: it is opened, created, renamed or removed below the
 * folder's descriptor. So a file never gets into another folder that has taken the path meanwhile, and a call below a
 * folder that was removed fails with ENOENT. */

/* A folder that is held. */
typedef struct organ_held_folder organ_held_folder;

/* Holds the folder `fd`, which has the path `path`, until organ_held_folder_drop. The caller keeps the descriptor open
 * until then. Returns NULL if memory runs out. */
organ_held_folder *organ_held_folder_add(const char *path, int fd);
/* Ends holding a folder, also if other threads use it; NULL is allowed. */
void organ_held_folder_drop(organ_held_folder *folder);

/* Beginning and end of ORGAN_USE_HELD_FOLDERS. The number has no meaning: a variable is needed for the attribute. */
int organ_held_folders_use(void);
void organ_held_folders_leave(const int *use);
/* A statement after which no folder is dropped until its block ends. It keeps errno and must not be nested. */
#define ORGAN_USE_HELD_FOLDERS                                                                                         \
    const int organ_held_use __attribute__((cleanup(organ_held_folders_leave), unused)) = organ_held_folders_use()
/* Returns the descriptor of the held folder at or above `path` and sets *name to the rest of the path, "." for the
 * folder itself. If no such folder is held, returns AT_FDCWD and sets *name to `path`. Only
 * after ORGAN_USE_HELD_FOLDERS; the descriptor may be used until the end of the block. */
int organ_held_folder_of(const char *path, const char **name);

/* ---- files without a name, for data that would need more memory than --memory allows ---- */

/* They are created in the folder TMPDIR, or in /var/tmp if that variable is not set; the system removes a file when its
 * last descriptor and mapping are closed. */

/* Allows or forbids the process to create such files. Until the first call they are forbidden: organ_unnamed_file
 * then creates none and records no fault. */
void organ_unnamed_files_use(bool use);
/* Returns true if files are allowed. */
bool organ_unnamed_files_used(void);

/* Returns the errno of the first failure to create, extend or map a file, or 0 if there was none. Sets *folder to the
 * folder of the files. After a failure no further file is created. */
int organ_unnamed_files_fault(const char **folder);
/* Records a failure with the errno `reason`, unless an earlier one is recorded. */
void organ_unnamed_files_fail(int reason);

/* Creates a file and returns a descriptor that the caller closes; -1 if files are forbidden or cannot be created.
 * Thread-safe. */
int organ_unnamed_file(void);

/* Allocates disk space for bytes [from, from + bytes) of the file. Returns false if that fails. Without disk space,
 * a write to a mapped page of the file would end the process with SIGBUS. */
bool organ_unnamed_file_extend(int fd, off_t from, size_t bytes);

/* ---- untrusted files ---- */

/* The functions reject devices and pipes, bound the bytes that they read, and use pread: a mapping of a file that
 * another process truncates would raise SIGBUS. */

/* Opens a regular file for reading and fills in *info; symbolic links are followed. The caller closes *fd. Returns
 * ORGAN_IO if the system refuses, ORGAN_BAD_INPUT if the path is not a regular file. */
organ_status organ_input_open(const char *path, int *fd, struct stat *info, organ_error *error);

/* Reads exactly `size` bytes from `offset`. Returns ORGAN_BAD_INPUT if the file ends earlier, which means that it
 * was truncated after its size was read. `label` is the name of the file in messages. */
organ_status organ_input_read(int fd, const char *label, void *buffer, size_t size, uint64_t offset,
                              organ_error *error);

/* Returns the unsigned little-endian integer in `count` bytes; count <= 8. */
uint64_t organ_little_endian(const void *bytes, size_t count);

/* Reads a whole file of at most `limit` bytes and appends a NUL. The caller frees *bytes. Returns ORGAN_BAD_INPUT if
 * the file is longer. `label` is the name of the file in messages. */
organ_status organ_input_load(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                              organ_error *error);

/* Like organ_input_load, but *bytes is an array of rows.h, which the caller releases with organ_rows_free: a
 * large file then takes about a megabyte of memory. */
organ_status organ_input_load_rows(const char *path, const char *label, size_t limit, char **bytes, size_t *length,
                                   organ_error *error);

/* ---- the number of descriptors ---- */

/* Raises the limit of open descriptors to `requested`, or to the highest limit that the system allows. If this fails,
 * the calls that open files report it. */
void organ_raise_descriptors(uint64_t requested);

/* ---- local variables that own a descriptor or a folder ---- */

/* Attributes of a declaration with an initialiser: the end of the block closes a descriptor that is not negative, or a
 * folder that is not NULL. errno stays. */
void organ_owned_close(const int *fd);
void organ_owned_close_folder(DIR *const *folder);
#define ORGAN_OWNED_FILE   __attribute__((cleanup(organ_owned_close)))
#define ORGAN_OWNED_FOLDER __attribute__((cleanup(organ_owned_close_folder)))

#endif
