/* SPDX-License-Identifier: MIT
 * Hidden directories next to an output, ".NAME.organ-ENDING", for what a run makes before the output: the outline of a
 * model, a merged or a converted model. The run that uses such a directory holds its lock until it removes the
 * directory; no other run opens, empties or removes it meanwhile. */
#ifndef ORGAN_OUTPUT_HIDDEN_FOLDER_H
#define ORGAN_OUTPUT_HIDDEN_FOLDER_H

#include "orchestrator/output/partial.h"
#include "orchestrator/ranks/ranks.h"

#include <organ/base.h>
#include <stdbool.h>

/* A locked directory. All zero: none. */
typedef struct organ_hidden_folder {
    char *path;         /* NULL: none */
    organ_partial held; /* the directory and its lock; valid if `path` is set and `shared` is not */
    bool shared;        /* rank 0 holds the lock */
} organ_hidden_folder;

/* Returns ".NAME.ENDING" next to `output`, whose slashes at the end do not count; NULL if memory runs out. The caller
 * frees it. */
char *organ_hidden_path(const char *output, const char *ending);

/* Makes the directory `path`, or takes the one that an earlier run left, and locks it; only rank 0 does, and each rank
 * may use it after the ranks have agreed. `final` is the output, for messages. Returns ORGAN_IO if another process has
 * locked it (errnum EBUSY; the message names the process) or it cannot be made, ORGAN_USAGE if the path is a symbolic
 * link or not a directory. The caller ends it with organ_hidden_folder_remove or organ_hidden_folder_leave, also after
 * an error. */
organ_status organ_hidden_folder_open(const char *path, const char *final, organ_ranks *ranks,
                                      organ_hidden_folder *folder, organ_error *error);

/* Makes an empty locked directory for the outline of a model: organ_hidden_path(output, ending) or, if `output` is
 * NULL, as in a dry run without -o, a new directory in TMPDIR or /tmp. Removes what a killed run left in it. Each rank
 * gets its own. Returns the errors of organ_hidden_folder_open, ORGAN_IO if the rest cannot be removed. */
organ_status organ_outline_folder_open(const char *output, const char *ending, organ_ranks *ranks,
                                       organ_hidden_folder *folder, organ_error *error);

/* Removes the directory with all that is in it, then releases the lock. If that fails and `error` is not set yet, sets
 * it to ORGAN_IO. Allocates nothing. */
organ_status organ_hidden_folder_remove(organ_hidden_folder *folder, organ_error *error);

/* Releases the lock; the directory stays for --resume. */
void organ_hidden_folder_leave(organ_hidden_folder *folder);

/* Returns ORGAN_USAGE if `path` is a symbolic link or a file where a run would have its hidden directory. */
organ_status organ_hidden_path_check(const char *path, organ_error *error);

#endif
