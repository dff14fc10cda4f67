/* SPDX-License-Identifier: MIT
 * Organ directories. Each tensor of a model is a file of its own. The headers of the original files ("donors") are
 * stored unchanged, and manifest.json maps each tensor to its file, so that the original files can be assembled again.
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

/* A byte range of an original file, between or after its tensors, that is stored because it is not all zeros. */
typedef struct organ_donor_gap {
    uint64_t offset, bytes; /* in the original file */
    const char *file;       /* relative to the directory */
} organ_donor_gap;

/* A file of the original model. */
typedef struct organ_donor_file {
    const char *name;           /* without '/', not hidden */
    uint64_t size, data_offset; /* bytes of the whole file, and of its header */
    const char *header;         /* file with its first data_offset bytes; relative to the directory */
    size_t gap_count;
    const organ_donor_gap *gaps;
    uint64_t first, count; /* its tensors are organ_manifest.tensors[first .. first + count) */
} organ_donor_file;

/* Origin of organ_model.tensors[k]. */
typedef struct organ_donor_tensor {
    uint64_t offset; /* in the original file */
    char xxh3[17];   /* digest of its bytes when it was extracted */
} organ_donor_tensor;

/* The parsed manifest.json of an organ directory. A manifest whose members are all zero is empty. It owns the three
 * lists; all else belongs to the arena of the tensor list. */
typedef struct organ_manifest {
    const char *format; /* format of the original: "GGUF", "safetensors" */
    /* the directory has grafted tensors, so that its bytes are not those of an original */
    bool changed;
    size_t file_count;
    organ_donor_file *files;
    organ_donor_tensor *tensors;
    size_t kept_count;
    organ_model_file *kept; /* files of headers and gaps, with size, time and inode when they were read */
    organ_gguf_header gguf; /* header of the first file of a GGUF original */
} organ_manifest;

/* Returns true if `path` is a directory whose manifest.json has the word "organ.manifest/" in its first 4096 bytes. */
bool organ_directory_is(const char *path);
/* Sets *is to the result of organ_directory_is. Returns an error if the disk fails, so that a caller that skips all
 * other directories does not skip an organ directory by mistake. */
organ_status organ_directory_check(const char *path, bool *is, organ_error *error);

/* Reads the manifest and the stored headers, and checks them against each other and against the sizes of the files. The
 * tensors are taken from the headers and checked like those of the original files; the manifest names the file of each.
 *   - *files gets one file for each tensor, in the order of `list`; they are not open (fd -1). The caller frees it.
 *   - *gguf points into *manifest for a GGUF original, else it is NULL.
 * Each path in the manifest must be FOLDER/NAME of the layout above, with letters, digits and "_.-" only; symbolic
 * links are rejected. The contents of tensors are not read, so their xxh3 is not checked. */
organ_status organ_directory_read(const char *directory, organ_tensor_list *list, organ_model_file **files,
                                  organ_manifest *manifest, const organ_gguf **gguf, organ_error *error);

void organ_manifest_release(organ_manifest *manifest);

#endif
