/* SPDX-License-Identifier: MIT
 * Which requests are answered: checks of Host, Origin and token. */
#ifndef ORGAN_HTTP_GUARD_H
#define ORGAN_HTTP_GUARD_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/http_exchange.h"
#include "orchestrator/serve/http/tokens.h"

#define ORGAN_SESSION_COOKIE "organ_session" /* name of the cookie */

/* Properties of the server that the checks use. */
typedef struct organ_guard {
    char address[64];         /* the address the server listens on, in the form used in URLs: "127.0.0.1", "[::1]" */
    bool any_address;         /* the server listens on all addresses of the machine: any address is a valid host */
    const organ_words *hosts; /* further names of the server, from --host */
    bool encrypted;           /* the server encrypts connections itself: its own origin begins with https */
    organ_tokens *tokens;     /* NULL: no token is required */
} organ_guard;

/* Returns true if `host` ("127.0.0.1:8935", "localhost", "[::1]:8935") names this server; the port is ignored. */
bool organ_guard_host(const organ_guard *guard, const char *host);
/* Runs all checks for a request after organ_http_routed. Returns false after a 400, 401, 403 or 421. */
bool organ_guard_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply);

#endif
