/* SPDX-License-Identifier: MIT
 * Begins and ends the work of a verb that returns a document. */
#include "orchestrator/surgery/facts/report_work.h"

organ_status organ_options_check(const char *type, size_t size, size_t ours, const char *const *needs, size_t count,
                                 json_t **report, organ_error *error)
{
    *report = NULL;
    if (size != 0 && size != ours)
        return organ_fail(error, ORGAN_USAGE, "%s.size is %zu, not %zu: the headers are not those of this library",
                          type, size, ours);
    for (size_t k = 0; k + 1 < count; k += 2)
        if (!needs[k + 1])
            return organ_fail(error, ORGAN_USAGE, "%s.%s is NULL", type, needs[k]);
    return ORGAN_OK;
}

organ_report_work organ_report_begin(json_t **report)
{
    *report = NULL;
    return (organ_report_work){.memory = organ_memory_work_begin(), .account = organ_work_begin(), .report = report};
}

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
