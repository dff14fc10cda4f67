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

/* Continues a stream: resumes its connection, which is suspended in the middle of the reply until there is more to
 * send. `lock` guards resting, woken and last. */
struct organ_http_waker {
    pthread_mutex_t lock;
    organ_http_stream stream;
    struct organ_server *server; /* NULL until the reply is sent */
    struct MHD_Connection *connection;
    struct organ_request_tally *tally;
    size_t *sent;        /* bytes sent so far: reply.size of the request, which outlives every read */
    bool resting, woken; /* the connection is suspended; organ_http_wake was called since the last read began */
    time_t last;         /* time of the last read, in seconds of the monotonic clock */
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
    int stopping;        /* atomic */
    uint64_t body_bytes; /* atomic: bytes of all bodies in memory */
    unsigned answering;  /* atomic: requests that arrived completely and whose reply was not sent completely */
    pthread_mutex_t stream_lock;
    LIST_HEAD(, organ_http_waker) streams; /* all open streams; stream_lock guards the list and the count */
    size_t stream_count;
};

/* Returns the number of connections that one network (organ_peer_network) may have: by default half of all. */
unsigned organ_server_share_of_one(const organ_serve_options *options);

#endif
