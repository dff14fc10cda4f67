/* SPDX-License-Identifier: MIT
 * What a pass goes through and how that is cut: tensors into bands, bands into tiles. */
#ifndef ORGAN_BAND_H
#define ORGAN_BAND_H

#include "formats/base/api.h"
#include "formats/model/model.h"

ORGAN_API_BEGIN

/* One tensor to go through, and optionally its counterpart of the same byte length in another model. */
typedef struct organ_pass_item {
    const organ_tensor *tensor, *other;
    bool elsewhere; /* another process goes through it: it is passed over */
} organ_pass_item;

typedef struct organ_tile {
    size_t item;        /* index into organ_pass.items */
    void *data, *other; /* first element; `data` may be changed in place (retire sees it), `other` is NULL without
                           counterpart */
    size_t rows, cols;  /* units; of a flat pass: one row of `bytes` */
    size_t stride;      /* units from row to row */
    size_t bytes;       /* of all its units */
} organ_tile;

/* A whole number of tiles of one item, contiguous in its file. Bands come in order of items and offsets. */
typedef struct organ_band {
    size_t item;
    const void *data; /* address and file offset are congruent modulo 4096 */
    uint64_t offset;  /* in the file of the tensor */
    size_t bytes, tiles;
    const void *results; /* tiles x result_bytes, in tile order (row by row, left to right) */
    bool last;           /* of its item */
} organ_band;

typedef struct organ_pass {
    const organ_model *model, *other; /* `other`: NULL if no item has a counterpart */
    const organ_pass_item
        *items; /* in file order of `model` for sequential reading; zero-size tensors are passed over */
    size_t item_count;
    /* Tiles are tile_rows x tile_cols units, clipped at the edges of each matrix of the tensor; a unit is an element,
     * or the block of elements that a block type stores together. tile_cols = 0: whole rows. tile_rows = 0 makes the
     * pass flat: tiles are runs of consecutive whole units, whatever the shape. */
    size_t tile_rows, tile_cols;
    size_t scratch_bytes; /* per worker, 4096-byte aligned, on the worker's node */
    size_t result_bytes;  /* per tile, zeroed before */
    uint64_t least;       /* memory that what comes after the pass needs: with less the pass is refused as well */
    void *context;
    /* On any worker, any order. */
    void (*work)(void *context, const organ_tile *tile, void *scratch, void *result);
    /* In order, one at a time, on the pass's own thread. An error ends the pass. */
    organ_status (*retire)(void *context, const organ_band *band, organ_error *error);
} organ_pass;

ORGAN_API_END

#endif
