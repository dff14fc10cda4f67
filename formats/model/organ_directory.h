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

#include "formats/base/text.h"
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
    const char *file;       /* the file with these bytes, relative to the organ directory */
} organ_donor_gap;

/* A file of the original model. */
typedef struct organ_donor_file {
    const char *name;           /* its file name: without '/', not hidden */
    uint64_t size, data_offset; /* bytes of the whole file, and of its header */
    const char *header;         /* file with its first data_offset bytes, relative to the organ directory */
    size_t gap_count;
    const organ_donor_gap *gaps;
    uint64_t first, count; /* its tensors are organ_manifest.tensors[first .. first + count) */
} organ_donor_file;

/* The data of organ_model.tensors[k] in the original file. */
typedef struct organ_donor_tensor {
    uint64_t offset; /* in the original file */
    char xxh3[17];   /* XXH3 of its bytes when it was extracted: 16 hexadecimal digits and a NUL */
} organ_donor_tensor;

/* The parsed manifest.json of an organ directory. A manifest whose members are all zero is empty. It owns files,
 * tensors, kept and gguf; all other memory belongs to the arena of the tensor list. */
typedef struct organ_manifest {
    const char *format; /* format of the original: "GGUF", "safetensors" */
    /* the data of at least one tensor differ from the original file, for example after a graft */
    bool changed;
    size_t file_count;
    organ_donor_file *files;     /* the original files */
    organ_donor_tensor *tensors; /* one for each tensor, in the order of the tensor list */
    size_t kept_count;
    organ_model_file *kept; /* files with headers and gaps; each has its size, time and inode when it was checked */
    organ_gguf_header gguf; /* header of the first file of a GGUF original */
} organ_manifest;

/* Returns true if `path` is an organ directory (organ_directory_check), or if a failure of the system keeps the
 * function from finding out: the reader of the manifest then reports the failure. */
bool organ_directory_is(const char *path);
/* Sets *is to true if `path` is a directory whose manifest.json has the word "organ.manifest/" in its first 4096 bytes.
 * Returns an error if the disk or the system fails, so that a caller that skips all other directories does not skip an
 * organ directory by mistake. */
organ_status organ_directory_check(const char *path, bool *is, organ_error *error);

/* Reads the manifest and the stored headers, and checks them against each other and against the sizes of the files. The
 * tensors are read from the stored headers with the same checks as from the original files; the manifest names the file
 * of each tensor.
 *   - *files gets one file for each tensor, in the order of `list`; they are not open (fd -1). The caller frees it.
 *   - *gguf points into *manifest for a GGUF original, else it is NULL.
 * Each path in the manifest must be FOLDER/NAME of the layout above, with letters, digits and "_.-" only; symbolic
 * links are rejected. The contents of tensors are not read, so their xxh3 is not checked. Returns ORGAN_BAD_INPUT for a
 * fault of the manifest, a header or a file, ORGAN_IO if a file cannot be read. The caller releases *manifest, also
 * after an error. */
organ_status organ_directory_read(const char *directory, organ_tensor_list *list, organ_model_file **files,
                                  organ_manifest *manifest, const organ_gguf **gguf, organ_error *error);

void organ_manifest_release(organ_manifest *manifest);

#endif
