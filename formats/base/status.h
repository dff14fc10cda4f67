/* SPDX-License-Identifier: MIT
 * One error type for the whole program: what happened (which is also the exit code) and one sentence that says where.
 */
#ifndef ORGAN_STATUS_H
#define ORGAN_STATUS_H

#include "formats/base/api.h"

#include <stddef.h>

ORGAN_API_BEGIN

/* The numbers are the exit codes of the command line. */
typedef enum organ_status {
    ORGAN_OK = 0,
    ORGAN_CHECK_FAILED = 1, /* the check that was asked for did not hold (audit, autopsy, ...) */
    ORGAN_USAGE = 2,        /* the call is wrong: unknown option, value out of range, output exists */
    ORGAN_BAD_INPUT = 3,    /* a file is malformed, inconsistent or changed while it was read */
    ORGAN_IO = 4,           /* the system refused: read or write failed, no space, no memory, no permission */
    ORGAN_INTERRUPTED = 130 /* stopped on request; the output can be resumed */
} organ_status;

typedef struct organ_error {
    organ_status status;
    char message[1000];
    int errnum; /* ORGAN_IO: the errno, if there is one; ENOMEM also where the message itself says "no memory" */
} organ_error;

/* Writes the message and returns `status`, so that a fault is reported as `return organ_fail(error, ORGAN_BAD_INPUT,
 * ...)`. The message names the file, the tensor and field if there are any, and both values; no final newline. An error
 * that is already set is kept: the first fault is the cause. Control characters, invisible marks that reorder text
 * (organ_utf8_hidden) and invalid UTF-8 are written as \xNN, for names come from files; a message that is too long is
 * cut.
 */
organ_status organ_fail(organ_error *error, organ_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for an allocation that failed: "WHAT: Cannot allocate memory", ORGAN_IO, with errnum ENOMEM. */
organ_status organ_fail_memory(organ_error *error, const char *what);

/* The same for a failed system call: appends ": " and the text of `errnum`. Status is ORGAN_IO. */
organ_status organ_fail_errno(organ_error *error, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Records that a run has written the whole output `path`, which has its name. If `error` then receives a fault with
 * ORGAN_IO or ORGAN_INTERRUPTED, its message begins with "PATH is whole, but a later step failed: ". Until then the
 * status stays ORGAN_OK, and message and errnum are for organ_fail alone. Does nothing if `error` is set or already
 * records an output. */
void organ_error_output_whole(organ_error *error, const char *path);

ORGAN_API_END

#endif
