/* SPDX-License-Identifier: MIT
 * Which requests are answered: checks of Host, Origin and token. */
#ifndef ORGAN_HTTP_GUARD_H
#define ORGAN_HTTP_GUARD_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/http/tokens.h"

#define ORGAN_SESSION_COOKIE "organ_session"

typedef struct organ_guard {
    char address[64];         /* that is listened on, as it stands in a URL: "127.0.0.1", "[::1]" */
    bool any_address;         /* all of the machine: then every address is a good host */
    const organ_words *hosts; /* further names */
    bool encrypted;           /* its own site begins with https */
    organ_tokens *tokens;     /* NULL: none is asked for */
} organ_guard;

/* "127.0.0.1:8935", "localhost", "[::1]:8935": whether the name in front of the port is one of ours. */
bool organ_guard_host(const organ_guard *guard, const char *host);
/* All checks for a request that was routed; false after a reply of 400, 401, 403 or 421. */
bool organ_guard_passes(const organ_guard *guard, const organ_server_request *request, organ_http_reply *reply);

#endif
