/* SPDX-License-Identifier: MIT
 * A running server: sockets, threads and limits. */
#ifndef ORGAN_HTTP_SERVER_H
#define ORGAN_HTTP_SERVER_H

#include "orchestrator/serve/http/http_exchange.h"
#include "orchestrator/serve/http/server_options.h"

/* Our own code answers all requests, with a problem in JSON and the headers for security, except those that
 * libmicrohttpd (0.9.75) rejects before it calls us. For these the library sends a constant HTML page without our
 * headers and without any text of the request, and ends the connection:
 *
 *   400  a request line whose last word is not "HTTP/d.d"; a header or a trailer without a colon; a malformed
 *        chunk length
 *   413  a chunk length above 2^64
 *   414  a target that does not fit into the 32 KiB of a connection
 *   431  headers that do not fit into these 32 KiB
 *   505  HTTP/0.x and HTTP/2.0 to HTTP/9.9
 *
 * A first line of fewer than two words, and a query with more parameters than fit into those 32 KiB, end the
 * connection without a reply. After cookies that do not fit, the library sends the head of the reply twice. refused.c
 * answers, once, a malformed Content-Length (400) or one above 2^64 (413), and chunk extensions that do not fit into
 * the 32 KiB (413).
 *
 * libmicrohttpd 1.0 runs in strict mode: it rejects all heads that other programs may parse differently, including
 * malformed lengths, with such a page; for older versions head.c rejects these heads. Version 1.0 replies 431 to a
 * query that does not fit. */

typedef struct organ_server organ_server;

/* Opens the root, reads the tokens, listens, starts the areas (parts of the server, a list that ends with NULL) and the
 * threads that accept connections. Copies the options, but not the data they point to, which must outlive the server.
 * Returns ORGAN_USAGE if options contradict each other or the address is malformed, ORGAN_IO if a system call fails,
 * for example because the port is in use. *server is NULL on error. */
organ_status organ_server_open(const organ_serve_options *options, const organ_area *const *areas,
                               organ_server **server, organ_error *error);
/* Returns the server's address, such as "http://127.0.0.1:8935/", with the port that the system chose if port 0 was
 * requested. */
const char *organ_server_url(const organ_server *server);
unsigned organ_server_port(const organ_server *server); /* the port of organ_server_url */
/* Closes connections that are too slow, calls waiting handlers and streams whose time has come, and reads a changed
 * file of tokens. Call it several times a second. */
void organ_server_tick(organ_server *server);
/* Reads the tokens, the certificate and its key again, and reopens the audit log, whose file may have been moved
 * away. Reports on stderr; the previous version of a malformed file remains in use. Call it from the thread that
 * calls organ_server_tick. */
void organ_server_renew(organ_server *server);
/* Accepts no new connections, ends streams, finishes replies in progress (for at most `seconds`), then stops the
 * areas. NULL is allowed. */
void organ_server_close(organ_server *server, unsigned seconds);

#endif
