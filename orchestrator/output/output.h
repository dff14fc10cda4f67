/* SPDX-License-Identifier: MIT
 * The layer below surgery/write, for every output and for directories of reports. This header: an output (a directory
 * or one file) is written under a hidden name and renamed to its own name when it is complete; and its reports. Further
 * headers: row ranges of large tensors (stretches.h), the journal, the record of written files, obsolete settings of a
 * config.json, the files of an output and the tensors in them (layout.h). */
#ifndef ORGAN_OUTPUT_OUTPUT_H
#define ORGAN_OUTPUT_OUTPUT_H

#include "orchestrator/output/stretches.h"
#include "orchestrator/output/journal.h"
#include "orchestrator/output/run_inputs.h"

typedef struct organ_view organ_view;                 /* report/view/views.h */
typedef struct organ_report_files organ_report_files; /* there, too */

#define ORGAN_OUTPUT_REPORTS 4 /* files of a report next to a single file: JSON, Markdown, HTML page, JSON lines */
#define ORGAN_OUTPUT_PARTS   (ORGAN_PUBLISH_FILES - ORGAN_OUTPUT_REPORTS) /* files of a model that are named together */

/* An output from its first check until it has its name. */
typedef struct organ_output {
    const char *path; /* as the user gave it */
    /* Directory of the model whose other files the output copies; with it --force can recognise an earlier output that
     * has copies of these files. NULL: none. */
    const char *like;
    bool single;     /* one file, not a directory */
    bool force;      /* --force: replace an existing output */
    unsigned closed; /* permission bits that no file of the output may have (organ_output_closed) */
    /* Journal of a run that can be continued; the caller closes it after organ_output_end. NULL: the run cannot be
     * continued, and resume, resumed_by, done and all are not used. */
    organ_run_journal *journal;
    bool resume; /* --resume: continue an interrupted run */
    /* Option that the error message names to continue this run; NULL: "--resume". */
    const char *resumed_by;
    size_t done, all; /* `done` of `all` tensors are written, for the error message */
    double started;   /* time of organ_output_begin (organ_seconds_now) */
    double seconds;   /* from `started` until everything was on the disk; set by organ_output_sync */
    /* File names of the reports that are published next to a single file; the last may be NULL. All NULL: none. Freed
     * by organ_output_end. */
    char *reports[ORGAN_OUTPUT_REPORTS];
    /* A single file may have further parts: `parts` has this number of files, of which the first has the name of
     * `path`, and which all get the directory of `path`. At most ORGAN_OUTPUT_PARTS; 0 or 1: there is one file. */
    const struct organ_layout_file *parts;
    size_t part_count;
    organ_publish publish; /* the hidden directory and its publication */
    organ_ranks *ranks;    /* ranks that write the output together; NULL: one process */
} organ_output;

/* Returns whether `path` ends in ".gguf" or ".safetensors" and so names a single file. NULL is no file. */
bool organ_output_is_file(const char *path);

/* Returns the path with which to open a copy of `donor`, written in `directory`, as a model. `single` is the name of
 * the copy's file if the copy is one file, else NULL. The path is directory/single; or `directory` itself if the donor
 * was opened as a directory; else directory/NAME, where NAME is the donor's index or, without an index, its first file.
 * The caller frees the path; NULL if memory runs out. */
char *organ_output_copy_path(const char *directory, const organ_model *donor, const char *single);

/* Returns the last component of the output's path; "model.gguf" without a path. */
const char *organ_output_name(const organ_output *output);

/* Returns ORGAN_USAGE if the output would be `model`, would be inside it, or would contain it. NULL: there is none. */
organ_status organ_output_check_not_input(const char *path, const organ_model *model, organ_error *error);

/* Returns ORGAN_USAGE if the output would be the file `input`. */
organ_status organ_output_check_not_file(const char *path, const char *input, organ_error *error);

/* Returns ORGAN_USAGE if the output would replace one of the inputs: its path is that of the file, or is a directory
 * that contains the file. */
organ_status organ_output_check_inputs(const char *path, const organ_run_inputs *inputs, organ_error *error);

/* Checks the paths of output->parts. Returns ORGAN_USAGE if one exists, unless `force` is set and
 * organ_check_replaceable accepts it, or if it is a file of `model`. */
organ_status organ_output_check_parts(const organ_output *output, const organ_model *model, organ_error *error);

/* Repeats organ_output_check after a long first phase; the name was free when the run began. Returns ORGAN_IO where
 * organ_output_check returns ORGAN_USAGE, because the command was correct and another process took the name
 * meanwhile. */
organ_status organ_output_still_free(const char *path, const char *like, bool force, organ_error *error);

/* Checks a directory for reports, which may exist and contain other files. Returns ORGAN_USAGE if `input` is a file in
 * this directory, or a model directory that is or contains this directory. Returns ORGAN_OK if `input` is a URL or
 * missing. */
organ_status organ_output_check_distinct(const char *directory, const char *input, organ_error *error);

/* Returns ORGAN_USAGE if the directory has a file with one of `names` (up to a NULL) that is not a report of this
 * program. `directory` may be NULL. */
organ_status organ_output_check_reports(const char *directory, const char *const *names, organ_error *error);

/* Removes the file at `path`, in a directory that this run has made, if it is empty or begins like a report; keeps
 * other files. Allocates nothing, so it works also when memory has run out. */
void organ_output_remove_report(const char *path);

/* Returns the value of organ_output.like for an output that copies the other files of `model`: its directory, or NULL
 * if the user named single files of it. */
const char *organ_output_like(const organ_model *model);

/* Returns the permission bits that an output made from the model must not have. */
unsigned organ_output_closed(const organ_model *model);

/* Checks the path of an output before the run; a dry run may have none (NULL). Returns ORGAN_USAGE if it exists, unless
 * `force` is set and organ_check_replaceable accepts the existing output (`like` as in organ_output). */
organ_status organ_output_check(const char *path, const char *like, bool force, organ_error *error);

/* For a dry run, whose output may have no path: returns ORGAN_USAGE if organ_output_begin would reject existing files,
 * also those of an interrupted run. */
organ_status organ_output_try(const organ_output *output, organ_error *error);

/* Creates the hidden directory in which the output is written, and removes files that a killed run left there. Returns
 * ORGAN_IO if the disk has no room for `bytes`. With `journal`, files of an interrupted run give ORGAN_USAGE unless
 * `resume` continues that run (output->publish.resumed is then set, and the journal has its lines) or `force` removes
 * them. Files without a journal cannot be continued and are always removed. */
organ_status organ_output_begin(organ_output *output, uint64_t bytes, organ_error *error);

/* Begins an output that all ranks write together. All ranks call it: rank 0 calls organ_output_begin, then the others
 * open its directory. All return the error of rank 0. *begun: this rank must call organ_output_end. */
organ_status organ_output_begin_together(organ_output *output, uint64_t bytes, bool *begun, organ_error *error);

/* Returns the hidden directory in which the output is written, also if the output is a single file. Valid until
 * organ_output_end. */
const char *organ_output_directory(const organ_output *output);

/* Removes the files that an interrupted run left in the hidden directory, except the journal and the files for which
 * `keeps` returns true; `name` is a file's path relative to that directory. Returns ORGAN_IO if a file cannot be
 * removed. */
organ_status organ_output_clear_rest(const organ_output *output, bool (*keeps)(const void *context, const char *name),
                                     const void *context, organ_error *error);

/* Syncs all files of the output to disk and sets output->seconds. Returns ORGAN_IO if that fails. */
organ_status organ_output_sync(organ_output *output, organ_error *error);

/* Ends the output; must be the last call after organ_output_begin succeeded. Without an error, rank 0 renames the
 * output to its path. If `error` is set, rank 0 removes the output or, with `journal`, keeps it as organ_run_finish
 * decides. A complete output that cannot be renamed stays in the hidden directory, and the message says how to move
 * it. */
organ_status organ_output_end(organ_output *output, organ_error *error);

/* Returns {"output", "seconds", "bytes_per_second"} for the "run" of a report, "resumed" if there is a journal, and
 * "activity" after more than a dry run.
 * `bytes`: number of bytes that the run processed. NULL if memory runs out. */
json_t *organ_output_run(const organ_output *output, uint64_t bytes);

/* Returns the seconds until everything was on the disk, counted from the start of the run (engine->began) or, if
 * engine->began is 0, from organ_output_begin. */
double organ_output_seconds(const organ_output *output, const organ_engine *engine);

/* Returns the same as organ_output_run for an operation that makes one model from another, with the further members
 * "model" (the path `model`), "threads", "cpu_isa" and "single_file". NULL if out of memory. */
json_t *organ_output_run_on(const organ_output *output, uint64_t bytes, const char *model, const organ_engine *engine);

/* ---- reports ---- */

/* Returns the path of the report `name` while the output `path` is written in `directory`: DIRECTORY/organ/NAME or, if
 * the output is a `single` file X.gguf or X.safetensors, DIRECTORY/X.NAME. The caller frees it; NULL if memory runs
 * out. */
char *organ_output_report_path(const char *directory, const char *path, bool single, const char *name);

/* Checks the paths of the reports next to an output that is one file. Returns ORGAN_USAGE if one exists, unless `force`
 * is set and it may be replaced (organ_publish_check). Does nothing for directories, which contain their reports. */
organ_status organ_output_reports_check(const organ_output *output, const organ_report_files *files,
                                        organ_error *error);

/* Writes the reports into the output's hidden directory; organ_output_end publishes them together with the output. For
 * an output that is a directory, also writes the record of its files. */
organ_status organ_output_reports_write(organ_output *output, const organ_report_files *files, const json_t *report,
                                        organ_error *error);

/* Makes a directory of reports, which appears complete or not at all. The caller sets path, force and ranks of
 * `output`. `more` (NULL: nothing) adds files before the directory gets its name. All ranks call it; rank 0 writes once
 * all ranks have reached the call. */
typedef organ_status organ_more_reports(const organ_output *output, const void *context, const json_t *report,
                                        organ_error *error);
organ_status organ_reports_make(organ_output *output, organ_more_reports *more, const void *context,
                                const json_t *report, organ_error *error);

/* The directory of -o for reports, which may exist and contain other files. If `path` is NULL, the functions below do
 * nothing. Only rank 0 writes. */
typedef struct organ_report_folder {
    const char *path;
    const organ_view *view; /* of the report */
    organ_ranks *ranks;
    bool made;  /* this run created the directory */
    bool wrote; /* this run has begun to write the reports */
} organ_report_folder;

/* Returns ORGAN_USAGE if the folder is the directory of one of the `count` paths `inputs` (NULL entries are skipped),
 * or has a file of another program under the name of a report. */
organ_status organ_report_folder_check(const organ_report_folder *folder, const char *const *inputs, size_t count,
                                       organ_error *error);
/* Creates the directory before the work begins, so that a run does not fail at its end. Returns ORGAN_USAGE if the path
 * is not a directory, ORGAN_IO if it cannot be created or written. */
organ_status organ_report_folder_make(organ_report_folder *folder, organ_error *error);
/* Writes the reports, once all ranks have reached this call. If two runs have the same directory, one writes all its
 * reports before the other. */
organ_status organ_report_folder_write(organ_report_folder *folder, const json_t *report, organ_error *error);
/* After an error, removes the directory with its reports if this run made the directory. Does nothing if the directory
 * existed before, because it may contain the complete report of an earlier run or of this one. */
void organ_report_folder_abandon(const organ_report_folder *folder);

#endif
