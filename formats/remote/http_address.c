/* SPDX-License-Identifier: MIT */
#include "formats/remote/http_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* RFC 6890 and its successors: what is not reachable globally. */
static const struct block {
    uint32_t prefix;
    unsigned bits;
} blocks[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* shared, of carriers */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local, where clouds keep their metadata */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xe0000000, 3},  /* multicast and reserved */
};

static bool is_public4(uint32_t address)
{
    for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++)
        if ((address ^ blocks[k].prefix) >> (32 - blocks[k].bits) == 0)
            return false;
    return true;
}

static uint32_t word_at(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool is_public6(const unsigned char a[16])
{
    static const unsigned char zeros[12], nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(a, zeros, 10) == 0 && ((a[10] == 0xff && a[11] == 0xff) || (a[10] == 0 && a[11] == 0)))
        return is_public4(word_at(a + 12)); /* mapped, compatible; :: and ::1 among them */
    if (memcmp(a, nat64, 12) == 0)
        return is_public4(word_at(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02)
        return is_public4(word_at(a + 2)); /* 6to4 */
    return (a[0] & 0xe0) == 0x20;          /* global unicast: not fe80::/10, fc00::/7, fec0::/10, ff00::/8 */
}

bool organ_http_address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return is_public4(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return is_public6(in6.sin6_addr.s6_addr);
    }
    return false;
}

/* Into `out`, which has room for either family. */
static bool parse(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in *const in = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *const in6 = (struct sockaddr_in6 *)(void *)out;
    char plain[64];
    const size_t skip = *text == '[';
    snprintf(plain, sizeof plain, "%.*s", (int)(strcspn(text + skip, "]%") < 60 ? strcspn(text + skip, "]%") : 60), text + skip);
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, plain, &in->sin_addr) == 1)
        in->sin_family = AF_INET;
    else if (inet_pton(AF_INET6, plain, &in6->sin6_addr) == 1)
        in6->sin6_family = AF_INET6;
    return out->ss_family != 0;
}

bool organ_http_is_address(const char *text)
{
    struct sockaddr_storage address;
    return parse(text, &address);
}

bool organ_http_text_is_public(const char *text)
{
    struct sockaddr_storage address;
    return parse(text, &address) && organ_http_address_is_public((const struct sockaddr *)&address);
}
