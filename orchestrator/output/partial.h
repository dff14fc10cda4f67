/* SPDX-License-Identifier: MIT
 * The directory ".NAME.organ-partial", in which an output is written, and its lock. Removing or renaming the
 * directory needs the lock: the path therefore leads to the locked directory until its holder changes that. */
#ifndef ORGAN_OUTPUT_PARTIAL_H
#define ORGAN_OUTPUT_PARTIAL_H

#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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
/* The same for a directory that is made with the mode `mode` if there is none. *made becomes false if that fails, with
 * errno *fault. */
organ_partial_state organ_partial_take(const char *path, mode_t mode, organ_partial *partial, bool *made, int *fault);
/* Releases the lock and closes the descriptors. */
void organ_partial_unlock(organ_partial *partial);

/* Removes all that is in the locked directory; keeps the directory and its lock. Returns 0 or an errno. */
int organ_partial_clear(const organ_partial *partial);

/* Returns the number of the process that has locked the file or directory at `path`, or 0 if it is not known: the lock
 * is of another host, or the system does not show it. */
long organ_partial_holder(const char *path);

/* A partial directory that this process has locked before it writes the output (organ_run_names_reserve). */
typedef struct organ_reserved organ_reserved;
/* Adds a locked directory. *reserved owns `partial` and the descriptors until organ_reserved_end. */
organ_status organ_reserved_add(char *partial, const organ_partial *own, organ_reserved **reserved, organ_error *error);
/* Returns whether this process has reserved the directory at `path`. */
bool organ_is_reserved(const char *path);
/* Takes over the lock of the reserved directory at `path`; returns false if it is not reserved or was taken already. */
bool organ_reserved_take(const char *path, organ_partial *partial);
/* Ends the reservation. Removes the directory if its lock was not taken and it is empty. NULL is allowed. */
void organ_reserved_end(organ_reserved *reserved);

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

/* ---- the note ".NAME.organ-finished" ---- */

/* The note ".NAME.organ-finished" next to an output. A run writes the note when all of the output is on the disk,
 * before it removes the mark (ORGAN_GROWING_MARK), and removes the note when the output has its name. A run that finds
 * a note finishes the renaming that a killed run began.
 *
 * The note is the journal of the run, if the run had one, followed by one line: {"finished": [NUMBER, ...], "force":
 * BOOLEAN}. The numbers are the inodes of the output's directory or of each of its files; they
 * distinguish the output from older files with the same names. */

#define ORGAN_NAMING_MAX 1029 /* files of one output: a model in one file or in up to 1,025, and its reports */

/* End of the name of a partial directory: of NAME it is .NAME.organ-partial. */
#define ORGAN_PARTIAL_ENDING ".organ-partial"

/* The content of a note of a finished output that waits for its name. */
typedef struct organ_naming_note {
    bool there;                       /* the note exists and its last line is complete */
    bool journal;                     /* the note begins with the journal of the run */
    bool force;                       /* existing files may be replaced if organ_check_replaceable accepts them */
    size_t count;                     /* number of nodes */
    uint64_t nodes[ORGAN_NAMING_MAX]; /* inodes: first that of the directory, or of the model's file */
} organ_naming_note;

/* Reads the note at `path`. Returns ORGAN_OK with note->there false if there is none; ORGAN_IO if the note cannot be
 * read. */
organ_status organ_naming_note_read(const char *path, organ_naming_note *note, organ_error *error);

/* Appends the last line of the note to the file `name` in the open directory `at` (or AT_FDCWD) and synchronises the
 * file; `make` creates it or empties it first. Allocates nothing. Returns 0 or an errno. */
int organ_naming_note_append(int at, const char *name, bool make, const organ_naming_note *note);

/* The paths of an output, as in organ_publish. */
typedef struct organ_naming_place {
    const char *final;   /* final path */
    const char *partial; /* directory in which the output is written */
    const char *parent;  /* directory of both */
    const char *note;    /* path of the note */
    const char *like;    /* for organ_check_replaceable */
} organ_naming_place;

/* Finishes the work of a run that was killed after its output got the name `final`: renames the reports next to the
 * output, removes the files that had these names before, the partial directory and the note. Does nothing if `final` is
 * not the output of the note or if another process writes the output. Returns ORGAN_IO if a file cannot be renamed or
 * removed. */
organ_status organ_naming_finish(const organ_naming_place *place, organ_error *error);

/* ---- removing files and directories ---- */

/* Removal of files and directories, and a look at whether a directory is empty. Allocates nothing, so it works also
 * when memory has run out. */

/* Returns whether the open directory has no entries; false also if it cannot be read. Sets errno to the error of
 * reading, or to 0. */
bool organ_is_empty_folder(int folder);

/* Removes everything below an open directory, without following links; the mark of an unfinished output last. Returns 0
 * or an errno; some files may then remain. Some file systems list only some entries while others are removed, so the
 * caller repeats it while rmdir fails with ENOTEMPTY, at most ORGAN_EMPTYING_ROUNDS times. */
#define ORGAN_EMPTYING_ROUNDS 4

#endif
