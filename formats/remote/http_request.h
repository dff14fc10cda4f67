/* SPDX-License-Identifier: MIT
 * Sends one HTTP request, follows redirects and returns the answer, which http_source.c interprets. */
#ifndef ORGAN_HTTP_REQUEST_H
#define ORGAN_HTTP_REQUEST_H

#include "formats/base/status.h"
#include "formats/remote/access.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_HTTP_VALIDATOR 256
#define ORGAN_HTTP_MIN_RATE  (32 << 10) /* bytes per second */

/* A connection that is reused for several requests, by one thread at a time. */
typedef struct organ_http_line organ_http_line;

typedef struct organ_http_request {
    const char *url;
    const char *origin_url; /* the user's headers go to the scheme, host and port of this URL alone */
    bool ranged;            /* bytes from `from`, `capacity` at most; else the whole of at most `capacity` bytes */
    uint64_t from;
    size_t capacity;
    double seconds; /* limit of seconds, plus one for each ORGAN_HTTP_MIN_RATE bytes received */
    char *buffer;   /* room bytes; NULL: the answer's `body` grows with the received bytes */
} organ_http_request;

typedef struct organ_http_answer {
    bool broken;    /* the answer is incomplete; `fault` has the reason */
    bool hopeless;  /* and asking again would not help */
    bool stopped;   /* because access->stopped returned true */
    bool too_long;  /* more bytes than requested or allowed */
    long code;      /* HTTP status of the last hop, 0 without an answer */
    size_t got;     /* bytes put at request->to: kept even if the answer broke off */
    bool has_range; /* Content-Range: bytes first-last/total */
    uint64_t first, last, total;
    bool encoded;                         /* Content-Encoding other than identity */
    unsigned retry_after;                 /* seconds that the server asks to wait; 0: it does not */
    char validator[ORGAN_HTTP_VALIDATOR]; /* ETag, else Last-Modified, else "" */
    char fault[256];
    char *body;     /* the caller frees it, here and below */
    char *resolved; /* URL of the last hop if there was a redirect, else NULL */
} organ_http_answer;

/* Returns ORGAN_USAGE if a header of `access` is not "Name: value" (the value is not repeated), ORGAN_IO without
 * memory. */
organ_status organ_http_line_open(const organ_model_access *access, organ_http_line **line, organ_error *error);
void organ_http_line_close(organ_http_line *line);

/* Sends a request and receives the answer. Only the bodies of answers 200 and 206 go to request->to. organ_http_ask
 * does not follow a redirect from a server with a public address to one without: only the user may choose requests
 * inside the user's own network. It follows no redirect to a link-local address or to another address at which a cloud
 * gives a machine its credentials (organ_reach). The check uses the address of the connection, not the host name in the
 * URL; behind a proxy, which resolves host names itself, organ can check only numeric addresses. */
void organ_http_ask(organ_http_line *line, const organ_http_request *request, organ_http_answer *answer);

#endif
