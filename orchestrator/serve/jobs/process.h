/* SPDX-License-Identifier: MIT
 * Processes of jobs. They outlive the server, and a later server can identify them. */
#ifndef ORGAN_JOB_PROCESS_H
#define ORGAN_JOB_PROCESS_H

#include "formats/base/status.h"
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/http/http.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Identifies one process: pids are reused, but not with the same start time in one boot. pid 0: none. */
typedef struct organ_process {
    pid_t pid;
    uint64_t born; /* ticks since the machine was booted */
    char boot[40]; /* the boot id */
} organ_process;

/* Properties that all job processes share. */
typedef struct organ_process_plan {
    int folders[ORGAN_JAIL_FOLDERS]; /* descriptors of the jail: the process works in the first directory, and may read
                                      * the others */
    size_t folder_count;
    int program;               /* descriptor of the program, O_PATH */
    organ_confinement confine; /* the mechanisms that confine the process */
    char **environ;            /* NULL-terminated */
} organ_process_plan;

/* Starts the program in its own process group, with `output` and `log` as standard output and error, no other open
 * descriptors, no core dumps, and at most `memory` bytes of private memory (RLIMIT_DATA; 0: no limit). The process
 * waits until organ_process_release, so that its record can be saved before it does anything; it ends if `*gate` is
 * closed without a release. ORGAN_IO if it cannot be started or confined. */
organ_status organ_process_start(const organ_process_plan *plan, char *const *argv, uint64_t memory, int output,
                                 int log, organ_process *process, int *gate, organ_error *error);
void organ_process_release(int gate);                               /* starts the waiting program; closes the gate */
void organ_process_abandon(const organ_process *process, int gate); /* ends the waiting process instead */

void organ_job_close(int fd); /* closes fd; does nothing for -1 */

/* Returns true if exactly this process is still running. */
bool organ_process_lives(const organ_process *process);

/* Collects a child that has ended: returns true, with *code its exit code, or -1 with *signal. Returns false while
 * the process runs, and for processes that are not children of this server. */
bool organ_process_reap(const organ_process *process, int *code, int *signal);

/* Sends the signal to the process and all processes it started; does nothing if it has ended. */
void organ_process_signal(const organ_process *process, int number);

#endif
