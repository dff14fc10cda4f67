/* SPDX-License-Identifier: MIT
 * For tests: the ranks of one run as threads of this program, with a wire between them that takes what MPI would carry.
 */
#ifndef RANK_THREADS_H
#define RANK_THREADS_H

#include "orchestrator/ranks/ranks.h"

#include <pthread.h>

#define MAX_PLAYERS 16

typedef struct rank_thread {
    size_t rank;
    void (*part)(organ_ranks *ranks, organ_error *error);
    organ_error error; /* what it has ended with */
    organ_stop stop;
    unsigned left; /* the order in which the ranks left; 1: the first */
    pthread_t thread;
} rank_thread;

extern rank_thread players[MAX_PLAYERS];
extern unsigned stops_sent[MAX_PLAYERS]; /* notes of each rank */
extern bool notes_arrive;                /* else none does */
extern bool wire_broken;                 /* the wire carries nothing */
extern int silent_rank;                  /* its beats do not arrive; -1: all do */
extern unsigned wires_cut;               /* so many ranks have cut theirs */
extern size_t ranks_seen;                /* not 0: the wire says that there are so many */
extern unsigned first_speaks_for;        /* microseconds that the first rank needs to print how the run ended */

/* Each of `count` ranks joins, plays the part and settles. */
void play(size_t count, void (*part)(organ_ranks *ranks, organ_error *error));

/* All ranks have ended so, with a message that has the text. */
void all_end(organ_status status, const char *text);

#endif
