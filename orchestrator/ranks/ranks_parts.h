/* SPDX-License-Identifier: MIT
 * The structure behind organ_ranks and functions that the sources of ranks share: ranks.c implements meeting points,
 * ranks_watch.c sends notes between ranks at any time and detects lost ranks. */
#ifndef ORGAN_RANKS_RANKS_PARTS_H
#define ORGAN_RANKS_RANKS_PARTS_H

#include "orchestrator/ranks/ranks.h"

#include <pthread.h>

/* The interface between organ and the module liborgan_mpi.so, so that organ itself does not depend on MPI. Calls may
 * come from several threads. Each returns 0, or another value with the library's error text in `why`
 * (ORGAN_TRANSPORT_MESSAGE_BYTES bytes). */

#define ORGAN_TRANSPORT_MESSAGE_BYTES 512

/* The functions of the module. A function that waits for other ranks tests repeatedly whether it can return. After test
 * number `attempt` (from 0) it calls wait(attempt), without holding a lock. */
typedef struct organ_transport {
    /* Joins the other ranks of the run; sets this process's rank and the number of ranks. */
    int (*open)(int *rank, int *count, char *why);
    /* Collective: every rank contributes `bytes` bytes, the same number, and receives those of all ranks at `all`, in
     * order of ranks. */
    int (*gather)(const void *mine, size_t bytes, void *all, void (*wait)(unsigned attempt), char *why);
    /* Collective: copies `bytes` bytes from rank `from` to all others, at `data`. */
    int (*broadcast)(void *data, size_t bytes, int from, void (*wait)(unsigned attempt), char *why);
    /* Sends a note of at most ORGAN_TRANSPORT_NOTE_BYTES bytes to rank `to`. Does not wait for delivery, unless too
     * many notes are not delivered yet. */
    int (*send)(int to, const void *note, size_t bytes, void (*wait)(unsigned attempt), char *why);
    /* Receives one note that has arrived: sets *bytes to its length and *from to its sender. *bytes is 0 if none has
     * arrived. */
    int (*receive)(void *note, size_t capacity, size_t *bytes, int *from, char *why);
    /* Sends a sign of life, which consists of the number `word`, to rank `to`. Never waits: drops the sign if too many
     * are not delivered yet. ranks_watch.c sends in `word` the rank that is lost, or -1. */
    int (*beat)(int to, int word, char *why);
    /* Receives one sign of life that has arrived: sets *word to its number and *from to its sender. *from is -1 if none
     * has arrived. */
    int (*received)(int *from, int *word, char *why);
    /* Makes all calls that wait and all later calls fail. */
    void (*cut)(void);
    /* Leaves the other ranks; the last call. */
    int (*close)(char *why);
} organ_transport;

#define ORGAN_TRANSPORT_NOTE_BYTES 1024

/* Names of the functions in the module, in the order of the structure. */
#define ORGAN_TRANSPORT_NAMES                                                                                          \
    {                                                                                                                  \
        "organ_mpi_open", "organ_mpi_gather", "organ_mpi_broadcast", "organ_mpi_send", "organ_mpi_receive",            \
            "organ_mpi_beat", "organ_mpi_take_beat", "organ_mpi_cut", "organ_mpi_close"                                \
    }
#define ORGAN_TRANSPORT_FUNCTIONS 9

#define ORGAN_HOST_ROOM 64 /* bytes of a host's name with its NUL */

/* A thread that sends a sign of life each second and receives those of other ranks. The thread never waits for work,
 * disks or terminals. So a silent rank is not merely busy: its process is suspended, or its host hangs or is
 * unreachable. */
typedef struct organ_watch {
    uint32_t seconds; /* seconds of silence that are allowed; 0: no limit, the thread does not run */
    int silent;       /* rank that was silent for longer, or -1; atomic */
    unsigned *naps;   /* for each rank: wake-ups of this thread since the rank's last sign of life */
    pthread_t thread;
    bool runs;            /* the thread was started and not yet joined */
    pthread_mutex_t lock; /* protects the members below */
    pthread_cond_t woken;
    bool ending; /* the thread must end */
    bool hushed; /* the thread sends no more signs of life */
} organ_watch;

/* This process as one of the ranks (MPI processes) of a run. */
struct organ_ranks {
    organ_transport transport;                         /* functions of the MPI module */
    size_t rank, count;                                /* of this process; of all */
    char (*hosts)[ORGAN_HOST_ROOM];                    /* host of each rank */
    bool joined;                                       /* the ranks have exchanged hosts and versions */
    char agreed[sizeof((organ_error *)NULL)->message]; /* message of the last fault that all ranks adopted */
    size_t named;     /* length of the prefix of `agreed` that names the rank at fault */
    organ_stop *stop; /* belongs to the caller of organ_ranks_join */
    pthread_t heartbeat;
    bool beats;                  /* the heartbeat thread runs */
    pthread_mutex_t lock;        /* protects the members below, except those marked atomic */
    pthread_cond_t woken;        /* signalled when the heartbeat thread must end */
    bool ending;                 /* the heartbeat thread must end */
    bool sent;                   /* this rank has sent a request to stop to the other ranks; atomic */
    bool halted;                 /* this rank has reported its current fault to the other ranks; atomic */
    unsigned overcome;           /* number of calls of organ_ranks_overcome so far */
    bool lost;                   /* the other ranks cannot be reached; atomic */
    const organ_progress *shown; /* display of rank 0 */
    organ_progress progress;     /* to which this rank's work reports */
    bool stage;                  /* a progress stage is open */
    uint32_t stages; /* progress stages begun; a meeting sets it to the largest of all ranks, because some stages begin
                        only on rank 0 */
    struct organ_early_note *early, **early_end; /* on rank 0: list of kept notes of stages that it has not begun, in
                                                    order of arrival, and the pointer at its end */
    uint64_t unsent;                             /* bytes of progress that were not sent to rank 0 yet */
    uint64_t spoken;                             /* notes for display sent to rank 0 since the start; atomic */
    uint64_t *received; /* on rank 0: notes for display received from each rank since the start; atomic */
    organ_watch watch;  /* detects lost ranks */
};

/* Joins the ranks like organ_ranks_join, with a transport that is loaded already. *ranks is NULL after an error. */
organ_status organ_ranks_join_by(const organ_transport *transport, const organ_launch *launch, organ_stop *stop,
                                 organ_ranks **ranks, organ_error *error);

/* Sleeps between two tests for messages: 20 microseconds for attempt 0, doubled up to six times. */
void organ_ranks_pause_before_retry(unsigned attempt);

/* Starts the heartbeat thread, which sends this rank's progress to rank 0 and receives notes. Returns ORGAN_IO if the
 * thread cannot be created. */
organ_status organ_heartbeat_start(organ_ranks *ranks, organ_error *error);
/* Ends the heartbeat thread, which first receives the notes that have arrived. Does nothing if it does not run. */
void organ_heartbeat_end(organ_ranks *ranks);
/* On rank 0: frees the notes for display of stages that rank 0 has not begun (organ_ranks.early). */
void organ_heartbeat_discard_notes(organ_ranks *ranks);

/* Starts the thread of the watch, unless the limit of silence is 0. If a rank is lost, the thread sets organ_ranks.lost
 * and makes all calls of the transport fail. Returns ORGAN_IO if the thread cannot be created. */
organ_status organ_watch_start(organ_ranks *ranks, organ_error *error);
/* The work of the thread of the watch at its wake-up number `poll`: sends and receives signs of life, and abandons the
 * run if a rank has been silent for too long. */
void organ_watch_poll(organ_ranks *ranks, unsigned poll);
/* Ends this rank's signs of life, before ranks leave: none may reach a rank that has left. */
void organ_watch_hush(organ_ranks *ranks);
/* Gives rank 0 time to print its error before this rank ends, because a launcher ends all ranks when one ends with an
 * error. If rank 0 has sent this rank the number of a rank that no longer answers, waits for the launcher's signal for
 * twice the allowed seconds of silence, at most 10 s. Otherwise returns at once. */
void organ_watch_wait_for_rank_0(organ_ranks *ranks);
/* Ends the thread of the watch. */
void organ_watch_end(organ_ranks *ranks);

/* Receives and processes the notes that have arrived. Thread-safe. */
void organ_heartbeat_receive(organ_ranks *ranks);
/* On rank 0: receives notes until `spoken` notes for display have arrived from rank `rank` since the start, or ranks
 * are lost. */
void organ_heartbeat_receive_until(organ_ranks *ranks, size_t rank, uint64_t spoken);

/* Sets the number of progress stages that this rank has begun to `stages`, the largest number of all ranks. */
void organ_heartbeat_align(organ_ranks *ranks, uint32_t stages);

/* Sends a request to stop to all other ranks, once. */
void organ_heartbeat_stop_all(organ_ranks *ranks);

/* Reports a fault to all other ranks, once for each fault, so that they stop working. */
void organ_heartbeat_halt_all(organ_ranks *ranks);

#endif
