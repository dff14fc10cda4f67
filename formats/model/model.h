/* SPDX-License-Identifier: MIT
 * What everything above the formats sees: a model is a list of tensors in files, whatever the files are. In goes a path
 * or a URL (a directory, a .safetensors or .gguf file, an index, an organ directory); out come its tensors, its files
 * and what its config says. Only headers are read here. */
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

typedef struct organ_model {
    const char *path;                      /* as the caller gave it, without trailing slashes */
    const char *directory;                 /* where the files are */
    const char *format;                    /* "safetensors", "GGUF", "organ directory" */
    const organ_gguf *gguf;                /* metadata of a GGUF model or an organ directory made of one, else NULL */
    const struct organ_manifest *manifest; /* of an organ directory (formats/model/organ_directory.h), else NULL */
    const char *index;                     /* name of the index file relative to `directory`, NULL if there is none */
    bool whole_directory;                  /* `path` names the directory, not a single file in it */
    float scale_times; /* 0, or set by the caller: readers of packed weights multiply every scale by it */
    organ_hf_config config;
    size_t file_count, tensor_count;
    const organ_model_file *files; /* in the order of their names */
    const organ_tensor *tensors;   /* in file order, by offset within a file */
    size_t problem_count;          /* faults that leave every tensor readable (a name too long for llama.cpp) */
    const char *const *problems;   /* one sentence each */
    size_t warning_count;          /* what is said wrong that no loader relies on (total_size of the index) */
    const char *const *warnings;   /* likewise */
} organ_model;

/* Opens an organ directory, a directory (with model.safetensors.index.json, or model.safetensors, or exactly one other
 * *.safetensors, or exactly one GGUF model), a .safetensors file, a GGUF file whatever its name (any part of a split
 * one: all are opened), or an index.json. Files are opened read-only; headers are read whole and every claim in them is
 * checked against the file size before anything of that size is allocated. Errors: ORGAN_IO (cannot open or read),
 * ORGAN_BAD_INPUT (malformed; file, tensor, field and both values in the message). *model is NULL on error. A shard or
 * part that is missing is ORGAN_BAD_INPUT. All files stay open (but for those of an organ directory): for models of
 * many shards the soft limit of open files of the process is raised, as far as the hard limit allows. */
organ_status organ_model_open(const char *path, organ_model **model, organ_error *error);

/* The same, and how to reach a model whose path is the http(s) URL of a .gguf (any part of a split one), a
 * .safetensors, a .safetensors.index.json, its other files lying beside it, or of a directory with
 * model.safetensors.index.json or model.safetensors. Such a model can be read; it has no descriptors and cannot be
 * copied. Nothing of user, password, query and headers comes into a message or into the fields of the model. `access`
 * may be NULL. */
organ_status organ_model_open_with(const char *path, const organ_model_access *access, organ_model **model,
                                   organ_error *error);
void organ_model_close(organ_model *model); /* NULL is allowed */

/* ORGAN_USAGE if the model is at a URL: for those who need its files here. `doing` is what cannot be done: "pruned". */
organ_status organ_model_is_here(const organ_model *model, const char *doing, organ_error *error);

/* A descriptor for reading one of the model's files, checked to be the file that was opened; to be given back with the
 * other function. An organ directory has a file for every tensor, too many to be open all the time. Any thread. */
organ_status organ_model_file_open(const organ_model *model, uint32_t file, int *fd, organ_error *error);
void organ_model_file_close(const organ_model *model, uint32_t file, int fd);

/* Exactly `bytes` from `offset` of one of the model's files, wherever it is. ORGAN_BAD_INPUT if the file ends before:
 * it was changed since it was opened. Any thread. */
organ_status organ_model_read(const organ_model *model, uint32_t file, void *to, size_t bytes, uint64_t offset,
                              organ_error *error);

/* A small file beside the tensors, such as config.json, wherever the model is: at most `limit` bytes, to be freed by
 * the caller, a NUL after the last one; *bytes is NULL and the result ORGAN_OK if there is no such file. */
organ_status organ_model_load(const organ_model *model, const char *name, size_t limit, char **bytes, size_t *length,
                              organ_error *error);

/* The tensor of that name or NULL; constant time. */
const organ_tensor *organ_model_find(const organ_model *model, const char *name);

/* ORGAN_BAD_INPUT if a file of the model, or the config.json that was read, was changed, cut or replaced (size,
 * modification time, inode by path) since it was opened. */
organ_status organ_model_unchanged(const organ_model *model, organ_error *error);

ORGAN_API_END

#endif
