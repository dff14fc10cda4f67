/* SPDX-License-Identifier: MIT
 * Files that others must not read: tokens, the key of a certificate. */
#ifndef ORGAN_SECRET_FILE_H
#define ORGAN_SECRET_FILE_H

#include "formats/base/status.h"

#include <stddef.h>
#include <sys/stat.h>

typedef struct organ_secret_file {
    char *text; /* all bytes, and a NUL; NULL: was not read */
    size_t length;
    struct stat about;
} organ_secret_file;

/* Reads it; a pipe does as well. `what` must be kept from other users ("the key"): ORGAN_BAD_INPUT for a file that all
 * users may read or change; NULL: it is no secret. ORGAN_BAD_INPUT for one of more than `most` bytes; ORGAN_IO. To be
 * wiped whatever it returns. */
organ_status organ_secret_file_read(const char *file, const char *what, size_t most, organ_secret_file *secret,
                                    organ_error *error);
void organ_secret_file_wipe(organ_secret_file *secret);

#endif
