/* SPDX-License-Identifier: MIT
 * Finds the files of a model from the path that the user gives: a directory, a single file or an index. */
#ifndef ORGAN_MODEL_PLACE_H
#define ORGAN_MODEL_PLACE_H

#include "formats/base/arena.h"
#include <organ/base.h>

#include <stdbool.h>

/* The files of a model, before they are opened. A place whose members are all zero is empty. Either `index` or
 * `file` is set: a name relative to `directory`. Both are NULL for the URL of a directory; the caller then requests
 * ORGAN_SINGLE_NAME, then ORGAN_INDEX_NAME, from the server. */
typedef struct organ_model_place {
    const char *path;      /* the caller's path without trailing slashes; for a URL, without secrets */
    const char *directory; /* the directory that `path` names or that contains its file; "." for a file name without
                              directory */
    const char *index, *file;
    const char *unread;   /* an index next to `file`, which is not read; or NULL */
    bool gguf;            /* `file` is a GGUF file, possibly one part of several */
    bool whole_directory; /* `path` names the directory, not a file in it */
    organ_arena arena;    /* memory of the strings */
} organ_model_place;

/* Fills in *place for a path or URL. In a directory, model.safetensors takes precedence over an index, as in
 * transformers, an index over other files, and safetensors over GGUF; several GGUF models are an error. Makes no
 * requests. Returns ORGAN_IO if the path cannot be examined; ORGAN_USAGE for a malformed URL; ORGAN_BAD_INPUT if there
 * is no model or more than one, with the expected and the existing files in the message. The caller releases *place,
 * also after an error. */
organ_status organ_model_place_find(const char *path, organ_model_place *place, organ_error *error);

void organ_model_place_release(organ_model_place *place);

#endif
