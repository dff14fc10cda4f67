/* SPDX-License-Identifier: MIT
 * The findings in a download (a model that a user has fetched and does not trust): their kinds, and their list. */
#ifndef ORGAN_FINDINGS_H
#define ORGAN_FINDINGS_H

#include "formats/base/faults.h"
#include <organ/base.h>

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The kinds of findings; findings.c has their titles and the reason why each is dangerous. */
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

/* The findings that were added so far. */
typedef struct organ_findings {
    json_t *list;                       /* rows of the report, in the order of the files; at most 200 of each kind */
    size_t counts[ORGAN_FINDING_KINDS]; /* includes findings that are not listed */
    const char *file;                   /* the file that is examined: its path within the download */
    /* first failure of the system, such as too many open files: organ_untrusted then makes no report */
    organ_error failure;
} organ_findings;

/* Adds a finding about findings->file, with a formatted sentence. `where` is the place in the file, such as a key or a
 * line; "" for the whole file. A kind that has 200 findings in the list is only counted in findings->counts. */
void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds an error that a reader of findings->file returned. A fault of the content becomes a finding of `kind`, a file
 * that cannot be read a finding "unread". A failure of the system (organ_is_system_failure) says nothing about the
 * file: the first one becomes findings->failure. A lack of memory is only reported to organ_memory_refusals. Does
 * nothing for ORGAN_OK. */
void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error);

/* Returns whether `message` is the sentence of a finding in the list, possibly after the name of a file. */
bool organ_findings_have(const organ_findings *findings, const char *message);

/* Returns the number of all findings, including those that are only counted. */
size_t organ_findings_count(const organ_findings *findings);

/* Returns the rows {"kind", "severity", "title", "why", "findings"} of the kinds with at least one finding, in the
 * order of the enum. */
json_t *organ_findings_kinds(const organ_findings *findings);

#endif
