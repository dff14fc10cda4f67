/* SPDX-License-Identifier: MIT
 * The network that a client's address belongs to. Limits and penalties apply to a network, because one client can
 * choose among its addresses. */
#ifndef ORGAN_HTTP_PEER_NETWORK_H
#define ORGAN_HTTP_PEER_NETWORK_H

#include <stddef.h>

enum { ORGAN_PEER_NETWORK_ROOM = 64 }; /* bytes for the text of a network, with its NUL */

/* Writes the network of the address `peer`: "192.0.2.0/24" for 192.0.2.7 and for ::ffff:192.0.2.7, "2001:db8:0:1::/64"
 * for 2001:db8:0:1::7. Copies `peer` if it is not an address. */
void organ_peer_network(const char *peer, char network[ORGAN_PEER_NETWORK_ROOM]);

#endif
