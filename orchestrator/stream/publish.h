/* SPDX-License-Identifier: MIT
 * An output directory that appears whole or not at all: it grows under a hidden sibling name (".NAME.organ-partial")
 * and is renamed when done. */
#ifndef ORGAN_PUBLISH_H
#define ORGAN_PUBLISH_H

#include "orchestrator/stream/naming_note.h"

#include <stdbool.h>

#define ORGAN_PUBLISH_FILES ORGAN_NAMING_MOST /* a model in a single file, and its reports */

/* How far an output has come. */
typedef enum organ_publish_stage {
    ORGAN_OUTPUT_GROWING, /* not whole */
    ORGAN_OUTPUT_KEPT,    /* whole, under the name it has grown under: its own could not be had */
    ORGAN_OUTPUT_NAMED    /* whole, under its own name */
} organ_publish_stage;

typedef struct organ_publish {
    char *final;      /* where the output will be, without trailing slashes */
    char *partial;    /* where it grows */
    char *note;       /* naming_note.h */
    char *parent;     /* directory of both */
    int lock;         /* of the partial directory: one writer at a time */
    bool resumed;     /* the partial directory was there before and is continued */
    bool whole;       /* and all of the output is in it: only its name is missing */
    bool force;       /* replace an existing output if organ_check_replaceable accepts it */
    const char *like; /* argument of organ_check_replaceable; belongs to the caller */
    bool empty;       /* `final` is an empty directory that may be removed */
    organ_publish_stage stage;
    bool choice;    /* naming_note.h */
    size_t writers; /* processes that write the output together; 0: one */
} organ_publish;

/* Creates the partial directory, or reopens the one of an interrupted run, and locks it. An empty directory at `final`
 * is allowed. If an earlier run was killed after it wrote all of the output, organ_publish_begin continues that output
 * even without `resume`, so that it gets its name; without a journal the output is begun again.
 *
 * Returns ORGAN_USAGE if
 *   - `final` exists and is not empty, unless `force` is set and organ_check_replaceable accepts it with the same
 * `like`;
 *   - it finds an unfinished run, unless `resume` continues that run or `force` discards it;
 *   - it finds a finished output that could not get this name;
 *   - another process holds the lock.
 * Returns ORGAN_IO if the directory cannot be created. */
typedef struct organ_publish_way {
    bool resume, force;
    bool journal; /* the caller can continue an output that has a journal */
} organ_publish_way;
organ_status organ_publish_begin(const char *final, const char *like, organ_publish_way way, organ_publish *publish,
                                 organ_error *error);

/* Sets the paths of *publish: `final` from `path` as the user wrote it, and the others next to `final`. The caller has
 * zeroed *publish and set its lock to -1. */
organ_status organ_publish_split(const char *path, organ_publish *publish, organ_error *error);

/* For another process that writes into what this one has begun: `token`, any text, is kept with what grows. */
organ_status organ_publish_invite(const organ_publish *publish, const char *token, organ_error *error);
/* In that other process: takes part in the output that has that token. ORGAN_IO where it is not seen: the file system
 * is not shared. */
organ_status organ_publish_attend(const char *final, const char *token, organ_publish *publish, organ_error *error);
/* Whether the file system bears several writers of one file: each of `count` writes its sign beside those of the
 * others, and once all have, looks for them all. ORGAN_IO: it cannot be written, or one is not seen, whose rank is
 * named. */
organ_status organ_publish_sign(const organ_publish *publish, size_t rank, organ_error *error);
organ_status organ_publish_verify(const organ_publish *publish, size_t count, organ_error *error);

/* Returns ORGAN_USAGE if organ_publish_begin would reject `final` because of an existing file or directory. Changes
 * files only to finish the renaming of an output whose run was killed after it got its name (organ_naming_settle). */
organ_status organ_publish_check(const char *final, const char *like, bool force, organ_error *error);

/* Removes what an earlier run has finished for `final` without getting that name, for who can make it again. What is
 * unfinished stays. ORGAN_USAGE while another process writes it; ORGAN_IO. */
organ_status organ_publish_give_up(const char *final, organ_error *error);

/* "partial/name", to be freed; NULL without memory. */
char *organ_publish_path(const organ_publish *publish, const char *name);

/* Gives the partial directory the name `final`, durably. Without `force` nothing is replaced, whatever has appeared
 * there; with it, what had the name is looked at again and removed, or kept under another name if it has become
 * something else. Files inside must have been synchronised before. `journal` (or NULL), a file of the partial
 * directory, is removed when nothing can go wrong any more that it could mend, with those of the other writers, and
 * ORGAN_JOURNAL_FOLDER where it is empty then. ORGAN_IO: publish->stage tells how far the output has come, the message
 * what to do. */
organ_status organ_publish_commit(organ_publish *publish, const char *journal, organ_error *error);

/* The same for an output of single files: each of `names` (at most ORGAN_PUBLISH_FILES, up to a NULL), files of the
 * partial directory that were synchronised before, gets its name, the first one `final`, the others theirs beside it;
 * then the partial directory is removed. `journal` as above. */
organ_status organ_publish_commit_files(organ_publish *publish, const char *const *names, const char *journal,
                                        organ_error *error);

/* For a finished output (publish->whole) of another run that organ_publish_begin has found: leaves it unchanged.
 * Returns ORGAN_USAGE, with the command that renames the output in the message. */
organ_status organ_publish_keep(organ_publish *publish, const char *journal, organ_error *error);

/* Removes what has grown so far, unless it is whole. */
void organ_publish_abandon(organ_publish *publish);

/* Frees the structure and the lock; what has grown stays. Always the last call; allowed on a zeroed structure. */
void organ_publish_end(organ_publish *publish);

/* fsync of a directory. */
organ_status organ_sync_directory(const char *path, organ_error *error);

#endif
