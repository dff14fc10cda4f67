/* SPDX-License-Identifier: MIT
 * The journal of a run that can be continued. It records the parameters of the run and the units that are in the
 * unfinished output, and decides whether that output is kept when the run fails. */
#ifndef ORGAN_RUN_JOURNAL_H
#define ORGAN_RUN_JOURNAL_H

#include <organ/models.h>
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/journal.h"
#include <organ/stream.h>
#include "orchestrator/stream/publish.h"

#include <jansson.h>

/* The journal of this rank. The journal of rank 0 is the main one: it has the head and is continued by a later run. */
typedef struct organ_run_journal {
    organ_journal journal;
    char *path;    /* path of the journal's file; NULL: not open */
    json_t *lines; /* lines of the run that is continued: its head, then its units; empty in a new run */
    bool refused;  /* the lines are of a run with other parameters, so this run must leave them unchanged */
    /* Keep an interrupted run even if no unit is done, because the journal has values that took long to compute. */
    bool keep_if_interrupted;
    const char *resumed_by; /* option that the error message names to continue the run; NULL: "--resume" */
} organ_run_journal;

/* Returns [{"file", "bytes", "modified_ns"}] of the files of a model and of the file `config` (NULL or missing: left
 * out). A continued run compares it to find inputs that changed. NULL if memory runs out. */
json_t *organ_run_files(const organ_model *model, const char *config);

/* Opens or creates ORGAN_JOURNAL_NAME in the unfinished output, and appends to it the journals that other ranks of an
 * interrupted run wrote there. Returns ORGAN_IO if that fails. The caller closes the journal also after an error. */
organ_status organ_run_journal_open(const organ_publish *publish, organ_run_journal *journal, organ_error *error);
void organ_run_journal_close(organ_run_journal *journal); /* a zeroed one is allowed */

/* Sends journal->lines of rank 0 to all ranks, after rank 0 has begun its journal. Each other rank opens a journal
 * file of its own, because several processes cannot append to one file safely. Does nothing if `ranks` is NULL. */
organ_status organ_run_journal_share(const organ_publish *publish, organ_run_journal *journal, organ_ranks *ranks,
                                     organ_error *error);

/* Begins the journal. In a new run, `head`, which describes the run, becomes its first line. In a continued run, `head`
 * is compared with the first line: returns ORGAN_USAGE if a member differs, naming `output` in the message. Takes
 * `head` over; NULL means that the caller had no memory. */
organ_status organ_run_journal_begin(organ_run_journal *journal, json_t *head, const char *output, organ_error *error);

/* Appends a line to this rank's journal. Takes it over; NULL means that the caller had no memory. */
organ_status organ_run_journal_add(const organ_run_journal *journal, json_t *line, organ_error *error);

/* Reads `bytes` bytes from `offset` of the source `context` to `data`. */
typedef organ_status organ_run_read(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error);

/* Sets `digits` to the XXH3 of the bytes [offset, offset + bytes) that read(context, ...) reads, as 16 hexadecimal
 * digits, and advances the progress by the number of bytes. */
organ_status organ_run_digest(organ_run_read *read, const void *context, uint64_t offset, uint64_t bytes,
                              const organ_progress *progress, char digits[17], organ_error *error);

/* After an error, keeps the unfinished output if a later run can continue it, and says so in the message; otherwise
 * removes it. The output of a continued run is kept unless the error is ORGAN_BAD_INPUT. The output of a new run is
 * kept only after ORGAN_INTERRUPTED or ORGAN_IO, and only if a tensor is finished (`done`, counted by rank 0, is not
 * 0), another rank's journal has lines, or keep_if_interrupted is set. `all` is the number of tensors, for the message.
 * Does nothing if the output is already complete. */
void organ_run_finish(organ_publish *publish, const organ_run_journal *journal, size_t done, size_t all,
                      organ_error *error);

#endif
