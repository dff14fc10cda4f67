/* SPDX-License-Identifier: MIT
 * A file without a name, for data that exceed the memory. The system removes it when it is closed or the process is
 * killed. It is read and written through the page cache, which uses free memory in addition to --memory. */
#ifndef ORGAN_SCRATCH_FILE_H
#define ORGAN_SCRATCH_FILE_H

#include "orchestrator/stream/direct_file.h"

#include <stddef.h>

/* Makes it in `directory`, which must outlive it and is its path in messages, for this user alone. To be closed with
 * organ_direct_close and written with organ_direct_write. ORGAN_IO. */
organ_status organ_scratch_open(const char *directory, organ_direct_file *file, organ_error *error);

/* Reads exactly `bytes` bytes, which were written before. ORGAN_IO. */
organ_status organ_scratch_read(const organ_direct_file *file, void *data, size_t bytes, uint64_t offset,
                                organ_error *error);

/* These bytes will be read soon: the system may begin. */
void organ_scratch_announce(const organ_direct_file *file, size_t bytes, uint64_t offset);

#endif
