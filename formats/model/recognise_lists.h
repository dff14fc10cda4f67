/* SPDX-License-Identifier: MIT
 * Finds which files of a directory this program wrote, from the lists that it left there: its record, a manifest, an
 * index, reports. */
#ifndef ORGAN_RECOGNISE_LISTS_H
#define ORGAN_RECOGNISE_LISTS_H

#include "formats/base/status.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

/* The folder of reports in an output, and the record in that folder: {"schema": ORGAN_RECORD_SCHEMA, "files": {PATH:
 * {"bytes", "xxh3"}}}. The record lists every file that the run wrote, except reports. Files with weights and large
 * files have no xxh3. */
#define ORGAN_REPORT_FOLDER "organ"
#define ORGAN_RECORD        ORGAN_REPORT_FOLDER "/files.json"
#define ORGAN_RECORD_SCHEMA "organ.files/1"

typedef struct organ_written {
    bool organ_directory; /* the directory is an organ directory: it has a manifest */
    json_t *parts;        /* its pieces: an object whose keys are paths */
    json_t *files; /* paths of other files: {"bytes", "xxh3"} from the record, or true if only the name is listed */
    char donor[PATH_MAX]; /* the input of the run that made the directory, from its report; empty: unknown */
} organ_written;

/* Reads the lists of `directory`. If `like` (or NULL) is an organ directory and `directory` has neither record nor
 * manifest, adds the files of the model that `like` was taken from. A list that is not valid JSON counts as empty.
 * Returns ORGAN_IO without memory, or if a file cannot be read. */
organ_status organ_written_read(const char *directory, const char *like, organ_written *written, organ_error *error);
void organ_written_release(organ_written *written);

/* Returns whether the open file `fd`, at `path` in the directory, has the size and the digest under which it is listed.
 * Sets *changed if it is listed with another size or digest. Sets *error if the file cannot be read. */
bool organ_written_has(const organ_written *written, const char *path, int fd, bool *changed, organ_error *error);

/* Computes XXH3 of a whole file as 16 hexadecimal digits; `path` is for the message. Returns ORGAN_IO if the file
 * cannot be read. */
organ_status organ_file_digest(int fd, const char *path, char digest[17], organ_error *error);

#endif
