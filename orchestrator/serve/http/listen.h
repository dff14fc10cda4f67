/* SPDX-License-Identifier: MIT
 * The socket that is listened on. */
#ifndef ORGAN_HTTP_LISTEN_H
#define ORGAN_HTTP_LISTEN_H

#include "formats/base/status.h"

#include <stdbool.h>

typedef struct organ_listening {
    int fd;
    char address[64]; /* as it stands in a URL: "127.0.0.1", "[::1]" */
    unsigned port;
    bool loopback; /* only programs on this machine reach it */
    bool any;      /* all addresses of the machine */
} organ_listening;

/* ORGAN_USAGE where the text is no address with a port; or where it is not loopback and `guarded` (there is a token) is
 * false. ORGAN_IO where the system refuses. */
organ_status organ_http_listen(const char *text, bool guarded, organ_listening *listening, organ_error *error);

#endif
