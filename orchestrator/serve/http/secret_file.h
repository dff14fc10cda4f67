/* SPDX-License-Identifier: MIT
 * Reads files that other users must not read: tokens, the key of a certificate. */
#ifndef ORGAN_SECRET_FILE_H
#define ORGAN_SECRET_FILE_H

#include <organ/base.h>

#include <stddef.h>
#include <sys/stat.h>

typedef struct organ_secret_file {
    char *text;        /* all bytes of the file, and a NUL; NULL: the file was not read */
    size_t length;     /* of the text in bytes, without the NUL */
    struct stat about; /* attributes of the file */
} organ_secret_file;

/* Reads the file, which may be a pipe. `what` names the secret in messages ("the key"); NULL: the content is not
 * secret. Returns ORGAN_BAD_INPUT if all users may read or change a regular file with a secret, or if the file has more
 * than `max` bytes; ORGAN_IO if it cannot be read. The caller must wipe *secret, also after an error. */
organ_status organ_secret_file_read(const char *file, const char *what, size_t max, organ_secret_file *secret,
                                    organ_error *error);
/* Overwrites the content with zeros and frees it. */
void organ_secret_file_wipe(organ_secret_file *secret);

#endif
