/* SPDX-License-Identifier: MIT
 * Restrictions that a process sets for itself and cannot remove: Landlock for files, seccomp for system calls; and
 * the preparation of a child process before exec. If the kernel supports only one of the two mechanisms, that one is
 * used. */
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

/* The mechanisms that the running kernel supports. */
typedef struct organ_confinement {
    int landlock; /* version of Landlock; 0: none, or version 1 (before Linux 5.19), which forbids all renaming between
                   * directories */
    bool seccomp; /* the kernel filters system calls, and seccomp.c lists the call numbers of this processor */
} organ_confinement;

/* Returns the mechanisms that the running kernel supports. */
organ_confinement organ_confinement_of_kernel(void);

/* Writes to `text`, which has `size` bytes, a sentence that names the missing mechanisms and what jobs could therefore
 * do; "" if none is missing. */
void organ_confinement_lacks(const organ_confinement *has, char *text, size_t size);

/* ---- Landlock ---- */

/* Descriptors of directories, below which a process may read, but not write. */
typedef struct organ_readable {
    const int *fds;
    size_t count;
} organ_readable;

/* Confines the calling thread and the programs it will execute. They may read and write below the directory `root` (a
 * descriptor), and read below `others`, the system's libraries and its descriptions of the machine. They may execute
 * the file `program` (a descriptor, may be O_PATH), and files in the system's library directories, such as the loader.
 * All other files, TCP, and signals to other processes are denied, as far as the kernel supports it. Returns false with
 * errno if any restriction could not be set. `version` is organ_confinement.landlock, and not 0. Makes system calls
 * only, so it may be called between fork and exec. */
bool organ_confine_files(int version, int root, organ_readable others, int program);

/* Confines the calling thread, which may then open files only for reading, and only below `folders`. `version` is
 * organ_confinement.landlock, and not 0. Returns false with errno on an error. */
bool organ_confine_reading(int version, organ_readable folders);

/* ---- seccomp ---- */

/* The filters of system calls. Calls that a filter does not allow return EPERM; calls newer than the list in seccomp.c
 * return ENOSYS, so that the C library falls back to older ones. */
typedef enum organ_calls {
    ORGAN_CALLS_OF_JOBS,   /* allows files, memory and threads, no sockets or new processes; exec of
                            * ORGAN_PROGRAM_DESCRIPTOR only */
    ORGAN_CALLS_NO_EXEC,   /* allows everything but exec: a job adds it once it has started */
    ORGAN_CALLS_OF_READERS /* for processes that read models: allows to open files for reading, to read, to allocate
                              memory, and to use a socket that is open already; exec, new sockets and ptrace kill the
                              process */
} organ_calls;

/* Adds a filter for the calling thread and the programs it executes. Filters cannot be removed; a call must pass all of
 * them. Sets no_new_privs. Makes system calls only, so it may be called between fork and exec. Returns false with errno
 * on error. */
bool organ_confine_calls(organ_calls calls);

/* The variable that the server puts into the environment of a job to make it disable exec. The server cannot do that
 * itself, because an exec, which the filter of jobs allows, starts the job. */
#define ORGAN_CONFINED_VARIABLE "ORGAN_CONFINED=seccomp"
/* Disables exec (ORGAN_CALLS_NO_EXEC) if ORGAN_CONFINED_VARIABLE is in the environment; a program calls it first.
 * Returns false with errno if the filter could not be set. */
bool organ_confine_started(void);

/* ---- a child up to exec ---- */

/* Selects the variables of this environment that a child gets: those for language, time zone, the instruction set of
 * organ's kernels (ORGAN_ISA) and sanitizers. Adds ORGAN_CONFINED_VARIABLE if `confined`. Returns an array that ends
 * with NULL, for the caller to free; its strings belong to the environment. NULL if memory runs out. */
char **organ_child_environment(bool confined);

/* In a child that becomes a job: the descriptor of the program that it executes. The functions below run in a child
 * between fork and exec, where only system calls are safe. */
enum { ORGAN_PROGRAM_DESCRIPTOR = 3, ORGAN_CHILD_MOVED = 10 /* moved descriptors are at least this */ };
void organ_child_plain_signals(void);        /* resets handlers and mask: no signal is caught, ignored or blocked */
int organ_child_move_descriptor(int fd);     /* duplicates fd to a number from ORGAN_CHILD_MOVED on, close-on-exec,
                                              * above those that organ_child_place uses; returns it, or -1 with errno */
bool organ_child_place(int fd, int number);  /* duplicates fd to this number, without close-on-exec; false
                                              * on an error */
void organ_child_close_from(int descriptor); /* closes this descriptor and all above it */

#endif
