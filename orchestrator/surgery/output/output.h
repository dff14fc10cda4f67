/* SPDX-License-Identifier: MIT
 * Room surgery/output: the layer below surgery/write, for every output and for directories of reports. This header:
 * an output that is a directory or one file, which is written under a hidden name and renamed to its own name when it
 * is complete; its reports; and by its headers the row ranges of large tensors (cuts.h), the journal (run_journal.h),
 * the record of written files (file_record.h) and obsolete settings of a config.json (leftovers.h). layout.h: the
 * files of an output and the tensors in them.
 */
#ifndef ORGAN_OUTPUT_H
#define ORGAN_OUTPUT_H

#include "formats/model/model.h"
#include "orchestrator/stream/pass.h"
#include "orchestrator/stream/publish.h"
#include "orchestrator/surgery/output/cuts.h"
#include "orchestrator/surgery/output/file_record.h"
#include "orchestrator/surgery/output/leftovers.h"
#include "orchestrator/surgery/output/run_journal.h"

#include <jansson.h>

#define ORGAN_OUTPUT_REPORTS 4

typedef struct organ_output {
    const char *path; /* as the user gave it */
    const char *like; /* directory from which files are copied that are no part of the model; NULL: none */
    bool single;      /* one file, not a directory */
    bool force;
    bool choice; /* the run keeps its choices in the unfinished output PATH.organ-choice, which is removed when this
                    output has its name */
    /* A run that can be continued. NULL: none, and all below is not used. The caller closes it after the end. */
    organ_run_journal *journal;
    bool resume;                         /* continue the run that an earlier one left */
    const char *resumed_by;              /* what continues this one when it fails, for the message; NULL: "--resume" */
    size_t done, all;                    /* tensors that are in the output, of how many: for the message */
    double started, seconds;             /* when it began; how long it took until all was on the disk */
    char *reports[ORGAN_OUTPUT_REPORTS]; /* files that are published next to a single file, up to a NULL */
    organ_publish publish;
    organ_ranks *ranks; /* that write it together; NULL: this process does */
} organ_output;

/* Returns whether `path` ends in ".gguf" or ".safetensors" and so names a single file. */
bool organ_output_is_file(const char *path);

/* Returns the path by which a copy in `directory` opens: the directory, or the index or file by which the donor was
 * opened. `single` is the name of the file if the copy is a single file, else NULL. To be freed; NULL without
 * memory. */
char *organ_output_copy_path(const char *directory, const organ_model *donor, const char *single);

/* Returns the last component of the output's path. */
const char *organ_output_name(const organ_output *output);

/* Returns ORGAN_USAGE if the output would be `model`, would be inside it, or would contain it. */
organ_status organ_output_check_not_input(const char *path, const organ_model *model, organ_error *error);

/* Repeats organ_output_check after a long first phase, for a name that was free when the run began. Returns ORGAN_IO
 * where organ_output_check returns ORGAN_USAGE: the command was correct, and another process has taken the name
 * meanwhile. */
organ_status organ_output_still_free(const char *path, const char *like, bool force, organ_error *error);

/* Checks a directory for reports, which may exist and contain other files. Returns ORGAN_USAGE if it is the directory
 * of the path `input`, or is inside the model that `input` names. */
organ_status organ_output_check_distinct(const char *directory, const char *input, organ_error *error);

/* Returns ORGAN_USAGE if the directory has a file with one of `names` (up to a NULL) that is not a report of this
 * program. `directory` may be NULL. */
organ_status organ_output_check_reports(const char *directory, const char *const *names, organ_error *error);

/* Removes an unfinished report of this program at `path`; files of other programs are kept. */
void organ_output_remove_report(const char *path);

/* Returns the `like` of an output that copies the other files in the folder of `model`. */
const char *organ_output_like(const organ_model *model);

/* Checks the place of an output before the run: the name is free, or `force` is set and organ_check_replaceable accepts
 * the existing output. */
organ_status organ_output_check(const char *path, const char *like, bool force, organ_error *error);

/* Creates the hidden directory in which the output grows, and removes the files that a killed run left there. Returns
 * ORGAN_IO if the disk has no room for `bytes`. With `journal`, such files are ORGAN_USAGE unless `resume` continues
 * that run (then output->publish.resumed is set and the journal has its lines) or `force` removes them; files without a
 * journal cannot be continued and are removed. */
organ_status organ_output_begin(organ_output *output, uint64_t bytes, organ_error *error);

/* Begins an output that all ranks write together, like organ_output_begin. All ranks call it: the first begins the
 * output, then the others open it. All return the error of the first. *begun: this rank must call organ_output_end. */
organ_status organ_output_begin_together(organ_output *output, uint64_t bytes, bool *begun, organ_error *error);

/* Returns the directory in which the output is written: its hidden directory, or that which contains the single file.
 */
const char *organ_output_directory(const organ_output *output);

/* Removes the files that an interrupted run left in the directory in which the output grows, except the journal and the
 * files for which `keeps` returns true; `name` is the path of a file in that directory. ORGAN_IO. */
organ_status organ_output_clear_rest(const organ_output *output, bool (*keeps)(const void *context, const char *name),
                                     const void *context, organ_error *error);

/* Syncs all files of the output to disk. */
organ_status organ_output_sync(organ_output *output, organ_error *error);

/* Ends the output; always the last call after a begin. The first rank renames the output to its path. If `error` is
 * already set, it removes the output instead, or, with `journal`, does as organ_run_finish. A complete output that
 * cannot be renamed stays in the hidden directory, and the message says how to move it. */
organ_status organ_output_end(organ_output *output, organ_error *error);

/* Returns {"output", "seconds", "bytes_per_second"} for the "run" of a report, and "resumed" if there is a journal. */
json_t *organ_output_run(const organ_output *output, uint64_t bytes);

/* Seconds from the start of the run (engine->began) until all of the output was on the disk. */
double organ_output_seconds(const organ_output *output, const organ_engine *engine);

/* Returns the section "run" like organ_output_run, for an operation that makes one model from another: with "model",
 * "threads", "cpu_isa" and "single_file". NULL if out of memory. */
json_t *organ_output_run_on(const organ_output *output, uint64_t bytes, const char *model, const organ_engine *engine);

/* ---- reports ---- */

/* Markdown and page are those of the report's view; the page has the name of the Markdown file, ending in ".html". */
typedef struct organ_report_files {
    const char *json,
        *markdown;     /* "purify.json", "PURIFY_REPORT.md"; next to X.gguf: "X.purify.json", "X.PURIFY_REPORT.md" */
    const char *lines; /* "prune.jsonl", which the caller writes to organ_output_report_path; NULL: there is none */
} organ_report_files;

/* Returns the path of the report `name` of the output `path`, which grows in `directory`: DIRECTORY/organ/NAME, or
 * DIRECTORY/X.NAME for X.gguf and X.safetensors if the output is a `single` file. To be freed; NULL without memory. */
char *organ_output_report_path(const char *directory, const char *path, bool single, const char *name);

/* Checks the places of the reports of an output that is one file, as organ_output_check does for the output. */
organ_status organ_output_reports_check(const organ_output *output, const organ_report_files *files,
                                        organ_error *error);

/* Writes the reports into the directory in which the output grows; organ_output_end publishes them together with the
 * output. */
organ_status organ_output_reports_write(organ_output *output, const organ_report_files *files, const json_t *report,
                                        organ_error *error);

/* Makes a directory of reports, which appears complete or not at all; `more` (NULL: nothing) adds files to it before it
 * gets its name. The caller sets path, force and ranks of `output`. The first rank makes the directory, once all ranks
 * have reached this call. */
typedef organ_status organ_more_reports(const organ_output *output, const void *context, const json_t *report,
                                        organ_error *error);
organ_status organ_reports_make(organ_output *output, const organ_report_files *files, organ_more_reports *more,
                                const void *context, const json_t *report, organ_error *error);

/* A directory for reports, which may exist and contain other files. If `path` is NULL, the functions do nothing. Only
 * the first rank writes. */
typedef struct organ_report_folder {
    const char *path;
    organ_report_files files;
    organ_ranks *ranks;
    bool made; /* by this run */
} organ_report_folder;

/* Returns ORGAN_USAGE if the folder of the reports is that of an input or has other files under the names of the
 * reports. */
organ_status organ_report_folder_check(const organ_report_folder *folder, const char *const *inputs, size_t count,
                                       organ_error *error);
/* Makes it before the work begins. */
organ_status organ_report_folder_make(organ_report_folder *folder, organ_error *error);
/* Writes the reports, once all ranks have reached this call. */
organ_status organ_report_folder_write(const organ_report_folder *folder, const json_t *report, organ_error *error);
/* Removes the reports after an error, and the directory if this run made it. Leaves a directory that existed before
 * unchanged: it may contain the complete report of an earlier run or of this one. */
void organ_report_folder_abandon(const organ_report_folder *folder);

#endif
