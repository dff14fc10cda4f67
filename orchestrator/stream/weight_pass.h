/* SPDX-License-Identifier: MIT
 * One pass over weights as numbers, in bounded memory. Workers read, dequantise and process strips of rows; the calling
 * thread retires strips in order. The cut into strips depends on the weights alone, never on threads or memory, so sums
 * that are folded strip by strip have the same bits everywhere.
 *
 * The pass differs from stream/rows.h because it reads many weights: workers begin strips of the next weight
 * while strips of the one before are retired, so models of small tensors keep all workers busy. It differs from
 * stream/pass.h because rows of a packed weight come from several tensors (codes, scales), so no row range of one file
 * is a band of it; each worker reads and decodes into buffers of its own. */
#ifndef ORGAN_WEIGHT_PASS_H
#define ORGAN_WEIGHT_PASS_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/weight_reader.h"

/* One weight to process, and optionally its counterpart in another model, with the same number of rows and columns. */
typedef struct organ_weight_item {
    const organ_weight *weight, *other;
} organ_weight_item;

typedef struct organ_weight_strip {
    size_t item;    /* index into organ_weight_pass.items */
    uint64_t first; /* row of the stacked matrices */
    size_t rows, cols;
    void *values;      /* rows x cols of type `as`, 4096-byte aligned; may be changed */
    const void *other; /* the same rows of the counterpart, or NULL */
    bool last;         /* of its item */
} organ_weight_strip;

typedef struct organ_weight_pass {
    const organ_model *model, *other_model; /* `other_model`: NULL if no item has a counterpart */
    const organ_weight_item *items;
    size_t item_count;
    organ_dtype as;      /* ORGAN_F32, ORGAN_BF16 or ORGAN_F16 */
    size_t row_multiple; /* strips, except the last of a matrix, have a multiple of this many rows and never extend over
                            two matrices; 0: 1 */
    size_t scratch_bytes; /* per worker, 64-byte aligned */
    size_t result_bytes;  /* per strip, zeroed before; at most 64 KiB */
    void *context;
    /* Called on the pass's own thread before any strip of the item, in the order of items. May be NULL. `note` is that
     * of the reader. Strips of earlier items may not be retired yet, so the caller must store its data separately for
     * each item. */
    organ_status (*begin)(void *context, size_t item, const char *note, organ_error *error);
    /* On any worker, any order. */
    organ_status (*work)(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                         organ_error *error);
    /* Called for each strip in order of items and rows, one at a time; `strip->values` is then no longer valid. May be
     * NULL. */
    organ_status (*retire)(void *context, const organ_weight_strip *strip, const void *result, organ_error *error);
} organ_weight_pass;

/* About so many values make a strip. */
#define ORGAN_STRIP_VALUES ((size_t)1 << 20)

/* Runs the pass with as many workers as the memory has room for their buffers. Returns ORGAN_USAGE if there is no room
 * for the buffers of one worker; ORGAN_IO; ORGAN_BAD_INPUT, also if a counterpart has another number of rows or
 * columns; ORGAN_INTERRUPTED if stopped; else the error of a callback, of several that of the earliest strip. No worker
 * uses the pass after it has returned. */
organ_status organ_weight_pass_run(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error);

/* Returns the least memory with which organ_weight_pass_run does not return ORGAN_USAGE; 0 after an error, which is one
 * of those of organ_weight_pass_run. */
uint64_t organ_weight_pass_enough(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error);

#endif
