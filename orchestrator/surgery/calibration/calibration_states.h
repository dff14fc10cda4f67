/* SPDX-License-Identifier: MIT
 * The hidden states of the calibration windows, in chunks of consecutive windows, in memory or in a scratch file. The
 * caller takes a chunk, changes it and puts it back before it takes the next one, because only one chunk of a scratch
 * file is in memory at a time. */
#ifndef ORGAN_SURGERY_CALIBRATION_CALIBRATION_STATES_H
#define ORGAN_SURGERY_CALIBRATION_CALIBRATION_STATES_H

#include <organ/base.h>
#include <organ/forward.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How windows of equal length are divided into chunks, and which chunks this rank holds: first, first + step, ... */
typedef struct organ_calibration_chunks {
    size_t windows;      /* number of all windows */
    size_t together;     /* windows of each chunk but the last, which may have fewer; at least 1 */
    size_t first, step;  /* `step` is at least 1; with `first` 0 and `step` 1 this rank holds all chunks */
    size_t window_bytes; /* bytes of the states of a window */
} organ_calibration_chunks;

/* Divides `windows` windows of `context` tokens into chunks that run through a layer together: at most 1024 tokens,
 * unless a single window has more. All chunks belong to this rank. `width`: numbers in the state of a token. */
organ_calibration_chunks organ_calibration_chunks_make(size_t windows, size_t context, uint64_t width);
/* Returns the number of chunks of all ranks. */
size_t organ_calibration_chunks_count(const organ_calibration_chunks *chunks);
/* Returns the number of windows of a chunk. */
size_t organ_calibration_chunk_windows(const organ_calibration_chunks *chunks, size_t chunk);

/* Returns the windows of a chunk; `all` are the windows, which have equal lengths, so that the first offsets apply to
 * those of every chunk. */
organ_windows organ_calibration_chunk_at(const organ_calibration_chunks *chunks, const organ_windows *all,
                                         size_t chunk);

typedef struct organ_calibration_states organ_calibration_states;

/* Returns the bytes of memory for the states of one stream, the changed model or the donor. `copied`: the caller will
 * use organ_calibration_states_copy; `scratch`: the states are in a file. */
uint64_t organ_calibration_states_memory(const organ_calibration_chunks *chunks, bool copied, bool scratch);
/* Returns the bytes of the chunks that this rank holds, in memory or in the file. */
uint64_t organ_calibration_states_bytes(const organ_calibration_chunks *chunks);

/* Allocates room for the chunks that this rank holds: in memory, or in a file in the directory `scratch` if it is not
 * NULL. `copied`: the caller will use organ_calibration_states_copy. Disk space is reserved when the first chunk is
 * taken. Returns ORGAN_IO, with *states NULL, if memory cannot be allocated or the file cannot be created. */
organ_status organ_calibration_states_open(const organ_calibration_chunks *chunks, bool copied, const char *scratch,
                                           organ_calibration_states **states, organ_error *error);
void organ_calibration_states_close(organ_calibration_states *states); /* NULL is allowed */

/* Returns the states of a chunk of this rank, which the caller may change in place until
 * organ_calibration_states_put_back. The values of a chunk that was never put back are undefined. Returns NULL on
 * error: ORGAN_IO if the file cannot be read, or if its bytes are not those that were written, which network file
 * systems can cause. */
float *organ_calibration_states_take(organ_calibration_states *states, size_t chunk, organ_error *error);
/* Stores chunk `chunk`, which must be the one that was taken last. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_calibration_states_put_back(organ_calibration_states *states, size_t chunk, organ_error *error);

/* Returns a copy of a chunk's states that the caller may change and does not put back, valid until the next call. NULL
 * on error. */
float *organ_calibration_states_copy(organ_calibration_states *states, size_t chunk, organ_error *error);

/* The model whose layers the states run through, and its text: `windows` have the tokens of all chunks. When `stop` is
 * requested, the run ends with the error "stopped while", followed by `doing`. */
typedef struct organ_states_run {
    organ_forward *forward;
    const organ_windows *windows;
    const organ_stop *stop;
    const char *doing;
} organ_states_run;

/* Runs the states of all chunks that this rank holds through `layer`, or sets them to the embeddings of the tokens if
 * `layer` is NULL. */
organ_status organ_calibration_states_advance(organ_calibration_states *states, const organ_states_run *run,
                                              const organ_layer *layer, organ_error *error);

#endif
