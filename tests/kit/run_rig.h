/* SPDX-License-Identifier: MIT
 * For tests that run an operation: an engine, and comparisons of two runs. */
#ifndef RUN_RIG_H
#define RUN_RIG_H

#include <organ/stream.h>
#include "tests/kit/model_maker.h"

/* Differences from the usual engine: the best ISA, this machine, 2 threads, 64 MiB, not stopped. */
typedef struct run_way {
    const char *isa, *machine; /* machine: a description for organ_topology_synthetic */
    size_t threads;
    uint64_t memory;
    const organ_stop *stop;
} run_way;

typedef struct run_engine {
    organ_topology *topology;
    organ_workers *workers;
    organ_engine engine;
} run_engine;

/* Ends the test on a failure; the caller closes the engine. */
void run_engine_open(run_engine *room, run_way way);
void run_engine_close(run_engine *room);

/* Checks that organ/NAME of two outputs in the scratch directory are equal except for "run" and the member `also` (may
 * be NULL). */
void same_reports(const char *a, const char *b, const char *name, const char *also);

/* Makes `output` in the scratch directory once, with the options in `way`. */
typedef organ_status run_once(const void *way, const char *output, organ_error *error);

/* Checks that each run with a full disk ends with ORGAN_IO and leaves nothing: at its first pwrite or a later one, up
 * to the last, at the first or third of other writing calls. A run without such a call must succeed. */
void full_disk_leaves_nothing(run_once *run, const void *way);

#endif
