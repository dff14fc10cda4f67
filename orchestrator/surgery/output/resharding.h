/* SPDX-License-Identifier: MIT
 * Plans and writes the files of a new model: its tensors, their types and shapes, their shards and offsets. Unchanged
 * tensors are copied; the bytes of the others are written by the functions that compute them, from any thread, in any
 * order. */
#ifndef ORGAN_RESHARDING_H
#define ORGAN_RESHARDING_H

#include "formats/gguf/file.h"
#include "formats/model/model.h"
#include "formats/safetensors/safetensors.h"
#include "kernels/kernels.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/stream/stop.h"

#include <jansson.h>

#define ORGAN_SHARD_BYTES ((uint64_t)5 << 30) /* default limit of a shard */

/* A tensor of the output. */
typedef struct organ_shard_piece {
    const char *name;
    organ_dtype dtype;
    unsigned rank;
    const uint64_t *shape;
    const organ_tensor
        *same; /* whose bytes and type it has (the values, where the plan has kernels); NULL: its bytes are put in */
    const organ_model *model; /* of `same`; NULL: the model of the plan */
    /* Set by the plan: */
    uint64_t bytes;
    size_t file;
    uint64_t offset; /* in that file */
    uint64_t xxh3;   /* digest of copied bytes; set by an organ_writing */
} organ_shard_piece;

/* Bytes of a file outside tensors: its header, and any bytes between tensors that are not zero. All other bytes are
 * zeros. */
typedef struct organ_filler {
    uint64_t offset;
    size_t bytes;
    unsigned char *data;
} organ_filler;

/* A file whose bytes are known but for the tensors in it. */
typedef struct organ_shard {
    const char *name;
    uint64_t size;
    size_t filler_count;
    const organ_filler *fillers;
} organ_shard;

typedef struct organ_resharding organ_resharding;

/* Returns the piece of an unchanged tensor. */
organ_shard_piece organ_piece_same(const organ_tensor *tensor);

/* Writes a tensor's entry of a safetensors header, its data from `begin` on. ORGAN_IO without memory. */
organ_status organ_piece_entry(FILE *out, const organ_shard_piece *piece, uint64_t begin, organ_error *error);

/* Plans safetensors files for the pieces, in their order: a new shard begins if the next tensor would make the current
 * one longer than `max` bytes of data. A single file is named `single` ("model.safetensors" if NULL), several are named
 * model-00001-of-000NN.safetensors and get an index. The data of a file begin on a page; tensors of whole pages come
 * first, then wider types before narrower ones, so that every tensor is aligned. The plan stores places in `pieces`,
 * which it does not copy; the pieces, their names and the model must outlive the plan. `single_only`: one file,
 * whatever its size. ORGAN_BAD_INPUT for two tensors of one name or an impossible size. *plan is NULL on error. */
organ_status organ_resharding_plan(const organ_model *model, organ_shard_piece *pieces, size_t count, uint64_t max,
                                   const char *single, bool single_only, organ_resharding **plan, organ_error *error);

/* Plans one GGUF file named `name` with the key-values of `writer`; the pieces keep their order. */
organ_status organ_resharding_plan_gguf(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                        const char *name, organ_gguf_writer *writer, organ_resharding **plan,
                                        organ_error *error);

/* Makes a plan from pieces that already have their bytes, files and offsets. All arguments must outlive the plan.
 * `kernels` convert pieces whose type is not that of `same`; may be NULL if there are none. */
organ_status organ_resharding_of(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                 const organ_shard *files, size_t file_count, const organ_kernels *kernels,
                                 organ_resharding **plan, organ_error *error);
void organ_resharding_free(organ_resharding *plan); /* NULL is allowed; closes the files */

size_t organ_resharding_files(const organ_resharding *plan);
const char *organ_resharding_file(const organ_resharding *plan, size_t file, uint64_t *bytes); /* its name and size */
uint64_t organ_resharding_bytes(const organ_resharding *plan); /* of all files, the index included */
uint64_t organ_resharding_total(const organ_resharding *plan); /* of the tensors alone: total_size of the index */

/* Return parts of a report: the files as [{"name", "bytes"}], and after a plan the unchanged pieces as {"tensors",
 * "bytes"}. */
json_t *organ_resharding_files_json(const organ_resharding *plan);
json_t *organ_pieces_same_json(const organ_shard_piece *pieces, size_t count);

/* Creates the files in `directory` (which must outlive the plan), writes headers and index, and reserves space for all
 * bytes. ORGAN_IO. */
organ_status organ_resharding_begin(organ_resharding *plan, const char *directory, organ_error *error);

/* Begins like organ_resharding_begin, in a directory that an earlier run of the same plan has left: files of the right
 * size keep their bytes after the header. */
organ_status organ_resharding_continue(organ_resharding *plan, const char *directory, organ_error *error);

/* Returns the XXH3 of all fillers and the index: equal for plans that give every tensor the same type, shape and
 * place. */
uint64_t organ_resharding_digest(const organ_resharding *plan);

/* Chooses the pieces to copy, and is called after each of them was copied: one call of `copied` at a time, on any
 * thread. Its error ends the copy. */
typedef struct organ_resharding_watch {
    void *context;
    bool (*is_selected)(void *context, size_t piece);
    organ_status (*copied)(void *context, size_t piece, uint64_t xxh3, organ_error *error);
} organ_resharding_watch;

/* Copies the unchanged pieces; advances `progress` by their bytes and names. `watch` may be NULL: all are copied.
 * ORGAN_IO, ORGAN_BAD_INPUT, ORGAN_INTERRUPTED. */
organ_status organ_resharding_copy(organ_resharding *plan, const organ_resharding_watch *watch,
                                   const organ_progress *progress, const organ_stop *stop, organ_error *error);

/* Writes bytes [at, at + bytes) of a piece to its file. From any thread; ranges must not overlap. Fast if `data` is
 * aligned to 4096 and `at` is a multiple of it. Otherwise `scratch`, ORGAN_PUT_SCRATCH bytes of any alignment, avoids
 * the page cache; it may be NULL. ORGAN_IO. */
#define ORGAN_PUT_SCRATCH ((size_t)1 << 20)
organ_status organ_resharding_put(organ_resharding *plan, size_t piece, const void *data, size_t bytes, uint64_t at,
                                  void *scratch, organ_error *error);

/* Reads bytes [at, at + bytes) of a piece back. ORGAN_IO. */
organ_status organ_resharding_read(const organ_resharding *plan, size_t piece, void *data, size_t bytes, uint64_t at,
                                   organ_error *error);

#endif
