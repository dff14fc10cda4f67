/* SPDX-License-Identifier: MIT
 * The audit log: a line of JSON for each request that was answered. Any thread. */
#ifndef ORGAN_HTTP_AUDIT_LOG_H
#define ORGAN_HTTP_AUDIT_LOG_H

#include "formats/base/status.h"

#include <stdbool.h>

typedef struct organ_audit_log organ_audit_log;

typedef struct organ_audit_entry {
    const char *address, *token, *method, *path, *job; /* token and job may be "": null */
    unsigned status;
} organ_audit_entry;

/* Opens the file to add to it, and makes it, for its owner alone, where it is not there. */
organ_status organ_audit_log_open(const char *file, organ_audit_log **audit, organ_error *error);
void organ_audit_log_close(organ_audit_log *audit); /* NULL is allowed */

/* Opens the file of that name again: after the old one was moved away. On an error the old one goes on. */
organ_status organ_audit_log_reopen(organ_audit_log *audit, organ_error *error);

/* One line. What cannot be written is counted, and told on stderr once until a line can be written again; the server
 * goes on. */
void organ_audit_log_write(organ_audit_log *audit, const organ_audit_entry *entry);
unsigned long long organ_audit_log_lost(organ_audit_log *audit);

#endif
