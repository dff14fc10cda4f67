/* SPDX-License-Identifier: MIT
 * What several benchmarks need: CPU time, memory that is there, an end where there is an error. */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include "formats/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* CPU time of a clock, CLOCK_PROCESS_CPUTIME_ID or CLOCK_THREAD_CPUTIME_ID (or any other clock), in seconds. */
static inline double bench_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Ends the program with status 4 where `error` tells of one. */
static inline void bench_stop_at(const organ_error *error)
{
    if (error->status) {
        fprintf(stderr, "%s\n", error->message);
        exit(4);
    }
}

/* Memory for a benchmark's own numbers, to be freed. Ends the program with status 4 where there is none. */
static inline void *bench_room(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        fputs("no memory\n", stderr);
        exit(4);
    }
    return memory;
}

/* Memory on large pages, where the system has any; to be freed. Ends the program where there is none. */
static inline void *bench_large(size_t bytes)
{
    void *p = aligned_alloc(2 << 20, bytes);
    if (!p) {
        perror("bench");
        exit(EXIT_FAILURE);
    }
    madvise(p, bytes, MADV_HUGEPAGE); /* only asked for */
    return p;
}

#endif
