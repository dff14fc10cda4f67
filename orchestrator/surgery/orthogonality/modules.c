/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/orthogonality/job.h"

organ_status organ_compared_modules_measure(const organ_compared_modules *modules, double *seconds, uint64_t *bytes,
                                            organ_error *error)
{
    const double started = organ_seconds_now();
    organ_ranks *const ranks = modules->engine->ranks;
    organ_deal deal;
    for (size_t k = 0; k < modules->count; k++)
        *bytes += modules->bytes(modules->job, k);
    organ_progress_begin(modules->progress, "comparing", *bytes, modules->count);
    if (organ_deal_make(ranks, modules->count, modules->bytes, modules->job, &deal, error) == ORGAN_OK)
        organ_deal_work(&deal, modules->measure, modules->job, error);
    organ_deal_complete(&deal, "the modules are measured", modules->found, modules->found_bytes, modules->stride,
                        error);
    organ_progress_end(modules->progress);
    organ_deal_release(&deal);
    *seconds = organ_seconds_now() - started;
    return error->status;
}
