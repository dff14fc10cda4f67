/* SPDX-License-Identifier: MIT
 * For verbs with --resume: whatever ends a run, the run that continues it makes the same bytes. */
#ifndef RESUME_RIG_H
#define RESUME_RIG_H

#include "tests/kit/run_rig.h"

typedef struct resumed_verb {
    /* Makes `output` in the scratch directory; a stop may be NULL. */
    organ_status (*run)(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                        organ_error *error);
    const void *way;
    const char *report; /* "quantize.json"; NULL: it writes none */
    size_t threads;     /* 0: 2. 1 where the number of writes of several threads is not always the same */
} resumed_verb;

/* All files of two output directories are the same, and the report (NULL: none) but for its "run". */
void same_trees(const char *a, const char *b, const char *report);

/* 20 runs that a signal kills at 20 writes, from the first to the last: each is refused without `resume` and goes on
 * with it. */
void killed_anywhere_goes_on(const resumed_verb *verb);
/* A full disk at a pwrite or at what else writes leaves nothing, or what goes on. */
void full_disk_goes_on(const resumed_verb *verb);
/* The same for runs that are asked to stop, at writes. */
void stopped_run_goes_on(const resumed_verb *verb);
/* A tensor that was changed in the unfinished output is made again; lines of the journal that cannot be are made again
 * too. */
void damaged_output_is_mended(const resumed_verb *verb);

/* Each of the changes to the inputs or to the journal is refused with ORGAN_USAGE and a message that has `word`;
 * nothing is lost. */
void leaves_unfinished(const resumed_verb *verb, const char *output);
void is_refused(const resumed_verb *verb, const char *output, const char *word);
/* Replaces the first `from` in the journal of an unfinished output. */
void change_journal(const char *output, const char *from, const char *to);

#endif
