/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/secret_file.h"

#include "formats/base/file_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* secret->text has room for `max` + 1 bytes: one byte more than the limit, to detect longer files. Returns
 * ORGAN_BAD_INPUT for longer files. */
static organ_status read_all(int fd, const char *file, size_t max, organ_secret_file *secret, organ_error *error)
{
    for (ssize_t got = 1; got != 0 && secret->length <= max;) {
        got = read(fd, secret->text + secret->length, max + 1 - secret->length);
        if (got < 0 && errno != EINTR)
            return organ_fail_errno(error, errno, "%s", file);
        secret->length += got > 0 ? (size_t)got : 0;
    }
    return secret->length <= max ? ORGAN_OK
                                 : organ_fail(error, ORGAN_BAD_INPUT, "%s: has more than %zu bytes", file, max);
}

/* The text gets max + 2 bytes of memory: one for read_all to detect longer files, one for the NUL. `what` is NULL if
 * the content is public (certificates). */
organ_status organ_secret_file_read(const char *file, const char *what, size_t max, organ_secret_file *secret,
                                    organ_error *error)
{
    *secret = (organ_secret_file){0};
    /* O_NONBLOCK makes the open of a pipe without a writer return. Reading then waits for what the writer writes. */
    const int fd = organ_open(file, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", file);
    if (fcntl(fd, F_SETFL, 0) != 0)
        organ_fail_errno(error, errno, "%s", file);
    else if (!(secret->text = calloc(1, max + 2)))
        organ_fail_memory(error, file);
    else if (fstat(fd, &secret->about) != 0)
        organ_fail_errno(error, errno, "%s", file);
    else if (what && S_ISREG(secret->about.st_mode) && (secret->about.st_mode & (S_IROTH | S_IWOTH)))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: all users may %s %s (mode %04o); use chmod 600", file,
                   secret->about.st_mode & S_IROTH ? "read" : "change", what, (unsigned)secret->about.st_mode & 07777);
    else
        read_all(fd, file, max, secret, error);
    close(fd);
    return error->status;
}

void organ_secret_file_wipe(organ_secret_file *secret)
{
    if (secret->text)
        explicit_bzero(secret->text, secret->length);
    free(secret->text);
    secret->text = NULL;
}
