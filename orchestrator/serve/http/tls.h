/* SPDX-License-Identifier: MIT
 * Certificate and key for connections that libmicrohttpd encrypts with GnuTLS: this file reads and checks them before
 * the server listens, and again when they are renewed. */
#ifndef ORGAN_HTTP_TLS_H
#define ORGAN_HTTP_TLS_H

#include <organ/base.h>

#include <microhttpd.h>

typedef struct organ_tls organ_tls;

/* Loads a certificate and its key from the files `certificate` and `key`, both in PEM; the certificate may be followed
 * by those of its issuers. Returns ORGAN_BAD_INPUT, with the name of the file, if one is malformed, if the key does not
 * belong to the certificate, or if all users may read or change the key; ORGAN_IO if one cannot be read, or if the
 * library was built without TLS. A process can have one organ_tls: the callback by which the library requests a
 * certificate does not identify the server. */
organ_status organ_tls_open(const char *certificate, const char *key, organ_tls **tls, organ_error *error);
void organ_tls_close(organ_tls *tls); /* after the daemon has stopped; NULL is allowed */

/* Reads both files again; new connections get the new certificate. On an error the old one stays. */
organ_status organ_tls_renew(organ_tls *tls, organ_error *error);

/* Sends as many bytes to `session`, a gnutls_session_t, as it accepts in one call. If that succeeds, announces the end
 * of the data. */
void organ_tls_send(void *session, const char *data, size_t bytes);

/* Writes the options with which MHD_start_daemon encrypts connections by the current certificate. */
enum { ORGAN_TLS_OPTIONS = 2 };
void organ_tls_options(struct MHD_OptionItem options[ORGAN_TLS_OPTIONS]);

#endif
