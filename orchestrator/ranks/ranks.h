/* SPDX-License-Identifier: MIT
 * The ranks (processes) of one run. A launcher (mpirun, srun) starts the same command N times. Each process, a rank,
 * executes the whole verb; expensive parts are divided among the ranks, which then exchange results. Only rank 0
 * prints, and only rank 0 writes files that the ranks do not write together. A fault of one rank becomes the fault of
 * all. Every function but organ_ranks_host accepts NULL for the ranks: a run of one process. */
#ifndef ORGAN_RANKS_H
#define ORGAN_RANKS_H

#include <organ/base.h>
#include <organ/stream.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct organ_ranks organ_ranks;

#define ORGAN_MAX_RANKS 65536

/* The launcher of this process, and the rank and count that the launcher put into the environment. */
typedef struct organ_launch {
    const char *launcher; /* "mpirun"; NULL if there is no launcher */
    size_t rank, count;   /* rank of this process; number of processes, 1 without a launcher */
} organ_launch;

/* Environment variable: seconds without a sign of life after which a rank is considered lost, up to
 * ORGAN_SILENCE_MAX; 0 for no limit. The default is ORGAN_SILENCE_SECONDS. */
#define ORGAN_SILENCE_VARIABLE "ORGAN_SILENCE"
#define ORGAN_SILENCE_SECONDS  120
#define ORGAN_SILENCE_MAX      86400

organ_launch organ_launch_find(void);   /* reads the launcher's environment variables */
const char *organ_launch_silence(void); /* value of ORGAN_SILENCE, or "" */

/* Loads the MPI module and joins the other processes of the launch. *ranks is NULL if there is only one process, or
 * after an error. The caller releases *ranks with organ_ranks_leave; `stop` must outlive it.
 *
 * If a stop is requested in one rank, all ranks stop. Ranks on one host to which the launcher gave the same CPUs divide
 * these CPUs. If a rank's process is suspended, or its host hangs or is unreachable, the other ranks end their run when
 * that rank has been silent for longer than ORGAN_SILENCE of rank 0's environment allows; their message names the
 * silent rank.
 *
 * Returns ORGAN_IO if the module cannot be loaded; ORGAN_USAGE if MPI connects fewer or more processes than were
 * started, if versions differ, or if ORGAN_SILENCE is not a number of seconds. */
organ_status organ_ranks_join(const organ_launch *launch, organ_stop *stop, organ_ranks **ranks, organ_error *error);

/* Waits until all ranks have called this function: at the end of a run, or after a part of the run that may fail
 * without ending the run. A fault of one rank becomes the fault of all ranks, even if the ranks were at different steps
 * when it occurred. Returns the common status. `where` names the step in messages. */
organ_status organ_ranks_sync_status(organ_ranks *ranks, const char *where, organ_error *error);

/* Lets the ranks continue after organ_ranks_sync_status without the part of the run that failed: clears the request to
 * halt (organ_stop_set_halted) that the fault caused. All ranks call it. */
void organ_ranks_overcome(organ_ranks *ranks);

/* Returns the error's message without the prefix that names the rank at fault and its host. */
const char *organ_ranks_message(const organ_ranks *ranks, const organ_error *error);

/* Releases `ranks`; the last call. Waits until all ranks have called it, because launchers kill the remaining processes
 * when one ends with an error, and rank 0 must print its message before. If rank 0 has reported a rank that no longer
 * answers, this rank waits at most 10 s for the launcher to end it. */
void organ_ranks_leave(organ_ranks *ranks);

size_t organ_ranks_rank(const organ_ranks *ranks);  /* 0 is the first rank */
size_t organ_ranks_count(const organ_ranks *ranks); /* 1 if `ranks` is NULL */
bool organ_ranks_first(const organ_ranks *ranks);   /* this is rank 0 */
/* Returns true if rank 0 is considered lost, so that it cannot print. */
bool organ_ranks_without_first(const organ_ranks *ranks);
const char *organ_ranks_host(const organ_ranks *ranks,
                             size_t rank); /* name of the host of a rank; `ranks` must not be NULL */

/* A meeting point: waits until all ranks have called this function, also ranks with an error. If some ranks have an
 * error, all ranks get the error of the lowest of these ranks; an interruption counts only if there is no other
 * fault. If this rank's error records a complete output (organ_error_set_output) and the common error is ORGAN_IO
 * or an interruption, this rank's message begins with that output. After an error, ranks that continue can meet
 * again. `where` names the step; ranks at different steps are an error. */
organ_status organ_ranks_agree(organ_ranks *ranks, const char *where, organ_error *error);

/* The bytes that all ranks passed to organ_ranks_gather. Release them with organ_gathered_release after success and
 * after an error. */
typedef struct organ_gathered {
    size_t count;    /* number of ranks */
    char **of;       /* of[r]: the bytes of rank r, followed by a NUL */
    uint64_t *bytes; /* bytes[r]: number of bytes of rank r, without the NUL */
} organ_gathered;

/* Meets like organ_ranks_agree, and sends the bytes of every rank to all ranks, even if a rank has an error. `mine`:
 * the `bytes` bytes of this rank. Without ranks, *all gets a copy of `mine`. */
organ_status organ_ranks_gather(organ_ranks *ranks, const char *where, const void *mine, uint64_t bytes,
                                organ_gathered *all, organ_error *error);
void organ_gathered_release(organ_gathered *all);

/* Meets like organ_ranks_agree. Divides the automatic memory of `engine` by the ranks on this host, at most `limit`
 * bytes each (0: no limit), and gives all ranks the least ceiling of any. Works without ranks too; does nothing if
 * --memory is an amount. */
organ_status organ_ranks_divide_memory(organ_ranks *ranks, const organ_engine *engine, uint64_t limit,
                                       organ_error *error);

/* Meets like organ_ranks_agree, and completes an array of `count` elements of `size` bytes in all ranks: rank owner[k]
 * has computed element k, and all other ranks receive that element. */
organ_status organ_ranks_complete(organ_ranks *ranks, const char *where, void *array, size_t size, size_t count,
                                  const uint32_t *owner, organ_error *error);

/* Sends `bytes` bytes at `data` from rank `from` to all others. All ranks must call it at the same point, after
 * organ_ranks_agree, because it does not exchange errors. Returns ORGAN_IO if ranks cannot be reached. Does nothing
 * without ranks. */
organ_status organ_ranks_broadcast(organ_ranks *ranks, size_t from, void *data, size_t bytes, organ_error *error);

/* Meets like organ_ranks_agree, and replaces each of `count` numbers by its sum over all ranks. */
organ_status organ_ranks_add(organ_ranks *ranks, const char *where, uint64_t *counts, size_t count, organ_error *error);

/* Returns ORGAN_USAGE if there are several ranks, because `what` ("prune --method wanda") cannot be divided. */
organ_status organ_ranks_refuse(const organ_ranks *ranks, const char *what, organ_error *error);

/* Sets owner[k] to the rank of part k, which has bytes[k] bytes: parts are assigned from the largest on, each to the
 * rank with the fewest bytes, the lowest among equals. The result is the same on all ranks. */
organ_status organ_ranks_assign(const organ_ranks *ranks, const uint64_t *bytes, size_t count, uint32_t *owner,
                                organ_error *error);

/* The assignment of the `count` parts of some work to ranks; without ranks (NULL) this process does all parts. */
typedef struct organ_assignment {
    organ_ranks *ranks; /* NULL: a single process */
    size_t count;
    uint32_t *owner; /* rank of each part */
} organ_assignment;

/* Assigns `count` parts by the bytes that the function `bytes` returns for each, like organ_ranks_assign. Release the
 * assignment after success and after an error. */
organ_status organ_assignment_create(organ_ranks *ranks, size_t count,
                                     uint64_t (*bytes)(const void *context, size_t part), const void *context,
                                     organ_assignment *assignment, organ_error *error);
/* Assigns part k to rank k * ranks / count, so that each rank gets a contiguous range of parts of about the same
 * length. Release the assignment after success and after an error. */
organ_status organ_assign_evenly(organ_ranks *ranks, size_t count, organ_assignment *assignment, organ_error *error);
/* Returns true if the part is assigned to this rank. */
bool organ_assignment_is_local(const organ_assignment *assignment, size_t part);
void organ_assignment_release(organ_assignment *assignment);

/* Calls `work` for each part of this rank, in order, up to the first error, which it returns. */
organ_status organ_assignment_run(const organ_assignment *assignment,
                                  organ_status (*work)(void *context, size_t part, organ_error *error), void *context,
                                  organ_error *error);

/* Meets like organ_ranks_agree, also if organ_assignment_create failed, and exchanges the results of all parts. A
 * result is `size` bytes without pointers; that of part k is at `first` + k * `stride`. */
organ_status organ_assignment_complete(const organ_assignment *assignment, const char *where, void *first, size_t size,
                                       size_t stride, organ_error *error);

/* Meets and exchanges like organ_assignment_complete, for results of variable size. The pointer to the result of part k
 * is at `first` + k * `stride`: an allocation that the caller frees, or NULL. `bytes` returns the size of a result of
 * this rank that is not NULL; if `bytes` is NULL, the results are strings. */
organ_status organ_assignment_exchange(const organ_assignment *assignment, const char *where, void *first,
                                       size_t stride, uint64_t (*bytes)(const void *context, size_t part),
                                       const void *context, organ_error *error);

/* Rows [first, end) of a matrix. */
typedef struct organ_row_range {
    size_t first, end;
} organ_row_range;
/* Returns the rows of rank `rank` if `rows` rows are divided among the ranks into contiguous ranges of about the same
 * length that begin at multiples of `step`. */
organ_row_range organ_ranks_rows(const organ_ranks *ranks, size_t rank, size_t rows, size_t step);
organ_row_range organ_ranks_own_rows(const organ_ranks *ranks, size_t rows, size_t step); /* those of this rank */

/* Meets like organ_ranks_agree, and exchanges rows of `bytes` bytes: each rank has computed its rows,
 * organ_ranks_own_rows(ranks, rows, step), in `values`, an array of all `rows` rows, and receives the rows of all other
 * ranks. */
organ_status organ_ranks_complete_rows(organ_ranks *ranks, const char *where, void *values, size_t bytes, size_t rows,
                                       size_t step, organ_error *error);

/* Returns the progress to which this rank reports: rank 0 passes the progress of all ranks to `shown`, all other ranks
 * send their progress to rank 0. Call it once; `shown` must outlive the ranks. Returns `shown` without ranks. */
const organ_progress *organ_ranks_progress(organ_ranks *ranks, const organ_progress *shown);

#endif
