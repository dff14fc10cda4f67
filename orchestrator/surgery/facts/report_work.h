/* SPDX-License-Identifier: MIT
 * The document that a verb returns, from the beginning of the verb's work to its end. */
#ifndef ORGAN_REPORT_WORK_H
#define ORGAN_REPORT_WORK_H

#include "formats/base/memory_watch.h"

typedef struct organ_report_work {
    organ_memory_work memory;
    json_t **report;
} organ_report_work;

/* Sets *report to NULL and counts refused allocations until the work ends, on the same thread. */
organ_report_work organ_report_begin(json_t **report);

/* Ends the work; `what` names the input in messages. Returns ORGAN_IO, without a document, if an allocation was refused
 * or there is neither an error nor a document. After another error it releases *report and sets it to NULL, except
 * after ORGAN_CHECK_FAILED: then the document lists what failed. */
organ_status organ_report_end(const organ_report_work *work, const char *what, organ_error *error);

/* Ends the work like organ_report_end, for a verb that may return a document together with an error, such as one whose
 * output is complete although its evaluation failed: *report remains unless an allocation was refused. */
organ_status organ_report_end_partial(const organ_report_work *work, const char *what, organ_error *error);

#endif
