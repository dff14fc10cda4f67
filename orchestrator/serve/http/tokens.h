/* SPDX-License-Identifier: MIT
 * Who may ask for what: the file of tokens, and the sessions that browsers get for them. Any thread. */
#ifndef ORGAN_HTTP_TOKENS_H
#define ORGAN_HTTP_TOKENS_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define ORGAN_SESSION_DIGITS 64

/* What a token is good for: GET alone, or everything. */
typedef enum organ_access { ORGAN_ACCESS_READ, ORGAN_ACCESS_RUN } organ_access;

/* Who has shown a token or the session of one. */
typedef struct organ_bearer {
    char name[64];
    organ_access access;
} organ_bearer;

typedef struct organ_tokens organ_tokens;

/* The file has a line for each token: NAME, ROLE (read or run) and the token, with white space between; empty lines and
 * those that begin with '#' are left out. A file with one word alone is one token with the name "token" that may run.
 * Tokens have 16 to 1024 visible ASCII characters. ORGAN_BAD_INPUT, without a word of a token, where it is something
 * else, or a file that everybody may read or write. *open_to_group: the mode lets the file's group read it. */
organ_status organ_tokens_open(const char *file, organ_tokens **tokens, bool *open_to_group, organ_error *error);
void organ_tokens_close(organ_tokens *tokens); /* NULL is allowed */
size_t organ_tokens_count(organ_tokens *tokens);

/* Reads the file again if it is another one than was read last, or `anyway`. True if it did. On an error the tokens
 * stay as they were, and the same file is not read again. Sessions of tokens that are the same as before stay valid. */
bool organ_tokens_renew(organ_tokens *tokens, bool anyway, organ_error *error);

/* Whether it is one of the tokens, or the session of one, in a time that does not depend on where they differ; *who has
 * it then. */
bool organ_tokens_know(organ_tokens *tokens, const char *given, organ_bearer *who);
bool organ_tokens_know_session(organ_tokens *tokens, const char *given, organ_bearer *who);
/* The same as organ_tokens_know, with the session that belongs to it. */
bool organ_tokens_login(organ_tokens *tokens, const char *given, organ_bearer *who,
                        char session[ORGAN_SESSION_DIGITS + 1]);

/* Compares in a time that does not depend on where the two differ. */
bool organ_secret_is(const char *secret, const char *given);
/* A number that nobody can guess, in digits of base 16. */
organ_status organ_session_make(char session[ORGAN_SESSION_DIGITS + 1], organ_error *error);

#endif
