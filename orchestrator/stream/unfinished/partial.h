/* SPDX-License-Identifier: MIT
 * The directory ".NAME.organ-partial", in which an output is written, and its lock. Removing or renaming the
 * directory needs the lock: the path therefore leads to the locked directory until its holder changes that. */
#ifndef ORGAN_PARTIAL_H
#define ORGAN_PARTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ORGAN_PARTIAL_TOKEN 40 /* bytes of a token, with the NUL */

/* The descriptors of a locked directory; -1: not open. */
typedef struct organ_partial {
    int folder; /* the directory; its lock reaches all processes of this host */
    int mark;   /* the mark of an unfinished output (ORGAN_GROWING_MARK), if there is one; on a network file system the
                   lock of this file reaches other hosts too */
} organ_partial;

/* The result of organ_partial_lock. */
typedef enum organ_partial_state {
    ORGAN_PARTIAL_LOCKED,
    ORGAN_PARTIAL_MISSING, /* nothing has this path */
    ORGAN_PARTIAL_BUSY,    /* another process holds the lock */
    ORGAN_PARTIAL_UNKNOWN, /* it cannot be opened, with errno *fault */
    ORGAN_PARTIAL_LOCKLESS /* the file system refuses locks, with errno *fault */
} organ_partial_state;

/* Opens and locks the directory at `path`. On success `path` leads to the locked directory. */
organ_partial_state organ_partial_lock(const char *path, organ_partial *partial, int *fault);
/* Releases the lock and closes the descriptors. */
void organ_partial_unlock(organ_partial *partial);

/* Returns whether `path` leads to the directory. */
bool organ_partial_is_at(const organ_partial *partial, const char *path);

/* Sets `token` to a random text. Returns 0 or an errno. */
int organ_partial_new_token(char token[ORGAN_PARTIAL_TOKEN]);
/* Creates the mark with the token, or writes the token into the mark that is open, and synchronises the directory.
 * Returns 0 or an errno: EEXIST if another process has created the mark meanwhile. */
int organ_partial_set_mark(organ_partial *partial, const char *token);
/* Returns whether another run has removed the mark of the directory or written its token into it. */
bool organ_partial_is_foreign(int folder, const char *token);

/* Removes the locked directory (or file), which has the path `path`, with all that is in it; keeps the lock. Removes
 * the file `note` (NULL: none) after the content and before the directory, so that the note of a later run stays.
 * Another directory that has the path by now stays. Allocates nothing. Returns 0 or an errno; some files may then
 * remain. */
int organ_partial_remove(const organ_partial *partial, const char *path, const char *note);

/* Removes the directory at `path`, if there is one that nobody has locked or, with `own`, that this process holds
 * (held_folder.h). Allocates nothing. Returns 0 or an errno: EWOULDBLOCK if another process holds its lock. */
int organ_partial_discard(const char *path, bool own);

#endif
