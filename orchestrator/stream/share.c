/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/share.h"

typedef struct sharing {
    const organ_stop *stop;
    size_t count, next;
    void (*task)(void *context, size_t index, size_t worker);
    void *context;
} sharing;

static void take_part(void *context, size_t worker)
{
    sharing *const s = context;
    for (size_t k; !organ_stop_asked(s->stop) && (k = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->count;)
        s->task(s->context, k, worker);
}

void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count, void (*task)(void *context, size_t index, size_t worker),
                 void *context)
{
    sharing s = {.stop = stop, .count = count, .task = task, .context = context};
    organ_workers_run(engine->workers, take_part, &s);
}
