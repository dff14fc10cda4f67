/* SPDX-License-Identifier: MIT
 * Begins and ends the work of a verb whose result is a document. The end decides whether the verb returns the document
 * or releases it. */
#ifndef ORGAN_REPORT_WORK_H
#define ORGAN_REPORT_WORK_H

#include <organ/base.h>
#include "orchestrator/machine/work_account.h"

/* A verb's work that has begun and not ended. */
typedef struct organ_report_work {
    organ_memory_work memory; /* counts refused allocations */
    organ_work account;       /* accounts for the time of this thread and the workers */
    json_t **report;          /* the verb's result */
} organ_report_work;

/* Begins a verb: sets *report to NULL and checks the options, a structure `type` of `ours` bytes. `needs` has `count`
 * texts: the name of a member and its value in turn. Returns ORGAN_USAGE, naming the member, if a value is NULL or
 * `size` is not that of this library. ORGAN_BEGIN_VERB calls it. */
organ_status organ_options_check(const char *type, size_t size, size_t ours, const char *const *needs, size_t count,
                                 json_t **report, organ_error *error);
#define ORGAN_BEGIN_VERB(type, options, report, error, ...)                                                            \
    organ_options_check(#type, (options)->size, sizeof *(options), (const char *const[]){__VA_ARGS__},                 \
                        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), report, error)

/* Sets *report to NULL, begins to count this thread's refused allocations and to account for its time. organ_report_end
 * or organ_report_end_partial must follow on the same thread. */
organ_report_work organ_report_begin(json_t **report);

/* Ends the work of a verb that returns a complete document or none. `what` names the input in messages. Returns
 * ORGAN_IO and no document if an allocation was refused, or if there is neither an error nor a document. After another
 * error it releases *report and sets it to NULL, except after ORGAN_CHECK_FAILED, whose document lists what failed. */
organ_status organ_report_end(const organ_report_work *work, const char *what, organ_error *error);

/* Ends the work of a verb that may return a document together with an error, for instance because its output is
 * complete although its evaluation failed. *report remains unless an allocation was refused: then the function releases
 * it and returns ORGAN_IO. */
organ_status organ_report_end_partial(const organ_report_work *work, const char *what, organ_error *error);

#endif
