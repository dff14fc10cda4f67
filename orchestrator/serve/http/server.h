/* SPDX-License-Identifier: MIT
 * A running server: sockets, threads and limits. */
#ifndef ORGAN_HTTP_SERVER_H
#define ORGAN_HTTP_SERVER_H

#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/http/options.h"

/* Everything is answered by our own code, with a problem in JSON and the headers of security, but for what
 * libmicrohttpd (0.9.75) refuses before we are asked. It does so with a constant page of HTML without headers of ours,
 * in which nothing of the request stands, and ends the connection:
 *
 *   400  a request line whose last word is not "HTTP/d.d"; a header or a trailer without a colon; a chunk whose length
 * is none 413  a chunk's length beyond 2^64 414  a target, 431 headers, that do not fit into the 32 KiB that a
 * connection has 505  HTTP/0.x and HTTP/2.0 to HTTP/9.9
 *
 * A first line that is not even two words, and a query with more parameters than fit into those 32 KiB, end the
 * connection without a reply. After cookies that do not fit, the head of the reply comes twice. refused.c answers,
 * once, a Content-Length that is none (400) or beyond 2^64 (413), and chunk extensions that do not fit into the 32 KiB
 * (413).
 *
 * libmicrohttpd 1.0 is asked to be strict: it refuses all heads that others may read differently by such a page, which
 * head.c does for the older one, lengths among them, each once; of a query that does not fit it says 431. */

typedef struct organ_server organ_server;

/* Opens the root, reads the token (the options are copied, what they point to is not), starts the areas (a list that
 * ends with NULL) and listens. ORGAN_USAGE where the options do not go together or the address is none, ORGAN_IO where
 * the system refuses (port in use). *server is NULL on error. */
organ_status organ_server_open(const organ_serve_options *options, const organ_area *const *areas,
                               organ_server **server, organ_error *error);
/* "http://127.0.0.1:8935/"; with the port that was chosen where port 0 was asked for. */
const char *organ_server_url(const organ_server *server);
unsigned organ_server_port(const organ_server *server);
/* To be called several times a second: connections that are too slow, heartbeats of streams. */
void organ_server_tick(organ_server *server);
/* Reads the tokens, the certificate and its key again, and opens the audit log again, as its file may have been moved
 * away. Tells on stderr; what is malformed stays as it was. By the thread that ticks. */
void organ_server_renew(organ_server *server);
/* No new connections; streams end, replies under way are finished (at most `seconds`), then the areas stop. NULL is
 * allowed. */
void organ_server_close(organ_server *server, unsigned seconds);

#endif
