/* SPDX-License-Identifier: MIT
 * A request from its first line to its last byte: the callbacks of libmicrohttpd. `context` is an organ_server
 * everywhere. */
#ifndef ORGAN_HTTP_CONNECTION_H
#define ORGAN_HTTP_CONNECTION_H

#include <microhttpd.h>

void organ_http_on_connection(void *context, struct MHD_Connection *connection, void **watched,
                              enum MHD_ConnectionNotificationCode code);
void *organ_http_on_target(void *context, const char *target, struct MHD_Connection *connection);
enum MHD_Result organ_http_on_request(void *context, struct MHD_Connection *connection, const char *target,
                                      const char *verb, const char *version, const char *data, size_t *bytes,
                                      void **request);
void organ_http_on_end(void *context, struct MHD_Connection *connection, void **request,
                       enum MHD_RequestTerminationCode code);
/* Leaves `text` unchanged: the server decodes paths and queries itself. */
size_t organ_http_on_unescape(void *context, struct MHD_Connection *connection, char *text);
void organ_http_on_message(void *context, const char *format, va_list list) __attribute__((format(printf, 2, 0)));
void organ_http_on_slow(void *context, const char *peer);

#endif
