/* SPDX-License-Identifier: MIT
 * What every verb does around its work: the document is whole or there is none, and what was opened is released. */
#ifndef ORGAN_OPERATION_H
#define ORGAN_OPERATION_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>

typedef struct organ_operation {
    const char *what; /* in messages: the input */
    void *job;
    /* Opens, works, and sets *report, which it may leave NULL where memory ran out. */
    organ_status (*work)(void *job, json_t **report, organ_error *error);
    void (*release)(void *job); /* also after an error */
    bool keeps;                 /* what `work` leaves in *report after an error is kept */
} organ_operation;

/* *report is for the caller to release, NULL on error but ORGAN_CHECK_FAILED, of which the report tells why, and
 * what the operation keeps. */
organ_status organ_operation_run(const organ_operation *operation, json_t **report, organ_error *error);

#endif
