/* SPDX-License-Identifier: MIT
 * An output directory that appears whole or not at all: it grows under a hidden sibling name (".NAME.organ-partial") and is renamed when
 * done. */
#ifndef ORGAN_PUBLISH_H
#define ORGAN_PUBLISH_H

#include "formats/status.h"

#include <stdbool.h>

typedef struct organ_publish {
    char *final;   /* where the output will be, without trailing slashes */
    char *partial; /* where it grows */
    char *parent;  /* directory of both */
    int lock;      /* of the partial directory: one writer at a time */
    bool resumed;  /* the partial directory was there before and is continued */
} organ_publish;

/* Makes or takes over the partial directory and locks it. `final` may be an empty directory. ORGAN_USAGE where `final` exists and is not
 * empty (unless `force`), where an unfinished run is found (unless `resume` continues it or `force` starts over) or another process writes
 * it; ORGAN_IO where it cannot be made. */
organ_status organ_publish_begin(const char *final, bool resume, bool force, organ_publish *publish, organ_error *error);

/* ORGAN_USAGE if organ_publish_begin would refuse `final` because it exists. Makes nothing. */
organ_status organ_publish_check(const char *final, bool force, organ_error *error);

/* "partial/name", to be freed; NULL without memory. */
char *organ_publish_path(const organ_publish *publish, const char *name);

/* Puts the partial directory in the place of `final`, durably; a former `final` is removed after that. Files inside must have been
 * synchronised before. */
organ_status organ_publish_commit(organ_publish *publish, organ_error *error);

/* The same for an output that is one file: puts the file `name` of the partial directory, which was synchronised before, in the place of
 * `final` and removes the partial directory. */
organ_status organ_publish_commit_file(organ_publish *publish, const char *name, organ_error *error);

/* Removes what has grown so far. */
void organ_publish_abandon(organ_publish *publish);

/* Frees the structure and the lock; what has grown stays. Always the last call; allowed on a zeroed structure. */
void organ_publish_end(organ_publish *publish);

/* fsync of a directory. */
organ_status organ_sync_directory(const char *path, organ_error *error);

#endif
