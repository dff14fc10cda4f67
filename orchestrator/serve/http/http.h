/* SPDX-License-Identifier: MIT
 * The HTTP server. In goes a table of routes (an organ_area for each part of the interface), out come replies:
 * connections, their limits
 * and deadlines, hosts and tokens, bodies, files with ranges and streams are done here, by libmicrohttpd and round it.
 *
 *   server.h     opening and closing it
 *   exchange.h   what handlers are written against: request, reply, route, area
 *   jail.h       the only way to files below the served directory
 *
 * A request comes in by connection.c, is checked by head.c, target.c and guard.c, finds its handler by routing.c, which
 * runs at once or at
 * desk.c, where it may wait, and leaves by send.c; refused.c answers some of those that the library refuses. tokens.h
 * says who may do what,
 * proxies.h where a request comes from, tls.h how it is encrypted, audit_log.h what is put on record. */
#ifndef ORGAN_HTTP_H
#define ORGAN_HTTP_H

#include "orchestrator/serve/http/exchange.h"
#include "orchestrator/serve/http/jail.h"
#include "orchestrator/serve/http/server.h"

/* With a token, every route that is not open asks for "Authorization: Bearer TOKEN" or for the cookie that POST
 * /api/v1/login {"token": T} sets (204; HttpOnly, SameSite=Strict; 401 if it is wrong) and POST /api/v1/logout takes
 * back. Without: 401 as a problem. Methods other than GET also want an Origin that is the server's own, if there is one
 * at all, and Content-Type application/json if there is a body. */
extern const organ_area organ_area_server; /* /healthz, /metrics, /api/v1/login, /api/v1/logout */
extern const organ_area organ_area_files;  /* /files ... */

#endif
