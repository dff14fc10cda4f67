/* SPDX-License-Identifier: MIT
 * A server from inside. */
#ifndef ORGAN_SERVER_PARTS_H
#define ORGAN_SERVER_PARTS_H

#include "orchestrator/serve/http/desk.h"
#include "orchestrator/serve/http/guard.h"
#include "orchestrator/serve/http/options.h"
#include "orchestrator/serve/http/parts.h"
#include "orchestrator/serve/http/penalty.h"
#include "orchestrator/serve/http/tally.h"
#include "orchestrator/serve/http/watch.h"

#include <pthread.h>
#include <sys/queue.h>

/* One server; server.c makes it. */
struct organ_server {
    organ_app app;
    organ_serve_options options;
    organ_guard guard;
    char url[96];
    unsigned port;
    int listener;
    size_t started; /* areas */
    organ_tally *tally;
    organ_penalty *penalty;
    organ_watch *watch;
    organ_desk *desk;
    struct MHD_Daemon *daemon;
    int stopping;       /* atomic */
    unsigned answering; /* atomic: requests between their last byte and that of their reply */
    pthread_mutex_t stream_lock;
    LIST_HEAD(, organ_http_waker) streams; /* all that are open */
    size_t stream_count;
};

#endif
