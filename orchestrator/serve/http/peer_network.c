/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/peer_network.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Bytes before the IPv4 address in ::ffff:a.b.c.d, and bytes of the prefixes /24 and /64. */
enum { MAPPED = 12, BYTES_OF_FOUR = 3, BYTES_OF_SIX = 8 };

/* Writes the network of an address: /24 of IPv4, also mapped into IPv6, or /64 of IPv6. */
void organ_peer_network(const char *peer, char network[ORGAN_PEER_NETWORK_ROOM])
{
    static const unsigned char mapped[MAPPED] = {[10] = 0xFF, [11] = 0xFF};
    unsigned char address[16] = {0};
    char text[INET6_ADDRSTRLEN];
    const bool six = inet_pton(AF_INET6, peer, address) == 1 && memcmp(address, mapped, MAPPED) != 0;
    unsigned char *const four = address + MAPPED;
    if (six) {
        memset(address + BYTES_OF_SIX, 0, sizeof address - BYTES_OF_SIX);
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s/%d", inet_ntop(AF_INET6, address, text, sizeof text),
                 8 * BYTES_OF_SIX);
    } else if (memcmp(address, mapped, MAPPED) == 0 || inet_pton(AF_INET, peer, four) == 1) {
        four[BYTES_OF_FOUR] = 0;
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s/%d", inet_ntop(AF_INET, four, text, sizeof text),
                 8 * BYTES_OF_FOUR);
    } else
        snprintf(network, ORGAN_PEER_NETWORK_ROOM, "%s", peer);
}
