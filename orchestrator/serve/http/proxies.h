/* SPDX-License-Identifier: MIT
 * Trusted proxies: which X-Forwarded-For headers the server uses. */
#ifndef ORGAN_HTTP_PROXIES_H
#define ORGAN_HTTP_PROXIES_H

#include "formats/base/status.h"
#include "orchestrator/command/options.h"

#include <stdbool.h>
#include <stddef.h>

/* One network; IPv4 addresses in their IPv6 form (::ffff:a.b.c.d). */
typedef struct organ_network {
    unsigned char address[16];
    unsigned bits;
} organ_network;

typedef struct organ_proxies {
    organ_network networks[ORGAN_MAX_WORDS];
    size_t count;
} organ_proxies;

/* Parses "10.0.0.0/8", "192.0.2.1", "2001:db8::/32". ORGAN_USAGE if an entry is malformed or has bits set after its
 * prefix. */
organ_status organ_proxies_read(const organ_words *words, organ_proxies *proxies, organ_error *error);

/* Finds the address of the client. `peer` is the sender of the request; `forwarded` is the values of its
 * X-Forwarded-For, joined by ',', or NULL. Each proxy appends the address that it received the request from, so the
 * list is read from the end, as long as the writer of an entry is trusted: the first address that is not a trusted
 * proxy is the client. Reading stops at an entry that is not an address; the last valid address is the client then. */
void organ_proxies_client(const organ_proxies *proxies, const char *peer, const char *forwarded, char *address,
                          size_t size);

#endif
