/* SPDX-License-Identifier: MIT
 * The units of an output that organ_write_run writes, as its callbacks use them. A unit is an independent part of the
 * output: one piece or several consecutive ones. A finished unit is written into the journal with digests of its bytes;
 * a run that continues takes over the units whose bytes in the output still have these digests. */
#ifndef ORGAN_WRITE_UNITS_H
#define ORGAN_WRITE_UNITS_H

#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/layout.h"

/* The pieces that are made of one source tensor. */
typedef struct organ_unit {
    size_t first, count; /* consecutive pieces */
    size_t item;         /* number of the source tensor, as the verb counts */
    uint64_t bytes;      /* of the source, for the progress */
    bool done;           /* the bytes of all its pieces are in the output, or another rank makes them */
    bool calib;          /* the walk on a calibration text assigns it to a rank, not the driver */
} organ_unit;

typedef struct organ_writing organ_writing; /* an output that is being written */

/* Returns whether an earlier run or another rank makes the unit. */
bool organ_write_done(const organ_writing *writing, size_t unit);

/* Returns the number of units that this rank must still make, and in *bytes the sum of their bytes. */
size_t organ_write_left(const organ_writing *writing, uint64_t *bytes);

/* Writes bytes [at, at + bytes) of a piece and keeps their digest. `scratch` as in organ_resharding_put. From any
 * thread; for replaced tensors from one thread at a time. ORGAN_IO. */
organ_status organ_write_put(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                             void *scratch, organ_error *error);

/* Reads back bytes [at, at + bytes) of a piece that organ_write_put wrote, in this run or in the one that it continues.
 * Returns ORGAN_IO if they cannot be read. */
organ_status organ_write_read(const organ_writing *writing, size_t piece, void *data, size_t bytes, uint64_t at,
                              organ_error *error);

/* Records in the journal that all bytes of the unit are written. `results` (an object, taken over; NULL: no memory) is
 * passed to `recall` when the run is continued. To be called from one thread at a time. ORGAN_IO. */
organ_status organ_write_finish(organ_writing *writing, size_t unit, json_t *results, organ_error *error);

/* Appends a line to the journal (taken over; NULL: no memory): a value that took long and belongs to no unit.
 * `keep_if_interrupted`: because of it an interrupted run is kept for --resume although no unit is done. ORGAN_IO. */
organ_status organ_write_note(organ_writing *writing, json_t *line, bool keep_if_interrupted, organ_error *error);
/* Adds a line like organ_write_note if all ranks have its value: rank 0 appends it. */
organ_status organ_write_note_once(organ_writing *writing, json_t *line, organ_error *error);

/* Returns the array of journal lines of the run that is continued; empty if there is none. */
const json_t *organ_write_lines(const organ_writing *writing);

/* Return, for `document`, the output and the files of new shards (NULL for replaced tensors). */
const organ_output *organ_write_output(const organ_writing *writing);
const organ_resharding *organ_write_files(const organ_writing *writing);

/* Returns the context of `fill`: organ_write.inner, or organ_write.context if that is NULL. */
void *organ_write_inner(const organ_writing *writing);

/* Returns, for `document` of a layout, the number and bytes of the files that are copied in addition to the tensors. */
const organ_file_list *organ_write_extra_files(const organ_writing *writing);

#endif
