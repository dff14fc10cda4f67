/* SPDX-License-Identifier: MIT
 * The program's error type: a status, which is also the exit code, and a sentence that describes the fault. */
#ifndef ORGAN_STATUS_H
#define ORGAN_STATUS_H

#include "formats/base/api.h"

#include <stddef.h>

ORGAN_API_BEGIN

/* The values are the exit codes of the command line. */
typedef enum organ_status {
    ORGAN_OK = 0,
    ORGAN_CHECK_FAILED = 1, /* the requested check did not pass (audit, autopsy, ...) */
    ORGAN_USAGE = 2,        /* invalid call: unknown option, value out of range, output exists */
    ORGAN_BAD_INPUT = 3,    /* a file is malformed, inconsistent, or changed while it was read */
    ORGAN_IO = 4,           /* a system call failed: read or write error, no space, no memory, no permission */
    ORGAN_INTERRUPTED = 130 /* stopped on request; --resume can continue the output */
} organ_status;

/* An error. All members are zero before the first fault. */
typedef struct organ_error {
    organ_status status;
    char message[1000];
    int errnum; /* for ORGAN_IO the errno, or 0 if there is none; ENOMEM also if the format has the words "no memory" */
} organ_error;

/* Formats the message and returns `status`, so that callers can write `return organ_fail(error, ORGAN_BAD_INPUT,
 * ...)`. The message names the file, the tensor and field if there are any, and both values; it has no final newline.
 * If `error` is already set it stays unchanged, because the first fault is the cause. Names come from files, so
 * control characters, invisible marks that reorder text (organ_utf8_hidden) and invalid UTF-8 are written as \xNN. A
 * message that is too long is cut. */
organ_status organ_fail(organ_error *error, organ_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reports a failed allocation like organ_fail: "WHAT: Cannot allocate memory", ORGAN_IO, errnum ENOMEM. */
organ_status organ_fail_memory(organ_error *error, const char *what);

/* Reports a failed system call like organ_fail: appends ": " and the text of `errnum`; the status is ORGAN_IO. */
organ_status organ_fail_errno(organ_error *error, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Records that a run has written the complete output `path` and renamed it to its final name. If `error` later receives
 * a fault with ORGAN_IO or ORGAN_INTERRUPTED, its message begins with "PATH is complete, but a later step failed: ".
 * Until then the status stays ORGAN_OK, and only the functions of this header may use message and errnum. Does nothing
 * if `error` is set or already records an output. */
void organ_error_output_whole(organ_error *error, const char *path);

ORGAN_API_END

#endif
