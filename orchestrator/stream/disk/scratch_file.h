/* SPDX-License-Identifier: MIT
 * A file without a name, for data that exceed the memory (--scratch). The system removes it when it is closed or the
 * process is killed. It is read and written through the page cache, which uses free memory in addition to --memory. */
#ifndef ORGAN_SCRATCH_FILE_H
#define ORGAN_SCRATCH_FILE_H

#include "orchestrator/stream/disk/direct_file.h"

#include <stddef.h>

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

#endif
