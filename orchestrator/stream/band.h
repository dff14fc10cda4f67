/* SPDX-License-Identifier: MIT
 * The work of a pass (stream/pass.h) and its division: tensors into bands, bands into tiles. A unit is an element of a
 * tensor, or a block of a block type. */
#ifndef ORGAN_BAND_H
#define ORGAN_BAND_H

#include "formats/base/api.h"
#include "formats/model/model.h"

ORGAN_API_BEGIN

/* One tensor to process. `other` is NULL or its counterpart in another model, with the same number of bytes. */
typedef struct organ_pass_item {
    const organ_tensor *tensor, *other;
    bool elsewhere; /* another rank processes the tensor, so this pass skips it */
} organ_pass_item;

/* A rectangle of units of one item: the piece of work of one call of organ_pass.work. */
typedef struct organ_tile {
    size_t item; /* index into organ_pass.items */
    /* the first unit of the tile in the tensor and in its counterpart (NULL without one). `work` may change `data` in
     * place; `retire` gets the changed bytes */
    void *data, *other;
    size_t rows, cols; /* in units; in a flat pass one row of `bytes` bytes */
    size_t stride;     /* units from one row to the next */
    size_t bytes;      /* bytes of all units of the tile */
} organ_tile;

/* A whole number of tiles of one item, contiguous in its file. Bands are retired in order of items and offsets. */
typedef struct organ_band {
    size_t item;
    const void *data;    /* address and file offset are congruent modulo 4096 */
    uint64_t offset;     /* file offset of the band */
    size_t bytes, tiles; /* number of bytes; number of tiles */
    const void *results; /* result_bytes for each tile, in tile order (row by row, left to right) */
    bool last;           /* the last band of its item */
    const void *other;   /* the same bytes of the counterpart; NULL without one */
} organ_band;

/* The tensors and the callbacks of a pass (stream/pass.h). */
typedef struct organ_pass {
    const organ_model *model, *other; /* `other`: NULL if no item has a counterpart */
    const organ_pass_item
        /* in file order of `model`, so that reads are sequential; tensors without bytes are skipped */
        *items;
    size_t item_count;
    /* Tiles are tile_rows x tile_cols units, clipped at the edges of each matrix of the tensor. tile_cols = 0: whole
     * rows. tile_rows = 0: a flat pass, whose tiles are runs of consecutive whole units, regardless of the shape. */
    size_t tile_rows, tile_cols;
    size_t scratch_bytes; /* for each worker, 4096-byte aligned, on the worker's node */
    size_t result_bytes;  /* for each tile, zeroed before `work` */
    /* bytes of memory that the caller needs after the pass: if the engine has less, the pass fails at its start */
    uint64_t least;
    void *context; /* first argument of the callbacks */
    /* Processes a tile. Called on any worker, in any order. */
    void (*work)(void *context, const organ_tile *tile, void *scratch, void *result);
    /* Receives a band when all its tiles are processed. Called for the bands in order, one at a time, on the thread
     * that runs organ_pass_run. An error ends the pass. */
    organ_status (*retire)(void *context, const organ_band *band, organ_error *error);
} organ_pass;

ORGAN_API_END

#endif
