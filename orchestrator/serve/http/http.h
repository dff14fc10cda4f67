/* SPDX-License-Identifier: MIT
 * The HTTP server, built on libmicrohttpd. Each part of the interface supplies a table of routes (an organ_area);
 * the server provides connections, limits and deadlines, checks of hosts and tokens, bodies, files with ranges, and
 * streams.
 *
 *   server.h         opening and closing it
 *   http_exchange.h  the interface for handlers: request, reply, route, area
 *   jail.h           the only way to files below the served directory
 *
 * Path of a request: connection.c receives it; head.c, request_target.c and guard.c check it; routing.c finds its
 * handler, which runs immediately or on a thread of request_queue.c, where it may block; send.c sends the reply.
 * refused.c answers some of the requests that the library rejects. tokens.h maps tokens to rights, proxies.h finds the
 * client's address, tls.h encrypts connections, audit_log.h records requests. */
#ifndef ORGAN_HTTP_H
#define ORGAN_HTTP_H

#include "orchestrator/serve/http/http_exchange.h"
#include "orchestrator/serve/http/jail.h"
#include "orchestrator/serve/http/server.h"

/* If the server has a token, every route that is not open requires "Authorization: Bearer TOKEN" or the session cookie;
 * otherwise the server replies 401 with a problem. POST /api/v1/login {"token": T} replies 204 and sets the cookie
 * (HttpOnly, SameSite=Strict), or 401 if the token is wrong. POST /api/v1/logout makes the browser delete the cookie;
 * the session itself stays valid as long as its token. Methods other than GET also require that Origin, if present, is
 * the server's own, and that a body has Content-Type application/json. */
extern const organ_area organ_area_server; /* /healthz, /metrics, /api/v1/login, /api/v1/logout */
extern const organ_area organ_area_files;  /* /files ... */

#endif
