/* SPDX-License-Identifier: MIT
 * Finds the files of a model from the path that the user gives: a directory, a single file or an index. */
#ifndef ORGAN_MODEL_MODEL_PLACE_H
#define ORGAN_MODEL_MODEL_PLACE_H

#include "formats/base/arena.h"

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The files of a model, before they are opened. A place whose members are all zero is empty. Either `index` or
 * `file` is set: a name relative to `directory`. Both are NULL for the URL of a directory; the caller then requests
 * ORGAN_SINGLE_NAME, then ORGAN_INDEX_NAME, from the server. */
typedef struct organ_model_place {
    const char *path;      /* the caller's path without trailing slashes; for a URL, without secrets */
    const char *directory; /* the directory that `path` names or that contains its file; "." for a file name without
                              directory */
    const char *index, *file;
    const char *unread;   /* an index next to `file` with names of other files, which is not read; or NULL */
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

/* ---- the seal of a report: the XXH3 of its bytes, at its end ---- */

/* It proves that this program wrote the file and that nobody changed it since; --force replaces only such reports. A
 * seal is not a signature. */

/* The place of a seal in a file depends on the file's form. The digest is of all bytes before the seal; a document and
 * a line also have closing braces after it. */
typedef enum organ_seal_form {
    ORGAN_SEAL_COMMENT,  /* Markdown, HTML, SVG: a comment in the last line */
    ORGAN_SEAL_RUN,      /* JSON whose last member is "run": the last member "seal" of "run" */
    ORGAN_SEAL_DOCUMENT, /* other JSON: the last member "seal" */
    ORGAN_SEAL_LINE,     /* JSON lines: the last member "seal" of the last line */
    ORGAN_SEAL_YAML,     /* YAML: a comment in the last line */
    ORGAN_SEAL_FORMS
} organ_seal_form;

/* The result of a check of a file's end. */
typedef enum organ_seal_state {
    ORGAN_SEAL_MISSING, /* there is no seal */
    ORGAN_SEAL_BROKEN,  /* there is a seal, but the file was changed since it was sealed */
    ORGAN_SEAL_WHOLE    /* the file has the bytes that were sealed */
} organ_seal_state;

#define ORGAN_SEAL_BYTES 64 /* a seal with everything after it is shorter */

/* Returns the bytes that follow the digest in a file of this form and were its last bytes before it was sealed: "" for
 * a comment, else braces and line ends. */
const char *organ_seal_end(organ_seal_form form);

/* Writes the seal with everything after it to `seal` (ORGAN_SEAL_BYTES), for the digest `xxh3` of all bytes before
 * organ_seal_end(form). Returns its length. */
size_t organ_seal_text(organ_seal_form form, uint64_t xxh3, char *seal);

/* Returns what the end of the open regular file `fd` says, in any of the forms; `path` is for messages. Returns
 * ORGAN_SEAL_MISSING and sets an error if the file cannot be read. */
organ_seal_state organ_seal_check(int fd, const char *path, organ_error *error);

#endif
