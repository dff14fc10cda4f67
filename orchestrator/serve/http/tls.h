/* SPDX-License-Identifier: MIT
 * Certificate and key for connections that libmicrohttpd encrypts with GnuTLS: this file reads and checks them before
 * the server listens, and again when they are renewed. */
#ifndef ORGAN_SERVE_HTTP_TLS_H
#define ORGAN_SERVE_HTTP_TLS_H

#include <microhttpd.h>
#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

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

/* ---- files that other users must not read: tokens, the key of a certificate ---- */

typedef struct organ_secret_file {
    char *text;        /* all bytes of the file, and a NUL; NULL: the file was not read */
    size_t length;     /* of the text in bytes, without the NUL */
    struct stat about; /* attributes of the file */
} organ_secret_file;

/* Reads the file, which may be a pipe. `what` names the secret in messages ("the key"); NULL: the content is not
 * secret. Returns ORGAN_BAD_INPUT if all users may read or change a regular file with a secret, or if the file has more
 * than `max` bytes; ORGAN_IO if it cannot be read. The caller must wipe *secret, also after an error. */
organ_status organ_secret_file_read(const char *file, const char *what, size_t max, organ_secret_file *secret,
                                    organ_error *error);
/* Overwrites the content with zeros and frees it. */
void organ_secret_file_wipe(organ_secret_file *secret);

/* ---- tokens and sessions ---- */

/* Tokens with their rights, read from a file, and the sessions that browsers get in exchange for a token.
 * Thread-safe. */

#define ORGAN_SESSION_DIGITS 64 /* hexadecimal digits of a session, which is a random number of 256 bits */

/* The rights of a token: GET only, or all methods. */
typedef enum organ_access { ORGAN_ACCESS_READ, ORGAN_ACCESS_RUN } organ_access;

/* The owner of the token or session that a request presented. */
typedef struct organ_bearer {
    char name[64]; /* name of the token; "" if the server needs none */
    organ_access access;
} organ_bearer;

typedef struct organ_tokens organ_tokens;

/* Reads the file of tokens. Each line is NAME, ROLE (read or run) and the token, separated by white space; empty lines
 * and lines that begin with '#' are skipped. A file with a single word is one token with the name "token" and the role
 * run. Tokens have 16 to 1024 visible ASCII characters. Returns ORGAN_BAD_INPUT if the file is malformed or all users
 * may read or write it; the message contains no part of a token. *open_to_group becomes true if the file's group may
 * read it. *tokens is NULL on an error. */
organ_status organ_tokens_open(const char *file, organ_tokens **tokens, bool *open_to_group, organ_error *error);
void organ_tokens_close(organ_tokens *tokens);   /* NULL is allowed */
size_t organ_tokens_count(organ_tokens *tokens); /* number of tokens */

/* Reads the file again if it was replaced or changed since the last read, or with `anyway` in any case. Returns true if
 * the tokens were replaced. Otherwise they remain unchanged; error->status is set if the file could not be read, and
 * the same file is then not read again without `anyway`. Sessions of unchanged tokens stay valid. Only one thread may
 * call it. */
bool organ_tokens_renew(organ_tokens *tokens, bool anyway, organ_error *error);

/* Returns whether `given` is one of the tokens (organ_tokens_check) or the session of one (organ_tokens_check_session),
 * and then sets *bearer to its owner. The time does not depend on the position of the first difference. */
bool organ_tokens_check(organ_tokens *tokens, const char *given, organ_bearer *bearer);
bool organ_tokens_check_session(organ_tokens *tokens, const char *given, organ_bearer *bearer);
/* Checks a token like organ_tokens_check, and copies the session that belongs to it to `session`. */
bool organ_tokens_login(organ_tokens *tokens, const char *given, organ_bearer *bearer,
                        char session[ORGAN_SESSION_DIGITS + 1]);

/* Returns true if both texts are equal. The time does not depend on the secret. */
bool organ_secret_is(const char *secret, const char *given);

#endif
