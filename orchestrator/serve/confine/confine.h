/* SPDX-License-Identifier: MIT
 * Restrictions that a process sets for itself and cannot remove: Landlock for files, seccomp for system calls; and
 * the preparation of a child process before exec. If the kernel supports only one of the two mechanisms, that one is
 * used.
 *
 *   landlock.c   files
 *   seccomp.c    system calls
 *   child.c      descriptors, signals, environment */
#ifndef ORGAN_CONFINE_H
#define ORGAN_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

/* Sanitizers inspect the program from a second process and reserve terabytes of address space. */
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

/* ---- support by the kernel ---- */

typedef struct organ_confinement {
    int landlock; /* version; 0: none, or one without renaming of directories (before Linux 5.19) */
    bool seccomp; /* filters of system calls, on a processor whose call numbers are listed here */
} organ_confinement;

/* Returns the mechanisms that the running kernel supports. */
organ_confinement organ_confinement_of_kernel(void);

/* Writes a sentence that names the missing mechanisms and what jobs could therefore do; "" if none is missing. `size`
 * is the capacity of `text` in bytes. */
void organ_confinement_lacks(const organ_confinement *has, char *text, size_t size);

/* ---- Landlock ---- */

/* Directories, as descriptors, below which a process may only read. */
typedef struct organ_readable {
    const int *fds;
    size_t count;
} organ_readable;

/* Confines the calling thread and the programs it will execute. Allowed are reading and writing below the directory
 * `root`, reading below `others`, reading the system's libraries and its descriptions of the machine, and executing the
 * file `program` (a descriptor, may be O_PATH) and the system's loader. All other files, TCP, and signals to other
 * processes are denied, as far as the kernel supports it. Returns false with errno if any restriction could not be set.
 * `version` is not 0. Makes system calls only, so it may be called between fork and exec. */
bool organ_confine_files(int version, int root, organ_readable others, int program);

/* Confines the calling thread, which then may only read, and only below `folders`. Returns false with errno on
 * error. */
bool organ_confine_reading(int version, organ_readable folders);

/* ---- seccomp ---- */

/* The filters of system calls. Calls that a filter does not allow return EPERM; calls newer than the list in seccomp.c
 * return ENOSYS, so that the C library falls back to older ones. */
typedef enum organ_calls {
    ORGAN_CALLS_OF_JOBS,   /* files, memory, threads; no sockets, no new processes; one exec, of
                            * ORGAN_PROGRAM_DESCRIPTOR */
    ORGAN_CALLS_NO_EXEC,   /* everything but exec: for a job, once it has started */
    ORGAN_CALLS_OF_READERS /* opening files for reading, reading, memory, and an open socket; exec, sockets and
                            * ptrace kill the process */
} organ_calls;

/* Installs a filter for the calling thread and the programs it executes; a filter cannot be removed. Sets no_new_privs.
 * Makes system calls only, so it may be called between fork and exec. Returns false with errno on error. */
bool organ_confine_calls(organ_calls calls);

/* The variable that the server puts into the environment of a job, so that the job disables exec: the filter of jobs
 * allows one exec, which starts the job itself. */
#define ORGAN_CONFINED_VARIABLE "ORGAN_CONFINED=seccomp"
/* Disables exec (ORGAN_CALLS_NO_EXEC) if ORGAN_CONFINED_VARIABLE is in the environment; a program calls it first.
 * Returns false with errno if the filter could not be set. */
bool organ_confine_started(void);

/* ---- a child up to exec ---- */

/* Selects the variables of this environment that a child gets: those for language, time zone, kernels and
 * sanitizers, and ORGAN_CONFINED_VARIABLE if `confined`. Returns an array to be freed, whose strings are those of
 * the environment; NULL without memory. */
char **organ_child_environment(bool confined);

/* The descriptor of the program that a child executes. The functions below run in a child between fork and exec, where
 * only system calls are safe. */
enum { ORGAN_PROGRAM_DESCRIPTOR = 3 };
void organ_child_plain_signals(void);        /* resets all signals: none caught, ignored or blocked */
int organ_child_move_descriptor(int fd);     /* duplicates fd to a number above those assigned to the child; -1 with
                                              * errno */
bool organ_child_place(int fd, int number);  /* duplicates fd to this number, without close-on-exec */
void organ_child_close_from(int descriptor); /* closes this descriptor and all above it */

#endif
