/* SPDX-License-Identifier: MIT
 * The listening socket. */
#ifndef ORGAN_HTTP_LISTEN_H
#define ORGAN_HTTP_LISTEN_H

#include "formats/base/status.h"

#include <stdbool.h>

typedef struct organ_listening {
    int fd;
    char address[64]; /* in the form used in URLs: "127.0.0.1", "[::1]" */
    unsigned port;
    bool loopback; /* only programs on this machine reach it */
    bool any;      /* all addresses of the machine */
} organ_listening;

/* Opens the socket of --listen. Returns ORGAN_USAGE if the text is not an address with a port, or if the address is not
 * loopback and `guarded` (a token is configured) is false; ORGAN_IO if a system call fails. */
organ_status organ_http_listen(const char *text, bool guarded, organ_listening *listening, organ_error *error);

#endif
