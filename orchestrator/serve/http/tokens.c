/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/tls.h"

#include "formats/base/arena.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* LONGEST_FILE is in bytes. */
enum { SHORTEST_TOKEN = 16, LONGEST_TOKEN = 1024, MAX_TOKENS = 256, LONGEST_FILE = 1 << 19 };

/* Browsers get the session instead of the token. */
typedef struct stored_token {
    organ_bearer bearer;
    char *text;
    char session[ORGAN_SESSION_DIGITS + 1];
} stored_token;

typedef struct token_list {
    stored_token *tokens;
    size_t count;
} token_list;

/* These properties change when the file is replaced or written. */
typedef struct file_identity {
    dev_t device;
    ino_t number;
    off_t bytes;
    struct timespec modified, changed;
} file_identity;

struct organ_tokens {
    char *file;
    pthread_rwlock_t lock; /* guards the list */
    token_list list;
    /* the file that was read last, also if it was malformed; only the thread of organ_tokens_renew uses it */
    file_identity read;
};

/* The time does not show how many leading characters of `given` are right. */
bool organ_secret_is(const char *secret, const char *given)
{
    const size_t right = strlen(secret), length = strlen(given);
    /* The number of steps depends on `given` only, not on the secret; volatile keeps the compiler from ending the loop
     * early. */
    volatile unsigned char differs = right != length;
    for (size_t k = 0; k < length; k++)
        differs |= (unsigned char)(secret[k % (right + 1)] ^ given[k]);
    return !differs;
}

static organ_status make_session(char session[ORGAN_SESSION_DIGITS + 1], organ_error *error)
{
    unsigned char bytes[ORGAN_SESSION_DIGITS / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return organ_fail_errno(error, errno, "random numbers for sessions");
    for (size_t k = 0; k < sizeof bytes; k++)
        snprintf(session + 2 * k, 3, "%02x", bytes[k]);
    return ORGAN_OK;
}

static void forget_tokens(token_list *list)
{
    for (size_t k = 0; k < list->count; k++) {
        explicit_bzero(list->tokens[k].text, strlen(list->tokens[k].text));
        free(list->tokens[k].text);
    }
    if (list->tokens)
        explicit_bzero(list->tokens, list->count * sizeof *list->tokens);
    free(list->tokens);
    *list = (token_list){0};
}

/* ---- the file ---- */

static organ_status check_token(const char *file, const char *text, size_t length, organ_error *error)
{
    if (length < SHORTEST_TOKEN || length > LONGEST_TOKEN)
        return organ_refuse(error, file, "the token has %zu characters; allowed are %d to %d", length, SHORTEST_TOKEN,
                            LONGEST_TOKEN);
    for (size_t k = 0; k < length; k++)
        if (text[k] <= ' ' || text[k] > '~')
            return organ_refuse(error, file, "character %zu of the token is not a printable ASCII character", k + 1);
    return ORGAN_OK;
}

/* Sets *word to the next word before `end`, and *at to its end. Returns its length; 0: there is no word. */
static size_t next_word(const char **at, const char *end, const char **word)
{
    while (*at < end && isspace((unsigned char)**at))
        ++*at;
    *word = *at;
    while (*at < end && !isspace((unsigned char)**at))
        ++*at;
    return (size_t)(*at - *word);
}

static bool is_name(const char *text, size_t length)
{
    for (size_t k = 0; k < length; k++)
        if (!isalnum((unsigned char)text[k]) && !strchr("._-", text[k]))
            return false;
    return length > 0 && length < sizeof((organ_bearer *)NULL)->name;
}

/* The list must have room for the token. */
static organ_status add_token(token_list *list, const char *file, const char *name, size_t name_length,
                              organ_access access, const char *text, size_t length, organ_error *error)
{
    stored_token *const t = &list->tokens[list->count];
    if (check_token(file, text, length, error) != ORGAN_OK || make_session(t->session, error) != ORGAN_OK)
        return error->status;
    snprintf(t->bearer.name, sizeof t->bearer.name, "%.*s", (int)name_length, name);
    t->bearer.access = access;
    t->text = strndup(text, length);
    if (!t->text)
        return organ_fail_memory(error, file);
    list->count++;
    for (stored_token *other = list->tokens; other < t; other++) {
        if (strcmp(other->bearer.name, t->bearer.name) == 0)
            return organ_refuse(error, file, "two tokens have the name '%s'", t->bearer.name);
        if (strcmp(other->text, t->text) == 0)
            return organ_refuse(error, file, "'%s' and '%s' have the same token", other->bearer.name, t->bearer.name);
    }
    return ORGAN_OK;
}

/* The line, [at, end) of the file, has a name, a role and a token; an empty line and a comment have none. */
static organ_status read_line(token_list *list, const char *file, size_t number, const char *at, const char *end,
                              organ_error *error)
{
    /* by the number of words, for the message */
    static const char *const found[] = {"", "one word", "two words", "", "more than three words"};
    const char *words[4];
    size_t lengths[4], count = 0;
    while (count < 4 && (lengths[count] = next_word(&at, end, &words[count])) > 0)
        count++;
    if (count == 0 || words[0][0] == '#')
        return ORGAN_OK;
    if (count != 3)
        return organ_refuse(error, file, "line %zu has %s; a line is: NAME ROLE TOKEN", number, found[count]);
    if (!is_name(words[0], lengths[0]))
        return organ_refuse(error, file, "line %zu: a name has 1 to 63 letters, digits, '.', '_' or '-'", number);
    const bool run = lengths[1] == 3 && memcmp(words[1], "run", 3) == 0;
    if (!run && (lengths[1] != 4 || memcmp(words[1], "read", 4) != 0))
        return organ_refuse(error, file, "line %zu: the role of '%.*s' is neither read nor run", number,
                            (int)lengths[0], words[0]);
    if (list->count == MAX_TOKENS)
        return organ_refuse(error, file, "there are more than %d tokens", MAX_TOKENS);
    return add_token(list, file, words[0], lengths[0], run ? ORGAN_ACCESS_RUN : ORGAN_ACCESS_READ, words[2], lengths[2],
                     error);
}

/* A single word is a token with the role run; otherwise each line contains one. */
static organ_status read_lines(token_list *list, const char *file, const char *text, size_t length, organ_error *error)
{
    const char *const end = text + length, *at = text, *word, *second;
    list->tokens = calloc(MAX_TOKENS, sizeof *list->tokens);
    if (!list->tokens)
        return organ_fail_memory(error, file);
    const size_t word_length = next_word(&at, end, &word);
    if (next_word(&at, end, &second) == 0)
        return add_token(list, file, "token", strlen("token"), ORGAN_ACCESS_RUN, word, word_length, error);
    size_t number = 1;
    for (const char *line = text; line < end && !error->status; number++) {
        const char *const newline = memchr(line, '\n', (size_t)(end - line)), *const line_end = newline ? newline : end;
        read_line(list, file, number, line, line_end, error);
        line = line_end + 1;
    }
    if (!error->status && list->count == 0)
        organ_refuse(error, file, "contains no token");
    return error->status;
}

static file_identity tokens_identity_of(const struct stat *about)
{
    return (file_identity){about->st_dev, about->st_ino, about->st_size, about->st_mtim, about->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_identity(const file_identity *a, const file_identity *b)
{
    return a->device == b->device && a->number == b->number && a->bytes == b->bytes &&
           same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

/* `list` is empty after an error. The text of the file is wiped. */
static organ_status read_tokens(const char *file, token_list *list, struct stat *about, organ_error *error)
{
    organ_secret_file secret;
    if (organ_secret_file_read(file, "the tokens", LONGEST_FILE, &secret, error) == ORGAN_OK)
        read_lines(list, file, secret.text, secret.length, error);
    *about = secret.about;
    organ_secret_file_wipe(&secret);
    if (error->status)
        forget_tokens(list);
    return error->status;
}

/* ---- the list ---- */

organ_status organ_tokens_open(const char *file, organ_tokens **made, bool *open_to_group, organ_error *error)
{
    struct stat about = {0};
    organ_tokens *const tokens = *made = calloc(1, sizeof *tokens);
    if (!tokens || !(tokens->file = strdup(file))) {
        free(tokens);
        *made = NULL;
        return organ_fail_memory(error, file);
    }
    pthread_rwlock_init(&tokens->lock, NULL);
    if (read_tokens(file, &tokens->list, &about, error) != ORGAN_OK) {
        organ_tokens_close(tokens);
        *made = NULL;
        return error->status;
    }
    tokens->read = tokens_identity_of(&about);
    *open_to_group = S_ISREG(about.st_mode) && (about.st_mode & S_IRGRP);
    return ORGAN_OK;
}

void organ_tokens_close(organ_tokens *tokens)
{
    if (!tokens)
        return;
    forget_tokens(&tokens->list);
    pthread_rwlock_destroy(&tokens->lock);
    free(tokens->file);
    free(tokens);
}

size_t organ_tokens_count(organ_tokens *tokens)
{
    pthread_rwlock_rdlock(&tokens->lock);
    const size_t count = tokens->list.count;
    pthread_rwlock_unlock(&tokens->lock);
    return count;
}

/* Users stay logged in when the file changes: tokens of both lists keep their sessions. */
static void copy_sessions(token_list *now, const token_list *before)
{
    for (size_t k = 0; k < now->count; k++)
        for (size_t j = 0; j < before->count; j++) {
            stored_token *const t = &now->tokens[k];
            const stored_token *const old = &before->tokens[j];
            if (strcmp(t->text, old->text) == 0 && strcmp(t->bearer.name, old->bearer.name) == 0)
                memcpy(t->session, old->session, sizeof t->session);
        }
}

/* With `anyway` the file must exist. */
bool organ_tokens_renew(organ_tokens *tokens, bool anyway, organ_error *error)
{
    struct stat about = {0};
    token_list list = {0}, before;
    const bool there = stat(tokens->file, &about) == 0;
    /* A file that is not regular, such as a pipe of a shell, is read only once. */
    if (there && !S_ISREG(about.st_mode))
        return false;
    const file_identity now = tokens_identity_of(&about);
    if (same_identity(&now, &tokens->read) && !(anyway && there))
        return false;
    read_tokens(tokens->file, &list, &about, error);
    tokens->read = now; /* from before the read: a change during the read causes another read */
    if (error->status)
        return false;
    pthread_rwlock_wrlock(&tokens->lock);
    before = tokens->list;
    copy_sessions(&list, &before);
    tokens->list = list;
    pthread_rwlock_unlock(&tokens->lock);
    forget_tokens(&before);
    return true;
}

/* `session`: `given` is a session instead of a token. Compares all tokens, so that the time does not reveal which
 * one matched. Returns NULL if there is none. */
static const stored_token *find_secret(const organ_tokens *tokens, const char *given, bool session)
{
    const stored_token *found = NULL;
    for (size_t k = 0; k < tokens->list.count; k++) {
        const stored_token *const t = &tokens->list.tokens[k];
        if (organ_secret_is(session ? t->session : t->text, given))
            found = t;
    }
    return found;
}

/* Copies the owner's session to `session` unless that is NULL. Returns false if `given` is neither a token nor, with
 * by_session, a session. */
static bool check_secret(organ_tokens *tokens, const char *given, bool by_session, organ_bearer *bearer, char *session)
{
    pthread_rwlock_rdlock(&tokens->lock);
    const stored_token *const found = find_secret(tokens, given, by_session);
    if (found)
        *bearer = found->bearer;
    if (found && session)
        memcpy(session, found->session, sizeof found->session);
    pthread_rwlock_unlock(&tokens->lock);
    return found != NULL;
}

bool organ_tokens_check(organ_tokens *tokens, const char *given, organ_bearer *bearer)
{
    return check_secret(tokens, given, /*by_session=*/false, bearer, /*session=*/NULL);
}

bool organ_tokens_check_session(organ_tokens *tokens, const char *given, organ_bearer *bearer)
{
    return check_secret(tokens, given, /*by_session=*/true, bearer, /*session=*/NULL);
}

bool organ_tokens_login(organ_tokens *tokens, const char *given, organ_bearer *bearer,
                        char session[ORGAN_SESSION_DIGITS + 1])
{
    return check_secret(tokens, given, /*by_session=*/false, bearer, session);
}
