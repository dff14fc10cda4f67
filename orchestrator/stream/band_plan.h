/* SPDX-License-Identifier: MIT
 * Division of tensors into bands of whole tile rows that fit the memory, and of bands into tiles. Arithmetic only. */
#ifndef ORGAN_BAND_PLAN_H
#define ORGAN_BAND_PLAN_H

#include "orchestrator/stream/band.h"

/* Sizes that hold for all bands of a pass. */
typedef struct organ_band_plan {
    size_t band_bytes;    /* upper bound on the bytes of a band */
    size_t band_tiles;    /* upper bound on the tiles of a band */
    size_t slots;         /* bands in memory at the same time, >= 2 */
    uint64_t total_bytes; /* bytes of all items, without counterparts */
} organ_band_plan;

/* Chooses the sizes for `memory` bytes and `workers` threads. Returns ORGAN_USAGE, with the needed amount in the
 * message, if two bands and the scratch do not fit. */
organ_status organ_band_plan_make(const organ_pass *pass, uint64_t memory, size_t workers, organ_band_plan *plan,
                                  organ_error *error);

/* Returns the least memory for which organ_band_plan_make succeeds. */
uint64_t organ_band_plan_enough(const organ_pass *pass, size_t workers);

/* Returns the largest number of bands in memory for that many workers: two for each worker, and six that are being read
 * or written. */
size_t organ_band_max_slots(size_t workers);

/* The position of the next band. All members are zero at the start of a pass. */
typedef struct organ_band_cursor {
    size_t item;
    uint64_t done; /* bytes of the item in earlier bands */
} organ_band_cursor;

/* One band as offsets and sizes, without data. */
typedef struct organ_band_shape {
    size_t item;
    uint64_t from; /* first byte, within the tensor */
    size_t bytes;
    size_t unit;       /* bytes of an element or block, 1 for flat passes */
    size_t rows, cols; /* in units; flat: one row of `bytes` columns */
    size_t tile_rows, tile_cols;
    size_t tiles_across, tiles; /* tiles in a row of tiles; tiles of the band */
    bool last;                  /* the last band of its item */
} organ_band_shape;

/* Computes the next band; returns false after the last one. */
bool organ_band_next(const organ_pass *pass, const organ_band_plan *plan, organ_band_cursor *cursor,
                     organ_band_shape *shape);

/* Returns tile t of the band whose bytes are at `data` (and `other`, or NULL). */
organ_tile organ_band_tile(const organ_band_shape *shape, size_t t, void *data, void *other);

#endif
