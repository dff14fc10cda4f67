/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/http/audit_log.h"

#include "orchestrator/report/text/members.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct organ_audit_log {
    char *file;
    pthread_mutex_t lock; /* guards the members below */
    int fd;
    bool torn;               /* the end of the last line could not be written */
    bool reported;           /* the last line was lost, and stderr reports this series of losses */
    unsigned long long lost; /* lines that could not be written */
};

/* Returns -1 with errno on failure. O_NONBLOCK makes the open of a pipe without a reader fail instead of wait. */
static int open_log(const char *file)
{
    return open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

organ_status organ_audit_log_open(const char *file, organ_audit_log **made, organ_error *error)
{
    organ_audit_log *const audit = *made = calloc(1, sizeof *audit);
    if (!audit)
        return organ_fail_memory(error, file);
    pthread_mutex_init(&audit->lock, NULL);
    audit->file = strdup(file);
    audit->fd = audit->file ? open_log(file) : -1;
    if (audit->fd >= 0)
        return ORGAN_OK;
    organ_fail_errno(error, errno, "%s", file);
    organ_audit_log_close(audit);
    *made = NULL;
    return error->status;
}

void organ_audit_log_close(organ_audit_log *audit)
{
    if (!audit)
        return;
    if (audit->fd >= 0)
        close(audit->fd);
    pthread_mutex_destroy(&audit->lock);
    free(audit->file);
    free(audit);
}

organ_status organ_audit_log_reopen(organ_audit_log *audit, organ_error *error)
{
    const int fd = open_log(audit->file);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", audit->file);
    pthread_mutex_lock(&audit->lock);
    close(audit->fd);
    audit->fd = fd;
    audit->torn = false;
    pthread_mutex_unlock(&audit->lock);
    return ORGAN_OK;
}

static char *audit_log_line_of(const organ_audit_entry *entry)
{
    struct timespec now;
    struct tm parts;
    char stamp[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    const size_t used = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(stamp + used, sizeof stamp - used, ".%03ldZ", now.tv_nsec / 1000000);
    json_t *const line =
        ORGAN_OBJECT(SET_TEXT("time", stamp), SET_TEXT("address", entry->address),
                     SET_BYTES_OF("token", *entry->token ? entry->token : NULL), SET_BYTES("method", entry->method),
                     SET_BYTES("path", entry->path), SET_COUNT("status", entry->status),
                     SET_BYTES_OF("job", *entry->job ? entry->job : NULL));
    char *const text = line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(line);
    return text;
}

/* The text and its newline are one system call, so that the lines of several processes do not mix. The caller holds
 * the lock. Returns 0 or an errno; ENOSPC if only a part was written. */
static int append_line(organ_audit_log *audit, const char *text)
{
    char *whole;
    /* If a full disk cut the last line, the next entry begins on a new line. */
    const int bytes = asprintf(&whole, "%s%s\n", audit->torn ? "\n" : "", text);
    if (bytes < 0)
        return ENOMEM;
    const ssize_t wrote = write(audit->fd, whole, (size_t)bytes);
    int fault = wrote < bytes ? ENOSPC : 0;
    if (wrote < 0)
        fault = errno;
    if (wrote > 0)
        audit->torn = wrote < bytes;
    free(whole);
    return fault;
}

void organ_audit_log_write(organ_audit_log *audit, const organ_audit_entry *entry)
{
    char *const text = audit_log_line_of(entry);
    pthread_mutex_lock(&audit->lock);
    const int fault = text ? append_line(audit, text) : ENOMEM;
    audit->lost += fault != 0;
    if (fault && !audit->reported)
        fprintf(stderr, "organ: %s: cannot be written, requests are not logged: %s\n", audit->file, strerror(fault));
    else if (!fault && audit->reported)
        fprintf(stderr, "organ: %s: can be written again; %llu lines were lost\n", audit->file, audit->lost);
    audit->reported = fault != 0;
    pthread_mutex_unlock(&audit->lock);
    free(text);
}

unsigned long long organ_audit_log_lost(organ_audit_log *audit)
{
    pthread_mutex_lock(&audit->lock);
    const unsigned long long lost = audit->lost;
    pthread_mutex_unlock(&audit->lock);
    return lost;
}
