/* SPDX-License-Identifier: MIT
 * The audit log: one line of JSON for each answered request. All functions may be called from any thread. */
#ifndef ORGAN_HTTP_AUDIT_LOG_H
#define ORGAN_HTTP_AUDIT_LOG_H

#include <organ/base.h>

#include <stdbool.h>

typedef struct organ_audit_log organ_audit_log;

/* One answered request. An empty token or job is written as null. */
typedef struct organ_audit_entry {
    const char *address;       /* of the client */
    const char *token;         /* name of the token, never the token itself */
    const char *method, *path; /* as received; the path has its query */
    const char *job;           /* id */
    unsigned status;           /* of HTTP */
} organ_audit_entry;

/* Opens the file for appending. Creates a missing file with access for its owner only. Returns ORGAN_IO if it cannot be
 * opened; *audit is NULL then. */
organ_status organ_audit_log_open(const char *file, organ_audit_log **audit, organ_error *error);
void organ_audit_log_close(organ_audit_log *audit); /* NULL is allowed */

/* Opens the file with the same name again, for use after log rotation moved the old file away. On an error the log
 * keeps writing to the old file. */
organ_status organ_audit_log_reopen(organ_audit_log *audit, organ_error *error);

/* Writes one line, with the current time. A line that cannot be written is counted as lost; the first of a series is
 * reported on stderr. The server keeps running. */
void organ_audit_log_write(organ_audit_log *audit, const organ_audit_entry *entry);
/* Returns the number of lines since organ_audit_log_open that could not be written. */
unsigned long long organ_audit_log_lost(organ_audit_log *audit);

#endif
