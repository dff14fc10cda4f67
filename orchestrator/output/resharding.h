/* SPDX-License-Identifier: MIT
 * Plans and writes the files of a new model: its tensors with types and shapes, the shards they are in and their
 * offsets. Unchanged tensors are copied from the source model; the bytes of other tensors are written with
 * organ_resharding_put, by any thread in any order. */
#ifndef ORGAN_OUTPUT_RESHARDING_H
#define ORGAN_OUTPUT_RESHARDING_H

#include "formats/gguf/file.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/transfer.h"

#include <jansson.h>
#include <organ/kernels.h>
#include <organ/models.h>

/* A tensor of the output whose slices along the first axis are pieces. */
typedef struct organ_shard_stack {
    const char *name;
    unsigned rank;
    uint64_t shape[4];
    /* Set by organ_resharding_plan: */
    size_t first;   /* index of the first of its pieces */
    uint64_t bytes; /* of all its pieces */
} organ_shard_stack;

/* A tensor of the output, or a slice of one. */
typedef struct organ_shard_piece {
    const char *name; /* of a slice: a name that no other piece has, for messages and the journal */
    organ_dtype dtype;
    unsigned rank;
    const uint64_t *shape;
    organ_shard_stack *stack; /* the tensor of which the piece is a slice; NULL: the piece is a tensor */
    uint64_t slice;           /* index of the slice */
    /* Tensor that is copied into the piece. It has the type of the piece, or another type if the plan has kernels to
     * convert it. NULL: the caller writes the bytes of the piece with organ_resharding_put. */
    const organ_tensor *same;
    const organ_model *model; /* model of `same`; NULL: the model of the plan */
    /* Set by the plan: */
    uint64_t bytes;
    size_t file;     /* index of its file */
    uint64_t offset; /* of its first byte in that file */
    uint64_t xxh3;   /* XXH3 of the copied bytes of a layout; set by surgery/write after the piece was copied */
} organ_shard_piece;

/* The header of a file, or a gap between or after its tensors whose bytes are not all zero. All other bytes of the file
 * outside tensors are zeros. */
typedef struct organ_filler {
    uint64_t offset;
    size_t bytes;
    unsigned char *data;
} organ_filler;

/* A planned file: all its bytes except those of tensors. */
typedef struct organ_shard {
    const char *name;
    uint64_t size;
    size_t filler_count;
    const organ_filler *fillers;
} organ_shard;

typedef struct organ_resharding organ_resharding;

/* Returns the piece of an unchanged tensor. */
organ_shard_piece organ_piece_same(const organ_tensor *tensor);

/* Writes the entry `"NAME":{...}` of a piece into a safetensors header. Its data begin at `begin`, counted from the end
 * of the header. Returns ORGAN_IO if memory runs out. */
organ_status organ_piece_entry(FILE *out, const organ_shard_piece *piece, uint64_t begin, organ_error *error);

/* Plans safetensors files for the pieces in their order: a new shard begins if the next tensor would make the current
 * one longer than `max` bytes of data. A single file is named `single` ("model.safetensors" if NULL), several are named
 * model-00001-of-000NN.safetensors and get an index. `single_only`: one file, whatever its size. The data of a file
 * begin on a page; tensors of whole pages come first, then wider types before narrower ones, so that every tensor is
 * aligned. The plan sets bytes, file and offset in `pieces`, which it does not copy; the pieces, their names and the
 * model must outlive the plan. The slices of a stack are in one file. Returns ORGAN_BAD_INPUT for two tensors of one
 * name, a stack whose slices are not all there, or an impossible size. *plan is NULL on error. */
organ_status organ_resharding_plan(const organ_model *model, organ_shard_piece *pieces, size_t count, uint64_t max,
                                   const char *single, bool single_only, organ_resharding **plan, organ_error *error);

/* Plans one GGUF file named `name` with the key-values of `writer`; the pieces keep their order. Sets bytes, file and
 * offset in `pieces`, which must outlive the plan with their names and the model. Returns ORGAN_BAD_INPUT for two
 * tensors of one name or an impossible size. *plan is NULL on error. */
organ_status organ_resharding_plan_gguf(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                        const char *name, organ_gguf_writer *writer, organ_resharding **plan,
                                        organ_error *error);

/* Makes a plan from pieces whose bytes, file and offset the caller has set, and from the files they are in. All
 * arguments must outlive the plan. `kernels` convert pieces whose type is not that of their tensor `same`; NULL: no
 * piece needs a conversion. */
organ_status organ_resharding_of(const organ_model *model, organ_shard_piece *pieces, size_t count,
                                 const organ_shard *files, size_t file_count, const organ_kernels *kernels,
                                 organ_resharding **plan, organ_error *error);
void organ_resharding_free(organ_resharding *plan); /* NULL is allowed */

size_t organ_resharding_files(const organ_resharding *plan);
/* Returns the name of file number `file` of the plan, and sets *bytes (may be NULL) to its size. */
const char *organ_resharding_file(const organ_resharding *plan, size_t file, uint64_t *bytes);
uint64_t organ_resharding_bytes(const organ_resharding *plan); /* size of all files and of the index */
/* Returns the bytes of all tensors, which the index calls total_size; 0 after organ_resharding_of. */
uint64_t organ_resharding_total(const organ_resharding *plan);

/* Return members of a report. The first function returns the files of the plan: [{"name", "bytes"}]. The second returns
 * {"tensors", "bytes"}, the number and size of the pieces whose `same` is set; a plan must have set the bytes of the
 * pieces before. */
json_t *organ_resharding_files_json(const organ_resharding *plan);
json_t *organ_pieces_same_json(const organ_shard_piece *pieces, size_t count);
/* Returns how many tensors and bytes of each type the pieces of a plan have. */
json_t *organ_pieces_types_json(const organ_shard_piece *pieces, size_t count);

/* Creates the files in `directory` (which must outlive the plan), writes headers and index, and reserves disk space for
 * all bytes. Returns ORGAN_IO if that fails. */
organ_status organ_resharding_begin(organ_resharding *plan, const char *directory, organ_error *error);
/* The same for an outline: the files have holes instead of the tensors, and no disk space is reserved. */
organ_status organ_resharding_begin_outline(organ_resharding *plan, const char *directory, organ_error *error);

/* Opens the files that an interrupted run of the same plan left in `directory`: a file of the right size keeps its
 * tensors, any other file is created again. Writes all headers and the index again. Returns ORGAN_IO if that fails. */
organ_status organ_resharding_continue(organ_resharding *plan, const char *directory, organ_error *error);

/* Returns the XXH3 of all fillers and the index. It is equal for plans that give every tensor the same type, shape,
 * file and offset. */
uint64_t organ_resharding_digest(const organ_resharding *plan);

/* Callbacks of organ_resharding_copy. `is_selected` chooses the pieces to copy. `written` gets each extent of a piece
 * that was copied, `copied` the piece after all its extents; workers make these calls, one at a time, and an error ends
 * the copy. */
typedef struct organ_resharding_watch {
    void *context;
    organ_overflow *overflow; /* of conversions, as in organ_transfer */
    bool whole;               /* the only extent of a piece is the whole piece (organ_transfer.whole) */
    bool (*is_selected)(void *context, size_t piece);
    organ_status (*written)(void *context, size_t piece, const organ_transfer_extent *extent, organ_error *error);
    organ_status (*copied)(void *context, size_t piece, organ_error *error);
} organ_resharding_watch;

/* Copies the pieces whose `same` is set and that `watch` selects (NULL: all of them) on the workers of `engine`, and
 * advances `progress` by their bytes and names. Returns ORGAN_IO, ORGAN_BAD_INPUT or ORGAN_INTERRUPTED if reading or
 * writing fails, a source file changed, or a stop was requested. */
organ_status organ_resharding_copy(organ_resharding *plan, const organ_resharding_watch *watch,
                                   const organ_engine *engine, const organ_progress *progress, const organ_stop *stop,
                                   organ_error *error);

/* Writes bytes [at, at + bytes) of a piece to its file. Any thread may call it; ranges must not overlap. Direct I/O,
 * which avoids the page cache, needs the address of `data` and the offset in the file to be equal modulo 4096.
 * Otherwise direct I/O is used only with `scratch`, a buffer of ORGAN_PUT_SCRATCH bytes of any alignment; `scratch` may
 * be NULL. Returns ORGAN_IO if writing fails. */
#define ORGAN_PUT_SCRATCH ((size_t)1 << 20)
organ_status organ_resharding_put(organ_resharding *plan, size_t piece, const void *data, size_t bytes, uint64_t at,
                                  void *scratch, organ_error *error);

/* Returns the path of the file with the piece, and sets *offset to the place of its first byte there. */
const char *organ_resharding_place(const organ_resharding *plan, size_t piece, uint64_t *offset);

/* Reads bytes [at, at + bytes) of a piece back from its file. Returns ORGAN_IO if they cannot be read. */
organ_status organ_resharding_read(const organ_resharding *plan, size_t piece, void *data, size_t bytes, uint64_t at,
                                   organ_error *error);

#endif
