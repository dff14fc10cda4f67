/* SPDX-License-Identifier: MIT
 * Private to this folder: the server and the wakers of its streams. */
#ifndef ORGAN_SERVER_PARTS_H
#define ORGAN_SERVER_PARTS_H

#include "orchestrator/serve/http/audit_log.h"
#include "orchestrator/serve/http/request_queue.h"
#include "orchestrator/serve/http/guard.h"
#include "orchestrator/serve/http/server_options.h"
#include "orchestrator/serve/http/http_parts.h"
#include "orchestrator/serve/http/penalty.h"
#include "orchestrator/serve/http/proxies.h"
#include "orchestrator/serve/http/http_tally.h"
#include "orchestrator/serve/http/tls.h"
#include "orchestrator/serve/http/connection_watch.h"

#include <pthread.h>
#include <sys/queue.h>
#include <time.h>

/* A stream that is being sent. Its connection is suspended while there is nothing to send; organ_http_wake resumes it.
 * `lock` guards suspended, woken and last. */
struct organ_http_waker {
    pthread_mutex_t lock;
    organ_http_stream stream;
    struct organ_server *server; /* NULL until the reply is sent */
    struct MHD_Connection *connection;
    struct organ_request_tally *tally;
    size_t *sent;                       /* bytes sent so far: reply.size of the request, which outlives every read */
    bool suspended;                     /* the connection is suspended */
    bool woken;                         /* organ_http_wake was called since the last read began */
    time_t last;                        /* time of the last read, in seconds of the monotonic clock */
    LIST_ENTRY(organ_http_waker) entry; /* in server->streams */
};

/* One server; organ_server_open makes it. */
struct organ_server {
    organ_app app;
    organ_serve_options options;
    organ_guard guard;
    organ_proxies proxies;
    organ_audit_log *audit; /* NULL: none */
    organ_tls *tls;         /* NULL: not encrypted */
    char url[96];
    unsigned port;
    int listener;   /* the listening socket; -1: none */
    size_t started; /* number of areas that were started */
    organ_request_tally *tally;
    organ_penalty *penalty;
    organ_connection_watch *watch;
    organ_request_queue *queue;
    struct MHD_Daemon *daemon;
    int stopping;        /* atomic; 1 once organ_server_close was called: new requests get 503, streams end */
    uint64_t body_bytes; /* atomic: bytes allocated for the bodies of all requests */
    unsigned answering;  /* atomic: requests that arrived completely and whose reply was not sent completely */
    pthread_mutex_t stream_lock;
    LIST_HEAD(, organ_http_waker) streams; /* all open streams; stream_lock guards the list and the count */
    size_t stream_count;
};

/* Returns the largest number of connections from one network (organ_peer_network): options->per_address, or by default
 * half of options->connections. */
unsigned organ_server_share_of_one(const organ_serve_options *options);

#endif
