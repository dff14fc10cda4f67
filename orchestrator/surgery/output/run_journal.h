/* SPDX-License-Identifier: MIT
 * The journal of a run that can be continued. It records the parameters of the run and the parts that are in the
 * unfinished output, and decides whether that output is kept when the run fails. */
#ifndef ORGAN_RUN_JOURNAL_H
#define ORGAN_RUN_JOURNAL_H

#include "formats/model/model.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/journal.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/stream/publish.h"

#include <jansson.h>

typedef struct organ_run_journal {
    organ_journal journal;
    char *path;
    json_t *lines;            /* journal of the run that is continued: its head, then its parts; empty: a new run */
    bool refused;             /* the lines belong to another run */
    bool keep_if_interrupted; /* keep an interrupted run although no tensor is done, because its lines took long to
                                 compute */
    const char *resumed_by;   /* what continues the run when it fails, for the message; NULL: "--resume" */
} organ_run_journal;

/* Returns [{"file", "bytes", "modified_ns"}] of the files of a model and of the file at the path `config`, if it exists
 * (NULL: none). NULL without memory. */
json_t *organ_run_files(const organ_model *model, const char *config);

/* Opens or creates ORGAN_JOURNAL_NAME in the unfinished output, and moves the lines of the journals that several ranks
 * wrote there into it. ORGAN_IO. The caller closes the journal also after an error. */
organ_status organ_run_journal_open(const organ_publish *publish, organ_run_journal *journal, organ_error *error);
void organ_run_journal_close(organ_run_journal *journal); /* a zeroed one is allowed */

/* Sends the lines of the continued run to all ranks once rank 0 has begun its journal; the other ranks open journals of
 * their own. */
organ_status organ_run_journal_share(const organ_publish *publish, organ_run_journal *journal, organ_ranks *ranks,
                                     organ_error *error);

/* Begins the journal with `head`, which describes the run (taken over; NULL: no memory). In a new journal it becomes
 * the first line. ORGAN_USAGE if the journal has a head with a different value of a member; `output` names the output
 * in the message. */
organ_status organ_run_journal_begin(organ_run_journal *journal, json_t *head, const char *output, organ_error *error);

/* Appends a line (taken over; NULL: no memory). */
organ_status organ_run_journal_add(const organ_run_journal *journal, json_t *line, organ_error *error);

/* Returns the XXH3 of bytes [offset, offset + bytes) from `read`, as 16 hexadecimal digits, and advances the progress
 * by them. */
typedef organ_status organ_run_read(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error);
organ_status organ_run_digest(organ_run_read *read, const void *context, uint64_t offset, uint64_t bytes,
                              const organ_progress *progress, char digits[17], organ_error *error);

/* Keeps the unfinished output after an error if a later run can continue it, and adds that to the message; else removes
 * it. It contains `done` of `all` tensors, without those of ranks that were lost; it is also kept if another rank's
 * journal has lines. `journal` is that of the run. */
void organ_run_finish(organ_publish *publish, const organ_run_journal *journal, size_t done, size_t all,
                      organ_error *error);

#endif
