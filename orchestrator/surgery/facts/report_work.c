/* SPDX-License-Identifier: MIT
 * Begins and ends the work of a verb that returns a document. */
#include "orchestrator/surgery/facts/report_work.h"

organ_report_work organ_report_begin(json_t **report)
{
    *report = NULL;
    return (organ_report_work){.memory = organ_memory_work_begin(), .account = organ_work_begin(), .report = report};
}

/* Ends the work of a verb that returns a complete document or none: after any error but ORGAN_CHECK_FAILED the document
 * is released. */
organ_status organ_report_end(const organ_report_work *work, const char *what, organ_error *error)
{
    json_t **const report = work->report;
    if (!error->status && !*report)
        organ_fail_memory(error, what);
    if (error->status && error->status != ORGAN_CHECK_FAILED) {
        json_decref(*report);
        *report = NULL;
    }
    return organ_report_end_partial(work, what, error);
}

organ_status organ_report_end_partial(const organ_report_work *work, const char *what, organ_error *error)
{
    organ_work_end(&work->account);
    return organ_memory_work_end(&work->memory, work->report, what, error);
}
