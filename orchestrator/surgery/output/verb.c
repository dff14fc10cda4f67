/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/verb.h"

#include "formats/base/memory_watch.h"

organ_status organ_verb_run(const organ_verb *verb, json_t **report, organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    *report = NULL;
    if (verb->work(verb->job, report, error) == ORGAN_OK && !*report)
        organ_fail_memory(error, verb->what);
    if (error->status && error->status != ORGAN_CHECK_FAILED && !verb->keeps) {
        json_decref(*report);
        *report = NULL;
    }
    verb->release(verb->job);
    return organ_memory_work_end(&work, report, verb->what, error);
}
