/* SPDX-License-Identifier: MIT
 * Which files of a directory this program has written there, by the lists that it left: its record, a manifest, an index, reports. */
#ifndef ORGAN_RECOGNISE_LISTS_H
#define ORGAN_RECOGNISE_LISTS_H

#include "formats/base/status.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

/* Where reports stand in an output, and the record there: {"schema": ORGAN_RECORD_SCHEMA, "files": {PATH: {"bytes", "xxh3"}}} of every file
 * that the run has written but for reports. Files with weights and large ones have no xxh3. */
#define ORGAN_REPORT_FOLDER "organ"
#define ORGAN_RECORD        ORGAN_REPORT_FOLDER "/files.json"
#define ORGAN_RECORD_SCHEMA "organ.files/1"

typedef struct organ_written {
    bool apart;           /* the directory is an organ directory: a manifest is there */
    json_t *parts;        /* its pieces: an object whose keys are paths */
    json_t *files;        /* paths of other files: {"bytes", "xxh3"} as the record has them, or true where only the name is known */
    char donor[PATH_MAX]; /* the input of the run that made it, as its report names it; empty: unknown */
} organ_written;

/* Reads the lists of `directory`, and of `like` (or NULL), an organ directory, what the model was of which it is. A list that is no valid
 * JSON lists nothing. ORGAN_IO without memory, or where the disk fails. */
organ_status organ_written_read(const char *directory, const char *like, organ_written *written, organ_error *error);
void organ_written_release(organ_written *written);

/* Whether the open file `fd`, `path` in the directory, is listed with the size and the digest that it has. *changed: it is listed with
 * others. `organ_status` errors go into `error`: the file cannot be read. */
bool organ_written_has(const organ_written *written, const char *path, int fd, bool *changed, organ_error *error);

/* XXH3 of a whole file as 16 hexadecimal digits; `path` is for the message. ORGAN_IO. */
organ_status organ_file_digest(int fd, const char *path, char digest[17], organ_error *error);

#endif
