/* SPDX-License-Identifier: MIT
 * The plan of an output's files: headers and other bytes in memory, and tensors that are copied from one or several
 * models. Verbs that take models apart or assemble them make a layout, and surgery/write writes it. */
#ifndef ORGAN_OUTPUT_LAYOUT_H
#define ORGAN_OUTPUT_LAYOUT_H

#include "formats/base/arena.h"
#include "formats/model/organ_directory.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/output/resharding.h"

/* A tensor of the output. */
typedef struct organ_piece {
    /* The tensor in the output: name, type, shape, index of its file in the layout, offset there, anatomy. */
    organ_tensor as;
    const organ_model *model; /* model from which it is copied */
    /* Tensor of that model with the same number of elements; its type may differ if layout.kernels converts it. */
    const organ_tensor *from;
    const organ_model *values_model; /* model whose tensor `values` is copied in place of `from`; NULL: none */
    const organ_tensor *values;
    /* Digest of `from` in the manifest of an organ directory; NULL if `model` is not an organ directory. */
    const char *known;
} organ_piece;

/* A file of the output. */
typedef struct organ_layout_file {
    const char *name;
    uint64_t size, data_offset; /* bytes of the file; where the data of tensors begin */
    /* Index of its first piece in organ_layout.pieces, and number of its pieces, sorted by offset. */
    size_t first, count;
    size_t filler_count;   /* at least 1: the first is the header, the others are sorted by offset */
    organ_filler *fillers; /* header, and gaps between or after tensors; the layout owns array and data */
} organ_layout_file;

/* The files of an output and the tensors in them. All zero is an empty layout. */
typedef struct organ_layout {
    const char *format; /* "GGUF", "safetensors" */
    size_t file_count, piece_count;
    organ_layout_file *files;
    organ_piece *pieces;
    bool changed; /* the source is an organ directory, and its manifest states that bytes differ from the donor's */
    const organ_kernels *kernels; /* convert pieces whose type is not that of `from`; NULL: no piece needs it */
    /* Set by organ_layout_plan: */
    organ_shard_piece *copies; /* copies[k]: piece k for surgery/write, which copies it and sets its digest */
    /* Files of the output. Organ directory: one file for each filler of each layout file, then one for each piece. */
    organ_shard *shards;
    organ_filler *separate_fillers; /* organ directory: all fillers, each at offset 0 of a file of its own */
    organ_resharding *plan;         /* plan of `shards` and `copies` */
    organ_arena arena;              /* owns names that the layout makes */
} organ_layout;

/* Makes the layout that writes a model's files unchanged. For an organ directory: the files of its donor, with the
 * present bytes of the .bin files. `model` must outlive the layout. Returns ORGAN_BAD_INPUT or ORGAN_IO if headers and
 * bytes between tensors cannot be loaded. The caller releases *layout also after an error. */
organ_status organ_layout_copy(const organ_model *model, organ_layout *layout, organ_error *error);

/* Reserves memory for `more` further pieces. Returns false, with the layout unchanged, if out of memory. */
bool organ_layout_grow(organ_layout *layout, size_t more);

/* Creates *writer with the key-values of `gguf` except split.*, because the output is one file. The caller destroys it;
 * it is NULL after an error. */
organ_status organ_layout_metadata(const organ_gguf *gguf, organ_gguf_writer **writer, organ_error *error);

/* Makes `name` the name of the layout's only file. With `written_again`, first replaces all files by one file with all
 * pieces. The pieces of a safetensors file are sorted, wider types first, and its "__metadata__" is that of the first
 * file. A GGUF file has the pieces in their order and the key-values of `writer`; `writer` is NULL for safetensors.
 * Returns ORGAN_BAD_INPUT if the format cannot store a piece. */
organ_status organ_layout_name(organ_layout *layout, const char *name, bool written_again, organ_gguf_writer *writer,
                               organ_error *error);

/* Adds a safetensors file `name` with the pieces from `first` on, and model.safetensors.index.json as a file without
 * pieces. The other files stay. */
organ_status organ_layout_add_file(organ_layout *layout, const char *name, size_t first, organ_error *error);

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

/* Returns the sum of the sizes of the files. */
uint64_t organ_layout_bytes(const organ_layout *layout);

/* Sets copies, shards and plan: the files of the output. `separate`: the output is an organ directory, which has a .bin
 * file for each piece and a file for each header and each other filler. Messages name `model`. Returns ORGAN_IO if
 * memory runs out, or the error of organ_resharding_of. */
organ_status organ_layout_plan(organ_layout *layout, const organ_model *model, bool separate, organ_error *error);

/* Creates the folders of an organ directory if they are missing. Returns ORGAN_IO if one cannot be created. */
organ_status organ_layout_folders(organ_layout *layout, const char *directory, organ_error *error);

/* Returns whether the bytes of piece `k`, which was copied, differ from the digest in the manifest of its organ
 * directory. Returns false if there is no such digest. */
bool organ_layout_piece_changed(const organ_layout *layout, size_t k);

/* Returns the XXH3 of the copied piece `k` as 16 hexadecimal digits. NULL if memory runs out. */
json_t *organ_layout_digest(const organ_layout *layout, size_t k);

/* Writes manifest.json of an organ directory whose pieces are copied. `about` becomes the member "model"; the caller
 * keeps its reference. Returns ORGAN_IO if the file cannot be written or memory runs out. */
organ_status organ_layout_manifest(organ_layout *layout, const char *directory, json_t *about, organ_error *error);

/* Frees what the layout owns and zeroes it; a zeroed layout is allowed. */
void organ_layout_release(organ_layout *layout);

#endif
