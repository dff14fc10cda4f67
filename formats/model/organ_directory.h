/* SPDX-License-Identifier: MIT
 * A model taken apart: every tensor's bytes in a file of their own, the donor's headers as they were, and manifest.json
 * that says what was
 * where.
 *
 *     DIR/manifest.json                                   schema organ.manifest/1
 *     DIR/skeleton/ organs/ embed/ norm/ other/NAME.bin   the bytes of one tensor, nothing else
 *     DIR/header/NAME                                     bytes of a donor's file that belong to no tensor
 *     DIR/files/                                          whatever lay beside the donor: config.json, tokenizer */
#ifndef ORGAN_DIRECTORY_H
#define ORGAN_DIRECTORY_H

#include "formats/base/path.h"
#include "formats/gguf/file.h"
#include "formats/tensor/tensor_list.h"

#define ORGAN_MANIFEST        "manifest.json"
#define ORGAN_MANIFEST_SCHEMA "organ.manifest/1"
#define ORGAN_HEADER_FOLDER   "header"
#define ORGAN_FILES_FOLDER    "files"

/* The folder of tensors of that group: "skeleton", "organs", ... */
const char *organ_group_folder(organ_group group);

/* A stretch of a donor's file that lies between tensors or after them and is not all zeros. */
typedef struct organ_donor_gap {
    uint64_t offset, bytes;
    const char *file; /* relative to the directory */
} organ_donor_gap;

/* A file that the model came from. */
typedef struct organ_donor_file {
    const char *name; /* plain: no '/', not hidden */
    uint64_t size, data_offset;
    const char *header; /* holds its first data_offset bytes; relative to the directory */
    size_t gap_count;
    const organ_donor_gap *gaps;
    uint64_t first, count; /* its tensors among organ_manifest.tensors */
} organ_donor_file;

/* Where a tensor came from; number k tells of organ_model.tensors[k]. */
typedef struct organ_donor_tensor {
    uint64_t offset; /* in its donor's file */
    char xxh3[17];   /* of its bytes when it was taken out */
} organ_donor_tensor;

/* All zero is empty. What it points to lies in the tensor list's arena, but for the three lists. */
typedef struct organ_manifest {
    const char *format; /* of the donor: "GGUF", "safetensors" */
    bool changed; /* when the directory was made its bytes were not those of a donor: something had been grafted */
    size_t file_count;
    organ_donor_file *files;
    organ_donor_tensor *tensors;
    size_t kept_count;
    organ_model_file *kept; /* headers and gaps: as they were when they were looked at */
    organ_gguf_header gguf; /* of the first file of a GGUF donor */
} organ_manifest;

/* Whether `path` is a directory with a manifest.json that names such a schema near its beginning. */
bool organ_directory_is(const char *path);
/* The same for who would pass over what it is not: fails where the disk does, instead of taking it for one. */
organ_status organ_directory_look(const char *path, bool *is, organ_error *error);

/* Reads the manifest and the kept headers, and holds them against each other and against the sizes of the files:
 * tensors come from the headers, as checked as if the donor were read; the manifest says which file has their bytes.
 * *files gets one file per tensor, in the order of the donor, not open (fd -1); the caller frees it. *gguf points into
 * the manifest for GGUF donors. Every path in the manifest is FOLDER/NAME of the layout above, of letters, digits and
 * "_.-"; symbolic links are refused. Contents are not read: see xxh3. */
organ_status organ_directory_read(const char *directory, organ_tensor_list *list, organ_model_file **files,
                                  organ_manifest *manifest, const organ_gguf **gguf, organ_error *error);

void organ_manifest_release(organ_manifest *manifest);

#endif
