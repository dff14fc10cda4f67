/* SPDX-License-Identifier: MIT
 * What the parts of the room share: ranks.c lets ranks meet, pulse.c carries notes between them meanwhile. */
#ifndef ORGAN_RANKS_PARTS_H
#define ORGAN_RANKS_PARTS_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/ranks/wire.h"

#include <pthread.h>

#define ORGAN_HOST_ROOM 64

struct organ_ranks {
    organ_wire wire;
    size_t rank, count;
    char (*hosts)[ORGAN_HOST_ROOM];
    bool joined;                                       /* they know each other */
    char agreed[sizeof((organ_error *)NULL)->message]; /* the last fault that all know */
    organ_stop *stop;
    pthread_t pulse;
    bool beats;           /* the pulse runs */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t woken; /* the pulse is to end */
    bool ending, told;    /* told: the others know that they shall stop */
    bool lost;            /* the others cannot be reached */
    const organ_progress *shown;
    organ_progress progress;
    bool stage;      /* one is begun and not ended */
    uint64_t unsent; /* bytes that the first rank does not know of */
};

/* organ_ranks_join by a wire that is there already. */
organ_status organ_ranks_join_by(const organ_wire *wire, const organ_launch *launch, organ_stop *stop, organ_ranks **ranks,
                                 organ_error *error);

/* How long a rank looks away between two looks for what the others send. */
void organ_ranks_pause(unsigned turn);

/* A thread that tells the first rank how far this one is, and hears from the others. ORGAN_IO. */
organ_status organ_pulse_start(organ_ranks *ranks, organ_error *error);
void organ_pulse_end(organ_ranks *ranks);

/* Takes the notes that have come. Any thread. */
void organ_pulse_hear(organ_ranks *ranks);

/* Tells all others to stop, once. */
void organ_pulse_stop_all(organ_ranks *ranks);

#endif
