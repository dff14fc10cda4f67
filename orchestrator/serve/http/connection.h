/* SPDX-License-Identifier: MIT
 * A request from its first line to its last byte: the callbacks of libmicrohttpd (MHD). In all of them `context` is the
 * organ_server. The library keeps two pointers for us: the connection's organ_watched (*watched) and the request's
 * organ_server_request (*request). */
#ifndef ORGAN_HTTP_CONNECTION_H
#define ORGAN_HTTP_CONNECTION_H

#include <microhttpd.h>

/* Adds a new connection to server->watch and sets *watched, or removes a closed one. `code` distinguishes the two. */
void organ_http_on_connection(void *context, struct MHD_Connection *connection, void **watched,
                              enum MHD_ConnectionNotificationCode code);
/* Begins a request, whose first line was read. Returns the new organ_server_request, NULL if memory runs out. */
void *organ_http_on_target(void *context, const char *target, struct MHD_Connection *connection);
/* Continues a request when its head, a part of its body (`data`) or the whole request was read. The function sets
 * *bytes, the number of bytes in `data`, to 0 when it has used them. Returns MHD_NO to close the connection. */
enum MHD_Result organ_http_on_request(void *context, struct MHD_Connection *connection, const char *target,
                                      const char *verb, const char *version, const char *data, size_t *bytes,
                                      void **request);
/* Logs and frees the request, whose reply was sent or whose connection was lost (`code`). */
void organ_http_on_end(void *context, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);
/* Leaves `text` unchanged and returns its length: the server decodes paths and queries itself. */
size_t organ_http_on_unescape(void *context, struct MHD_Connection *connection, char *text);
/* Writes a message of the library to stderr. If it reports a rejected request, replies in place of the library
 * (organ_http_refused). */
void organ_http_on_message(void *context, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
/* Counts and logs a connection from the address `peer` that server->watch has closed because its request did not arrive
 * in time. */
void organ_http_on_slow(void *context, const char *peer);

#endif
