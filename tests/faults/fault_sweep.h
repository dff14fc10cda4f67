/* SPDX-License-Identifier: MIT
 * A command that is run again and again, each time with another fault, and what is demanded of each run. */
#ifndef FAULT_SWEEP_H
#define FAULT_SWEEP_H

#include "tests/faults/leavings.h"
#include "tests/faults/power.h"

#include <stdio.h>

enum { TEXT = LEAVINGS_TEXT, SECONDS = 120, KINDS = 15, REMOVES = 0x8000 };

enum what { MEMORY, DISK, DONOR, POWER, KILLS };
enum option { NO_OPTION, RESUME, FORCE };                      /* added to the words of the command */
enum { KILLED = 11, KILLED_THEN_FORCED, KILLED_THEN_RESUMED }; /* kinds of fail_calls.c */

/* One run: which event fails, and how. Of the power: how many records are left, and the seed. */
typedef struct pick {
    long at;
    int kind;
    bool removes; /* what fails takes something away */
    uint64_t digest;
} pick;

typedef struct sweep {
    const char *preload, *area, *runs; /* which of the picks are run */
    enum what what;
    const char *donor; /* the entry of the directory that the faults of the donor are about */
    long jobs;
    bool forced; /* the command has --force, or takes none */
    bool resumable,
        keeps;  /* what is done may stay: the next run goes on, if it is asked to; the next run goes on by itself */
    bool again; /* what is done may stay: the same command, run again, makes the rest of it */
    bool each;  /* the output is documents, each of them whole by itself */
    bool tells; /* the output says of which file something is missing */
    int ends;   /* without a fault: 0, or 1 of a check that finds something */
    const char *from; /* a directory with what is there when the command begins, or NULL */
    char **command;
    leavings begun;       /* what is there then */
    leavings right;       /* of a run without fault */
    uint64_t right_print; /* what it prints */
    power *power;
    long events, paths, picked;
    pick *picks;
    FILE *ask, *answer; /* of the process that begins the command */
} sweep;

/* Runs the command in DIRECTORY/work with that event failing (-1: none), or as the run that goes on; its status as
 * wait() gives it. */
int run_there(const sweep *s, const char *directory, long at, int kind, enum option option);

void look_at_work(const sweep *s, const char *directory, leavings *found);

/* What is wrong with a run that ended with that status, or NULL. */
const char *fault_of(const sweep *s, const char *directory, int status, const pick *p, char text[LEAVINGS_TEXT]);
/* Whether what is left holds nothing under its name that is not whole, and the same command, or the one with --resume,
 * makes what is right of it, now that nothing fails. What is whole already it refuses to replace. Else `text` says what
 * is wrong. */
bool goes_on(const sweep *s, const char *directory, char text[LEAVINGS_TEXT]);
/* The same after a run that was killed and ended with `status`: runs the same command again, with --resume if its
 * message asks for that or the kind says so, or with --force, and checks that no other file is left. A run that was not
 * killed had fewer calls, because its threads ran in another order, and must have succeeded. */
bool finishes(const sweep *s, const char *directory, int status, int kind, char text[LEAVINGS_TEXT]);

#endif
