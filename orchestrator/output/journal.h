/* SPDX-License-Identifier: MIT
 * The journal of a run that can be continued. It records the parameters of the run and the units that are in the
 * unfinished output, and decides whether that output is kept when the run fails. */
#ifndef ORGAN_OUTPUT_JOURNAL_H
#define ORGAN_OUTPUT_JOURNAL_H

#include "orchestrator/output/publish.h"
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <organ/stream.h>

/* A list of the finished steps of a run, one JSON object in each line, with which an interrupted run can continue. */

#define ORGAN_JOURNAL_FOLDER "organ" /* folder in an unfinished output */
#define ORGAN_JOURNAL_NAME   ORGAN_JOURNAL_FOLDER "/journal.jsonl"
/* A file with values that belong to choices in the journal. */
#define ORGAN_CHOICES_NAME ORGAN_JOURNAL_FOLDER "/choices"
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
/* As organ_journal_open, but first locks the journal until organ_journal_close (organ_open_locked). Returns ORGAN_IO
 * with the message `busy` if another process has locked it. */
organ_status organ_journal_open_locked(const char *path, const char *busy, organ_journal *journal, json_t **lines,
                                       organ_error *error);

/* Appends one line in one write. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_journal_append(const organ_journal *journal, const json_t *line, organ_error *error);

void organ_journal_close(organ_journal *journal);

/* The journal of this rank. The journal of rank 0 is the main one: it has the head and is continued by a later run. */
typedef struct organ_run_journal {
    organ_journal journal;
    char *path;    /* path of the journal's file; NULL: not open */
    json_t *lines; /* lines of the run that is continued: its head, then its units; empty in a new run */
    bool refused;  /* the lines are of a run with other parameters, so this run must leave them unchanged */
    /* Keep an interrupted run even if no unit is done, because the journal has values that took long to compute. */
    bool keep_if_interrupted;
    const char *resumed_by; /* option that the error message names to continue the run; NULL: "--resume" */
    const char *unit;       /* what organ_run_finish counts, in the plural; NULL: "tensors" */
} organ_run_journal;

/* Opens or creates ORGAN_JOURNAL_NAME in the unfinished output, and appends to it the journals that other ranks of an
 * interrupted run wrote there. Returns ORGAN_IO if that fails. The caller closes the journal also after an error. */
organ_status organ_run_journal_open(const organ_publish *publish, organ_run_journal *journal, organ_error *error);
void organ_run_journal_close(organ_run_journal *journal); /* a zeroed one is allowed */

/* For a dry run: sets journal->lines to those of the unfinished output of `final` if its first line is equal to `head`,
 * and opens nothing. Takes `head` over; NULL means that the caller had no memory. Returns ORGAN_IO if the journal
 * cannot be read. */
organ_status organ_run_journal_peek(organ_run_journal *journal, json_t *head, const char *final, organ_error *error);

/* Sends journal->lines of rank 0 to all ranks, after rank 0 has begun its journal. Each other rank opens a journal
 * file of its own, because several processes cannot append to one file safely. Does nothing if `ranks` is NULL. */
organ_status organ_run_journal_share(const organ_publish *publish, organ_run_journal *journal, organ_ranks *ranks,
                                     organ_error *error);

/* Begins the journal. In a new run, `head`, which describes the run, becomes its first line. In a continued run, `head`
 * is compared with the first line: returns ORGAN_USAGE if an input or a member differs (organ_run_heads_compare). Takes
 * `head` over; NULL means that the caller had no memory. */
organ_status organ_run_journal_begin(organ_run_journal *journal, json_t *head, const char *output, organ_error *error);

/* Records the plan of the output, which is made after the run has decided: appends `line`, which has a member "plan",
 * or compares it with the one that the journal has. Errors and ownership are those of organ_run_journal_begin. */
organ_status organ_run_journal_plan(organ_run_journal *journal, json_t *line, const char *output, organ_error *error);

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

/* ---- the files that a run has written ---- */

/* Records the files that a run has written into its output directory. A later run with --force replaces only these
 * files and refuses if others were added (formats/model/recognise.h). */

/* Returns {PATH: {"bytes", "xxh3"}} of all files below directory/folder except this run's reports; PATH is relative to
 * `directory`, and a folder of "" is the directory itself. A file with weights, or of more than 64 MiB, has no "xxh3".
 * Returns NULL with ORGAN_IO if a file cannot be read. */
json_t *organ_file_record(const char *directory, const char *folder, organ_error *error);

/* Writes the record of all files of `directory` as ORGAN_RECORD into it, so it must be called after all other files are
 * written. Returns ORGAN_IO if a file cannot be read or the record cannot be written. */
organ_status organ_file_record_write(const char *directory, organ_error *error);

#endif
