/* SPDX-License-Identifier: MIT */
#include "formats/base/digest.h"

#include <stdio.h>
#include <string.h>

static const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static const uint32_t sha256_start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint32_t sha1_start[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
static const uint32_t sha1_constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};

static uint32_t turn_left(uint32_t x, unsigned bits) { return x << bits | x >> (32 - bits); }
static uint32_t turn_right(uint32_t x, unsigned bits) { return x >> bits | x << (32 - bits); }

static uint32_t big_endian(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void sha256_block(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[64], v[8];
    for (size_t k = 0; k < 64; k++) {
        if (k < 16) {
            w[k] = big_endian(block + 4 * k);
            continue;
        }
        const uint32_t a = w[k - 15], b = w[k - 2];
        w[k] = w[k - 16] + (turn_right(a, 7) ^ turn_right(a, 18) ^ a >> 3) + w[k - 7] +
               (turn_right(b, 17) ^ turn_right(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof v);
    for (size_t k = 0; k < 64; k++) {
        const uint32_t e = turn_right(v[4], 6) ^ turn_right(v[4], 11) ^ turn_right(v[4], 25);
        const uint32_t a = turn_right(v[0], 2) ^ turn_right(v[0], 13) ^ turn_right(v[0], 22);
        const uint32_t first = v[7] + e + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha256_constants[k] + w[k];
        const uint32_t second = a + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += first;
        v[0] = first + second;
    }
    for (size_t k = 0; k < 8; k++)
        state[k] += v[k];
}

static uint32_t sha1_choice(size_t round, uint32_t b, uint32_t c, uint32_t d)
{
    if (round < 20)
        return (b & c) | (~b & d);
    return round < 40 || round >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
}

static void sha1_block(uint32_t state[5], const unsigned char *block)
{
    uint32_t w[80], v[5];
    for (size_t k = 0; k < 80; k++)
        w[k] = k < 16 ? big_endian(block + 4 * k) : turn_left(w[k - 3] ^ w[k - 8] ^ w[k - 14] ^ w[k - 16], 1);
    memcpy(v, state, sizeof v);
    for (size_t k = 0; k < 80; k++) {
        const uint32_t sum =
            turn_left(v[0], 5) + sha1_choice(k, v[1], v[2], v[3]) + v[4] + w[k] + sha1_constants[k / 20];
        v[4] = v[3], v[3] = v[2], v[2] = turn_left(v[1], 30), v[1] = v[0], v[0] = sum;
    }
    for (size_t k = 0; k < 5; k++)
        state[k] += v[k];
}

static void add_block(organ_digest *digest, const unsigned char *block)
{
    if (digest->sha1)
        sha1_block(digest->state, block);
    else
        sha256_block(digest->state, block);
}

void organ_digest_begin(organ_digest *digest, bool sha1)
{
    *digest = (organ_digest){.sha1 = sha1};
    if (sha1)
        memcpy(digest->state, sha1_start, sizeof sha1_start);
    else
        memcpy(digest->state, sha256_start, sizeof sha256_start);
}

void organ_digest_add(organ_digest *digest, const void *bytes, size_t count)
{
    const unsigned char *from = bytes;
    while (count > 0) {
        const size_t at = digest->bytes % 64, part = count < 64 - at ? count : 64 - at;
        if (part == 64) {
            add_block(digest, from);
        } else {
            memcpy(digest->block + at, from, part);
            if (at + part == 64)
                add_block(digest, digest->block);
        }
        digest->bytes += part;
        from += part;
        count -= part;
    }
}

void organ_digest_end(organ_digest *digest, char text[ORGAN_DIGEST_TEXT])
{
    static const unsigned char padding[64] = {0x80};
    const uint64_t bits = digest->bytes * 8;
    unsigned char length[8];
    organ_digest_add(digest, padding, 1 + (119 - digest->bytes % 64) % 64);
    for (size_t k = 0; k < 8; k++)
        length[k] = (unsigned char)(bits >> (56 - 8 * k));
    organ_digest_add(digest, length, sizeof length);
    for (size_t k = 0; k < (digest->sha1 ? 5u : 8u); k++)
        snprintf(text + 8 * k, 9, "%08x", (unsigned)digest->state[k]);
}
