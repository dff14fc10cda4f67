/* SPDX-License-Identifier: MIT
 * Private to this folder: the definitions of requests and replies, and functions of the folder's files. */
#ifndef ORGAN_HTTP_PARTS_H
#define ORGAN_HTTP_PARTS_H

#include "orchestrator/serve/http/daemon_library.h"
#include "orchestrator/serve/http/http_exchange.h"
#include "orchestrator/serve/http/connection_watch.h"

#include <time.h>

/* Largest numbers of fields in a query, of parameters of a route, and of headers that a handler adds to a reply. */
enum { MAX_FIELDS = 32, MAX_PARAMETERS = 4, MAX_REPLY_HEADERS = 12 };

/* Name and value, both in memory of the request or of the connection. */
typedef struct organ_http_field {
    const char *name, *value;
} organ_http_field;

/* The source of the body of a reply. */
typedef enum organ_reply_kind {
    REPLY_NONE,     /* no handler has filled the reply yet */
    REPLY_BYTES,    /* `bytes`, on the heap */
    REPLY_CONSTANT, /* `data`, static */
    REPLY_FILE,     /* a range of `fd` */
    REPLY_STREAM,   /* `waker`: a stream of unknown length */
    REPLY_LATER     /* none yet: the handler called organ_http_reply_later and will be called again */
} organ_reply_kind;

struct organ_http_reply {
    organ_reply_kind kind;
    unsigned status;
    const char *type; /* media type, static; NULL: no Content-Type */
    char *bytes;      /* REPLY_BYTES: to be freed */
    const void *data; /* REPLY_CONSTANT */
    size_t size; /* length of the body in bytes; REPLY_FILE: set by organ_http_send; REPLY_STREAM: bytes sent so far */
    int fd;      /* REPLY_FILE: open file, closed with the reply; else -1 */
    uint64_t from, run; /* REPLY_FILE: offset of the first byte, and number of bytes to send */
    /* Seconds after the request began: REPLY_LATER: the latest time at which the handler is called again; other
     * replies: the time at which a delayed reply is sent (organ_request_queue_delay). */
    double later;
    organ_http_waker *waker;                     /* REPLY_STREAM */
    const char *policy;                          /* Content-Security-Policy, static; NULL: the default of send.c */
    organ_http_field headers[MAX_REPLY_HEADERS]; /* names and values are freed with the reply */
    size_t header_count;
    bool wrong_token; /* the reply rejects a wrong token; send_or_delay may delay it */
    char why[400];    /* detail of a problem, for the log of requests; "": none */
};

/* How far the server is with a request. */
typedef enum organ_request_state {
    REQUEST_NEW,     /* the head is being received */
    REQUEST_BODY,    /* the head was accepted; the body is being received */
    REQUEST_IN_POOL, /* in the request queue (queued, parked or being handled), the connection suspended */
    REQUEST_READY,   /* the queue has finished it: the reply can be sent */
    REQUEST_QUEUED   /* the reply was given to the library */
} organ_request_state;

typedef struct organ_server organ_server;

struct organ_server_request {
    organ_server *server;
    organ_app *app; /* server->app */
    bool requested; /* the library has called organ_http_on_request once after the last byte of the body */
    bool delayed;   /* the reply is complete, but the queue sends it later (organ_request_queue_delay) */
    bool counted;   /* server->answering includes this request */
    bool admitted;  /* the request has a valid token, or the server needs none */
    bool runs;      /* the token has the role run, or the server needs none */
    struct MHD_Connection *connection;
    organ_request_state state;
    struct timespec began; /* time of the first line, of the monotonic clock */
    char *target;          /* path and query as received, a copy */
    const char *line;      /* the target in the memory of the library, between the other parts of the first line */
    char *path;            /* the decoded path without a trailing slash */
    char verb[16];         /* the method as received */
    char address[64];      /* address of the client: the peer's, or the one reported by a trusted proxy */
    char bearer[64];       /* name of the valid token; "": none */
    char job[40];          /* the job that the audit log lists; "": none */
    organ_http_method method;
    bool head;                                   /* the request has the method HEAD; `method` is then GET */
    const organ_http_route *route;               /* NULL until organ_http_routed has found it */
    organ_http_field parameters[MAX_PARAMETERS]; /* names and values are freed with the request */
    size_t parameter_count;
    char *query_text; /* memory of the names and values in `query` */
    organ_http_field query[MAX_FIELDS];
    size_t query_count;
    char *body; /* the first body_bytes bytes and a NUL, in body_capacity bytes of memory; NULL: nothing received */
    size_t body_bytes, body_capacity;
    bool body_too_long;     /* longer than ORGAN_HTTP_BODY_LIMIT, or there was no memory for it */
    organ_watched *watched; /* the request's connection, as server->watch keeps it */
    organ_http_reply reply;
    struct organ_server_request *next; /* link in `first` or `parked` of the request queue */
};

/* ---- head.c: rejects ambiguous heads ---- */

/* Checks the head of a request. `verb` (the method) and `version` must point into the library's buffer, whose bytes
 * around them are checked too. Returns false after a 400, which ends the connection. */
bool organ_http_head_passes(organ_server_request *request, const char *verb, const char *version);
/* Returns true if this version of libmicrohttpd can reject ambiguous heads itself (1.0 and later). */
bool organ_http_library_is_strict(void);

/* ---- request_target.c: path, query, headers and body ---- */

/* Splits the target into path and query and decodes both. Returns false after a 400 or 500. */
bool organ_http_target_read(organ_server_request *request);
/* Decodes one segment or value in place, each %XX once; with `form` also "+" to a blank. Returns NULL on success,
 * otherwise a description of the error. */
const char *organ_http_decode(char *text, bool form);

/* ---- routing.c ---- */

extern const char *const organ_http_method_names[ORGAN_HTTP_METHODS]; /* "GET", "POST", "DELETE" */

/* Finds the route by method and path, and fills the parameters. Returns false after a 404, 405 or 500. */
bool organ_http_routed(organ_server_request *request);

/* ---- reply.c ---- */

/* Discards the current content of the reply. */
void organ_http_reply_clear(organ_http_reply *reply);
/* Closes the stream of the waker and frees the waker. */
void organ_http_waker_discard(organ_http_waker *waker);

/* ---- quotas.c ---- */

/* Writes the usage and limits of the server, and the number of lines missing from the audit log, in Prometheus' text
 * format. */
void organ_http_quotas_print(const organ_server_request *request, FILE *out);

/* ---- send.c ---- */

/* Gives the reply to the library, which sends it. Returns MHD_NO if memory runs out; the library then closes the
 * connection. */
enum MHD_Result organ_http_send(organ_server_request *request);
/* Writes a reply of kind REPLY_BYTES directly to the socket, in place of the answer of the library, which has rejected
 * the request. Then shuts down the sending side, so that the client does not receive the library's answer. */
void organ_http_send_at_once(organ_server_request *request);

/* ---- refused.c ---- */

/* Replies in place of the library to the request that it rejects with this status, if the request can be found and the
 * library's answer would be wrong. Must be called in the thread of the connection, when the library logs the
 * rejection. */
void organ_http_refused(organ_server *server, unsigned status);

/* ---- http_stream.c ---- */

/* Creates the response of a REPLY_STREAM. NULL if memory runs out. */
struct MHD_Response *organ_http_stream_response(organ_server_request *request);
/* Wakes streams whose last read was at least their heartbeat ago; all streams if the server stops. */
void organ_http_streams_tick(organ_server *server);

#endif
