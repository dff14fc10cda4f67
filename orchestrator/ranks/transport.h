/* SPDX-License-Identifier: MIT
 * The interface between organ and the module liborgan_mpi.so, so that organ itself does not depend on MPI. Calls may
 * come from several threads. Each returns 0, or another value with the library's error text in `why`
 * (ORGAN_TRANSPORT_MESSAGE_BYTES bytes). */
#ifndef ORGAN_TRANSPORT_H
#define ORGAN_TRANSPORT_H

#include <stddef.h>

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

#endif
