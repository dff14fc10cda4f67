/* SPDX-License-Identifier: MIT
 * For verbs with --resume: a run that was interrupted at any point and resumed writes the same bytes. */
#ifndef RESUME_RIG_H
#define RESUME_RIG_H

#include "tests/kit/run_rig.h"

typedef struct resumed_verb {
    /* Makes `output` in the scratch directory; `stop` may be NULL. */
    organ_status (*run)(const void *way, const char *output, bool resume, size_t threads, organ_stop *stop,
                        organ_error *error);
    const void *way;
    const char *report; /* such as "quantize.json"; NULL: none */
    size_t threads;     /* 0: 2 threads. 1 if the number of writes of several threads varies */
} resumed_verb;

/* Checks that all files of two output directories are equal, and the report (NULL: none) except for its "run". */
void same_trees(const char *a, const char *b, const char *report);

/* Kills 20 runs of at least 10 writes at writes from the first to the last: each is rejected without `resume` and
 * completed with it. */
void killed_anywhere_goes_on(const resumed_verb *verb);
/* A full disk at a pwrite or another writing call leaves nothing or a partial output that can be resumed. */
void full_disk_goes_on(const resumed_verb *verb);
/* Does the same for runs that are asked to stop at writes. */
void stopped_run_goes_on(const resumed_verb *verb);
/* A changed tensor of the partial output is written again, and so are tensors with impossible lines in the journal. */
void damaged_output_is_mended(const resumed_verb *verb);

/* Each change of the inputs or the journal is rejected with ORGAN_USAGE and a message that contains `word`; no file is
 * lost. */
void leaves_unfinished(const resumed_verb *verb, const char *output);
void is_refused(const resumed_verb *verb, const char *output, const char *word);
/* Replaces the first `from` in the journal of a partial output by `to`. */
void change_journal(const char *output, const char *from, const char *to);

#endif
