/* SPDX-License-Identifier: MIT
 * Processes of jobs. They outlive the server that started them, and a later server can identify them. */
#ifndef ORGAN_JOB_PROCESS_H
#define ORGAN_JOB_PROCESS_H

#include <organ/base.h>
#include "orchestrator/serve/confine/confine.h"
#include "orchestrator/serve/http/http.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Identifies one process for all time: the system reuses pids, but not with the same start time in one boot. */
typedef struct organ_process {
    pid_t pid;     /* 0: no process */
    uint64_t born; /* start time of the process, in clock ticks since the machine was booted */
    char boot[40]; /* id of that boot (/proc/sys/kernel/random/boot_id) */
} organ_process;

/* Properties that all job processes share. */
typedef struct organ_process_plan {
    int folders[ORGAN_JAIL_FOLDERS]; /* directories of the jail: the first is the root, in which the process works and
                                      * writes; it may only read the others. The jail closes the descriptors */
    size_t folder_count;
    int program;               /* descriptor of the program, O_PATH */
    organ_confinement confine; /* the mechanisms that confine the process */
    char **environ;            /* environment of the process: "NAME=VALUE", NULL-terminated */
} organ_process_plan;

/* Starts a process in its own process group, with the descriptors `output` and `log` as standard output and error, no
 * other open files, no core dumps, and at most `memory` bytes of private memory (RLIMIT_DATA; 0: no limit). The process
 * is confined, but waits at the pipe *gate: organ_process_let_go makes it execute the program. The caller can save
 * *process before that. If *gate is closed without a release, for example because the server dies, the process ends.
 * Returns ORGAN_IO if the process cannot be started or confined. */
organ_status organ_process_start(const organ_process_plan *plan, char *const *argv, uint64_t memory, int output,
                                 int log, organ_process *process, int *gate, organ_error *error);
void organ_process_let_go(int gate);                                /* starts the waiting program; closes the gate */
void organ_process_abandon(const organ_process *process, int gate); /* ends the waiting process instead */

void organ_job_close(int fd); /* closes fd; does nothing for -1 */

/* Returns true if exactly this process is still running. */
bool organ_process_lives(const organ_process *process);

/* Waits for a child that has ended (waitpid) and returns true. *code is its exit code and *signal 0, or *code is -1 and
 * *signal the signal that ended it. Returns false while the process runs, and if it is not a child of this server. */
bool organ_process_reap(const organ_process *process, int *code, int *signal);

/* Sends the signal to the process and all processes it started; does nothing if it has ended. */
void organ_process_signal(const organ_process *process, int number);

#endif
