/* SPDX-License-Identifier: MIT
 * A request to end a run early, made by a signal handler or another thread; all parts of the run check it. */
#ifndef ORGAN_STOP_H
#define ORGAN_STOP_H

#include "formats/base/api.h"

#include <stdbool.h>

ORGAN_API_BEGIN

/* A request to stop; all members are zero at first. */
typedef struct organ_stop {
    int requested; /* the user or the caller requested a stop */
    int halted;    /* another rank of the run has failed */
} organ_stop;

/* Requests a stop. Safe in a signal handler. */
static inline void organ_stop_request(organ_stop *stop) { __atomic_store_n(&stop->requested, 1, __ATOMIC_RELAXED); }

/* Clears an earlier request to stop. */
static inline void organ_stop_clear(organ_stop *stop) { __atomic_store_n(&stop->requested, 0, __ATOMIC_RELAXED); }

/* Returns whether a stop was requested here or another rank of the run has failed; false if `stop` is NULL. */
static inline bool organ_stop_is_requested(const organ_stop *stop)
{
    return stop &&
           (__atomic_load_n(&stop->requested, __ATOMIC_RELAXED) || __atomic_load_n(&stop->halted, __ATOMIC_RELAXED));
}

/* Returns whether a stop was requested, not counting organ_stop_set_halted. */
static inline bool organ_stop_is_pending(const organ_stop *stop)
{
    return stop && __atomic_load_n(&stop->requested, __ATOMIC_RELAXED);
}
/* Records whether another rank of the run has failed. */
static inline void organ_stop_set_halted(organ_stop *stop, bool halted)
{
    __atomic_store_n(&stop->halted, halted, __ATOMIC_RELAXED);
}

ORGAN_API_END

#endif
