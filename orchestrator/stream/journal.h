/* SPDX-License-Identifier: MIT
 * What a run has finished, one JSON object a line, so that a killed run can go on. */
#ifndef ORGAN_JOURNAL_H
#define ORGAN_JOURNAL_H

#include "formats/base/status.h"

#include <jansson.h>

#define ORGAN_JOURNAL_FOLDER "organ" /* in an output that grows */
#define ORGAN_JOURNAL_NAME   ORGAN_JOURNAL_FOLDER "/journal.jsonl"
/* Of the other processes, where several write one output. */
#define ORGAN_JOURNAL_OF_RANK ORGAN_JOURNAL_FOLDER "/journal-%zu.jsonl"

typedef struct organ_journal {
    const char *path; /* as given to open; must outlive the journal */
    int fd;           /* -1: closed */
} organ_journal;

/* Opens or makes the journal. *lines is an array of the whole lines it has (to be released); a last line that was cut
 * by a kill, or anything after a line that is not a JSON object, is cut off. */
organ_status organ_journal_open(const char *path, organ_journal *journal, json_t **lines, organ_error *error);

/* Appends one line in one write. */
organ_status organ_journal_append(const organ_journal *journal, const json_t *line, organ_error *error);

/* Begins anew. */
organ_status organ_journal_clear(const organ_journal *journal, organ_error *error);

void organ_journal_close(organ_journal *journal);

#endif
