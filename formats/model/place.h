/* SPDX-License-Identifier: MIT
 * From what a user names to the files of a model: a directory, a single file, an index. */
#ifndef ORGAN_MODEL_PLACE_H
#define ORGAN_MODEL_PLACE_H

#include "formats/base/arena.h"
#include "formats/base/status.h"

#include <stdbool.h>

/* All zero is empty. Either `index` or `file` is set: a name relative to `directory`. Both are NULL for the URL of a
 * directory, where the server must be asked what there is: ORGAN_INDEX_NAME or else ORGAN_SINGLE_NAME. */
typedef struct organ_model_place {
    const char *path;      /* without trailing slashes; of a URL what may be shown of it */
    const char *directory; /* "." for a bare file name */
    const char *index, *file;
    bool gguf;            /* `file` is a GGUF file, perhaps one part of several */
    bool whole_directory; /* the path names the directory */
    organ_arena arena;
} organ_model_place;

/* An index wins over single files, safetensors over GGUF; of several GGUF models none is chosen. ORGAN_IO if the path
 * cannot be looked at, ORGAN_BAD_INPUT if there is no model: the message says what was looked for and what is there
 * instead. The caller releases *place also after an error. */
organ_status organ_model_place_find(const char *path, organ_model_place *place, organ_error *error);

void organ_model_place_release(organ_model_place *place);

#endif
