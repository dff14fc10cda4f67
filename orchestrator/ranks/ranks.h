/* SPDX-License-Identifier: MIT
 * Room ranks: the processes of one run. A launcher (mpirun, srun) starts the same command N times; each of them, a
 * rank, goes through the whole of the verb, and where work is dear each does its share and all learn what came of it.
 * The first rank alone prints, and writes what belongs to no share. A fault of one is the fault of all. NULL for the
 * ranks is allowed everywhere: one process, as ever. */
#ifndef ORGAN_RANKS_H
#define ORGAN_RANKS_H

#include "formats/base/status.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/stream/stop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_ranks organ_ranks;

#define ORGAN_MOST_RANKS 65536

/* What the environment says of a launcher. */
typedef struct organ_launch {
    const char *launcher; /* "mpirun"; NULL: none */
    size_t rank, count;   /* of this process; how many it has started: 1 without one, too */
} organ_launch;

/* How many seconds a rank may be silent before the others take it for lost: of this environment variable, else so many.
 */
#define ORGAN_SILENCE_VARIABLE "ORGAN_SILENCE"
#define ORGAN_SILENCE_SECONDS  120
#define ORGAN_SILENCE_MOST     86400

organ_launch organ_launch_find(void);
const char *organ_launch_silence(void); /* the text of the variable; "" where it is not set */

/* Loads the module and joins the other processes of the launch. *ranks is NULL where the launch has one process or
 * none. A wish to stop that any rank gets is told to all. Ranks of one host to which the launcher has given the same
 * cores divide these. A rank whose process is stopped, or whose host hangs or cannot be reached, ends the run of the
 * others once it has been silent for as long as the first rank's environment allows; they name it. ORGAN_IO if the
 * module is not there; ORGAN_USAGE if the ranks do not find each other, are not of one version, or if the variable is
 * no number of seconds. */
organ_status organ_ranks_join(const organ_launch *launch, organ_stop *stop, organ_ranks **ranks, organ_error *error);

/* Once all is done, or a part from whose faults a run recovers: a fault of one rank becomes that of all, at whatever
 * point of the work each of them heard of it. */
organ_status organ_ranks_settle(organ_ranks *ranks, const char *where, organ_error *error);

/* After that: the run goes on without that part. What the ranks were to leave off because of the fault is not left off
 * any more. */
void organ_ranks_overcome(organ_ranks *ranks);

/* What is wrong, without the rank and its host that the message of all names. */
const char *organ_ranks_said(const organ_ranks *ranks, const organ_error *error);

/* The last call. Waits until all ranks are here: a launcher kills those that still run when one has ended with an
 * error, and the first has to tell of it before. If the first rank has sent this rank the number of a rank that no
 * longer answers, this rank waits at most 10 s for the launcher to end it. */
void organ_ranks_leave(organ_ranks *ranks);

size_t organ_ranks_rank(const organ_ranks *ranks);  /* 0: the first */
size_t organ_ranks_count(const organ_ranks *ranks); /* 1 without ranks */
bool organ_ranks_first(const organ_ranks *ranks);
bool organ_ranks_without_first(const organ_ranks *ranks); /* the first rank is taken for lost: it tells nothing */
const char *organ_ranks_host(const organ_ranks *ranks,
                             size_t rank); /* of several ranks: the name of the host that it runs on */

/* Waits for all ranks, also after an error, which is then that of all: of several the first rank's, an interruption
 * only where nothing else is wrong. If this rank's error records a whole output (organ_error_output_whole), the
 * message of another rank's ORGAN_IO or interruption begins with that output. What comes afterwards is exchanged as
 * before, by all who go on. `where` says at which point of the run this is: if ranks have come to different points,
 * that is an error too. */
organ_status organ_ranks_agree(organ_ranks *ranks, const char *where, organ_error *error);

/* What the ranks gave: `of[r]` has `bytes[r]` bytes. To be released with organ_gathered_free, whatever was returned. */
typedef struct organ_gathered {
    size_t count;
    char **of;
    uint64_t *bytes;
} organ_gathered;

/* As organ_ranks_agree, and every rank gives bytes that all get. They are there also where a rank failed. Without ranks
 * it is a copy. */
organ_status organ_ranks_gather(organ_ranks *ranks, const char *where, const void *mine, uint64_t bytes,
                                organ_gathered *all, organ_error *error);
void organ_gathered_free(organ_gathered *all);

/* Of an array of `count` elements of `size` bytes each rank has computed those that it owns: all get all of it. As
 * organ_ranks_agree. */
organ_status organ_ranks_complete(organ_ranks *ranks, const char *where, void *array, size_t size, size_t count,
                                  const uint32_t *owner, organ_error *error);

/* The bytes of rank `from` reach all others, at `data`. For all ranks, at one point of the run and once they have
 * agreed: here nobody looks whether one has a fault. ORGAN_IO where they cannot be reached. Nothing without ranks. */
organ_status organ_ranks_broadcast(organ_ranks *ranks, size_t from, void *data, size_t bytes, organ_error *error);

/* Each rank has counted its share: all get the sums. As organ_ranks_agree. */
organ_status organ_ranks_add(organ_ranks *ranks, const char *where, uint64_t *counts, size_t count, organ_error *error);

/* ORGAN_USAGE where there are several ranks, which cannot share `what` ("prune --method wanda"). */
organ_status organ_ranks_refuse(const organ_ranks *ranks, const char *what, organ_error *error);

/* Deals parts to the ranks by their bytes: the largest first, each to the rank that has least, of equals the first;
 * owner[k] is the rank of part k. The same on all ranks. */
organ_status organ_ranks_deal(const organ_ranks *ranks, const uint64_t *bytes, size_t count, uint32_t *owner,
                              organ_error *error);

/* The parts of a work, each of which is done by one of the ranks; without ranks all are this process's. */
typedef struct organ_deal {
    organ_ranks *ranks;
    size_t count;
    uint32_t *owner; /* the rank of each part */
} organ_deal;

/* Deals `count` parts by what `bytes` says of each, as organ_ranks_deal. To be released, whatever was returned. */
organ_status organ_deal_make(organ_ranks *ranks, size_t count, uint64_t (*bytes)(const void *context, size_t part),
                             const void *context, organ_deal *deal, organ_error *error);
bool organ_deal_mine(const organ_deal *deal, size_t part);
void organ_deal_release(organ_deal *deal);

/* Does the parts of this rank, in their order, up to the first error. */
organ_status organ_deal_work(const organ_deal *deal,
                             organ_status (*work)(void *context, size_t part, organ_error *error), void *context,
                             organ_error *error);

/* All learn what was found out of each part: `size` bytes without pointers, those of the first at `first`, of each
 * other `stride` bytes behind the one before. As organ_ranks_agree, also where the deal could not be made. */
organ_status organ_deal_complete(const organ_deal *deal, const char *where, void *first, size_t size, size_t stride,
                                 organ_error *error);

/* The same of what has no fixed size: of[k] is `bytes` bytes that are to be freed, or NULL and 0. */
typedef struct organ_found {
    void *is;
    uint64_t bytes;
} organ_found;
organ_status organ_deal_exchange(const organ_deal *deal, const char *where, organ_found *of, organ_error *error);

/* Rows that ranks share evenly, each some that follow one another, from a multiple of `step` on: those of `rank`. */
typedef struct organ_row_range {
    size_t first, end;
} organ_row_range;
organ_row_range organ_ranks_rows(const organ_ranks *ranks, size_t rank, size_t rows, size_t step);

/* Each rank has computed its rows, of `bytes` bytes each: all get all of them. As organ_ranks_agree. */
organ_status organ_ranks_complete_rows(organ_ranks *ranks, const char *where, void *values, size_t bytes, size_t rows,
                                       size_t step, organ_error *error);

/* The progress for this rank: the first rank shows that of all as one, the others tell it theirs. To be called once;
 * `shown` must outlive the ranks. Without ranks it is `shown`. */
const organ_progress *organ_ranks_progress(organ_ranks *ranks, const organ_progress *shown);

#endif
