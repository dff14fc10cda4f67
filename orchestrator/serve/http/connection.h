/* SPDX-License-Identifier: MIT
 * A request from its first line to its last byte: the callbacks of libmicrohttpd (MHD). In all of them `context` is the
 * organ_server. The library keeps two pointers for us: the connection's organ_watched (*watched) and the request's
 * organ_server_request (*request). */
#ifndef ORGAN_HTTP_CONNECTION_H
#define ORGAN_HTTP_CONNECTION_H

#include <microhttpd.h>

/* A connection was opened or closed. */
void organ_http_on_connection(void *context, struct MHD_Connection *connection, void **watched,
                              enum MHD_ConnectionNotificationCode code);
/* The first line of a request was read. Returns the new organ_server_request, NULL without memory. */
void *organ_http_on_target(void *context, const char *target, struct MHD_Connection *connection);
/* The head, or a part of the body, or the whole request was read. */
enum MHD_Result organ_http_on_request(void *context, struct MHD_Connection *connection, const char *target,
                                      const char *verb, const char *version, const char *data, size_t *bytes,
                                      void **request);
/* The reply was sent, or the connection was lost: frees the request. */
void organ_http_on_end(void *context, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);
/* Leaves `text` unchanged: the server decodes paths and queries itself. */
size_t organ_http_on_unescape(void *context, struct MHD_Connection *connection, char *text);
/* The library logs a message. */
void organ_http_on_message(void *context, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
/* The watch has closed the connection of `peer` because its request did not arrive in time: counts and logs it. */
void organ_http_on_slow(void *context, const char *peer);

#endif
