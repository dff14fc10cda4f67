/* SPDX-License-Identifier: MIT
 * The memory that an operation may use: --memory, or with --memory auto what its plan needs, within the engine's share
 * of the free memory (organ_memory_share). */
#ifndef ORGAN_STREAM_MEMORY_H
#define ORGAN_STREAM_MEMORY_H

#include "orchestrator/machine/quantity.h"

#include <organ/stream.h>
#include <stddef.h>
#include <stdint.h>

/* Environment variable: upper bound of the memory that --memory auto may choose, as an amount like "2G". */
#define ORGAN_MEMORY_VARIABLE "ORGAN_MEMORY_LIMIT"

/* Gives the engine an automatic memory, which it keeps in *share: reads the free memory of this machine. `root`: see
 * organ_free_memory_read, whose errors it returns. */
organ_status organ_memory_share_begin(organ_engine *engine, organ_memory_share *share, const char *root,
                                      organ_error *error);

/* Divides an automatic memory by the `ranks` processes of the run on this machine, and lowers the ceiling to `limit`
 * (0: no limit). Called before the first use of the engine. Does nothing if --memory is an amount. */
void organ_memory_divide(const organ_engine *engine, size_t ranks, uint64_t limit);
/* Lowers the ceiling of an automatic memory to `ceiling`, but not below 8 MiB: ranks agree on the least of theirs,
 * because some divisions of work depend on it. */
void organ_memory_lower(const organ_engine *engine, uint64_t ceiling);

/* Raises an automatic memory to `good` bytes if it is less, or to the ceiling: the operation runs with less, but
 * slower. */
void organ_memory_prefer(const organ_engine *engine, uint64_t good);

/* Prefers `each` bytes for every worker beside `shared` bytes. Returns for how many workers the memory has room: at
 * least 1, at most all. */
size_t organ_memory_workers(const organ_engine *engine, uint64_t each, uint64_t shared);

/* Returns ORGAN_OK if the operation may use `enough` bytes; raises an automatic memory to them. Otherwise reports
 * ORGAN_USAGE like organ_memory_refuse; the message for an automatic memory says where its ceiling comes from. */
organ_status organ_memory_claim(const organ_engine *engine, uint64_t enough, organ_error *error, const char *what, ...)
    __attribute__((format(printf, 4, 5)));

/* Returns ORGAN_OK if the memory fits; the last call of `fits` is then with this memory. Otherwise claims the least
 * amount that fits. */
organ_status organ_memory_require(const organ_engine *engine, organ_memory_fits *fits, void *context,
                                  organ_error *error, const char *what, ...) __attribute__((format(printf, 5, 6)));

#endif
