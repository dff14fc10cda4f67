/* SPDX-License-Identifier: MIT
 * The report of an operation that makes a model, as JSON, Markdown and HTML: in the folder organ/ of an output directory, or beside an
 * output that is one file. */
#ifndef ORGAN_OUTPUT_REPORTS_H
#define ORGAN_OUTPUT_REPORTS_H

#include "orchestrator/surgery/output/output.h"

/* The page has the name of the Markdown file, ending in ".html". */
typedef struct organ_report_files {
    const char *json, *markdown; /* "purify.json", "PURIFY_REPORT.md"; beside X.gguf: "X.purify.json", "X.PURIFY_REPORT.md" */
    organ_status (*print)(const json_t *report, char **text, organ_error *error); /* the Markdown */
} organ_report_files;

/* As organ_output_check, for the reports of an output that is one file. */
organ_status organ_output_reports_check(const organ_output *output, const organ_report_files *files, organ_error *error);

/* Writes them where the output grows; organ_output_end publishes them with it. */
organ_status organ_output_reports_write(organ_output *output, const organ_report_files *files, const json_t *report, organ_error *error);

#endif
