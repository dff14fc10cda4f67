/* SPDX-License-Identifier: MIT
 * The note ".NAME.organ-finished" next to an output. A run writes the note when all of the output is on the disk,
 * before it removes the mark (ORGAN_GROWING_MARK), and removes the note when the output has its name. A run that finds
 * a note finishes the renaming that a killed run began.
 *
 * The note is the journal of the run, if the run had one, followed by one line: {"finished": [NUMBER, ...], "force":
 * BOOLEAN, "choice": BOOLEAN}. The numbers are the inodes of the output's directory or of each of its files; they
 * distinguish the output from older files with the same names. */
#ifndef ORGAN_NAMING_NOTE_H
#define ORGAN_NAMING_NOTE_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_NAMING_MAX 5 /* files of one output: a model and its reports */

/* Ending of the name of a second, unfinished output next to the first, in which `organ width` stores its choices so far
 * and the refitted values, so that --resume need not repeat them. */
#define ORGAN_CHOICE_ENDING ".organ-choice"
/* Ending of the name of the hidden file next to the output in which `organ experts` stores its measurements so far. */
#define ORGAN_SCORES_ENDING ".organ-scores.json"

/* The content of a note of a finished output that waits for its name. */
typedef struct organ_naming_note {
    bool there;   /* the note exists and its last line is complete */
    bool journal; /* the note begins with the journal of the run */
    bool force;   /* existing files may be replaced if organ_check_replaceable accepts them */
    bool choice;  /* remove choices and measurements (organ_naming_remove_choice) when this output has its name */
    size_t count; /* number of nodes */
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

/* Removes the output with the choices (ORGAN_CHOICE_ENDING) and the file with the measurements (ORGAN_SCORES_ENDING) of
 * the output `final`, if there are any. Choices that another run has locked stay; those that this process holds are
 * removed only if `own` is set. Returns 0 or an errno. */
int organ_naming_remove_choice(const char *final, bool own);

/* Finishes the work of a run that was killed after its output got the name `final`: renames the reports next to the
 * output, removes the files that had these names before, the partial directory and the note. Does nothing if `final` is
 * not the output of the note or if another process writes the output. Returns ORGAN_IO if a file cannot be renamed or
 * removed. */
organ_status organ_naming_finish(const organ_naming_place *place, organ_error *error);

#endif
