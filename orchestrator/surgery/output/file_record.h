/* SPDX-License-Identifier: MIT
 * The record of the files that a run has written: by it --force tells them from what came later (formats/model/recognise.h). */
#ifndef ORGAN_FILE_RECORD_H
#define ORGAN_FILE_RECORD_H

#include "formats/base/status.h"

#include <jansson.h>

/* {PATH: {"bytes", "xxh3"}} of all files below directory/folder but for reports of organ ("" is the directory itself); each PATH begins
 * with the folder. A file with weights, or of more than 64 MiB, has no xxh3. NULL with ORGAN_IO. */
json_t *organ_file_record(const char *directory, const char *folder, organ_error *error);

/* Writes that of `directory`, whose files are all written, as ORGAN_RECORD into it. ORGAN_IO. */
organ_status organ_file_record_write(const char *directory, organ_error *error);

#endif
