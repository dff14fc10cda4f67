/* SPDX-License-Identifier: MIT
 * Encrypted connections by libmicrohttpd, which uses GnuTLS: the certificate and the key are read and checked here,
 * before anything listens. */
#ifndef ORGAN_HTTP_TLS_H
#define ORGAN_HTTP_TLS_H

#include "formats/base/status.h"

#include <microhttpd.h>

typedef struct organ_tls organ_tls;

/* Both files are PEM; the certificate's may hold those of its issuers behind it. ORGAN_BAD_INPUT, with the name of the
 * file, where one is malformed, they do not belong together, or the key's may be read or changed by all users. ORGAN_IO
 * where one cannot be read, or the library was built without TLS. One at a time in a process: the library asks for a
 * certificate without saying for which server. */
organ_status organ_tls_open(const char *certificate, const char *key, organ_tls **tls, organ_error *error);
void organ_tls_close(organ_tls *tls); /* after the daemon has stopped; NULL is allowed */

/* Reads both files again; new connections get the new certificate. On an error the old one stays. */
organ_status organ_tls_renew(organ_tls *tls, organ_error *error);

/* Sends to a session (a gnutls_session_t) what fits without waiting, and that nothing more will come. */
void organ_tls_send(void *session, const char *data, size_t bytes);

/* What the daemon is started with: two options. */
enum { ORGAN_TLS_OPTIONS = 2 };
void organ_tls_options(struct MHD_OptionItem options[ORGAN_TLS_OPTIONS]);

#endif
