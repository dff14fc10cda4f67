/* SPDX-License-Identifier: MIT */
#include "formats/model/seal.h"

#include "formats/base/file_calls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define DIGITS 16                /* of a digest */
#define STEP   ((size_t)1 << 16) /* bytes that are hashed at a time */

static const struct {
    const char *before, *after;
} forms[ORGAN_SEAL_FORMS] = {[ORGAN_SEAL_COMMENT] = {"<!-- organ: ", " -->\n"},
                             [ORGAN_SEAL_RUN] = {",\n    \"seal\": \"", "\"\n  }\n}\n"},
                             [ORGAN_SEAL_DOCUMENT] = {",\n  \"seal\": \"", "\"\n}\n"},
                             [ORGAN_SEAL_LINE] = {",\"seal\":\"", "\"}\n"}};

const char *organ_seal_end(organ_seal_form form) { return form == ORGAN_SEAL_COMMENT ? "" : forms[form].after + 1; }

size_t organ_seal_text(organ_seal_form form, uint64_t xxh3, char *seal)
{
    return (size_t)snprintf(seal, ORGAN_SEAL_BYTES, "%s%016" PRIx64 "%s", forms[form].before, xxh3, forms[form].after);
}

static bool ends_with_seal(organ_seal_form form, const char *tail, size_t length, char digest[DIGITS + 1])
{
    const size_t before = strlen(forms[form].before), after = strlen(forms[form].after);
    if (length < before + DIGITS + after)
        return false;
    const char *const seal = tail + length - before - DIGITS - after;
    memcpy(digest, seal + before, DIGITS);
    digest[DIGITS] = '\0';
    return memcmp(seal, forms[form].before, before) == 0 && strspn(digest, "0123456789abcdef") == DIGITS &&
           memcmp(seal + before + DIGITS, forms[form].after, after) == 0;
}

static bool digest_start(int fd, off_t size, const char *path, char digest[DIGITS + 1], organ_error *error)
{
    char bytes[STEP];
    XXH3_state_t *const state = XXH3_createState();
    off_t at = 0;
    ssize_t got = state ? 1 : -1;
    if (state)
        XXH3_64bits_reset(state);
    while (got > 0 && at < size) {
        const size_t count = size - at < (off_t)STEP ? (size_t)(size - at) : STEP;
        got = organ_pread_full(fd, bytes, count, at);
        if (got > 0)
            XXH3_64bits_update(state, bytes, (size_t)got);
        at += got > 0 ? got : 0;
    }
    if (got < 0)
        organ_fail_errno(error, state ? errno : ENOMEM, "%s: cannot be read", path);
    if (state)
        snprintf(digest, DIGITS + 1, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    XXH3_freeState(state);
    return at == size && got >= 0;
}

organ_seal_state organ_seal_check(int fd, const char *path, organ_error *error)
{
    char tail[ORGAN_SEAL_BYTES], sealed[DIGITS + 1], found[DIGITS + 1];
    struct stat info;
    if (fstat(fd, &info) || !S_ISREG(info.st_mode))
        return ORGAN_SEAL_MISSING;
    const off_t from = info.st_size > ORGAN_SEAL_BYTES ? info.st_size - ORGAN_SEAL_BYTES : 0;
    const ssize_t got = organ_pread_full(fd, tail, sizeof tail, from);
    if (got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", path);
    for (organ_seal_form form = 0; got > 0 && form < ORGAN_SEAL_FORMS; form++) {
        const size_t seal = strlen(forms[form].before) + DIGITS + strlen(forms[form].after);
        if (!ends_with_seal(form, tail, (size_t)got, sealed))
            continue;
        if (digest_start(fd, info.st_size - (off_t)seal, path, found, error) && strcmp(found, sealed) == 0)
            return ORGAN_SEAL_WHOLE;
        return error->status ? ORGAN_SEAL_MISSING : ORGAN_SEAL_BROKEN;
    }
    return ORGAN_SEAL_MISSING;
}
