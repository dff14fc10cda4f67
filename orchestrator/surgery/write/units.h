/* SPDX-License-Identifier: MIT
 * Functions that the callbacks of organ_write call while organ_write_run writes an output. The output is divided into
 * units: one piece (a tensor, or a row range of a tensor) or several consecutive pieces, which are made together. The
 * journal has a line for each finished unit with digests of its bytes. A run that continues an interrupted one makes
 * only those units again whose bytes in the output do not have these digests. */
#ifndef ORGAN_WRITE_UNITS_H
#define ORGAN_WRITE_UNITS_H

#include <organ/stream.h>
#include "orchestrator/stream/overflow.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/layout.h"

/* A unit: the pieces of the output that are made from one source tensor. `first` and `count` give their range in the
 * list of pieces. */
typedef struct organ_unit {
    size_t first, count; /* range of pieces: first .. first + count - 1 */
    size_t item;         /* index of the source tensor in the verb's own list; passed to `recall` */
    uint64_t bytes;      /* bytes of the source tensor, for the progress bar */
    bool done;           /* this rank need not make the unit: its bytes are in the output, or another rank makes it */
    bool calib; /* organ_calibration_run_layers assigns this unit to a rank, so organ_units_assign leaves it out */
} organ_unit;

typedef struct organ_writing organ_writing; /* state of organ_write_run for one output (writing.h) */

/* Returns organ_unit.done: this rank need not make the unit, because its bytes are in the output or another rank makes
 * them. */
bool organ_write_done(const organ_writing *writing, size_t unit);

/* Returns the number of units that this rank must still make. *bytes: sum of organ_unit.bytes over them. */
size_t organ_write_left(const organ_writing *writing, uint64_t *bytes);

/* Writes bytes [at, at + bytes) of a piece into the output and keeps their XXH3 for the journal. `scratch`: as in
 * organ_resharding_put. May be called by several threads at the same time. Returns ORGAN_IO if the bytes cannot be
 * written or memory runs out. */
organ_status organ_write_put(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                             void *scratch, organ_error *error);

/* The two halves of organ_write_put for an output with replaced tensors: organ_write_bytes only writes, and
 * organ_write_digest only keeps the XXH3. */
organ_status organ_write_bytes(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                               organ_error *error);
organ_status organ_write_digest(organ_writing *writing, size_t piece, const void *data, size_t bytes, uint64_t at,
                                organ_error *error);

/* Returns what copies the tensors that are not replaced, for organ_pass.moves of a pass over the replaced ones, and
 * sets *behind for organ_pass.behind. */
const organ_pass_moves *organ_write_moves(organ_writing *writing, bool *behind);

/* Reads back bytes [at, at + bytes) of a piece that organ_write_put wrote, in this run or in the one that it continues.
 * Returns ORGAN_IO if they cannot be read. */
organ_status organ_write_read(const organ_writing *writing, size_t piece, void *data, size_t bytes, uint64_t at,
                              organ_error *error);

/* Appends to the journal the line of a unit whose bytes are all written. `results`: an object with the verb's results
 * of the unit, which a run that continues passes to `recall`. The function takes it over; NULL means that the caller
 * had no memory. Call it from one thread at a time. Returns ORGAN_IO if the journal cannot be written or memory ran
 * out. */
organ_status organ_write_finish(organ_writing *writing, size_t unit, json_t *results, organ_error *error);

/* Appends a line to the journal for a value that took long to compute and belongs to no unit. The function takes `line`
 * over; NULL means that the caller had no memory. `keep_if_interrupted`: if the run is interrupted before a unit is
 * done, the output is still kept for --resume, because of this line. Returns ORGAN_IO if the journal cannot be written
 * or memory ran out. */
organ_status organ_write_note(organ_writing *writing, json_t *line, bool keep_if_interrupted, organ_error *error);
/* Appends a line for a value that all ranks have computed: rank 0 calls organ_write_note with keep_if_interrupted, all
 * other ranks release `line`. Returns ORGAN_IO on rank 0 if the journal cannot be written or memory ran out. */
organ_status organ_write_note_once(organ_writing *writing, json_t *line, organ_error *error);

/* Returns the array of journal lines that the interrupted run wrote before this run continued it; empty in a new run.
 * Owned by `writing`. */
const json_t *organ_write_lines(const organ_writing *writing);

/* Returns the output, for `document`. Owned by `writing`. */
const organ_output *organ_write_output(const organ_writing *writing);
/* Returns the plan of the output's new files, for `document`; NULL for an output with replaced tensors, which has the
 * files of the model. Owned by `writing`. */
const organ_resharding *organ_write_files(const organ_writing *writing);

/* Returns what the output does with finite values beyond the range of the type in which it stores them: with
 * organ_write_options.saturate it limits them, and organ_write_run prints their number at the end. */
organ_overflow *organ_write_overflow(organ_writing *writing);

/* Returns the context of `fill`: organ_write.inner, or organ_write.context if that is NULL. */
void *organ_write_inner(const organ_writing *writing);

/* Returns, for `document` of a layout, the list of the files without tensors that are copied. Owned by `writing`. */
const organ_file_list *organ_write_extra_files(const organ_writing *writing);

#endif
