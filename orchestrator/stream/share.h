/* SPDX-License-Identifier: MIT
 * Tasks that all workers take from one row. */
#ifndef ORGAN_SHARE_H
#define ORGAN_SHARE_H

#include "orchestrator/stream/pass.h"

/* Calls task(context, k, worker) once for each k below `count`, on any worker, in any order, and returns when all have returned. Where
 * `stop` is asked, tasks that no worker has taken are left out; NULL never asks. */
void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count, void (*task)(void *context, size_t index, size_t worker),
                 void *context);

#endif
