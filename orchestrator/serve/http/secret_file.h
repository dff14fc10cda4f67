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

/* Reads the file, which may be a pipe. `what` is the name of the secret for messages ("the key"); NULL: the content
 * is not secret. ORGAN_BAD_INPUT if a secret may be read or changed by all users, or if the file has more than
 * `max` bytes; ORGAN_IO. The caller must wipe *secret for every return value. */
organ_status organ_secret_file_read(const char *file, const char *what, size_t max, organ_secret_file *secret,
                                    organ_error *error);
void organ_secret_file_wipe(organ_secret_file *secret);

#endif
