/* SPDX-License-Identifier: MIT
 * Sizes of the experts in a plan, plans for a model that a verb is about to write, and the release of plans. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <stdlib.h>
#include <unistd.h>

/* plan->expert is the bytes of the largest expert, plan->resident those of all other weights. A matrix may begin and
 * end within a page (`edges`: two pages). These pages stay in memory, so they count as resident, and for matrices
 * that are not packed also as bytes of the expert. */
void organ_forward_plan_experts(forward_plan *plan, size_t experts)
{
    const size_t edges = 2 * (size_t)sysconf(_SC_PAGESIZE);
    plan->resident = plan->expert = 0;
    for (size_t e = 0; plan->experts && e < experts; e++) {
        size_t bytes = 0;
        for (size_t k = 0; k < 3; k++) {
            forward_slot *const slot = &plan->slots[plan->experts[3 * e + k].slot];
            if (k == 1 && plan->experts[3 * e].slot == plan->experts[3 * e + 1].slot)
                continue;
            slot->of_experts = true;
            bytes += slot->packed ? (size_t)organ_weight_held_bytes(slot->weight, 1)
                                  : slot->bytes / (size_t)slot->matrices + edges;
            plan->resident += edges;
        }
        plan->expert = organ_max(plan->expert, bytes);
    }
    for (size_t k = 0; k < plan->count; k++)
        plan->resident += plan->slots[k].of_experts ? 0 : organ_to_line(plan->slots[k].bytes);
}

/* Bytes for read buffers in the estimate of a panel's scratch. The packed type is not known yet; a panel in FP32 and
 * the codes and scales that it is decoded from have at most twice the bytes of the panel together. */
#define MADE_ROOM ((size_t)1 << 18)

organ_status organ_forward_plan_estimate(const organ_forward *forward, organ_type_change as, forward_plan *plan,
                                         organ_error *error)
{
    plan->bytes = 0;
    for (size_t k = 0; k < plan->count && !error->status; k++) {
        forward_slot *const slot = &plan->slots[k];
        size_t loading = 0;
        if (as == ORGAN_TYPES_PACKED && slot->weight->rank > 1)
            plan->panel = organ_max(plan->panel, 2 * organ_panel_bytes((size_t)slot->cols, ORGAN_REAL_F32) + MADE_ROOM);
        if (slot->packed && as >= ORGAN_TYPES_16) {
            slot->packed = false;
            slot->bytes = (size_t)slot->weight->elements * (as == ORGAN_TYPES_16 ? sizeof(uint16_t) : sizeof(float));
        }
        plan->bytes += organ_to_line(slot->bytes);
        if (organ_forward_load_size(forward, slot, &loading, error) == ORGAN_OK)
            plan->reading = organ_max(plan->reading, loading);
    }
    organ_forward_plan_experts(plan, forward->config.experts);
    return error->status;
}

void organ_forward_plan_release(forward_plan *plan)
{
    for (size_t k = 0; k < plan->count; k++)
        free(plan->slots[k].stored_form);
    free(plan->slots);
    free(plan->experts);
    free(plan->expert_biases);
    free(plan->head_norms);
}
