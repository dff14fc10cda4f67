/* SPDX-License-Identifier: MIT
 * Finds which files of a directory this program wrote, from the lists that it left there: its record, a manifest, an
 * index, reports. */
#ifndef ORGAN_RECOGNISE_LISTS_H
#define ORGAN_RECOGNISE_LISTS_H

#include <organ/base.h>

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

/* The folder of reports in an output, and the record, a JSON file in that folder: {"schema": ORGAN_RECORD_SCHEMA,
 * "files": {PATH: {"bytes", "xxh3"}}}. The record lists every file that the run wrote, except reports. Files with
 * weights and other large files have no xxh3, because hashing them takes long. */
#define ORGAN_REPORT_FOLDER "organ"
#define ORGAN_RECORD        ORGAN_REPORT_FOLDER "/files.json"
#define ORGAN_RECORD_SCHEMA "organ.files/1"

/* The files in an output directory that organ wrote according to the lists that it left there. */
typedef struct organ_written {
    bool organ_directory; /* the directory is an organ directory: it has a manifest */
    bool recorded;        /* the directory has a record */
    bool reported;        /* the directory has no record, but a report in organ/: version 0.2.0 may have made it */
    json_t *parts;        /* keys: paths of the files of tensors and headers in the manifest */
    json_t *files; /* keys: paths of all other files; values: {"bytes", "xxh3"} from a record, or true if only the name
                      is listed */
    char donor[PATH_MAX]; /* path of the input of the run that made the directory, from its report; "" if unknown */
} organ_written;

/* Reads the lists of `directory` into *written, which the caller releases, also after an error. If `directory` has no
 * record and `like` (may be NULL) is an organ directory, also adds the names of the original files that `like` was made
 * from. A list that cannot be read or is not valid JSON counts as empty. Returns ORGAN_IO if memory is exhausted or the
 * system fails to list a folder. */
organ_status organ_written_read(const char *directory, const char *like, organ_written *written, organ_error *error);
void organ_written_release(organ_written *written);

/* Returns true if `path` is listed and the open file `fd` has the listed size and digest; an entry without size and
 * digest matches by its name alone. Sets *changed if the file is listed with another size or digest. Sets *error if the
 * file cannot be read. */
bool organ_written_has(const organ_written *written, const char *path, int fd, bool *changed, organ_error *error);

/* Writes the XXH3 of a whole file, which is open as `fd`, to `digest` as 16 hexadecimal digits; `path` is for the
 * message. Returns ORGAN_IO if the file cannot be read. */
organ_status organ_file_digest(int fd, const char *path, char digest[17], organ_error *error);

#endif
