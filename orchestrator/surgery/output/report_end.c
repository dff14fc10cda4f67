/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/operation.h"

#include "formats/base/memory_watch.h"

organ_status organ_operation_run(const organ_operation *operation, json_t **report, organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    *report = NULL;
    if (operation->work(operation->job, report, error) == ORGAN_OK && !*report)
        organ_fail_memory(error, operation->what);
    if (error->status && error->status != ORGAN_CHECK_FAILED && !operation->keeps) {
        json_decref(*report);
        *report = NULL;
    }
    operation->release(operation->job);
    return organ_memory_work_end(&work, report, operation->what, error);
}
