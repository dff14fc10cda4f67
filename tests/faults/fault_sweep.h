/* SPDX-License-Identifier: MIT
 * Repeated runs of a command with one failure each, and the checks of each run. */
#ifndef FAULT_SWEEP_H
#define FAULT_SWEEP_H

#include "tests/faults/leavings.h"
#include "tests/faults/power.h"

#include <stdio.h>

enum { TEXT = LEAVINGS_TEXT, SECONDS = 120, KINDS = 15, REMOVES = 0x8000 };

enum what { MEMORY, DISK, DONOR, POWER, KILLS };
enum option { NO_OPTION, RESUME, FORCE };                      /* an option added to the command */
enum { KILLED = 11, KILLED_THEN_FORCED, KILLED_THEN_RESUMED }; /* kinds of fail_calls.c */

/* One run: the event that fails, and how. For power cuts: the number of records that are done, and the seed. */
typedef struct pick {
    long at;
    int kind;
    bool removes; /* the failing call removes something */
    uint64_t digest;
} pick;

typedef struct sweep {
    const char *preload, *area, *runs; /* the runs to do */
    enum what what;
    const char *donor; /* the entry of the directory that is the donor, for faults of the donor */
    long jobs;
    bool forced; /* the command has --force, or does not support it */
    bool resumable,
        keeps;  /* partial results may stay: the next run with --resume continues; the next run always continues */
    bool again; /* partial results may stay: the same command completes them */
    bool each;  /* each document of the output is complete without the others */
    bool tells; /* the output names the file with missing content */
    int ends;   /* exit code without a fault: 0, or 1 for a check that finds something */
    const char *from; /* a directory with the files before the command, or NULL */
    char **command;
    leavings begun;       /* these files */
    leavings right;       /* after a run without faults */
    uint64_t right_print; /* its standard output */
    power *power;
    long events, paths, picked;
    pick *picks;
    FILE *ask, *answer; /* pipes of the process that starts the command */
} sweep;

/* Runs the command in DIRECTORY/work with that event failing (-1: none), or with the option as the second run. Returns
 * the status of wait(). */
int run_there(const sweep *s, const char *directory, long at, int kind, enum option option);

void look_at_work(const sweep *s, const char *directory, leavings *found);

/* Returns a description of the fault of a run that ended with that status, or NULL. */
const char *fault_of(const sweep *s, const char *directory, int status, const pick *p, char text[LEAVINGS_TEXT]);
/* Returns true if no incomplete file has its final name, and if the same command, or that with --resume, makes the
 * right output from the remaining files, now without faults. It must refuse to replace a complete output. Otherwise
 * `text` describes the failure. */
bool goes_on(const sweep *s, const char *directory, char text[LEAVINGS_TEXT]);
/* Does the same after a run that was killed: runs the same command again, with --resume if its message asks for that or
 * the kind says so, or with --force, and checks that no other file is left. */
bool finishes(const sweep *s, const char *directory, int kind, char text[LEAVINGS_TEXT]);

#endif
