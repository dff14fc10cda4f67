/* SPDX-License-Identifier: MIT
 * Sizes of streamed layers, whose experts do not fit in memory together. */
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

/* A streamed layer uses a sixteenth of the memory for the inputs and outputs of its feed-forward. */
#define SHARE_OF_STATES 16

size_t organ_forward_layer_need(const organ_forward *f, const forward_plan *plan, uint64_t memory)
{
    if (!f->may_stream || !plan->experts)
        return plan->bytes;
    const uint64_t experts = organ_max(plan->expert, (size_t)(memory / FORWARD_SHARE_OF_EXPERTS));
    return plan->resident + experts < plan->bytes ? plan->resident + (size_t)experts : plan->bytes;
}

size_t organ_forward_largest_layer(const organ_forward *f, uint64_t memory)
{
    size_t max = 0;
    for (unsigned l = 0; l < f->config.layers; l++)
        max = organ_max(max, organ_forward_layer_need(f, &f->plans[l], memory));
    return max;
}

bool organ_forward_is_streamed(const organ_forward *f, const forward_plan *plan, uint64_t memory)
{
    return organ_forward_layer_need(f, plan, memory) < plan->bytes;
}

/* The share of memory is a sixteenth, for at least FORWARD_GROUP tokens. A token needs its normed input, its output,
 * router logits, and a copy of its hidden state if states are wider than that. */
size_t organ_forward_stream_tokens(const organ_forward *f, uint64_t memory)
{
    const uint64_t copies = f->config.state > f->config.hidden ? 3 : 2;
    const uint64_t token = (copies * f->config.hidden + organ_forward_choices(&f->config)) * sizeof(float);
    return organ_max(FORWARD_GROUP, (size_t)(memory / SHARE_OF_STATES / token));
}
