/* SPDX-License-Identifier: MIT
 * Notes changed settings for the report, and checks groups and periods of the kept parts. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

void organ_cut_note(void *context, const organ_settings *at, const char *name, json_t *before, json_t *after)
{
    organ_cut_run *const run = context;
    json_t *const row = ORGAN_OBJECT(
        SET_TEXT("where", at->gguf ? "GGUF" : "config.json"),
        SET("key", at->inside ? organ_json_sprintf("%s.%s", at->inside, name) : organ_document_string(name)),
        SET("before", before ? before : json_null()), SET("after", after ? after : json_null()));
    if (!row || json_array_append_new(run->settings, row))
        organ_fail_memory(at->error, run->model->path);
}

size_t organ_cut_kept_before(const organ_cut_run *run, size_t count)
{
    size_t kept = 0;
    for (size_t l = 0; l < count && l < run->layer_count; l++)
        kept += run->facts[l].becomes >= 0;
    return kept + (count > run->layer_count ? count - run->layer_count : 0);
}

/* A period of 0 or 1 always holds. */
bool organ_cut_period_holds(const organ_cut_run *run, size_t layers, uint64_t period, uint64_t shift)
{
    for (size_t l = 0; l < layers && l < run->layer_count && period > 1; l++)
        if (run->facts[l].becomes >= 0 &&
            ((l + shift) % period == 0) != (((uint64_t)run->facts[l].becomes + shift) % period == 0))
            return false;
    return true;
}

bool organ_cut_shared_follow(const organ_cut_run *run)
{
    return run->shared_channels_before && run->expert_channels_before &&
           run->shared_channels_before * run->expert_channels_after ==
               run->shared_channels_after * run->expert_channels_before;
}

const char *organ_cut_groups_fault(const organ_cut_run *run, uint64_t groups, uint64_t used, uint64_t chosen)
{
    const uint64_t size = groups ? run->experts_before / groups : 0,
                   remaining = groups ? run->experts_after / groups : 0;
    if (groups < 2)
        return NULL;
    if (run->experts_before % groups || run->experts_after % groups)
        return "the kept experts cannot be divided evenly among the groups that the router chooses from";
    if (remaining < 2)
        return "the router scores a group by its two best experts, but a group would have fewer";
    if (used && used * remaining < chosen)
        return "the used groups would have fewer experts than each token needs";
    for (size_t l = 0; l < run->layer_count; l++)
        for (uint64_t g = 0; g < groups && run->facts[l].expert_of && run->facts[l].becomes >= 0; g++) {
            uint64_t kept = 0;
            for (uint64_t e = g * size; e < (g + 1) * size; e++)
                kept += run->facts[l].expert_of[e] >= 0;
            if (kept != remaining)
                return "each group must keep the same number of experts, because the router divides experts into "
                       "groups by position";
        }
    return NULL;
}
