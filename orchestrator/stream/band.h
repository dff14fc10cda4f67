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

/* A whole number of tiles of one item, contiguous in its file. */
typedef struct organ_band {
    size_t item;
    const void *data;    /* address and file offset are congruent modulo 4096 */
    uint64_t offset;     /* file offset of the band */
    size_t bytes, tiles; /* number of bytes; number of tiles */
    const void *results; /* result_bytes for each tile, in tile order (row by row, left to right) */
    bool last;           /* the last band of its item */
    const void *other;   /* the same bytes of the counterpart; NULL without one */
} organ_band;

/* Bytes that a pass moves but does not process, such as tensors that an output copies. */
typedef struct organ_pass_span {
    size_t file; /* file of organ_pass.model; a `given` span has any number that `move` accepts */
    uint64_t offset, bytes;
    bool given; /* `move` copies the bytes itself, for example inside the kernel: the pass does not read them */
} organ_pass_span;

/* The spans of a pass, and the function that moves them. */
typedef struct organ_pass_moves {
    /* in file order, like the items. The pass divides them into parts and begins these in the order of both lists. A
     * span of 0 bytes must be `given`; it is passed whole, before all others. */
    const organ_pass_span *spans;
    size_t count;
    void *context; /* first argument of `move` */
    /* Moves a part of a span. `data`: its bytes, at an address that is congruent to the file offset modulo 4096; NULL
     * if the span is `given`. Called like organ_pass.write. */
    organ_status (*move)(void *context, const organ_pass_span *part, const void *data, organ_error *error);
} organ_pass_moves;

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
    /* Receives a band when all its tiles are processed. Called for the bands of a chain in order of items and offsets,
     * one at a time, on any worker. An error ends the pass. */
    organ_status (*retire)(void *context, const organ_band *band, organ_error *error);
    /* The members below may be zero. Returns whether `item` belongs to the chain of the item before it. Chains are
     * retired independently of each other, also at the same time. NULL: all items are one chain. */
    bool (*follows)(const void *context, size_t item);
    /* Receives a processed band on the worker that processed it last, at the same time as other bands and in any order,
     * before `write` and `retire` get it. */
    organ_status (*store)(void *context, const organ_band *band, organ_error *error);
    /* Writes a processed band. Called for several bands at the same time, in any order, before or after `retire`; with
     * `behind` on a thread that only writes, otherwise on a worker. */
    organ_status (*write)(void *context, const organ_band *band, organ_error *error);
    /* Receives an item whose bands are all retired and written, in any order, one at a time, on the thread that runs
     * organ_pass_run. Not called if a band of the item failed. */
    organ_status (*finish)(void *context, size_t item, organ_error *error);
    /* Receives the finished items in their order, on the same thread as `finish`: for messages. */
    void (*tell)(void *context, size_t item);
    /* Receives the bytes of the bands that were retired and written since the last call, on the same thread as
     * `finish`. */
    void (*advance)(void *context, uint64_t bytes);
    const organ_pass_moves *moves; /* NULL: none */
    /* Direct I/O: a worker passes its band to a companion thread, which calls `write` or `move`, and continues with
     * the next band. */
    bool behind;
} organ_pass;

ORGAN_API_END

#endif
