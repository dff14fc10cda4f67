/* SPDX-License-Identifier: MIT
 * The findings in a download: a table of kinds, and the list of findings. */
#ifndef ORGAN_FINDINGS_H
#define ORGAN_FINDINGS_H

#include "formats/base/faults.h"
#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

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

typedef struct organ_findings {
    json_t *list;                       /* rows of the document, in the order of the files */
    size_t counts[ORGAN_FINDING_KINDS]; /* includes findings that are not listed */
    const char *file;                   /* the current file: its path within the download */
    organ_error failure;                /* the first error of the disk or the system: the report has no verdict then */
} organ_findings;

/* Adds a finding about findings->file. `where`: the place in the file; "" for the whole file. The list contains at
 * most 200 findings of each kind. */
void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds an error that occurred while findings->file was read. A fault of the input becomes a finding of `kind`; a
 * failed system call becomes a finding "unread". An error that does not concern the file becomes findings->failure,
 * and a lack of memory is only counted (formats/base/memory_watch.h). */
void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error);

/* Returns true if `message` ends with the text of an earlier finding; the name of the file at its beginning may
 * differ. */
bool organ_findings_have(const organ_findings *findings, const char *message);

/* Returns the number of all findings. */
size_t organ_findings_count(const organ_findings *findings);

/* Returns the rows {"kind", "severity", "title", "why", "findings"} of the kinds with at least one finding, in the
 * order of the enum. */
json_t *organ_findings_kinds(const organ_findings *findings);

#endif
