/* SPDX-License-Identifier: MIT
 * The files of an output and the tensors in them. organ_layout_plan puts the pieces of a verb into new shards,
 * organ_layout_plan_gguf into one GGUF file, organ_layout_copy takes the files of a model unchanged, and
 * organ_layout_in_place takes them with other bytes in some places. A verb may also plan a layout by itself. A piece is
 * copied from a tensor of a model, or its bytes are written with organ_layout_put, by any thread in any order.
 * surgery/write writes the files of any layout. */
#ifndef ORGAN_OUTPUT_LAYOUT_H
#define ORGAN_OUTPUT_LAYOUT_H

#include "formats/base/arena.h"
#include "formats/gguf/file.h"
#include "formats/model/organ_directory.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/stream/transfer.h"

#include <jansson.h>
#include <organ/kernels.h>
#include <organ/models.h>

/* A tensor of the output whose slices along the first axis are pieces. */
typedef struct organ_shard_stack {
    const char *name;
    unsigned rank;
    uint64_t shape[4];
    /* Set by organ_layout_plan: */
    size_t first;   /* index of the first of its pieces */
    uint64_t bytes; /* of all its pieces */
} organ_shard_stack;

/* A tensor of the output, or a slice of one: its name, its type, its place and the source of its bytes. */
typedef struct organ_piece {
    const char *name; /* of a slice: a name that no other piece has, for messages and the journal */
    organ_dtype dtype;
    unsigned rank;
    const uint64_t *shape;
    organ_shard_stack *stack; /* the tensor of which the piece is a slice; NULL: the piece is a tensor */
    uint64_t slice;           /* index of the slice */
    /* Source: the tensor that is copied into the piece. It has the type of the piece, or another type if the layout has
     * kernels to convert it. NULL: the verb makes the bytes. */
    const organ_tensor *same;
    const organ_model *model; /* model of `same`; NULL: the model of the layout */
    /* Tensor of another model whose bytes are copied in place of those of `same`; NULL: none. */
    const organ_tensor *values;
    const organ_model *values_model;
    /* Work. A unit is a piece and the `more` pieces after it, which are made together from one source tensor; the other
     * members are those of the first. `item`: index in the verb's own list, passed to `recall`; `cost`: bytes that are
     * read for the unit, for the progress and the division among ranks; `calib`: organ_calibration_run_layers assigns
     * the unit to a rank; `done`, set by surgery/write: this rank need not make the unit, because its bytes are in the
     * output or another rank makes them. */
    size_t more, item;
    uint64_t cost;
    bool calib, done;
    /* Place, set by the plan or, in a layout that the verb has planned, by the verb: */
    uint64_t bytes;
    size_t file;           /* index of its file */
    uint64_t offset;       /* of its first byte in that file */
    uint64_t xxh3;         /* XXH3 of the copied bytes if organ_layout.only_copies; set after the piece was copied */
    organ_anatomy anatomy; /* set by organ_piece_same */
    /* Digest of `same` in the manifest of an organ directory; NULL if `model` is not an organ directory. */
    const char *known;
} organ_piece;

/* The header of a file, or a gap between or after its tensors whose bytes are not all zero. All other bytes of the file
 * outside tensors are zeros. */
typedef struct organ_filler {
    uint64_t offset;
    size_t bytes;
    unsigned char *data; /* memory of organ_rows_take */
} organ_filler;

/* A file of the output: all its bytes except those of tensors. */
typedef struct organ_layout_file {
    const char *name;
    uint64_t size;
    size_t first, count; /* its pieces in organ_layout.pieces; not set by organ_layout_plan */
    size_t filler_count; /* the first is the header, the others are sorted by offset */
    organ_filler *fillers;
    const char *path; /* path of the file in the output; NULL before organ_layout_begin */
} organ_layout_file;

/* All zero is an empty layout. */
typedef struct organ_layout {
    const organ_model *model; /* model of pieces that name none; messages name it */
    const char *format;       /* "GGUF" or "safetensors"; set by organ_layout_copy */
    size_t file_count, piece_count;
    organ_layout_file *files; /* owned, with their fillers, unless the verb has planned the layout */
    organ_piece *pieces;
    bool owns_files, owns_pieces;
    bool only_copies; /* every piece is copied, and gets a digest of all its bytes, as organ_layout_digest returns */
    bool changed;     /* the source is an organ directory, and its manifest states that bytes differ from the donor's */
    const organ_kernels *kernels; /* convert pieces whose type is not that of `same`; NULL: no piece needs it */
    /* The output is an organ directory: it has a file for each filler of each of `files`, then one for each piece. */
    bool apart;
    organ_layout_file *parts; /* these files, set by organ_layout_take_apart */
    size_t part_count;
    organ_filler *part_fillers; /* the fillers of `files`, each at the beginning of a file of its own */
    bool in_place;              /* the files are those of the model, with other bytes in the pieces */
    organ_model_copy *copy;     /* if in_place: the copy while it is written; owned */
    char *index;                /* text of model.safetensors.index.json; NULL: there is none */
    size_t index_bytes;
    organ_arena arena; /* owns names and paths */
} organ_layout;

/* Returns the piece of an unchanged tensor, at its place in its model. Its cost is the size of the tensor. */
organ_piece organ_piece_same(const organ_tensor *tensor);

/* ---- plans ---- */

/* Plans safetensors files for the pieces in their order: a new shard begins if the next tensor would make the current
 * one longer than `max` bytes of data. A single file is named `single` ("model.safetensors" if NULL), several are named
 * model-00001-of-000NN.safetensors and get an index. `single_only`: one file, whatever its size. The data of a file
 * begin on a page; tensors of whole pages come first, then wider types before narrower ones, so that every tensor is
 * aligned. The plan sets bytes, file and offset in `pieces`, which it does not copy; the pieces, their names and the
 * model must outlive the layout. The slices of a stack are in one file. Returns ORGAN_BAD_INPUT for two tensors of one
 * name, a stack whose slices are not all there, or an impossible size. The caller releases *layout also after an
 * error. */
organ_status organ_layout_plan(const organ_model *model, organ_piece *pieces, size_t count, uint64_t max,
                               const char *single, bool single_only, organ_layout *layout, organ_error *error);

/* Texts of files that are no model but have its layout. */
typedef struct organ_shard_texts {
    /* Returns the "__metadata__" of a file, JSON from malloc; NULL if memory runs out. The pieces in it have its
     * number in organ_piece.file. */
    char *(*metadata)(void *context, size_t file);
    void *context;
    const json_t *index; /* the member "metadata" of the index, which is made for one file, too */
} organ_shard_texts;

/* Plans files like organ_layout_plan, with these texts. */
organ_status organ_layout_plan_texts(const organ_model *model, organ_piece *pieces, size_t count, uint64_t max,
                                     const organ_shard_texts *texts, organ_layout *layout, organ_error *error);

/* Plans one GGUF file named `name` with the key-values of `writer`; the pieces keep their order. Sets bytes, file and
 * offset in `pieces`, which must outlive the layout with their names and the model. Returns ORGAN_BAD_INPUT for two
 * tensors of one name or an impossible size. The caller releases *layout also after an error. */
organ_status organ_layout_plan_gguf(const organ_model *model, organ_piece *pieces, size_t count, const char *name,
                                    organ_gguf_writer *writer, organ_layout *layout, organ_error *error);

/* One of several GGUF files: its name, its key-values, to which the plan adds the tensors, and how many pieces it gets.
 */
typedef struct organ_gguf_part {
    const char *name;
    organ_gguf_writer *writer;
    size_t pieces;
} organ_gguf_part;

/* Plans `count` GGUF files, which get the pieces in their order, all of them together; otherwise as
 * organ_layout_plan_gguf. */
organ_status organ_layout_plan_ggufs(const organ_model *model, organ_piece *pieces, const organ_gguf_part *parts,
                                     size_t count, organ_layout *layout, organ_error *error);

/* Plans one safetensors file named `name`, whose "__metadata__" is `metadata`. The pieces keep their order, and their
 * data begin at byte `begin`, a multiple of 8: blanks fill up the header. Sets bytes, file and offset in `pieces`,
 * which must outlive the layout with their names and the model. Returns ORGAN_BAD_INPUT for two tensors of one name, an
 * impossible size, or a longer header. The caller releases *layout also after an error. */
organ_status organ_layout_plan_file(const organ_model *model, organ_piece *pieces, size_t count, const char *name,
                                    const char *metadata, uint64_t begin, organ_layout *layout, organ_error *error);

/* Makes the layout that writes a model's files unchanged. For an organ directory: the files of its donor, with the
 * present bytes of the .bin files. `model` must outlive the layout. Returns ORGAN_BAD_INPUT or ORGAN_IO if headers and
 * bytes between tensors cannot be loaded. The caller releases *layout also after an error. */
organ_status organ_layout_copy(const organ_model *model, organ_layout *layout, organ_error *error);

/* Makes the layout of copies of a model's files in which the pieces get other bytes; `single`: name of the copy if the
 * model has one file, NULL: the names of the original. The layout owns `pieces`, memory of organ_rows_take. The caller
 * begins layout->copy, which copies all other bytes. Returns ORGAN_IO if memory runs out. */
organ_status organ_layout_in_place(const organ_model *model, const char *single, organ_piece *pieces, size_t count,
                                   organ_layout *layout, organ_error *error);

/* ---- changes of a layout of organ_layout_copy ---- */

/* Reserves memory for `more` further pieces. Returns false, with the layout unchanged, if out of memory. */
bool organ_layout_grow(organ_layout *layout, size_t more);

/* Makes `name` the name of the layout's only file. With `written_again`, first replaces all files by one file with all
 * pieces. The pieces of a safetensors file are sorted, wider types first, and its "__metadata__" is that of the first
 * file. A GGUF file has the pieces in their order and the key-values of `writer`; `writer` is NULL for safetensors.
 * Returns ORGAN_BAD_INPUT if the format cannot store a piece. */
organ_status organ_layout_name(organ_layout *layout, const char *name, bool written_again, organ_gguf_writer *writer,
                               organ_error *error);

/* Replaces all files of a GGUF layout by `count` files, which get the pieces in their order, all of them together.
 * Bytes between the tensors of the former files are not kept. Returns ORGAN_BAD_INPUT if the format cannot store a
 * piece. */
organ_status organ_layout_divide(organ_layout *layout, const organ_gguf_part *parts, size_t count, organ_error *error);

/* Adds a safetensors file `name` with the pieces from `first` on, and an index. The other files stay. */
organ_status organ_layout_add_file(organ_layout *layout, const char *name, size_t first, organ_error *error);

/* Names the files of an organ directory, which the layout then writes in place of `files`. Returns ORGAN_IO if memory
 * runs out. */
organ_status organ_layout_take_apart(organ_layout *layout, organ_error *error);

/* Creates *writer with the key-values of `gguf` except split.*, because the output is one file. The caller destroys it;
 * it is NULL after an error. */
organ_status organ_layout_metadata(const organ_gguf *gguf, organ_gguf_writer **writer, organ_error *error);

/* Fails with ENOMEM and the model's path. */
organ_status organ_layout_no_memory(const organ_layout *layout, organ_error *error);

/* Frees files of a layout with their fillers. */
void organ_layout_files_free(organ_layout_file *files, size_t count);

/* Frees what the layout owns and zeroes it; a zeroed layout is allowed. */
void organ_layout_release(organ_layout *layout);

/* ---- facts of a layout ---- */

/* Returns the files that are written, and sets *count to their number. */
const organ_layout_file *organ_layout_written(const organ_layout *layout, size_t *count);
uint64_t organ_layout_bytes(const organ_layout *layout); /* size of `files` and of the index */
uint64_t organ_layout_total(const organ_layout *layout); /* bytes of all pieces, which the index calls total_size */

/* Returns the XXH3 of all fillers and the index. It is equal for layouts that give every tensor the same type, shape,
 * file and offset. */
uint64_t organ_layout_digest_of_plan(const organ_layout *layout);

/* Return members of a report. The first function returns the files: [{"name", "bytes"}]. The second returns {"tensors",
 * "bytes"}, the number and size of the pieces whose `same` is set, after a plan has set their bytes. The third returns
 * how many tensors and bytes of each type the pieces have. */
json_t *organ_layout_files_json(const organ_layout *layout);
json_t *organ_pieces_same_json(const organ_piece *pieces, size_t count);
json_t *organ_pieces_types_json(const organ_piece *pieces, size_t count);

/* Returns {"tensors_before", "tensors_after", "left_out", "bytes_before", "bytes_after"} of the layout's model and of
 * its pieces. */
json_t *organ_layout_totals_json(const organ_layout *layout, uint64_t left_out);

/* Returns organ_by_layer_json of the pieces. With `donor`, each layer also has the number of elements that come from
 * it. NULL if out of memory. */
json_t *organ_layout_by_layer_json(const organ_layout *layout, const organ_model *donor);

/* Number of tensors, elements and bytes of some pieces. */
typedef struct organ_amount {
    uint64_t tensors, elements, bytes;
} organ_amount;

/* Adds up the pieces of a group (ORGAN_ALL_GROUPS: all groups) that come from the model `donor` (NULL: from any). */
#define ORGAN_ALL_GROUPS (ORGAN_GROUP_OTHER + 1)
organ_amount organ_layout_amount(const organ_layout *layout, organ_group group, const organ_model *donor);

#define SET_AMOUNT(of)                                                                                                 \
    SET_COUNT("tensors", (of).tensors), SET_COUNT("elements", (of).elements), SET_COUNT("bytes", (of).bytes)

/* Returns whether the bytes of piece `k`, which was copied, differ from the digest in the manifest of its organ
 * directory. Returns false if there is no such digest. */
bool organ_layout_piece_changed(const organ_layout *layout, size_t k);

/* Returns the XXH3 of the copied piece `k` as 16 hexadecimal digits. NULL if memory runs out. */
json_t *organ_layout_digest(const organ_layout *layout, size_t k);

/* ---- the files on disk ---- */

/* How organ_layout_begin treats the files. An interrupted run of the same plan may have left them: with ORGAN_CONTINUED
 * a file of the right size keeps its tensors, any other file is created again. ORGAN_OUTLINE: the files have holes
 * instead of the tensors, and no disk space is reserved. */
typedef enum { ORGAN_CREATED, ORGAN_CONTINUED, ORGAN_OUTLINE } organ_files_state;

/* Creates the files and folders in `directory` (which must outlive the layout), writes headers and index, and reserves
 * disk space for all bytes. Returns ORGAN_IO if that fails. */
organ_status organ_layout_begin(organ_layout *layout, const char *directory, organ_files_state state,
                                organ_error *error);

/* Returns the transfer that copies piece `k`, whose `same` is set; its callbacks are not set. */
organ_transfer organ_layout_transfer(const organ_layout *layout, size_t k);

/* Writes bytes [at, at + bytes) of a piece to its file. Any thread may call it; ranges must not overlap. Direct I/O,
 * which avoids the page cache, needs the address of `data` and the offset in the file to be equal modulo 4096.
 * Otherwise direct I/O is used only with `scratch`, a buffer of ORGAN_PUT_SCRATCH bytes of any alignment; `scratch` may
 * be NULL. In place, parts of pages may be in memory until organ_layout_settle. Returns ORGAN_IO if writing fails. */
#define ORGAN_PUT_SCRATCH ((size_t)1 << 20)
organ_status organ_layout_put(const organ_layout *layout, size_t piece, const void *data, size_t bytes, uint64_t at,
                              void *scratch, organ_error *error);

/* Writes what is still in memory of a piece whose bytes are all written. */
organ_status organ_layout_settle(const organ_layout *layout, size_t piece, organ_error *error);

/* Not in place: returns the path of the file with the piece, and sets *offset to the place of its first byte there. */
const char *organ_layout_place(const organ_layout *layout, size_t piece, uint64_t *offset);

/* Reads bytes [at, at + bytes) of a piece back from its file. Returns ORGAN_IO if they cannot be read. */
organ_status organ_layout_read(const organ_layout *layout, size_t piece, void *data, size_t bytes, uint64_t at,
                               organ_error *error);

/* Writes manifest.json of an organ directory whose pieces are copied. `about` becomes the member "model"; the caller
 * keeps its reference. Returns ORGAN_IO if the file cannot be written or memory runs out. */
organ_status organ_layout_manifest(organ_layout *layout, const char *directory, json_t *about, organ_error *error);

#endif
