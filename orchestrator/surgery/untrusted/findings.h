/* SPDX-License-Identifier: MIT
 * The findings in a download: a table of kinds, and the list of findings. */
#ifndef ORGAN_FINDINGS_H
#define ORGAN_FINDINGS_H

#include "formats/base/faults.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The kinds of findings; findings.c has their titles and reasons. */
typedef enum organ_finding_kind {
    ORGAN_FINDING_PICKLE,
    ORGAN_FINDING_PROGRAM,
    ORGAN_FINDING_REMOTE_CODE,
    ORGAN_FINDING_TEMPLATE,
    ORGAN_FINDING_HEADER,
    ORGAN_FINDING_TENSOR,
    ORGAN_FINDING_LINK,
    ORGAN_FINDING_NAME,
    ORGAN_FINDING_TOKENIZER,
    ORGAN_FINDING_MODEL,
    ORGAN_FINDING_CONFIG,
    ORGAN_FINDING_DEVICE,
    ORGAN_FINDING_ARCHIVE,
    ORGAN_FINDING_UNREAD,
    ORGAN_FINDING_NO_WEIGHTS,
    ORGAN_FINDING_KINDS
} organ_finding_kind;

/* The findings so far. */
typedef struct organ_findings {
    json_t *list;                       /* rows of the report, in the order of the files; at most 200 of each kind */
    size_t counts[ORGAN_FINDING_KINDS]; /* includes findings that are not listed */
    const char *file;                   /* the current file: its path within the download */
    organ_error failure; /* first failure of the system, such as a full table of files; there is then no report */
} organ_findings;

/* Adds a finding about findings->file. `where` is the place in the file, "" for the whole file. The list contains at
 * most 200 findings of each kind, findings->counts counts all. */
void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds an error that occurred while findings->file was read. A fault of the input becomes a finding of `kind`, a failed
 * system call a finding "unread". An error that the file did not cause becomes findings->failure; a lack of memory is
 * only counted (formats/base/memory_watch.h). Does nothing for ORGAN_OK. */
void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error);

/* Returns true if `message` equals the text of an earlier finding, or ends with it: the file name at the beginning of
 * the message may differ. */
bool organ_findings_have(const organ_findings *findings, const char *message);

/* Returns the number of all findings, also those that are not listed. */
size_t organ_findings_count(const organ_findings *findings);

/* Returns the rows {"kind", "severity", "title", "why", "findings"} of the kinds with at least one finding, in the
 * order of the enum. */
json_t *organ_findings_kinds(const organ_findings *findings);

#endif
