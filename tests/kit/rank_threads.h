/* SPDX-License-Identifier: MIT
 * For tests: the ranks of a run as threads of this program, with a simulated network in place of MPI. */
#ifndef RANK_THREADS_H
#define RANK_THREADS_H

#include "orchestrator/ranks/ranks.h"

#include <pthread.h>

#define MAX_PLAYERS 16

typedef struct rank_thread {
    size_t rank;
    void (*part)(organ_ranks *ranks, organ_error *error);
    organ_error error; /* its result */
    organ_stop stop;
    unsigned left; /* order in which the ranks left; 1 is the first */
    pthread_t thread;
} rank_thread;

extern rank_thread players[MAX_PLAYERS];
extern unsigned stops_sent[MAX_PLAYERS]; /* stop notes of each rank */
extern bool notes_arrive;                /* false: none arrives */
extern bool wire_broken;                 /* exchanges fail */
extern int silent_rank;                  /* its heartbeats do not arrive; -1: all arrive */
extern unsigned wires_cut;               /* number of ranks that have aborted their network */
extern size_t ranks_seen;                /* not 0: the number of ranks that the network reports */
extern unsigned first_speaks_for;        /* microseconds that the first rank takes to print the result */

/* Makes each of `count` ranks join, run `part` and agree on the result. */
void play(size_t count, void (*part)(organ_ranks *ranks, organ_error *error));

/* Checks that all ranks have this status and a message that contains the text. */
void all_end(organ_status status, const char *text);

#endif
