/* SPDX-License-Identifier: MIT
 * The hidden states of the windows of a walk, by chunks of windows, in memory or in a scratch file. A chunk is taken,
 * changed and given back before the next one is taken: of a scratch file one chunk is in memory at a time. */
#ifndef ORGAN_CALIBRATION_STATES_H
#define ORGAN_CALIBRATION_STATES_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How windows, all of one length, are divided into chunks, and which of these are held: chunks first, first + step, ...
 */
typedef struct organ_calibration_chunks {
    size_t windows, together; /* all windows; windows of each chunk but the last, at least 1 */
    size_t first, step;       /* `step` is at least 1; with `first` 0 and `step` 1 all chunks are held */
    size_t window_bytes;      /* bytes of the states of a window */
} organ_calibration_chunks;

size_t organ_calibration_chunks_count(const organ_calibration_chunks *chunks); /* number of chunks, held or not */
size_t organ_calibration_chunk_windows(const organ_calibration_chunks *chunks, size_t chunk);

typedef struct organ_calibration_states organ_calibration_states;

/* Returns the bytes of memory for one stream; `copied`: the caller will use organ_calibration_states_copy; `scratch`:
 * the states are in a file. */
uint64_t organ_calibration_states_memory(const organ_calibration_chunks *chunks, bool copied, bool scratch);
/* Returns the bytes of the chunks that are held. */
uint64_t organ_calibration_states_bytes(const organ_calibration_chunks *chunks);

/* Allocates room for the chunks that are held, in memory or, unless `scratch` is NULL, in a file in that directory.
 * Disk space is reserved when the first chunk is taken. Returns ORGAN_IO, with *states NULL, if memory cannot be
 * allocated or the file cannot be created. */
organ_status organ_calibration_states_open(const organ_calibration_chunks *chunks, bool copied, const char *scratch,
                                           organ_calibration_states **states, organ_error *error);
void organ_calibration_states_close(organ_calibration_states *states); /* NULL is allowed */

/* Returns the states of a chunk that is held, to be changed in place until organ_calibration_states_put_back. Until a
 * chunk is put back for the first time its values are undefined. NULL on error: ORGAN_IO if the file cannot be read, or
 * if its bytes are not those that were written, which network file systems can cause. */
float *organ_calibration_states_take(organ_calibration_states *states, size_t chunk, organ_error *error);
organ_status organ_calibration_states_put_back(organ_calibration_states *states, size_t chunk, organ_error *error);

/* Returns a copy of a chunk's states that the caller may change and does not put back, valid until the next call. NULL
 * on error. */
float *organ_calibration_states_copy(organ_calibration_states *states, size_t chunk, organ_error *error);

#endif
