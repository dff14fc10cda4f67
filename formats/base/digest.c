/* SPDX-License-Identifier: MIT */
#include "formats/base/digest.h"

void organ_digest_begin(organ_digest *digest, bool is_sha1)
{
    *digest = (organ_digest){.is_sha1 = is_sha1};
    if (is_sha1)
        SHA1Init(&digest->sha1);
    else
        SHA256Init(&digest->sha256);
}

void organ_digest_add(organ_digest *digest, const void *bytes, size_t count)
{
    if (digest->is_sha1)
        SHA1Update(&digest->sha1, bytes, count);
    else
        SHA256Update(&digest->sha256, bytes, count);
}

void organ_digest_end(organ_digest *digest, char text[ORGAN_DIGEST_TEXT])
{
    if (digest->is_sha1)
        SHA1End(&digest->sha1, text);
    else
        SHA256End(&digest->sha256, text);
}
