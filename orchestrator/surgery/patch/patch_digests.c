/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/patch/patch_digests.h"

#include "formats/base/files.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CHUNK ((size_t)512 << 10) /* bytes that are read at once */

organ_status organ_patch_digest_fillers(const organ_layout_file *file, char text[ORGAN_CHECKSUM_TEXT],
                                        organ_error *error)
{
    organ_checksum *const sum = organ_checksum_create();
    if (!sum)
        return organ_fail_memory(error, file->name);
    organ_checksum_begin(sum, ORGAN_CHECKSUM_XXH3_128);
    for (size_t k = 0; k < file->filler_count; k++)
        organ_checksum_add(sum, file->fillers[k].data, file->fillers[k].bytes);
    organ_checksum_text(sum, text);
    organ_checksum_destroy(sum);
    return ORGAN_OK;
}

static organ_status add_file(organ_checksum *sum, int fd, const char *path, uint64_t bytes, organ_error *error)
{
    ORGAN_OWNED unsigned char *const buffer = malloc(CHUNK);
    if (!buffer)
        return organ_fail_memory(error, path);
    for (uint64_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < CHUNK ? bytes - at : CHUNK;
        const ssize_t got = organ_pread_full(fd, buffer, (size_t)n, (off_t)at);
        if (got != (ssize_t)n)
            return organ_fail_errno(error, got < 0 ? errno : EIO, "%s: cannot be read", path);
        organ_checksum_add(sum, buffer, (size_t)n);
    }
    return ORGAN_OK;
}

organ_status organ_patch_digest_file(const char *path, uint64_t *bytes, char text[ORGAN_CHECKSUM_TEXT],
                                     organ_error *error)
{
    ORGAN_OWNED_FILE int fd = -1;
    struct stat info;
    if (organ_input_open(path, &fd, &info, error))
        return error->status;
    organ_checksum *const sum = organ_checksum_create();
    *bytes = (uint64_t)info.st_size;
    if (!sum)
        return organ_fail_memory(error, path);
    organ_checksum_begin(sum, ORGAN_CHECKSUM_XXH3_128);
    if (add_file(sum, fd, path, *bytes, error) == ORGAN_OK)
        organ_checksum_text(sum, text);
    organ_checksum_destroy(sum);
    return error->status;
}
