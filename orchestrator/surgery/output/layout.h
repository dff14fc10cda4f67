/* SPDX-License-Identifier: MIT
 * What the files of a model will hold, known to the last byte before one is written: headers and other bytes at hand, and tensors that come
 * from one model or several. Whatever takes models apart or puts them together makes one of these and has it written. */
#ifndef ORGAN_LAYOUT_H
#define ORGAN_LAYOUT_H

#include "formats/base/arena.h"
#include "formats/gguf/writer.h"
#include "formats/model/organ_directory.h"
#include "kernels/kernels.h"
#include "orchestrator/stream/copy_tree.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/stream/stop.h"
#include "orchestrator/surgery/output/by_layer.h"

#include <jansson.h>

/* A tensor of the output. */
typedef struct organ_piece {
    organ_tensor as;          /* as the output has it: name, type, shape, file (of the layout), offset there, anatomy */
    const organ_model *model; /* where its bytes are */
    const organ_tensor *from; /* a tensor of as many elements there; of another type if `kernels` can convert it */
    const char *known;        /* digest that the manifest of an organ directory has of `from`, else NULL */
    const char *file;         /* where its bytes stand in an organ directory; set by organ_layout_write_apart */
    uint64_t xxh3;            /* XXH3 of what was written; set by the writing functions */
} organ_piece;

/* Bytes of a file that belong to no tensor: its header, and what is not zero between tensors. All else is zeros. */
typedef struct organ_filler {
    uint64_t offset;
    size_t bytes;
    unsigned char *data; /* owned by the layout */
} organ_filler;

typedef struct organ_layout_file {
    const char *name;
    uint64_t size, data_offset;
    size_t first, count;   /* pieces, by offset */
    size_t filler_count;   /* >= 1: the header first, then by offset */
    organ_filler *fillers; /* owned by the layout */
} organ_layout_file;

/* All zero is empty. */
typedef struct organ_layout {
    const char *format; /* "GGUF", "safetensors" */
    size_t file_count, piece_count;
    organ_layout_file *files;
    organ_piece *pieces;
    bool changed;                 /* its bytes are not, or no longer, those of a donor: an organ directory made of it says so */
    const organ_kernels *kernels; /* for pieces whose type is not that of `from`; else NULL is allowed */
    organ_arena arena;
} organ_layout;

/* The files of a model as they are; of an organ directory: as they were, with the bytes of the .bin files of today. `model` must outlive
 * the layout. ORGAN_BAD_INPUT, ORGAN_IO. The caller releases *layout also after an error. */
organ_status organ_layout_copy(const organ_model *model, organ_layout *layout, organ_error *error);

/* Makes the pieces one safetensors file of that name: in their order, with the entry "__metadata__" of the first file. */
organ_status organ_layout_merge_safetensors(organ_layout *layout, const char *name, organ_error *error);

/* A writer with the key-values of a model, but for split.*: those tell of files that are no more. */
organ_status organ_layout_metadata(const organ_gguf *gguf, organ_gguf_writer **writer, organ_error *error);

/* Makes the pieces one GGUF file of that name: in their order, with the key-values that `writer` has. ORGAN_BAD_INPUT where the format
 * cannot hold one of them. */
organ_status organ_layout_merge_gguf(organ_layout *layout, const char *name, organ_gguf_writer *writer, organ_error *error);

/* The pieces for organ_by_layer_json, one each; `giver` is the model whose pieces count as grafted, or NULL. To be freed; NULL without
 * memory. */
organ_layer_amount *organ_layout_amounts(const organ_layout *layout, const organ_model *giver);

/* Bytes that the files will have. */
uint64_t organ_layout_bytes(const organ_layout *layout);

/* Writes the files into `directory`, and the digests into the pieces. Nothing is synchronised with the disk. */
organ_status organ_layout_write(organ_layout *layout, const char *directory, const char *stage, const organ_progress *progress,
                                const organ_stop *stop, organ_error *error);

/* Writes an organ directory into `directory`, which is empty: .bin files, kept headers and manifest.json. `about` becomes
 * manifest.model. */
organ_status organ_layout_write_apart(organ_layout *layout, const char *directory, const char *stage, json_t *about,
                                      const organ_progress *progress, const organ_stop *stop, organ_error *error);

/* What lies beside the tensors of a model: relative names below *root. *root is to be freed. */
organ_status organ_beside_list(const organ_model *model, char **root, organ_file_list *list, organ_error *error);

/* Copies that into `directory`/`folder` ("" for none). */
organ_status organ_beside_copy(const organ_model *model, const char *directory, const char *folder, organ_error *error);

void organ_layout_release(organ_layout *layout);

#endif
