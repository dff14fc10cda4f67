/* SPDX-License-Identifier: MIT
 * The listening socket. */
#ifndef ORGAN_HTTP_LISTEN_H
#define ORGAN_HTTP_LISTEN_H

#include <organ/base.h>

#include <stdbool.h>

/* An open listening socket and its address. */
typedef struct organ_listening {
    int fd;           /* for the caller to close; -1 on an error */
    char address[64]; /* in the form used in URLs: "127.0.0.1", "[::1]" */
    unsigned port;
    bool loopback; /* only programs on this machine reach it */
    bool any;      /* it listens on all addresses of the machine */
} organ_listening;

/* Opens the socket for `text`, the value of --listen. `guarded`: the server has a file of tokens. Returns ORGAN_USAGE
 * if the text is not an address with a port, or if the address is not loopback and `guarded` is false; ORGAN_IO if a
 * system call fails, such as for a port in use. */
organ_status organ_http_listen(const char *text, bool guarded, organ_listening *listening, organ_error *error);

#endif
