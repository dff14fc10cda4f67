/* SPDX-License-Identifier: MIT
 * Writes behind the workers: a worker copies bytes into a buffer of its own and goes on, while a thread waits for the
 * disk. */
#ifndef ORGAN_STREAM_WRITE_BEHIND_H
#define ORGAN_STREAM_WRITE_BEHIND_H

#include <organ/base.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_behind organ_behind;

#define ORGAN_BEHIND_BYTES ((size_t)3 << 20) /* upper bound on the memory of a worker */

/* Starts a writing thread for each worker. Returns ORGAN_IO if memory or threads are refused; *behind is then NULL. */
organ_status organ_behind_create(size_t workers, organ_behind **behind, organ_error *error);

/* Copies `bytes` bytes, to be written at `offset` of an existing file. Workers may call it at the same time, each with
 * its own number below `workers`; ranges must not overlap. `path` must stay valid until organ_behind_destroy. Returns
 * ORGAN_IO if the file cannot be opened, or if this or an earlier write of the worker failed. */
organ_status organ_behind_write(organ_behind *behind, size_t worker, const char *path, const void *data, size_t bytes,
                                uint64_t offset, organ_error *error);

/* Waits until the file has all bytes that this worker passed to organ_behind_write. Returns ORGAN_IO if one of its
 * writes failed. */
organ_status organ_behind_wait(organ_behind *behind, size_t worker, organ_error *error);

/* Ends the threads after they have written everything. NULL is allowed. */
void organ_behind_destroy(organ_behind *behind);

#endif
