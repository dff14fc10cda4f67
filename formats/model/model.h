/* SPDX-License-Identifier: MIT
 * The interface through which the rest of the program reads models, in any of the formats. organ_model_open takes a
 * path or a URL (a directory, a .safetensors or .gguf file, an index, an organ directory) and returns the model's
 * tensors, its files and the fields of its config. It reads only headers, no weights. */
#ifndef ORGAN_MODEL_H
#define ORGAN_MODEL_H

#include "formats/base/api.h"
#include "formats/base/status.h"
#include "formats/gguf/gguf.h"
#include "formats/remote/access.h"
#include "formats/tensor/hf_config.h"
#include "formats/tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

struct organ_manifest;

/* An open model: its files, and the names, types and places of all tensors. All pointers belong to the model. */
typedef struct organ_model {
    const char *path;      /* the caller's path without trailing slashes */
    const char *directory; /* directory of the files */
    const char *format;    /* "safetensors", "GGUF", "organ directory" */
    /* metadata of a GGUF model, or of an organ directory made from one, else NULL */
    const organ_gguf *gguf;
    const struct organ_manifest *manifest; /* manifest of an organ directory (organ_directory.h), else NULL */
    const char *index;                     /* name of the index file relative to `directory`, NULL if there is none */
    bool whole_directory;                  /* `path` names the directory, not a single file in it */
    /* factor by which readers of packed weights multiply every scale and bias; set by the caller, 0 for none */
    float scale_times;
    organ_hf_config config;
    size_t file_count, tensor_count;
    /* shards or parts sorted by name; in an organ directory one file for each tensor, in the order of `tensors` */
    const organ_model_file *files;
    const organ_tensor *tensors; /* in file order, by offset within a file */
    size_t problem_count; /* faults that leave every tensor readable, such as a name that is too long for llama.cpp */
    const char *const *problems; /* one sentence each */
    size_t warning_count; /* wrong statements in the files on which no loader relies, such as total_size of the index */
    const char *const *warnings; /* one sentence each */
} organ_model;

/* Opens a model, which is one of
 *   - an organ directory;
 *   - a directory with model.safetensors.index.json, with model.safetensors, with exactly one other *.safetensors, or
 *     with exactly one GGUF model;
 *   - a .safetensors file;
 *   - a GGUF file of any name (with all parts of a split model);
 *   - an index, whose name ends in .safetensors.index.json, with its files next to it;
 *   - a URL (see organ_model_open_with).
 *
 * Files are opened read-only. Headers are read completely, and every offset and length is checked against the file size
 * before memory of that size is allocated. All files stay open, except those of an organ directory; for models with
 * many shards the process's soft limit of open files is raised, up to the hard limit.
 *
 * Returns ORGAN_IO if a file cannot be opened or read. Returns ORGAN_BAD_INPUT if a file is malformed, or a shard or
 * part is missing; the message has the file, the tensor, the field, the value found and the value expected. *model is
 * NULL on error. */
organ_status organ_model_open(const char *path, organ_model **model, organ_error *error);

/* Opens a model like organ_model_open, or one at an http(s) URL: a .gguf (any part of a split one), a .safetensors,
 * a .safetensors.index.json with its files next to it, or a directory with model.safetensors.index.json or
 * model.safetensors. A model at a URL can be read, but has no descriptors and cannot be copied. User, password,
 * query and headers never appear in messages or in the fields of the model. `access` (NULL for none) must live as
 * long as the model. */
organ_status organ_model_open_with(const char *path, const organ_model_access *access, organ_model **model,
                                   organ_error *error);
void organ_model_close(organ_model *model); /* NULL is allowed */

/* Returns ORGAN_USAGE if the model is at a URL, for callers that need local files. `doing` is the participle in the
 * message: "a model at a URL cannot be pruned". */
organ_status organ_model_is_here(const organ_model *model, const char *doing, organ_error *error);

/* Sets *fd to a descriptor for reading files[file] of the model; the caller ends its use with organ_model_file_close. A
 * file of an organ directory is opened here, because its files, one for each tensor, are too many to stay open. Returns
 * ORGAN_BAD_INPUT if such a file was replaced or has another size than when the model was opened. Returns ORGAN_USAGE
 * for a model at a URL. Thread-safe. */
organ_status organ_model_file_open(const organ_model *model, uint32_t file, int *fd, organ_error *error);
/* Closes a descriptor of organ_model_file_open, unless the model keeps it open for later reads. -1 is allowed. */
void organ_model_file_close(const organ_model *model, uint32_t file, int fd);

/* Reads exactly `bytes` bytes from byte `offset` of files[file], local or remote, to `to`. Returns ORGAN_BAD_INPUT if
 * the file ends earlier, which means that it was changed after it was opened. Thread-safe. */
organ_status organ_model_read(const organ_model *model, uint32_t file, void *to, size_t bytes, uint64_t offset,
                              organ_error *error);

/* Loads the small file `name` that belongs to the model, such as config.json, local or remote: at most `limit` bytes,
 * followed by a NUL. The caller frees *bytes, which is NULL, with ORGAN_OK, if the file does not exist. Returns
 * ORGAN_BAD_INPUT if the file is longer. */
organ_status organ_model_load(const organ_model *model, const char *name, size_t limit, char **bytes, size_t *length,
                              organ_error *error);

/* Returns the tensor of that name, or NULL if there is none, in constant time. */
const organ_tensor *organ_model_find(const organ_model *model, const char *name);

/* Returns ORGAN_BAD_INPUT if a file of the model or its config.json was changed, shortened, replaced or removed after
 * it was opened: the size, the modification time or the inode at its path differs (of a file at a URL: the size, the
 * ETag or the date). */
organ_status organ_model_unchanged(const organ_model *model, organ_error *error);

ORGAN_API_END

#endif
