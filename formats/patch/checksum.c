/* SPDX-License-Identifier: MIT
 * Checksums of the tensors in a patch: XXH3 with 128 bits, and Adler-32 (RFC 1950). */
#include "formats/patch/delta.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PRIME 65521u
#define RUN   ((size_t)5552) /* most bytes whose sums of Adler-32 stay below 2^32 */

struct organ_checksum {
    organ_checksum_kind kind;
    XXH3_state_t *xxh3;
    uint32_t low, high; /* sums of Adler-32 */
};

static const char *const names[ORGAN_CHECKSUMS] = {
    [ORGAN_CHECKSUM_XXH3_128] = "xxh3-128", [ORGAN_CHECKSUM_ADLER32] = "adler32"};

const char *organ_checksum_name(organ_checksum_kind kind) { return names[kind]; }

organ_checksum_kind organ_checksum_named(const char *name)
{
    organ_checksum_kind kind = 0;
    while (kind < ORGAN_CHECKSUMS && strcmp(name, names[kind]) != 0)
        kind++;
    return kind;
}

organ_checksum *organ_checksum_create(void)
{
    organ_checksum *const sum = calloc(1, sizeof *sum);
    if (sum && (sum->xxh3 = XXH3_createState()))
        return sum;
    free(sum);
    return NULL;
}

void organ_checksum_destroy(organ_checksum *sum)
{
    if (sum)
        XXH3_freeState(sum->xxh3);
    free(sum);
}

void organ_checksum_begin(organ_checksum *sum, organ_checksum_kind kind)
{
    sum->kind = kind;
    sum->low = 1;
    sum->high = 0;
    if (kind == ORGAN_CHECKSUM_XXH3_128)
        XXH3_128bits_reset(sum->xxh3);
}

static void add_adler(organ_checksum *sum, const unsigned char *bytes, size_t count)
{
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < RUN ? count - at : RUN;
        uint32_t low = sum->low, high = sum->high;
        for (size_t k = 0; k < n; k++) {
            low += bytes[at + k];
            high += low;
        }
        sum->low = low % PRIME;
        sum->high = high % PRIME;
    }
}

void organ_checksum_add(organ_checksum *sum, const void *bytes, size_t count)
{
    if (sum->kind == ORGAN_CHECKSUM_XXH3_128)
        XXH3_128bits_update(sum->xxh3, bytes, count);
    else
        add_adler(sum, bytes, count);
}

void organ_checksum_text(const organ_checksum *sum, char text[ORGAN_CHECKSUM_TEXT])
{
    if (sum->kind == ORGAN_CHECKSUM_XXH3_128) {
        const XXH128_hash_t digest = XXH3_128bits_digest(sum->xxh3);
        snprintf(text, ORGAN_CHECKSUM_TEXT, "%016" PRIx64 "%016" PRIx64, (uint64_t)digest.high64,
                 (uint64_t)digest.low64);
    } else
        snprintf(text, ORGAN_CHECKSUM_TEXT, "%08x", sum->high << 16 | sum->low);
}
