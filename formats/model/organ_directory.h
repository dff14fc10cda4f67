/* SPDX-License-Identifier: MIT
 * Organ directories. The bytes of each tensor of a model are in a file of their own; the headers of the original files
 * are stored unchanged, and manifest.json maps the one to the other.
 *
 *     DIR/manifest.json                                   schema organ.manifest/1
 *     DIR/skeleton/ organs/ embed/ norm/ other/NAME.bin   the bytes of one tensor
 *     DIR/header/NAME                                     bytes of an original file that belong to no tensor
 *     DIR/files/                                          other files of the original: config.json, tokenizer */
#ifndef ORGAN_DIRECTORY_H
#define ORGAN_DIRECTORY_H

#include "formats/base/path.h"
#include "formats/gguf/file.h"
#include "formats/tensor/tensor_list.h"

#define ORGAN_MANIFEST        "manifest.json"
#define ORGAN_MANIFEST_SCHEMA "organ.manifest/1"
#define ORGAN_HEADER_FOLDER   "header"
#define ORGAN_FILES_FOLDER    "files"

/* Returns the folder for tensors of that group: "skeleton", "organs", ... */
const char *organ_group_folder(organ_group group);

/* A range of an original file between or after tensors that is not all zeros. */
typedef struct organ_donor_gap {
    uint64_t offset, bytes;
    const char *file; /* relative to the directory */
} organ_donor_gap;

/* A file of the original model. */
typedef struct organ_donor_file {
    const char *name; /* without '/', not hidden */
    uint64_t size, data_offset;
    const char *header; /* file with its first data_offset bytes; relative to the directory */
    size_t gap_count;
    const organ_donor_gap *gaps;
    uint64_t first, count; /* its tensors in organ_manifest.tensors */
} organ_donor_file;

/* Origin of organ_model.tensors[k]. */
typedef struct organ_donor_tensor {
    uint64_t offset; /* in the original file */
    char xxh3[17];   /* digest of its bytes when it was extracted */
} organ_donor_tensor;

/* A manifest whose members are all zero is empty. The tensor list's arena owns everything but the three lists. */
typedef struct organ_manifest {
    const char *format; /* format of the original: "GGUF", "safetensors" */
    /* the directory was made from one with grafted tensors, so its bytes are not those of an original */
    bool changed;
    size_t file_count;
    organ_donor_file *files;
    organ_donor_tensor *tensors;
    size_t kept_count;
    organ_model_file *kept; /* headers and gaps with their state when they were read */
    organ_gguf_header gguf; /* header of the first file of a GGUF original */
} organ_manifest;

/* Returns true if `path` is a directory with a manifest.json that contains such a schema near its beginning. */
bool organ_directory_is(const char *path);
/* Sets *is to the result of organ_directory_is, for callers that skip other directories. Returns an error if the disk
 * fails, instead of *is = false. */
organ_status organ_directory_check(const char *path, bool *is, organ_error *error);

/* Reads the manifest and the stored headers and checks them against each other and against the sizes of the files.
 * Tensors come from the headers, checked like those of the original files; the manifest maps them to files. *files
 * gets one file for each tensor, in the order of the original, not open (fd -1); the caller frees it. For GGUF, *gguf
 * points into the manifest. Every path in the manifest must be FOLDER/NAME of the layout above, of letters, digits
 * and "_.-"; symbolic links are rejected. Does not read contents: xxh3 is for later checks. */
organ_status organ_directory_read(const char *directory, organ_tensor_list *list, organ_model_file **files,
                                  organ_manifest *manifest, const organ_gguf **gguf, organ_error *error);

void organ_manifest_release(organ_manifest *manifest);

#endif
