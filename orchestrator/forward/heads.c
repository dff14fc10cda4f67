/* SPDX-License-Identifier: MIT
 * The scale of queries by their position, and the gate of the attention's output. */
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>

#define TOKENS_AT_ONCE ((size_t)32)

/* transformers, get_llama_4_attn_scale of modeling_ministral3.py and Llama4TextAttention.forward. */
float organ_forward_query_factor(const organ_forward_config *c, const organ_layer_kind *kind, size_t position)
{
    const organ_query_scale *const q = &c->query_scale;
    if (q->beta == 0 || (q->unrotated && kind->rotated))
        return 1;
    return (float)(1 + q->beta * log1p(floor((double)(position + q->offset) / q->length)));
}

typedef struct gate_job {
    const forward_group *group;
    float *gates, *out;
    size_t gate_width, out_width, head;
} gate_job;

/* ln(1 + e^x), and x where that is the same in FP32, as torch does. */
static void softplus(const organ_kernels *kernels, float *values, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        float power = values[k];
        kernels->exp_below(&power, 1, 0);
        values[k] = values[k] > 20 ? values[k] : (float)log1p((double)power);
    }
}

static void gate_tokens_of_heads(void *context, size_t index, size_t worker)
{
    (void)worker;
    const gate_job *const j = context;
    const organ_forward *const f = j->group->forward;
    const size_t first = index * TOKENS_AT_ONCE, until = organ_min(first + TOKENS_AT_ONCE, j->group->tokens);
    float *const gates = j->gates + first * j->gate_width;
    if (f->config.gate == ORGAN_GATE_SOFTPLUS)
        softplus(f->engine->kernels, gates, (until - first) * j->gate_width);
    else
        organ_forward_logistic(f->engine->kernels, gates, (until - first) * j->gate_width);
    for (size_t t = first; t < until; t++)
        for (size_t x = 0; x < j->out_width; x++)
            j->out[t * j->out_width + x] *= j->gates[t * j->gate_width + x / j->head];
}

organ_status organ_forward_gate_output(forward_group *g, const float *normed, float *out, float *room,
                                       organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const organ_layer_kind *const kind = g->layer->kind;
    if (c->gate == ORGAN_UNGATED)
        return ORGAN_OK;
    const forward_view view = g->layer->plan->parts[PART_HEAD_GATE];
    gate_job j = {.group = g, .gates = room, .out = out, .head = c->gate_heads ? kind->value_dim : 1};
    j.out_width = (size_t)kind->heads * kind->value_dim;
    j.gate_width = j.out_width / j.head;
    const forward_linear linear = organ_forward_linear_of(g->layer, view, j.gate_width);
    if (organ_forward_tap(g, view, g->first, g->tokens, linear.in, normed, error) ||
        organ_forward_products_add(&g->products, normed, &linear, room, g->tokens, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error))
        return error->status;
    const double work = (double)g->tokens * (double)(j.gate_width * ORGAN_SHARE_HARD + j.out_width);
    return organ_forward_share(g->forward->engine, organ_pieces_of(g->tokens, TOKENS_AT_ONCE), work,
                               gate_tokens_of_heads, &j, error);
}
