/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/waker.h"

#include <stdlib.h>

void organ_http_wake(organ_http_waker *waker)
{
    pthread_mutex_lock(&waker->lock);
    waker->woken = true;
    if (waker->resting) {
        waker->resting = false;
        organ_mhd.resume_connection(waker->connection);
    }
    pthread_mutex_unlock(&waker->lock);
}

void organ_http_waker_discard(organ_http_waker *waker)
{
    waker->stream.close(waker->stream.context);
    pthread_mutex_destroy(&waker->lock);
    free(waker);
}
