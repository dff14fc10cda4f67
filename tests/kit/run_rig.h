/* SPDX-License-Identifier: MIT
 * For tests that run an operation: its engine, and whether two runs tell the same. */
#ifndef RUN_RIG_H
#define RUN_RIG_H

#include "orchestrator/stream/pass.h"
#include "tests/kit/model_maker.h"

/* How an engine differs from the usual: the best ISA, this machine, 2 threads, 64 MiB, never stopped. */
typedef struct run_way {
    const char *isa, *machine; /* machine: as organ_topology_synthetic takes it */
    size_t threads;
    uint64_t memory;
    const organ_stop *stop;
} run_way;

typedef struct run_engine {
    organ_topology *topology;
    organ_workers *workers;
    organ_engine engine;
} run_engine;

/* Fails the test where an engine cannot be had; a close must follow. */
void run_engine_open(run_engine *room, run_way way);
void run_engine_close(run_engine *room);

/* Fails the test unless organ/NAME of two outputs in the scratch directory is the same but for its "run" and the member
 * `also` (may be NULL). */
void same_reports(const char *a, const char *b, const char *name, const char *also);

/* One run that makes `output` in the scratch directory, as `way` says. */
typedef organ_status run_once(const void *way, const char *output, organ_error *error);

/* Fails the test unless each run ends with ORGAN_IO and leaves nothing that finds the disk full: at its first pwrite or
 * a later one, up to the last, at the first or third call of what else writes. A run that makes no such call must
 * succeed. */
void full_disk_leaves_nothing(run_once *run, const void *way);

#endif
