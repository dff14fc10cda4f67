/* SPDX-License-Identifier: MIT
 * Files in which a run keeps what it has measured, as JSON, for another run. */
#ifndef ORGAN_JSON_FILE_H
#define ORGAN_JSON_FILE_H

#include "formats/base/status.h"

#include <jansson.h>

#define ORGAN_KEPT_FILE_LIMIT ((size_t)256 << 20) /* bytes: no such file is longer */

/* The object that the file is, for the caller to release; NULL with ORGAN_OK where there is no such file, and on error.
 * ORGAN_BAD_INPUT for a file that is longer or no object; ORGAN_IO. */
organ_status organ_json_file_read(const char *path, json_t **object, organ_error *error);

#endif
