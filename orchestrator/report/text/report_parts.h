/* SPDX-License-Identifier: MIT
 * What several reports show the same way. */
#ifndef ORGAN_REPORT_PARTS_H
#define ORGAN_REPORT_PARTS_H

#include "orchestrator/machine/shell_word.h"
#include "orchestrator/report/text/model_line.h"
#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

/* An array of {"check", "ok", "detail"}. */
organ_table *organ_checks_table(const json_t *checks);

/* report.files: name, tensors, size. */
organ_table *organ_files_table(const json_t *report);

/* Writes the table and destroys it: for the page, with an empty line behind it, or as Markdown where `page` is NULL. */
organ_status organ_table_emit(organ_table *table, FILE *out, const organ_page *page, organ_error *error);

/* The beginning of a terminal report: "Purified MODEL\ninto OUTPUT", or of a dry run "Dry run, nothing was written: MODEL\nwould go into
 * OUTPUT"; no newline at the end. `done` is "Purified "; `model` names the member of the report. */
void organ_made_line(FILE *out, const json_t *report, const char *done, const char *model);

/* "  Time: 1.2 s, 310 MB/s of output." from report.run; `what` is " of output". */
void organ_time_line(FILE *out, const json_t *report, const organ_page *page, const char *what);

/* "Report:  OUT/organ/NAME (and .html)" from report.run, or "Report:  OUT.NAME (and .html)" beside a single file; an empty line before it.
 */
void organ_report_line(FILE *out, const json_t *report, const char *name);

/* "Adapter:  OUTPUT" from report.run with an empty line before it; `what` is "Adapter". */
void organ_output_line(FILE *out, const json_t *report, const char *what);

/* report.errata, what must be read with killed weights: for the terminal, an empty line behind it, or as Markdown where `page` is NULL, an
 * empty line before it. Nothing where there are none. */
void organ_errata_put(FILE *out, const json_t *report, const organ_page *page);

/* A Markdown list of an array of sentences, `lead` ("- ") before each. */
void organ_sentences_list(FILE *out, const char *lead, const json_t *sentences);

/* A Markdown list of an object of terms and what they mean: "- **TERM**: SENTENCE". */
void organ_terms_list(FILE *out, const json_t *terms);

/* The section "Definitions" of report.definitions, an object; an empty line before it. */
void organ_definitions_list(FILE *out, const json_t *report);

/* A quantity of bytes, a member of the row. */
void organ_bytes_cell(organ_table *table, const json_t *row, const char *key);

/* "72.31 %" of a share in [0, 1], a member of the row; "-" where it is no number. */
void organ_share_cell(organ_table *table, const json_t *row, const char *key);

/* "4" or "4-16" */
void organ_range_cell(organ_table *table, unsigned long long from, unsigned long long to);

/* Whether no row before this one has its "role". */
bool organ_role_is_new(const json_t *rows, size_t row);

#endif
