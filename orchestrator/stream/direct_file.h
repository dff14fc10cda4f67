/* SPDX-License-Identifier: MIT
 * A file that is written with direct I/O (O_DIRECT) if the file system supports it: written bytes do not displace input
 * files from the page cache, the processor does not copy them, and little remains to be written by organ_direct_sync.
 * Also functions that copy bytes between files. */
#ifndef ORGAN_STREAM_DIRECT_FILE_H
#define ORGAN_STREAM_DIRECT_FILE_H

#include <organ/base.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes to which O_DIRECT requires addresses, offsets and lengths to be aligned. */
#define ORGAN_DIRECT_ALIGNMENT 4096

/* An open file, with a second descriptor for direct I/O if the file system supports that. */
typedef struct organ_direct_file {
    const char *path; /* as passed to open; for messages */
    int fd;           /* descriptor with buffering; -1: closed */
    int direct;       /* the same file opened with O_DIRECT, or -1 if that is not supported or the file is in memory */
    /* A thread holds this lock while it writes into a file in memory. NULL: the file is not in memory. */
    pthread_mutex_t *turn;
    bool refused; /* a write to `direct` was refused (EINVAL); any thread may set it, so it is accessed atomically */
} organ_direct_file;

/* Opens `path` for reading and writing, and creates it with `mode` if it does not exist; `path` must outlive the
 * file. */
organ_status organ_direct_open(const char *path, unsigned mode, organ_direct_file *file, organ_error *error);

/* Sets the length of the file to `size` bytes; new bytes are zero. Returns ORGAN_IO if that fails. */
organ_status organ_direct_resize(const organ_direct_file *file, uint64_t size, organ_error *error);

/* Sets the length of a file that is not longer than `size` bytes, and reserves disk space if the file system supports
 * that and is not in memory (tmpfs). Returns ORGAN_IO if the disk, or the memory, has not enough space. */
organ_status organ_direct_reserve(const organ_direct_file *file, uint64_t size, organ_error *error);

/* Writes exactly `bytes` bytes at `offset`. If address and offset are congruent modulo ORGAN_DIRECT_ALIGNMENT and
 * file->direct is open, whole pages are written directly and the ends through the page cache; otherwise all bytes are
 * written through the page cache. Both descriptors stay open until organ_direct_close, so several threads may write one
 * file at the same time; concurrent calls must not overlap. */
organ_status organ_direct_write(organ_direct_file *file, const void *data, size_t bytes, uint64_t offset,
                                organ_error *error);

/* Starts writing to the disk what these bytes have in the page cache, and does not wait. organ_direct_sync reports
 * errors. */
void organ_direct_begin_sync(const organ_direct_file *file, uint64_t offset, uint64_t bytes);

/* Returns whether direct writing copies large ranges faster than organ_copy_range. Returns false on network file
 * systems and on file systems without direct writes. */
bool organ_direct_suits_copies(const organ_direct_file *file);

/* Synchronises the file with the disk. */
organ_status organ_direct_sync(const organ_direct_file *file, organ_error *error);
void organ_direct_close(organ_direct_file *file);

/* Replaces the content of file `to` by that of file `from` without copying: the files share their blocks (reflink).
 * Both are descriptors. Returns false if the file system does not support it. */
bool organ_reflink(int from, int to);

/* Copies `bytes` bytes of descriptor `from` at from_offset to descriptor `to` at to_offset, with copy_file_range, or
 * with reads and writes if that is not supported. The paths are for messages. Returns ORGAN_BAD_INPUT if `from` is too
 * short, ORGAN_IO if reading or writing fails. */
organ_status organ_copy_range(int from, const char *from_path, uint64_t from_offset, int to, const char *to_path,
                              uint64_t to_offset, uint64_t bytes, organ_error *error);

/* ---- scratch files (--scratch): files without a name, for data that exceed the memory ---- */

/* The system removes a file when it is closed or the process is killed. It is read and written through the page cache,
 * which uses free memory in addition to --memory. */

/* Creates a scratch file in `directory` that only this user can read. `directory` must outlive the file and is its path
 * in messages. Write the file with organ_direct_write and close it with organ_direct_close. Returns ORGAN_IO if the
 * file cannot be created. */
organ_status organ_scratch_open(const char *directory, organ_direct_file *file, organ_error *error);

/* Reads back exactly `bytes` bytes from `offset` on, which must have been written before. Returns ORGAN_IO if they
 * cannot be read. */
organ_status organ_scratch_read(const organ_direct_file *file, void *data, size_t bytes, uint64_t offset,
                                organ_error *error);

/* Announces to the system that these bytes will be read soon, so that it may begin to read them. */
void organ_scratch_announce(const organ_direct_file *file, size_t bytes, uint64_t offset);

/* ---- threads that wait in writes, so that the workers can go on ---- */

/* A write with O_DIRECT returns when the device has the bytes. The threads share one queue: each takes the write that
 * was queued first. */

typedef struct organ_writers organ_writers;

/* A write in the queue: the first member of the caller's own structure. */
typedef struct organ_queued_write {
    struct organ_queued_write *next; /* used by the writers */
} organ_queued_write;

/* Starts `count` threads. `write` carries out a write and then notes in the structure of the caller that it has ended;
 * several threads call it at the same time, with `context` as first argument. Returns ORGAN_IO if the system refuses a
 * thread or memory; *writers is then NULL. */
organ_status organ_writers_create(size_t count, void (*write)(void *context, organ_queued_write *queued), void *context,
                                  organ_writers **writers, organ_error *error);

/* Queues a write, which must exist until `write` is called with it. The clock of the calling thread (formats/base/
 * activity.h) counts its `bytes` as written, because the writers have no clocks. Thread-safe. */
void organ_writers_queue(organ_writers *writers, organ_queued_write *queued, size_t bytes);

/* Ends the threads after they have carried out all queued writes. NULL is allowed. */
void organ_writers_destroy(organ_writers *writers);

#endif
