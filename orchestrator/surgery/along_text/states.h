/* SPDX-License-Identifier: MIT
 * The hidden states of the windows of a walk, by chunks of windows. A chunk is taken, changed and given back before the next one is taken:
 * where the others lie meanwhile is a matter of this file alone. */
#ifndef ORGAN_ALONG_STATES_H
#define ORGAN_ALONG_STATES_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How windows, all of one length, are divided into chunks, and which of these are held: chunks first, first + step, ... */
typedef struct organ_along_chunks {
    size_t windows, together; /* of all chunks; of each but the last, which may have fewer. At least 1 */
    size_t first, step;       /* step is at least 1; 0 and 1: all */
    size_t window_bytes;      /* states of a window */
} organ_along_chunks;

size_t organ_along_chunks_count(const organ_along_chunks *chunks); /* of all, held or not */
size_t organ_along_chunk_windows(const organ_along_chunks *chunks, size_t chunk);

typedef struct organ_along_states organ_along_states;

/* Room for the chunks that are held. `copied`: organ_along_states_copy is going to be called. ORGAN_IO without memory; *states is NULL on
 * error. */
organ_status organ_along_states_open(const organ_along_chunks *chunks, bool copied, organ_along_states **states, organ_error *error);
void organ_along_states_close(organ_along_states *states); /* NULL is allowed */

/* The states of a chunk that is held, to be changed in place, until they are given back; before a chunk was given back for the first time
 * its values are undefined. NULL on error. */
float *organ_along_states_take(organ_along_states *states, size_t chunk, organ_error *error);
organ_status organ_along_states_give(organ_along_states *states, size_t chunk, organ_error *error);

/* A copy of them that may be changed and is not given back; until the next call. NULL on error. */
float *organ_along_states_copy(organ_along_states *states, size_t chunk, organ_error *error);

#endif
