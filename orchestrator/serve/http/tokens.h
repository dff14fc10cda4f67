/* SPDX-License-Identifier: MIT
 * Tokens with their rights, read from a file, and the sessions that browsers get in exchange for a token.
 * Thread-safe. */
#ifndef ORGAN_HTTP_TOKENS_H
#define ORGAN_HTTP_TOKENS_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

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
