/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/facts/report_end.h"

organ_status organ_report_end(const organ_memory_work *memory, json_t **report, const char *what, organ_error *error)
{
    if (!error->status && !*report)
        organ_fail_memory(error, what);
    if (error->status && error->status != ORGAN_CHECK_FAILED) {
        json_decref(*report);
        *report = NULL;
    }
    return organ_memory_work_end(memory, report, what, error);
}
