/* SPDX-License-Identifier: MIT
 * Private to this folder: the definitions of requests and replies. */
#ifndef ORGAN_HTTP_PARTS_H
#define ORGAN_HTTP_PARTS_H

#include "orchestrator/serve/http/daemon_library.h"
#include "orchestrator/serve/http/http_exchange.h"
#include "orchestrator/serve/http/connection_watch.h"

#include <time.h>

enum { MAX_FIELDS = 32, MAX_PARAMETERS = 4, MAX_REPLY_HEADERS = 12 };

/* Name and value, both in memory of the request or of the connection. */
typedef struct organ_http_field {
    const char *name, *value;
} organ_http_field;

typedef enum organ_reply_kind {
    REPLY_NONE,
    REPLY_BYTES,
    REPLY_CONSTANT,
    REPLY_FILE,
    REPLY_STREAM,
    REPLY_LATER
} organ_reply_kind;

struct organ_http_reply {
    organ_reply_kind kind;
    unsigned status;
    const char *type;   /* static */
    char *bytes;        /* REPLY_BYTES: to be freed */
    const void *data;   /* REPLY_CONSTANT */
    size_t size;        /* of both */
    int fd;             /* REPLY_FILE */
    uint64_t from, run; /* of the file: first byte and number of bytes to send */
    double later; /* REPLY_LATER: when the handler is called again at the latest, in seconds since the request began */
    organ_http_waker *waker;
    const char *policy;
    organ_http_field headers[MAX_REPLY_HEADERS]; /* both freed */
    size_t header_count;
    bool wrong_token; /* the rejection of a wrong token, which may be delayed */
    char why[400];    /* for the log: why a request was refused */
};

typedef enum organ_request_state {
    REQUEST_NEW,
    REQUEST_BODY,
    REQUEST_IN_POOL,
    REQUEST_READY,
    REQUEST_QUEUED
} organ_request_state;

typedef struct organ_server organ_server;

struct organ_server_request {
    organ_server *server;
    organ_app *app; /* of the server */
    bool requested; /* for the reply, once already */
    bool delayed;   /* its reply is complete, but sent later */
    bool counted;   /* among those being answered */
    bool admitted;  /* the request has a valid token, or the server needs none */
    struct MHD_Connection *connection;
    organ_request_state state;
    struct timespec began;
    char *target;     /* as received */
    const char *line; /* the same in the library's memory */
    char *path;       /* decoded */
    char verb[16];
    char address[64]; /* address of the client: the peer's, or the one reported by a trusted proxy */
    char bearer[64];  /* the name of the token; "": none */
    char job[40];     /* "": none */
    organ_http_method method;
    bool head;
    const organ_http_route *route;
    organ_http_field parameters[MAX_PARAMETERS]; /* values freed */
    size_t parameter_count;
    char *query_text; /* holds names and values of the query */
    organ_http_field query[MAX_FIELDS];
    size_t query_count;
    char *body;
    size_t body_bytes, body_capacity;
    bool body_too_long;
    organ_watched *watched;
    organ_http_reply reply;
    struct organ_server_request *next; /* in the queue */
};

/* ---- head.c: refuses ambiguous heads ---- */

/* Checks the head of a request. `verb` and `version` are the library's, in its memory. Returns false after a 400, which
 * ends the connection. */
bool organ_http_head_passes(organ_server_request *request, const char *verb, const char *version);
bool organ_http_library_is_strict(void); /* it can be asked to refuse such requests itself */

/* ---- request_target.c: path, query, headers and body ---- */

/* Splits and decodes the target: fills path and query. False after a 400. */
bool organ_http_target_read(organ_server_request *request);
/* Decodes one segment or value in place, each %XX once. Returns NULL on success, otherwise a description of the
 * error. */
const char *organ_http_decode(char *text, bool form);

/* ---- routing.c ---- */

extern const char *const organ_http_method_names[ORGAN_HTTP_METHODS]; /* "GET" */

/* Finds the route and fills the parameters; false after a 404, 405 or 400. */
bool organ_http_routed(organ_server_request *request);

/* ---- reply.c ---- */

/* Discards the current content of the reply. */
void organ_http_reply_clear(organ_http_reply *reply);
/* Closes its stream and frees it. */
void organ_http_waker_discard(organ_http_waker *waker);

/* ---- quotas.c ---- */

/* Writes the usage and limits of the server, and the number of lines missing from the audit log, in Prometheus' text
 * format. */
void organ_http_quotas_print(const organ_server_request *request, FILE *out);

/* ---- send.c ---- */

/* Gives the reply to the connection. */
enum MHD_Result organ_http_send(organ_server_request *request);
/* Writes a reply of bytes directly to the socket, bypassing the library, and ends the connection. The library's own
 * answer to a request that it rejects is lost then. */
void organ_http_send_at_once(organ_server_request *request);

/* ---- refused.c ---- */

/* Replies in place of the library. Called in the thread of the connection when the library has logged that it rejects a
 * request with this status. */
void organ_http_refused(organ_server *server, unsigned status);

/* ---- http_stream.c ---- */

struct MHD_Response *organ_http_stream_response(organ_server_request *request);
/* Wakes streams that have been idle longer than their heartbeat; all streams if the server stops. */
void organ_http_streams_tick(organ_server *server);

#endif
