/* SPDX-License-Identifier: MIT
 * The files of a model, complete before one is written: headers and other bytes in memory, and tensors of one model or
 * several. Verbs that take models apart or assemble them make a layout, and surgery/write writes it. */
#ifndef ORGAN_LAYOUT_H
#define ORGAN_LAYOUT_H

#include "formats/base/arena.h"
#include "formats/model/organ_directory.h"
#include "orchestrator/stream/copy_tree.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/output/resharding.h"

#include <jansson.h>

/* A tensor of the output. */
typedef struct organ_piece {
    organ_tensor as;          /* as the output has it: name, type, shape, file (of the layout), offset there, anatomy */
    const organ_model *model; /* where its bytes are */
    const organ_tensor *from; /* a tensor of as many elements there; of another type if `kernels` can convert it */
    const char *known;        /* digest that the manifest of an organ directory has of `from`, else NULL */
} organ_piece;

typedef struct organ_layout_file {
    const char *name;
    uint64_t size, data_offset;
    size_t first, count;   /* pieces, by offset */
    size_t filler_count;   /* >= 1: the header first, then by offset */
    organ_filler *fillers; /* owned by the layout, with their data */
} organ_layout_file;

/* All zero is empty. */
typedef struct organ_layout {
    const char *format; /* "GGUF", "safetensors" */
    size_t file_count, piece_count;
    organ_layout_file *files;
    organ_piece *pieces;
    bool changed; /* its bytes are not those of a donor, which the manifest of an organ directory states */
    const organ_kernels *kernels; /* for pieces whose type is not that of `from`; else NULL is allowed */
    /* Set by organ_layout_plan: */
    organ_shard_piece *copies; /* of the pieces, one each, which is a unit; copying sets their digests */
    organ_shard *shards; /* files of the output; of an organ directory: one for each filler of each file, then one for
                            each piece */
    organ_filler *kept;  /* of an organ directory: the fillers, each at the beginning of its file */
    organ_resharding *plan;
    organ_arena arena;
} organ_layout;

/* Makes the layout of a model's files, unchanged; for an organ directory: of the files that it was extracted from, with
 * the present bytes of the .bin files. `model` must outlive the layout. ORGAN_BAD_INPUT, ORGAN_IO. The caller releases
 * *layout also after an error. */
organ_status organ_layout_copy(const organ_model *model, organ_layout *layout, organ_error *error);

/* Makes room for `more` pieces. False without memory: the layout is unchanged. */
bool organ_layout_grow(organ_layout *layout, size_t more);

/* Makes a writer with the key-values of a model, except split.*, because the split files are merged. */
organ_status organ_layout_metadata(const organ_gguf *gguf, organ_gguf_writer **writer, organ_error *error);

/* Gives the only file the name `name`. With `written_again`, makes one file of all pieces, in their order: a
 * safetensors file with the entry "__metadata__" of the first file, or a GGUF file with the key-values of `writer`
 * (else NULL). ORGAN_BAD_INPUT if the format cannot store a piece. */
organ_status organ_layout_name(organ_layout *layout, const char *name, bool written_again, organ_gguf_writer *writer,
                               organ_error *error);

/* Returns organ_by_layer_json of the pieces; with `donor`, also the elements grafted from it. NULL if out of memory. */
json_t *organ_layout_by_layer_json(const organ_layout *layout, const organ_model *donor);

/* Sums over some pieces. */
typedef struct organ_amount {
    uint64_t tensors, elements, bytes;
} organ_amount;

/* Adds up the pieces of a group (ORGAN_ALL_GROUPS: all groups) that come from the model `donor` (NULL: from any). */
#define ORGAN_ALL_GROUPS (ORGAN_GROUP_OTHER + 1)
organ_amount organ_layout_amount(const organ_layout *layout, organ_group group, const organ_model *donor);

#define SET_AMOUNT(of)                                                                                                 \
    SET_COUNT("tensors", (of).tensors), SET_COUNT("elements", (of).elements), SET_COUNT("bytes", (of).bytes)

/* Returns the bytes that the files will have. */
uint64_t organ_layout_bytes(const organ_layout *layout);

/* Plans the files of the output; `separate`: those of an organ directory, .bin files and kept headers. `model` is named
 * in errors. ORGAN_IO without memory. */
organ_status organ_layout_plan(organ_layout *layout, const organ_model *model, bool separate, organ_error *error);

/* Creates the folders of an organ directory, unless they exist. ORGAN_IO. */
organ_status organ_layout_folders(organ_layout *layout, const char *directory, organ_error *error);

/* Returns whether piece `k`, after it was copied, differs from its digest in the manifest of its organ directory. */
bool organ_layout_piece_changed(const organ_layout *layout, size_t k);

/* Returns the XXH3 of the copied piece `k` as 16 hexadecimal digits. NULL without memory. */
json_t *organ_layout_digest(const organ_layout *layout, size_t k);

/* Writes manifest.json of an organ directory whose pieces are copied. `about` becomes manifest.model. ORGAN_IO. */
organ_status organ_layout_manifest(organ_layout *layout, const char *directory, json_t *about, organ_error *error);

/* Lists the files of a model without tensors, as names relative to *root. *root is to be freed. */
organ_status organ_extra_files_list(const organ_model *model, char **root, organ_file_list *list, organ_error *error);

/* Copies these files into `directory`/`folder` ("" for none). */
organ_status organ_extra_files_copy(const char *root, const organ_file_list *list, const char *directory,
                                    const char *folder, organ_error *error);

void organ_layout_release(organ_layout *layout);

#endif
