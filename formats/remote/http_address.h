/* SPDX-License-Identifier: MIT
 * Whom an address reaches. A redirect from a public server to any address that is not public is refused, and one to a link-local address
 * whoever sends it. */
#ifndef ORGAN_HTTP_ADDRESS_H
#define ORGAN_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

typedef enum organ_reach {
    ORGAN_REACH_PUBLIC, /* the whole internet reaches it */
    ORGAN_REACH_INSIDE, /* loopback, private, shared (carrier), multicast and reserved addresses of IPv4 and IPv6; other families */
    ORGAN_REACH_LINK,   /* 169.254.0.0/16, fe80::/10, and the further addresses at which clouds give a machine its credentials */
} organ_reach;

/* An IPv4 address within one of IPv6 (mapped, compatible, NAT64, 6to4) counts as that IPv4 address. */
organ_reach organ_http_address_reach(const struct sockaddr *address);

/* The same of an address in text, as libcurl names those it is connected to: "192.0.2.1", "2001:db8::1", perhaps in brackets.
 * ORGAN_REACH_INSIDE for what is no address. */
organ_reach organ_http_text_reach(const char *text);

/* The text is an address and no name. */
bool organ_http_is_address(const char *text);

#endif
