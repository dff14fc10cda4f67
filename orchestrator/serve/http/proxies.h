/* SPDX-License-Identifier: MIT
 * Whose word is taken for where a request comes from. */
#ifndef ORGAN_HTTP_PROXIES_H
#define ORGAN_HTTP_PROXIES_H

#include "formats/base/status.h"
#include "orchestrator/command/options.h"

#include <stdbool.h>
#include <stddef.h>

/* One network, IPv4 as IPv6 has it (::ffff:a.b.c.d). */
typedef struct organ_network {
    unsigned char address[16];
    unsigned bits;
} organ_network;

typedef struct organ_proxies {
    organ_network networks[ORGAN_MOST_WORDS];
    size_t count;
} organ_proxies;

/* Reads "10.0.0.0/8", "192.0.2.1", "2001:db8::/32". ORGAN_USAGE where one is none, or has bits behind its prefix. */
organ_status organ_proxies_read(const organ_words *words, organ_proxies *proxies, organ_error *error);

/* Where a request comes from: `peer` is who sent it, `forwarded` the values of its X-Forwarded-For, joined by ',', NULL
 * if there is none. Each proxy adds at the end whom it got the request from, so it is read from the end, as long as who
 * wrote it is trusted: the first address that is no trusted proxy is the one. What is no address ends that: the last
 * one that was good counts. */
void organ_proxies_client(const organ_proxies *proxies, const char *peer, const char *forwarded, char *address,
                          size_t size);

#endif
