/* SPDX-License-Identifier: MIT
 * Which addresses are reachable from the whole internet. A redirect from a public server to any other address is refused. */
#ifndef ORGAN_HTTP_ADDRESS_H
#define ORGAN_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* False for loopback, link-local, private, shared (carrier), multicast and reserved addresses of IPv4 and IPv6, and for such an IPv4
 * address within one of IPv6 (mapped, compatible, NAT64, 6to4). False for other families. */
bool organ_http_address_is_public(const struct sockaddr *address);

/* The same of an address in text, as libcurl names those it is connected to: "192.0.2.1", "2001:db8::1", perhaps in brackets. False for
 * what is no address. */
bool organ_http_text_is_public(const char *text);

/* The text is an address and no name. */
bool organ_http_is_address(const char *text);

#endif
