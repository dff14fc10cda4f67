/* SPDX-License-Identifier: MIT
 * A list of the finished steps of a run, one JSON object in each line, with which an interrupted run can continue. */
#ifndef ORGAN_JOURNAL_H
#define ORGAN_JOURNAL_H

#include <organ/base.h>

#include <jansson.h>

#define ORGAN_JOURNAL_FOLDER "organ" /* folder in an unfinished output */
#define ORGAN_JOURNAL_NAME   ORGAN_JOURNAL_FOLDER "/journal.jsonl"
/* The journals of ranks 1, 2, ... if several ranks write one output; %zu is the rank. */
#define ORGAN_JOURNAL_OF_RANK ORGAN_JOURNAL_FOLDER "/journal-%zu.jsonl"

/* An open journal: a file to which a run appends a JSON line for each finished part, so that it can continue after an
 * interruption. */
typedef struct organ_journal {
    const char *path; /* as passed to open; must outlive the journal */
    int fd;           /* -1: closed */
} organ_journal;

/* Opens or creates the journal and sets *lines to an array of its lines, which the caller releases also after an error.
 * Cuts off an incomplete last line. If a line is not a JSON object, cuts off this line and everything after it. Returns
 * ORGAN_IO if the file cannot be opened, read or truncated. */
organ_status organ_journal_open(const char *path, organ_journal *journal, json_t **lines, organ_error *error);
/* As organ_journal_open, but first locks the journal until organ_journal_close (organ_open_locked). Returns ORGAN_USAGE
 * with the message `busy` if another process has locked it. */
organ_status organ_journal_open_locked(const char *path, const char *busy, organ_journal *journal, json_t **lines,
                                       organ_error *error);

/* Appends one line in one write. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_journal_append(const organ_journal *journal, const json_t *line, organ_error *error);

/* Empties the journal. */
organ_status organ_journal_clear(const organ_journal *journal, organ_error *error);

void organ_journal_close(organ_journal *journal);

#endif
