/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/proxies.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* These are the bytes before the IPv4 address in ::ffff:a.b.c.d. */
enum { MAPPED = 12 };

/* An IPv4 address becomes ::ffff:a.b.c.d, and *four true. Returns false if the text is not an address. */
static bool read_address(const char *text, unsigned char address[16], bool *four)
{
    static const unsigned char mapped[MAPPED] = {[10] = 0xFF, [11] = 0xFF};
    *four = inet_pton(AF_INET, text, address + MAPPED) == 1;
    if (*four)
        memcpy(address, mapped, MAPPED);
    return *four || inet_pton(AF_INET6, text, address) == 1;
}

/* Compares the whole bytes of the prefix, then its remaining bits. */
static bool has_prefix(const unsigned char *address, const organ_network *network)
{
    const unsigned whole_bytes = network->bits / 8, rest_bits = network->bits % 8;
    const unsigned char mask = (unsigned char)(0xFF00u >> rest_bits);
    return memcmp(address, network->address, whole_bytes) == 0 &&
           (rest_bits == 0 || ((address[whole_bytes] ^ network->address[whole_bytes]) & mask) == 0);
}

static organ_status read_network(const char *word, organ_network *network, organ_error *error)
{
    char text[64];
    bool four;
    const size_t length = strcspn(word, "/");
    const char *const bits = word[length] ? word + length + 1 : NULL;
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : 0), word);
    if (!read_address(text, network->address, &four))
        return organ_fail(
            error, ORGAN_USAGE,
            "--trusted-proxy '%s': must be an address, or one with a prefix, such as 10.0.0.0/8 or fd00::/8", word);
    const unsigned max = four ? 32 : 128;
    if (bits &&
        (strspn(bits, "0123456789") != strlen(bits) || !*bits || strlen(bits) > 3 || strtoul(bits, NULL, 10) > max))
        return organ_fail(error, ORGAN_USAGE, "--trusted-proxy '%s': a prefix has 0 to %u bits", word, max);
    network->bits = (four ? 8 * MAPPED : 0) + (bits ? (unsigned)strtoul(bits, NULL, 10) : max);
    for (unsigned bit = network->bits; bit < 128; bit++)
        if (network->address[bit / 8] & (0x80 >> bit % 8))
            return organ_fail(error, ORGAN_USAGE, "--trusted-proxy '%s': the address has bits after its prefix", word);
    return ORGAN_OK;
}

organ_status organ_proxies_read(const organ_words *words, organ_proxies *proxies, organ_error *error)
{
    for (proxies->count = 0; proxies->count < words->count && !error->status; proxies->count++)
        read_network(words->word[proxies->count], &proxies->networks[proxies->count], error);
    return error->status;
}

static bool is_trusted(const organ_proxies *proxies, const char *text)
{
    unsigned char address[16];
    bool four;
    if (!read_address(text, address, &four))
        return false;
    for (size_t k = 0; k < proxies->count; k++)
        if (has_prefix(address, &proxies->networks[k]))
            return true;
    return false;
}

/* Proxies write an entry of X-Forwarded-For as "192.0.2.1", "192.0.2.1:4711", "2001:db8::1" or "[2001:db8::1]:4711".
 * Writes the address, without brackets and port, to `text`. Returns false if it is not an address. */
static bool read_hop(const char *from, const char *to, char *text, size_t size)
{
    char bare[64];
    unsigned char address[16];
    bool four;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    const bool bracket = from < to && *from == '[';
    const char *const colon = memchr(from, ':', (size_t)(to - from)), *const close =
                                                                          memchr(from, ']', (size_t)(to - from));
    if (bracket && close) {
        from++;
        to = close;
    } else if (colon && !memchr(colon + 1, ':', (size_t)(to - colon - 1)))
        to = colon;
    if ((size_t)(to - from) >= sizeof bare)
        return false;
    snprintf(bare, sizeof bare, "%.*s", (int)(to - from), from);
    return read_address(bare, address, &four) &&
           inet_ntop(four ? AF_INET : AF_INET6, four ? address + MAPPED : address, text, (socklen_t)size);
}

/* Starts with the peer. While the current address is a trusted proxy, the address before it in X-Forwarded-For, read
 * from the right, becomes the current one: that proxy wrote it. */
void organ_proxies_client(const organ_proxies *proxies, const char *peer, const char *forwarded, char *address,
                          size_t size)
{
    char hop[64];
    snprintf(address, size, "%s", peer);
    const char *end = forwarded ? forwarded + strlen(forwarded) : NULL;
    while (end && is_trusted(proxies, address)) {
        const char *const comma = memrchr(forwarded, ',', (size_t)(end - forwarded));
        if (!read_hop(comma ? comma + 1 : forwarded, end, hop, sizeof hop))
            return;
        snprintf(address, size, "%s", hop);
        end = comma;
    }
}
