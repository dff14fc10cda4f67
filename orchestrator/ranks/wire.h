/* SPDX-License-Identifier: MIT
 * How ranks reach each other: what the module liborgan_mpi.so gives to organ, which itself knows nothing of MPI. Calls
 * may come from several threads. Each returns 0, or tells in `why` (of ORGAN_WIRE_WHY bytes) what the library said. */
#ifndef ORGAN_WIRE_H
#define ORGAN_WIRE_H

#include <stddef.h>

#define ORGAN_WIRE_WHY 512

typedef struct organ_wire {
    /* Joins the other ranks of the run. */
    int (*open)(int *rank, int *count, char *why);
    /* Every rank gives `bytes` bytes, the same number; all get those of all at `all`, in order of ranks. `wait` is
     * called, without a lock, whenever nothing has come yet: it pauses. */
    int (*gather)(const void *mine, size_t bytes, void *all, void (*wait)(unsigned turn), char *why);
    /* The `bytes` bytes of rank `from` reach all others, at `data`. */
    int (*broadcast)(void *data, size_t bytes, int from, void (*wait)(unsigned turn), char *why);
    /* A note of at most ORGAN_WIRE_NOTE bytes for one rank, which is not waited for unless many are on their way. */
    int (*send)(int to, const void *note, size_t bytes, void (*wait)(unsigned turn), char *why);
    /* A note that has come: *bytes of it at `note`, 0 if there is none. */
    int (*receive)(void *note, size_t room, size_t *bytes, int *from, char *why);
    /* A sign of life for one rank, with a word. It never waits: where too much is on its way it is left out. */
    int (*beat)(int to, int word, char *why);
    /* Whose sign of life has come; *from is -1 if there is none. */
    int (*heard)(int *from, int *word, char *why);
    /* Calls that wait, and all that come later, fail. */
    void (*cut)(void);
    int (*close)(char *why);
} organ_wire;

#define ORGAN_WIRE_NOTE 1024

/* Their names in the module, in the order of the structure. */
#define ORGAN_WIRE_NAMES                                                                                               \
    {                                                                                                                  \
        "organ_mpi_open", "organ_mpi_gather", "organ_mpi_broadcast", "organ_mpi_send", "organ_mpi_receive",            \
            "organ_mpi_beat", "organ_mpi_heard", "organ_mpi_cut", "organ_mpi_close"                                    \
    }
#define ORGAN_WIRE_FUNCTIONS 9

#endif
