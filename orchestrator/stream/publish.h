/* SPDX-License-Identifier: MIT
 * An output directory that appears whole or not at all: it grows under a hidden sibling name (".NAME.organ-partial") and is renamed when
 * done. */
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
    bool whole;       /* and was finished, but for its name */
    bool force;       /* what has the name may be replaced if organ_check_replaceable lets it go */
    const char *like; /* for organ_check_replaceable; the caller's */
    bool empty;       /* there was an empty directory at `final`: it may go */
    organ_publish_stage stage;
    bool choice;    /* naming_note.h */
    size_t writers; /* processes that write the output together; 0: one */
} organ_publish;

/* Makes or takes over the partial directory and locks it. Where an earlier run was killed when all was written, what that run left is
 * continued also without `resume`, to get its name; without a journal it is begun again. `final` may be an empty directory. ORGAN_USAGE
 * where `final` exists and is not empty (unless `force`, and organ_check_replaceable lets go what is there, with the same `like`), where an
 * unfinished run is found (unless `resume` continues it or `force` starts over), where a finished one is kept that could not get this name,
 * or another process writes it; ORGAN_IO where it cannot be made. */
typedef struct organ_publish_way {
    bool resume, force;
    bool journal; /* the caller can go on with what has a journal */
} organ_publish_way;
organ_status organ_publish_begin(const char *final, const char *like, organ_publish_way way, organ_publish *publish, organ_error *error);

/* Sets the paths of *publish, which is zeroed but for its lock, -1: `final` from `path` as the user wrote it, and those beside it. */
organ_status organ_publish_split(const char *path, organ_publish *publish, organ_error *error);

/* For another process that writes into what this one has begun: `token`, any text, is kept with what grows. */
organ_status organ_publish_invite(const organ_publish *publish, const char *token, organ_error *error);
/* In that other process: takes part in the output that has that token. ORGAN_IO where it is not seen: the file system is not shared. */
organ_status organ_publish_attend(const char *final, const char *token, organ_publish *publish, organ_error *error);
/* Whether the file system bears several writers of one file: each of `count` writes its sign beside those of the others, and once all have,
 * looks for them all. ORGAN_IO: it cannot be written, or one is not seen, whose rank is named. */
organ_status organ_publish_sign(const organ_publish *publish, size_t rank, organ_error *error);
organ_status organ_publish_verify(const organ_publish *publish, size_t count, organ_error *error);

/* ORGAN_USAGE if organ_publish_begin would refuse `final` because of what is there. Writes nothing, but finishes the naming of an output
 * that had got its name when its run was killed (organ_naming_settle). */
organ_status organ_publish_check(const char *final, const char *like, bool force, organ_error *error);

/* Removes what an earlier run has finished for `final` without getting that name, for who can make it again. What is unfinished stays.
 * ORGAN_USAGE while another process writes it; ORGAN_IO. */
organ_status organ_publish_give_up(const char *final, organ_error *error);

/* "partial/name", to be freed; NULL without memory. */
char *organ_publish_path(const organ_publish *publish, const char *name);

/* Gives the partial directory the name `final`, durably. Without `force` nothing is replaced, whatever has appeared there; with it, what
 * had the name is looked at again and removed, or kept under another name if it has become something else. Files inside must have been
 * synchronised before. `journal` (or NULL), a file of the partial directory, is removed when nothing can go wrong any more that it could
 * mend, with those of the other writers, and ORGAN_JOURNAL_FOLDER where it is empty then. ORGAN_IO: publish->stage tells how far the
 * output has come, the message what to do. */
organ_status organ_publish_commit(organ_publish *publish, const char *journal, organ_error *error);

/* The same for an output of single files: each of `names` (at most ORGAN_PUBLISH_FILES, up to a NULL), files of the partial directory that
 * were synchronised before, gets its name, the first one `final`, the others theirs beside it; then the partial directory is removed.
 * `journal` as above. */
organ_status organ_publish_commit_files(organ_publish *publish, const char *const *names, const char *journal, organ_error *error);

/* After organ_publish_begin has found a finished output (publish->whole) that is of another run: it stays as it was found. ORGAN_USAGE says
 * how to take it. */
organ_status organ_publish_keep(organ_publish *publish, const char *journal, organ_error *error);

/* Removes what has grown so far, unless it is whole. */
void organ_publish_abandon(organ_publish *publish);

/* Frees the structure and the lock; what has grown stays. Always the last call; allowed on a zeroed structure. */
void organ_publish_end(organ_publish *publish);

/* fsync of a directory. */
organ_status organ_sync_directory(const char *path, organ_error *error);

#endif
