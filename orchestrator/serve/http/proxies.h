/* SPDX-License-Identifier: MIT
 * Trusted proxies: which X-Forwarded-For headers the server uses. */
#ifndef ORGAN_HTTP_PROXIES_H
#define ORGAN_HTTP_PROXIES_H

#include <organ/base.h>
#include "orchestrator/command/options.h"

#include <stdbool.h>
#include <stddef.h>

/* One network. An IPv4 address is in its IPv6 form (::ffff:a.b.c.d). */
typedef struct organ_network {
    unsigned char address[16]; /* in network byte order; the bits after the prefix are 0 */
    unsigned bits;             /* length of the prefix, of 128; for IPv4 the 96 bits before the address count too */
} organ_network;

/* The networks of --trusted-proxy. */
typedef struct organ_proxies {
    organ_network networks[ORGAN_MAX_WORDS];
    size_t count;
} organ_proxies;

/* Parses words such as "10.0.0.0/8", "192.0.2.1", "2001:db8::/32". Returns ORGAN_USAGE if one is malformed or has bits
 * set after its prefix. */
organ_status organ_proxies_read(const organ_words *words, organ_proxies *proxies, organ_error *error);

/* Writes the address of the client to `address`, which has `size` bytes. `peer` is the address that sent the request;
 * `forwarded` has the values of its X-Forwarded-For headers, joined by ',', or is NULL. Each proxy appends the address
 * from which it received the request. So the function starts with `peer` and continues with the list from its end. The
 * first address that is not of a trusted proxy is the client. The search also ends at the beginning of the list, and
 * before an entry that is not an address; the last address read is then the client. */
void organ_proxies_client(const organ_proxies *proxies, const char *peer, const char *forwarded, char *address,
                          size_t size);

#endif
