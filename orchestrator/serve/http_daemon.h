/* SPDX-License-Identifier: MIT
 * A running server: sockets, threads and limits. */
#ifndef ORGAN_HTTP_DAEMON_H
#define ORGAN_HTTP_DAEMON_H

#include "orchestrator/serve/serve.h"

typedef struct organ_server organ_server;

/* Opens the root, reads the token, starts the areas and listens. ORGAN_USAGE where the options do not go together or the address is none,
 * ORGAN_IO where the system refuses (port in use). *server is NULL on error. */
organ_status organ_server_open(const organ_serve_options *options, organ_server **server, organ_error *error);
/* "http://127.0.0.1:8935/"; with the port that was chosen where port 0 was asked for. */
const char *organ_server_url(const organ_server *server);
unsigned organ_server_port(const organ_server *server);
/* To be called several times a second: connections that are too slow, heartbeats of streams. */
void organ_server_tick(organ_server *server);
/* No new connections; streams end, replies under way are finished (at most `seconds`), then the areas stop. NULL is allowed. */
void organ_server_close(organ_server *server, unsigned seconds);

#endif
