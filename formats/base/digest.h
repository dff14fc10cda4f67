/* SPDX-License-Identifier: MIT
 * SHA-256 and SHA-1 (FIPS 180-4), with which the hub of Hugging Face names the content of files. SHA-1 is for the names
 * of git's objects; it protects against faults of a transfer, not against an adversary. */
#ifndef ORGAN_DIGEST_H
#define ORGAN_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A running digest; organ_digest_begin sets all members. */
typedef struct organ_digest {
    bool sha1;         /* SHA-1 instead of SHA-256 */
    uint32_t state[8]; /* SHA-1 uses five */
    uint64_t bytes;    /* that were added */
    unsigned char block[64];
} organ_digest;

void organ_digest_begin(organ_digest *digest, bool sha1);
void organ_digest_add(organ_digest *digest, const void *bytes, size_t count);

/* Writes 64 hexadecimal digits, or 40 of SHA-1, and a NUL. Nothing may be added afterwards. */
#define ORGAN_DIGEST_TEXT 65
void organ_digest_end(organ_digest *digest, char text[ORGAN_DIGEST_TEXT]);

#endif
