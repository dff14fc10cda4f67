/* SPDX-License-Identifier: MIT
 * Division of tensors into bands of whole tile rows that fit the memory, and of bands into tiles. Arithmetic only. */
#ifndef ORGAN_BAND_PLAN_H
#define ORGAN_BAND_PLAN_H

#include <organ/stream.h>

/* Limits that apply to all bands of a pass. */
typedef struct organ_band_plan {
    size_t band_bytes;    /* upper bound on the bytes of a band */
    size_t band_tiles;    /* upper bound on the tiles of a band */
    size_t slots;         /* bands in memory at the same time, >= 2 */
    uint64_t total_bytes; /* bytes of all items, without counterparts */
    bool moves;           /* the pass has spans */
} organ_band_plan;

/* Chooses the limits for `memory` bytes and `workers` threads. Returns ORGAN_USAGE, with the needed amount in the
 * message, if two bands and the scratch of the workers do not fit, or if the memory is less than pass->least. */
organ_status organ_band_plan_make(const organ_pass *pass, uint64_t memory, size_t workers, organ_band_plan *plan,
                                  organ_error *error);

/* Returns the least memory for which organ_band_plan_make succeeds. */
uint64_t organ_band_plan_enough(const organ_pass *pass, size_t workers);

/* Returns an upper bound of plan->slots for that many workers: two bands for each worker, one that is processed and
 * one that is written or waits for bands before it, and six more. More bands would not make a pass faster. */
size_t organ_band_max_slots(size_t workers);

/* The position of the next band. All members are zero at the start of a pass. */
typedef struct organ_band_cursor {
    size_t item;    /* index into organ_pass.items */
    uint64_t done;  /* bytes of the item in earlier bands */
    size_t span;    /* index into the spans of organ_pass.moves */
    uint64_t moved; /* bytes of the span in earlier bands */
} organ_band_cursor;

/* The place of a band in its tensor and its division into tiles, without data. A part of a span is a band without
 * tiles. */
typedef struct organ_band_shape {
    bool is_span; /* the band is the part `part` of a span; of the other members only `bytes` is set */
    organ_pass_span part;
    size_t item;                 /* index into organ_pass.items */
    uint64_t from;               /* first byte, within the tensor */
    size_t bytes;                /* bytes of the band */
    size_t unit;                 /* bytes of an element or block, 1 for flat passes */
    size_t rows, cols;           /* in units; flat: one row of `bytes` columns */
    size_t tile_rows, tile_cols; /* of a tile, in units; tiles at the edges may have fewer */
    size_t tiles_across, tiles;  /* tiles in a row of tiles; tiles of the band */
    bool last;                   /* the last band of its item */
} organ_band_shape;

/* Sets *shape to the next band of the pass and moves the cursor past it; returns false after the last band. */
bool organ_band_next(const organ_pass *pass, const organ_band_plan *plan, organ_band_cursor *cursor,
                     organ_band_shape *shape);

/* Returns tile t < shape->tiles of the band. `data`: the bytes of the band; `other`: those of its counterpart, or NULL.
 */
organ_tile organ_band_tile(const organ_band_shape *shape, size_t t, void *data, void *other);

#endif
