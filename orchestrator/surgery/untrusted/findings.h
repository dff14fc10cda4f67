/* SPDX-License-Identifier: MIT
 * What can be found in a download: a table of kinds, and the list of findings. */
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
    size_t counts[ORGAN_FINDING_KINDS]; /* also of those that are not listed */
    const char *file;                   /* which is being looked at: its path within the download */
    organ_error failure;                /* the first fault of the disk or the system: there is no verdict then */
} organ_findings;

/* Adds a finding about findings->file. `where` in it is "" where that is the whole file. Of each kind 200 are listed.
 */
void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds what went wrong with reading findings->file: a fault of the input as one of `kind`, what the system refused as a
 * file that could not be read. What says nothing about the file becomes the failure; a lack of memory counts as a
 * refusal (formats/base/memory_watch.h). */
void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error);

/* Whether the sentence ends with what has been found before, whatever the file is called there. */
bool organ_findings_have(const organ_findings *findings, const char *message);

/* How many there are in all. */
size_t organ_findings_count(const organ_findings *findings);

/* Rows {"kind", "severity", "title", "why", "findings"} of the kinds that there are findings of, in the order above. */
json_t *organ_findings_kinds(const organ_findings *findings);

#endif
