/* SPDX-License-Identifier: MIT
 * Sizes of streamed layers, whose experts do not fit in memory together. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

/* A streamed layer uses a sixteenth of the memory for the inputs and outputs of its feed-forward. */
#define SHARE_OF_STATES 16

/* Returns the bytes of a layer in memory. A streamed layer has its resident weights and, for experts, a quarter of
 * `memory`, or the bytes of the largest expert if that is more. Returns all bytes of the layer if this is less, or if
 * the layer cannot be streamed. */
size_t organ_forward_layer_need(const organ_forward *f, const forward_plan *plan, uint64_t memory)
{
    if (!f->may_stream || !plan->experts)
        return plan->bytes;
    const uint64_t experts = organ_max(plan->expert, (size_t)(memory / FORWARD_SHARE_OF_EXPERTS));
    return plan->resident + experts < plan->bytes ? plan->resident + (size_t)experts : plan->bytes;
}

/* Returns the largest organ_forward_layer_need of all layers. */
size_t organ_forward_largest_layer(const organ_forward *f, uint64_t memory)
{
    size_t max = 0;
    for (unsigned l = 0; l < f->config.layers; l++)
        max = organ_max(max, organ_forward_layer_need(f, &f->plans[l], memory));
    return max;
}

/* Returns whether a layer is loaded without its experts if the engine has `memory` bytes. */
bool organ_forward_is_streamed(const organ_forward *f, const forward_plan *plan, uint64_t memory)
{
    return organ_forward_layer_need(f, plan, memory) < plan->bytes;
}

/* Returns the number of tokens whose feed-forward a streamed layer computes together: as many as fit a sixteenth of
 * `memory`, at least FORWARD_GROUP. A token needs its normed input, its output, router logits, and a copy of its hidden
 * state if states are wider than that. */
size_t organ_forward_stream_tokens(const organ_forward *f, uint64_t memory)
{
    const uint64_t copies = f->config.state > f->config.hidden ? 3 : 2;
    const uint64_t token = (copies * f->config.hidden + organ_forward_choices(&f->config)) * sizeof(float);
    return organ_max(FORWARD_GROUP, (size_t)(memory / SHARE_OF_STATES / token));
}
