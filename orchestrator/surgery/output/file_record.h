/* SPDX-License-Identifier: MIT
 * Records the files that a run has written into its output directory. A later run with --force replaces only these
 * files and refuses if others were added (formats/model/recognise.h). */
#ifndef ORGAN_FILE_RECORD_H
#define ORGAN_FILE_RECORD_H

#include <organ/base.h>

#include <jansson.h>

/* Returns {PATH: {"bytes", "xxh3"}} of all files below directory/folder except this run's reports; PATH is relative to
 * `directory`, and a folder of "" is the directory itself. A file with weights, or of more than 64 MiB, has no "xxh3".
 * Returns NULL with ORGAN_IO if a file cannot be read. */
json_t *organ_file_record(const char *directory, const char *folder, organ_error *error);

/* Writes the record of all files of `directory` as ORGAN_RECORD into it, so it must be called after all other files are
 * written. Returns ORGAN_IO if a file cannot be read or the record cannot be written. */
organ_status organ_file_record_write(const char *directory, organ_error *error);

#endif
