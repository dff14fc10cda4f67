/* SPDX-License-Identifier: MIT
 * Restrictions that a process puts on itself and cannot remove: Landlock for files, seccomp for system calls; and what
 * a child does before
 * it becomes another program. In goes what the process is for, out comes one that can do no more than that. Both are
 * asked of the kernel:
 * where it has one of them only, that one is used.
 *
 *   landlock.c   which files
 *   seccomp.c    which system calls
 *   child.c      descriptors, signals, environment */
#ifndef ORGAN_CONFINE_H
#define ORGAN_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

/* Programs with a sanitizer look at themselves from a second process, and take terabytes of address space. */
#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define ORGAN_SANITIZED 1
#endif
#endif
#if !defined ORGAN_SANITIZED && (defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__)
#define ORGAN_SANITIZED 1
#endif
#ifndef ORGAN_SANITIZED
#define ORGAN_SANITIZED 0
#endif

/* ---- what the kernel has ---- */

typedef struct organ_confinement {
    int landlock; /* its version; 0: none, or one with which directories could not be renamed (before Linux 5.19) */
    bool seccomp; /* filters of system calls, on a processor whose calls are known here */
} organ_confinement;

organ_confinement organ_confinement_of_kernel(void);

/* What is missing and what that leaves open, as a sentence in `text`; "" if nothing is. */
void organ_confinement_lacks(const organ_confinement *has, char *text, size_t size);

/* ---- Landlock ---- */

/* Confines the calling thread and what it will execute: reading and writing below the directory `root`, reading of the
 * system's libraries and of what tells about the machine, executing of the file `program` (a descriptor, O_PATH does)
 * and of what the system's loader needs. Nothing else of the file system, no TCP, no signals to others as far as the
 * kernel knows these. false with errno if it could not be done, in whole or in part. `version` is not 0. Makes system
 * calls only: may be called between fork and exec. */
bool organ_confine_files(int version, int root, int program);

/* The same for a process that reads below `root` and does nothing else. */
bool organ_confine_reading(int version, int root);

/* ---- seccomp ---- */

/* Calls that are not listed give EPERM, those that were not known when this was written ENOSYS, so that the C library
 * takes older ones. */
typedef enum organ_calls {
    ORGAN_CALLS_OF_JOBS,   /* files, memory, threads; no sockets, no new processes; the one exec of
                              ORGAN_PROGRAM_DESCRIPTOR is left */
    ORGAN_CALLS_NO_EXEC,   /* everything but exec: for a job, once it has started */
    ORGAN_CALLS_OF_READERS /* opening files for reading, reading, memory, and an open socket; exec, sockets and ptrace
                              kill the process */
} organ_calls;

/* false with errno if it could not be done. Gives up new privileges for good. May be called between fork and exec. */
bool organ_confine_calls(organ_calls calls);

/* In the environment of a job that has to refuse exec itself: organ_confine_started does so where it stands. False with
 * errno if it could not be done. */
#define ORGAN_CONFINED_VARIABLE "ORGAN_CONFINED=seccomp"
bool organ_confine_started(void);

/* ---- a child up to exec ---- */

/* The variables of this environment that a child gets: those of language, time zone, kernels and sanitizers, and
 * ORGAN_CONFINED_VARIABLE if `confined`. An array to be freed, whose strings are the environment's; NULL without
 * memory. */
char **organ_child_environment(bool confined);

/* For a child between fork and exec: system calls only. */
enum { ORGAN_PROGRAM_DESCRIPTOR = 3 };
void organ_child_plain_signals(void);        /* none is caught, ignored or blocked */
int organ_child_lift(int fd);                /* the same above the numbers that are given out; -1 with errno */
bool organ_child_place(int fd, int number);  /* it gets this number, also for the program that is executed */
void organ_child_close_from(int descriptor); /* it and all above it */

#endif
