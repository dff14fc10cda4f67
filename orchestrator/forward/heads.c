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
    size_t gate_width, stride, out_width, head;
} gate_job;

static void gate_tokens_of_heads(void *context, size_t index, size_t worker)
{
    (void)worker;
    const gate_job *const j = context;
    const organ_forward *const f = j->group->forward;
    const size_t first = index * TOKENS_AT_ONCE, until = organ_min(first + TOKENS_AT_ONCE, j->group->tokens);
    for (size_t t = first; t < until; t++) {
        float *const gates = j->gates + t * j->stride;
        if (f->config.gate == ORGAN_GATE_SOFTPLUS)
            organ_forward_softplus(f->engine->kernels, gates, j->gate_width);
        else
            organ_forward_logistic(f->engine->kernels, gates, j->gate_width);
        for (size_t x = 0; x < j->out_width; x++)
            j->out[t * j->out_width + x] *= gates[x / j->head];
    }
}

organ_status organ_forward_gate_output(forward_group *g, const float *normed, float *out, float *room,
                                       organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const organ_layer_kind *const kind = g->layer->kind;
    if (c->gate == ORGAN_UNGATED)
        return ORGAN_OK;
    gate_job j = {.group = g, .gates = room, .out = out, .head = c->gate_heads ? kind->value_dim : 1};
    j.out_width = (size_t)kind->heads * kind->value_dim;
    j.gate_width = j.out_width / j.head;
    j.stride = (c->gate_in_q ? 2 : 1) * j.gate_width;
    if (!c->gate_in_q && (organ_forward_add_linear(g, PART_HEAD_GATE, NULL, normed, room, j.gate_width, error) ||
                          organ_forward_products_run(&g->products, g->forward, g->scratch, error)))
        return error->status;
    const double work = (double)g->tokens * (double)(j.gate_width * ORGAN_SHARE_HARD + j.out_width);
    return organ_forward_share(g->forward->engine, organ_pieces_of(g->tokens, TOKENS_AT_ONCE), work,
                               gate_tokens_of_heads, &j, error);
}
