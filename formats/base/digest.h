/* SPDX-License-Identifier: MIT
 * SHA-256 and SHA-1 (FIPS 180-4) of a stream of bytes, computed by libmd. Hugging Face's hub identifies the content
 * of files by them. SHA-1 is for the names of git's objects; it detects faults of a transfer, but not an adversary. */
#ifndef ORGAN_DIGEST_H
#define ORGAN_DIGEST_H

#include <sha1.h>
#include <sha2.h>
#include <stdbool.h>
#include <stddef.h>

/* A running digest; organ_digest_begin sets all members. */
typedef struct organ_digest {
    bool is_sha1; /* SHA-1 instead of SHA-256 */
    union {
        SHA1_CTX sha1;
        SHA2_CTX sha256;
    };
} organ_digest;

/* Starts a digest of no bytes: SHA-1 if `is_sha1`, else SHA-256. */
void organ_digest_begin(organ_digest *digest, bool is_sha1);
/* Appends `count` bytes to the stream. */
void organ_digest_add(organ_digest *digest, const void *bytes, size_t count);

/* Ends the digest and writes it as 64 lower-case hexadecimal digits (40 for SHA-1) and a NUL. */
#define ORGAN_DIGEST_TEXT 65
void organ_digest_end(organ_digest *digest, char text[ORGAN_DIGEST_TEXT]);

#endif
