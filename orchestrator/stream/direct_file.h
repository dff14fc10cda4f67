/* SPDX-License-Identifier: MIT
 * A file that is written in place, past the page cache where the file system allows it: the bytes are on the disk when
 * the call returns, no page of the donor is evicted for them, and the processor copies nothing. Also the other ways
 * bytes get from file to file. */
#ifndef ORGAN_DIRECT_FILE_H
#define ORGAN_DIRECT_FILE_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define ORGAN_DIRECT_ALIGNMENT 4096

typedef struct organ_direct_file {
    const char *path; /* as given to open; for messages */
    int fd;           /* buffered; -1: closed */
    int direct;       /* the same file opened with O_DIRECT, -1 where that is not to be had */
} organ_direct_file;

/* Opens `path` for reading and writing, creating it with `mode` if need be; `path` must outlive the file. */
organ_status organ_direct_open(const char *path, unsigned mode, organ_direct_file *file, organ_error *error);

/* Sets the length; new bytes read as zero. */
organ_status organ_direct_resize(const organ_direct_file *file, uint64_t size, organ_error *error);

/* The same, and their place on the disk is reserved as far as the file system does such things. */
organ_status organ_direct_reserve(const organ_direct_file *file, uint64_t size, organ_error *error);

/* Writes exactly `bytes` at `offset`. Where the address of `data` and the offset are congruent modulo
 * ORGAN_DIRECT_ALIGNMENT, the whole pages inside go directly, the ragged ends through the cache; otherwise everything
 * goes through the cache. Two ranges written at the same time must not overlap. */
organ_status organ_direct_write(organ_direct_file *file, const void *data, size_t bytes, uint64_t offset,
                                organ_error *error);

/* Everything that was written is on the disk. */
organ_status organ_direct_sync(const organ_direct_file *file, organ_error *error);
void organ_direct_close(organ_direct_file *file);

/* Makes `to` share the blocks of the whole of `from` (reflink). false where the file system cannot. */
bool organ_reflink(int from, int to);

/* Copies a range inside the kernel (copy_file_range), or by reading and writing where it cannot. ORGAN_BAD_INPUT if
 * `from` ends early. */
organ_status organ_copy_range(int from, const char *from_path, uint64_t from_offset, int to, const char *to_path,
                              uint64_t to_offset, uint64_t bytes, organ_error *error);

/* Copies a range to the same place of `to`: in large pieces past the page cache where the file system allows it, which
 * takes the processor less than a copy inside the kernel; else as organ_copy_range does. */
organ_status organ_direct_copy(int from, const char *from_path, uint64_t offset, organ_direct_file *to, uint64_t bytes,
                               organ_error *error);

#endif
