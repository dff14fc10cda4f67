/* SPDX-License-Identifier: MIT
 * The note ".NAME.organ-finished" beside an output: written when all of the output is on the disk, before its mark goes, and removed when
 * it has its name. A run that finds one finishes what a killed run had begun to name.
 *
 * The note is the journal of the run, if that had one, with one line more: {"finished": [NUMBER, ...], "force": BOOLEAN, "choice":
 * BOOLEAN}, the inodes of the output's directory or of each of its files, by which they are told from what had their names before. */
#ifndef ORGAN_NAMING_NOTE_H
#define ORGAN_NAMING_NOTE_H

#include "formats/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORGAN_NAMING_MOST 4 /* files of one output: a model and its reports */

/* What a run has chosen so far may grow as an output of this name beside its own. */
#define ORGAN_CHOICE_ENDING ".organ-choice"

typedef struct organ_naming_note {
    bool there;   /* there is one, and it is whole */
    bool journal; /* it begins with the journal of the run */
    bool force;   /* what had the names may be replaced as organ_check_replaceable says */
    bool choice;  /* what was chosen for the output goes when that has its name */
    size_t count;
    uint64_t nodes[ORGAN_NAMING_MOST]; /* the first is that of the directory, or of the model */
} organ_naming_note;

/* ORGAN_IO where it cannot be read; no note is no error. */
organ_status organ_naming_note_read(const char *path, organ_naming_note *note, organ_error *error);

/* Appends the line to the file `name` of the open directory `at` (or AT_FDCWD), which `make` makes, and synchronises it. Allocates nothing.
 * 0, or an errno. */
int organ_naming_note_append(int at, const char *name, bool make, const organ_naming_note *note);

/* Where an output is, and where it grows. */
typedef struct organ_naming_place {
    const char *final, *partial, *parent, *note;
    const char *like; /* for organ_check_replaceable */
} organ_naming_place;

/* Removes what was chosen for the output at `final`. 0, or an errno. */
int organ_naming_remove_choice(const char *final);

/* Where a run was killed after `final` had got its name: gives the reports beside it theirs, removes what had the names before, and the
 * note. Does nothing where there is no such note or another process writes the output. ORGAN_IO. */
organ_status organ_naming_settle(const organ_naming_place *place, organ_error *error);

#endif
