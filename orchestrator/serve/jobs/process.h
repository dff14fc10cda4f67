/* SPDX-License-Identifier: MIT
 * Processes of jobs: started so that they outlive the server, and known again by a later one. */
#ifndef ORGAN_JOB_PROCESS_H
#define ORGAN_JOB_PROCESS_H

#include "formats/base/status.h"
#include "orchestrator/serve/confine/confine.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Identifies one process: pids are reused, but not with the same start time in one boot. pid 0: none. */
typedef struct organ_process {
    pid_t pid;
    uint64_t born; /* ticks since the machine was booted */
    char boot[40]; /* which boot that was */
} organ_process;

/* What is the same for all. */
typedef struct organ_process_plan {
    int root;                  /* descriptor of the directory it works in and is confined to */
    int program;               /* descriptor of the program, O_PATH */
    organ_confinement confine; /* by what the process is confined */
    char **environ;            /* NULL-terminated */
} organ_process_plan;

/* Starts the program in a process group of its own, with standard output and error going to those descriptors, none
 * other open, without core dumps, and with at most `memory` bytes of its own (RLIMIT_DATA; 0: no limit). It waits for
 * organ_process_release (or ends where
 * `*gate` is closed unreleased), so that it can be written down before it does anything. ORGAN_IO if it cannot be
 * started or confined. */
organ_status organ_process_start(const organ_process_plan *plan, char *const *argv, uint64_t memory, int output,
                                 int log, organ_process *process, int *gate, organ_error *error);
void organ_process_release(int gate);                               /* lets it run; closes the gate */
void organ_process_abandon(const organ_process *process, int gate); /* or ends it before it has begun */

void organ_job_close(int fd); /* does nothing for -1 */

/* Whether exactly this process lives. */
bool organ_process_lives(const organ_process *process);

/* A child that has ended is collected: true, with *code its exit code, or -1 with *signal. false while it runs, and for
 * processes that are no children of ours. */
bool organ_process_reap(const organ_process *process, int *code, int *signal);

/* To the process and all it has started; nothing if it does not live any more. */
void organ_process_signal(const organ_process *process, int number);

#endif
