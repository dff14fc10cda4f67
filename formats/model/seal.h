/* SPDX-License-Identifier: MIT
 * The seal of a report: the XXH3 of its bytes, at its end. It proves that this program wrote the file and that nobody
 * changed it since; --force replaces only such reports. A seal is not a signature. */
#ifndef ORGAN_SEAL_H
#define ORGAN_SEAL_H

#include <organ/base.h>

#include <stddef.h>
#include <stdint.h>

/* The place of a seal in a file depends on the file's form. The digest is of all bytes before the seal; a document and
 * a line also have closing braces after it. */
typedef enum organ_seal_form {
    ORGAN_SEAL_COMMENT,  /* Markdown, HTML, SVG: a comment in the last line */
    ORGAN_SEAL_RUN,      /* JSON whose last member is "run": the last member "seal" of "run" */
    ORGAN_SEAL_DOCUMENT, /* other JSON: the last member "seal" */
    ORGAN_SEAL_LINE,     /* JSON lines: the last member "seal" of the last line */
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
