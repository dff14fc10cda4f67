/* SPDX-License-Identifier: MIT
 * The record of the files that a run has written. With it --force distinguishes these files from later ones
 * (formats/model/recognise.h). */
#ifndef ORGAN_FILE_RECORD_H
#define ORGAN_FILE_RECORD_H

#include "formats/base/status.h"

#include <jansson.h>

/* Returns {PATH: {"bytes", "xxh3"}} of all files below directory/folder except reports of organ; a folder of "" is the
 * directory itself. Each PATH begins with the folder. A file with weights, or of more than 64 MiB, has no xxh3. NULL
 * with ORGAN_IO if a file cannot be read.
 */
json_t *organ_file_record(const char *directory, const char *folder, organ_error *error);

/* Writes the record of all files of `directory` as ORGAN_RECORD into it. The caller writes all other files first.
 * ORGAN_IO. */
organ_status organ_file_record_write(const char *directory, organ_error *error);

#endif
