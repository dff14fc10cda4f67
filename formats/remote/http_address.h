/* SPDX-License-Identifier: MIT
 * Classifies the addresses that a redirect may lead to. organ rejects a redirect from a public server to any address
 * that is not public, and a redirect from any server to a link-local address. */
#ifndef ORGAN_HTTP_ADDRESS_H
#define ORGAN_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Kind of an address, by the network from which it can be reached. */
typedef enum organ_reach {
    ORGAN_REACH_PUBLIC, /* public internet */
    ORGAN_REACH_INSIDE, /* loopback, private, shared (carrier), multicast and reserved addresses of IPv4 and IPv6; all
                           other address families */
    ORGAN_REACH_LINK, /* link-local: 169.254.0.0/16, fe80::/10; also other addresses from which clouds serve a machine's
                         credentials */
} organ_reach;

/* Classifies an address. An IPv4 address within one of IPv6 (mapped, compatible, NAT64, 6to4) counts as that IPv4
 * address. */
organ_reach organ_http_address_reach(const struct sockaddr *address);

/* Classifies an address in text, in the form in which libcurl reports the address of a connection: "192.0.2.1",
 * "2001:db8::1", with or without brackets. Returns ORGAN_REACH_INSIDE for a text that is not an address. */
organ_reach organ_http_text_reach(const char *text);

/* Returns true if the text is an address and no host name. */
bool organ_http_is_address(const char *text);

#endif
