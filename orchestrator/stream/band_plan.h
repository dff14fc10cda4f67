/* SPDX-License-Identifier: MIT
 * How a pass cuts its tensors: bands of whole tile rows that fit the memory, and the tiles of a band. Arithmetic only.
 */
#ifndef ORGAN_BAND_PLAN_H
#define ORGAN_BAND_PLAN_H

#include "orchestrator/stream/band.h"

/* Sizes that hold for the whole pass. */
typedef struct organ_band_plan {
    size_t band_bytes;    /* no band is longer */
    size_t band_tiles;    /* no band has more tiles */
    size_t slots;         /* bands in memory at once, >= 2 */
    uint64_t total_bytes; /* of all items, `tensor` side */
} organ_band_plan;

/* Chooses the sizes for `memory` bytes and `workers` threads. ORGAN_USAGE if two bands and the scratch do not fit: the
 * message says what is needed. */
organ_status organ_band_plan_make(const organ_pass *pass, uint64_t memory, size_t workers, organ_band_plan *plan,
                                  organ_error *error);

/* The least memory for which organ_band_plan_make finds a plan. */
uint64_t organ_band_plan_enough(const organ_pass *pass, size_t workers);

/* The most slots of any plan for so many workers: two bands for each, and some under way to and from the disk. */
size_t organ_band_most_slots(size_t workers);

/* Where the next band begins. Start with zeros. */
typedef struct organ_band_cursor {
    size_t item;
    uint64_t done; /* bytes of that item that earlier bands have */
} organ_band_cursor;

/* One band as arithmetic sees it. */
typedef struct organ_band_shape {
    size_t item;
    uint64_t from; /* byte within the tensor */
    size_t bytes;
    size_t unit;       /* bytes of an element or block, 1 for flat passes */
    size_t rows, cols; /* units; flat: one row of `bytes` columns */
    size_t tile_rows, tile_cols;
    size_t tiles_across, tiles;
    bool last;
} organ_band_shape;

/* false when all items are through. */
bool organ_band_next(const organ_pass *pass, const organ_band_plan *plan, organ_band_cursor *cursor,
                     organ_band_shape *shape);

/* Tile t of the band whose bytes are at `data` (and `other`, or NULL). */
organ_tile organ_band_tile(const organ_band_shape *shape, size_t t, void *data, void *other);

#endif
