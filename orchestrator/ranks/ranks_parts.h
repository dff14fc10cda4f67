/* SPDX-License-Identifier: MIT
 * What the parts of the room share: ranks.c lets ranks meet, pulse.c carries notes between them meanwhile, watch.c
 * listens whether they live. */
#ifndef ORGAN_RANKS_PARTS_H
#define ORGAN_RANKS_PARTS_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/ranks/wire.h"

#include <pthread.h>

#define ORGAN_HOST_ROOM 64

/* Tells the others each second that this rank is there, and listens to them. It waits for nothing else, neither for the
 * work nor for a disk or a terminal, so that who is not heard of is not merely busy: its process is stopped, or its
 * host hangs or is out of reach. */
typedef struct organ_watch {
    uint32_t seconds; /* of silence that are allowed; 0: it does not run */
    int silent;       /* the rank that was not heard of for longer; -1: none */
    unsigned *naps;   /* of each rank: how often this one has woken since it was heard */
    pthread_t thread;
    bool runs;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t woken;
    bool ending, hushed; /* hushed: it listens only */
} organ_watch;

struct organ_ranks {
    organ_wire wire;
    size_t rank, count;
    char (*hosts)[ORGAN_HOST_ROOM];
    bool joined;                                       /* they know each other */
    char agreed[sizeof((organ_error *)NULL)->message]; /* the last fault that all know, */
    size_t named;                                      /* and how much of it names the rank */
    organ_stop *stop;
    pthread_t pulse;
    bool beats;           /* the pulse runs */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t woken; /* the pulse is to end */
    bool ending, told;    /* told: the others know that they shall stop */
    bool halted;          /* the others know of the fault */
    unsigned overcome;    /* faults so far */
    bool lost;            /* the others cannot be reached */
    const organ_progress *shown;
    organ_progress progress;
    bool stage; /* one is begun and not ended */
    uint32_t
        stages; /* that were begun: of all ranks the most, when they meet, for some stages are the first rank's alone */
    struct organ_early_note *early,
        **early_end; /* of stages that the first rank has not begun yet, in the order they came */
    uint64_t unsent; /* bytes that the first rank does not know of */
    uint64_t spoken; /* notes that were sent to the first rank for showing, */
    uint64_t *heard; /* and at that one those of each rank that have come; not under the lock */
    organ_watch watch;
};

/* organ_ranks_join by a wire that is there already. */
organ_status organ_ranks_join_by(const organ_wire *wire, const organ_launch *launch, organ_stop *stop,
                                 organ_ranks **ranks, organ_error *error);

/* How long a rank looks away between two looks for what the others send. */
void organ_ranks_pause(unsigned turn);

/* A thread that tells the first rank how far this one is, and hears from the others. ORGAN_IO. */
organ_status organ_pulse_start(organ_ranks *ranks, organ_error *error);
void organ_pulse_end(organ_ranks *ranks);
void organ_pulse_forget(organ_ranks *ranks); /* notes that were not shown */

/* What goes on meanwhile looks at organ_ranks.lost: where it is set, all calls of the wire fail. Between hush and end
 * no beat is on its way to a rank that has left. ORGAN_IO. */
organ_status organ_watch_start(organ_ranks *ranks, organ_error *error);
void organ_watch_turn(organ_ranks *ranks, unsigned nap); /* what it does each time it wakes */
void organ_watch_hush(organ_ranks *ranks);
/* Gives the first rank time to print its error before this rank ends, since a launcher ends all ranks when one ends
 * with an error. If the first rank has sent this rank the number of a rank that no longer answers, waits for the
 * launcher's signal for twice the allowed seconds of silence, at most 10 s. Otherwise returns at once. */
void organ_watch_let_first_speak(organ_ranks *ranks);
void organ_watch_end(organ_ranks *ranks);

/* Takes the notes that have come. Any thread. */
void organ_pulse_hear(organ_ranks *ranks);
void organ_pulse_hear_until(organ_ranks *ranks, size_t rank,
                            uint64_t spoken); /* so many notes of that rank have come */

/* All ranks are where one of them has begun so many stages. */
void organ_pulse_align(organ_ranks *ranks, uint32_t stages);

/* Tells all others to stop, once. */
void organ_pulse_stop_all(organ_ranks *ranks);

/* Tells all others that there is a fault, once for each: they need not go on with what they do. */
void organ_pulse_halt_all(organ_ranks *ranks);

#endif
