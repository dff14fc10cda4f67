/* SPDX-License-Identifier: MIT
 * Which requests are answered: checks of Host, Origin and token. */
#ifndef ORGAN_HTTP_GUARD_H
#define ORGAN_HTTP_GUARD_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/http/exchange.h"

#define ORGAN_SESSION_DIGITS 64
#define ORGAN_SESSION_COOKIE "organ_session"

typedef struct organ_guard {
    char address[64];                       /* that is listened on, as it stands in a URL: "127.0.0.1", "[::1]" */
    bool any_address;                       /* all of the machine: then every address is a good host */
    const organ_words *hosts;               /* further names */
    char *token;                            /* NULL: none is asked for */
    char session[ORGAN_SESSION_DIGITS + 1]; /* value of the session cookie; new with every start */
} organ_guard;

/* Reads the file of the token: 16 to 1024 visible ASCII characters, white space around them left out. ORGAN_BAD_INPUT where it is
 * something else. *open_to_others: the mode of the file lets other users read it. */
organ_status organ_guard_token(organ_guard *guard, const char *file, bool *open_to_others, organ_error *error);
organ_status organ_guard_session(organ_guard *guard, organ_error *error);
void organ_guard_release(organ_guard *guard);

/* "127.0.0.1:8935", "localhost", "[::1]:8935": whether the name in front of the port is one of ours. */
bool organ_guard_host(const organ_guard *guard, const char *host);
/* Compares in a time that does not depend on where the two differ. */
bool organ_guard_same(const char *secret, const char *given);

/* All checks for a request that was routed; false after a reply of 400, 401, 403 or 421. */
bool organ_guard_passes(const organ_guard *guard, const organ_http_request *request, organ_http_reply *reply);

#endif
