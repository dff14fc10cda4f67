/* SPDX-License-Identifier: MIT
 * Resumes a connection that is suspended in the middle of its reply. */
#ifndef ORGAN_HTTP_WAKER_H
#define ORGAN_HTTP_WAKER_H

#include "orchestrator/serve/http/daemon_library.h"
#include "orchestrator/serve/http/exchange.h"

#include <pthread.h>
#include <sys/queue.h>
#include <time.h>

struct organ_http_waker {
    pthread_mutex_t lock;
    organ_http_stream stream;
    struct organ_server *server; /* NULL until it is sent */
    struct MHD_Connection *connection;
    struct organ_tally *tally;
    size_t *sent; /* of the request, which outlives every read */
    bool resting, woken;
    time_t last;                        /* read, in seconds of the monotonic clock */
    LIST_ENTRY(organ_http_waker) entry; /* among all of the server */
};

/* Closes its stream and frees it. */
void organ_http_waker_discard(organ_http_waker *waker);

#endif
