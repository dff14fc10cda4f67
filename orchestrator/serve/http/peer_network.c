/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/peer_network.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* These are the bytes before the IPv4 address in ::ffff:a.b.c.d, and the bytes of the network prefixes /24 and /64. */
enum { MAPPED = 12, IPV4_PREFIX_BYTES = 3, IPV6_PREFIX_BYTES = 8 };

void organ_peer_network(const char *peer, char network[ORGAN_PEER_NETWORK_ROOM])
{
    static const unsigned char mapped[MAPPED] = {[10] = 0xFF, [11] = 0xFF};
    unsigned char address[16] = {0};
    char text[INET6_ADDRSTRLEN];
    const bool six = inet_pton(AF_INET6, peer, address) == 1 && memcmp(address, mapped, MAPPED) != 0;
    unsigned char *const four = address + MAPPED;
    if (six) {
        memset(address + IPV6_PREFIX_BYTES, 0, sizeof address - IPV6_PREFIX_BYTES);
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s/%d", inet_ntop(AF_INET6, address, text, sizeof text),
                 8 * IPV6_PREFIX_BYTES);
    } else if (memcmp(address, mapped, MAPPED) == 0 || inet_pton(AF_INET, peer, four) == 1) {
        four[IPV4_PREFIX_BYTES] = 0;
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s/%d", inet_ntop(AF_INET, four, text, sizeof text),
                 8 * IPV4_PREFIX_BYTES);
    } else
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s", peer);
}
