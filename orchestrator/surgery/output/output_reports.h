/* SPDX-License-Identifier: MIT
 * The report of an operation as JSON, Markdown and HTML. An operation that makes a model writes it into the folder
 * organ/ of an output directory, or next to an output that is one file. Other operations write it into a new directory,
 * or into one that may exist and contain other files. */
#ifndef ORGAN_OUTPUT_REPORTS_H
#define ORGAN_OUTPUT_REPORTS_H

#include "orchestrator/surgery/output/output.h"

/* Markdown and page are those of the report's view; the page has the name of the Markdown file, ending in ".html". */
typedef struct organ_report_files {
    const char *json,
        *markdown;     /* "purify.json", "PURIFY_REPORT.md"; next to X.gguf: "X.purify.json", "X.PURIFY_REPORT.md" */
    const char *lines; /* "prune.jsonl", which the caller writes to organ_output_report_path; NULL: there is none */
} organ_report_files;

/* Returns the path of the report `name` of the output `path`, which grows in `directory`: DIRECTORY/organ/NAME, or
 * DIRECTORY/X.NAME for X.gguf and X.safetensors if the output is a `single` file. To be freed; NULL without memory. */
char *organ_output_report_path(const char *directory, const char *path, bool single, const char *name);

/* As organ_output_check, for the reports of an output that is one file. */
organ_status organ_output_reports_check(const organ_output *output, const organ_report_files *files,
                                        organ_error *error);

/* Writes them where the output grows; organ_output_end publishes them with it. */
organ_status organ_output_reports_write(organ_output *output, const organ_report_files *files, const json_t *report,
                                        organ_error *error);

/* Makes a directory of reports, whole or not at all; `more` (NULL: nothing) adds files to it where it grows. Of
 * `output` path, force and ranks are set: the first rank makes it, when all have come so far. */
typedef organ_status organ_more_reports(const organ_output *output, const json_t *report, organ_error *error);
organ_status organ_reports_make(organ_output *output, const organ_report_files *files, organ_more_reports *more,
                                const json_t *report, organ_error *error);

/* A directory that may be there and have other files. NULL for a path: none, and nothing is done. Only the first of the
 * ranks does it. */
typedef struct organ_report_folder {
    const char *path;
    organ_report_files files;
    organ_ranks *ranks;
    bool made; /* by this run */
} organ_report_folder;

/* ORGAN_USAGE if it is that of an input or has other files under the names of the reports. */
organ_status organ_report_folder_check(const organ_report_folder *folder, const char *const *inputs, size_t count,
                                       organ_error *error);
/* Makes it before the work begins. */
organ_status organ_report_folder_make(organ_report_folder *folder, organ_error *error);
/* When all ranks have come so far. */
organ_status organ_report_folder_write(const organ_report_folder *folder, const json_t *report, organ_error *error);
/* After an error: nothing is left of reports that are not whole, nor of a directory that was made for them. */
void organ_report_folder_abandon(const organ_report_folder *folder);

#endif
