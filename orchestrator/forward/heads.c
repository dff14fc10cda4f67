/* SPDX-License-Identifier: MIT
 * Attention by head and position: the scale of queries, ALiBi, and the gate of the output. */
#include "orchestrator/forward/forward_job.h"

#include <math.h>
#include <string.h>

/* The factor is 1 + beta ln(1 + floor((position + offset) / length)), as get_llama_4_attn_scale of transformers'
 * modeling_ministral3.py and Llama4TextAttention.forward compute it. It is 1 also for rotated layers if only
 * unrotated ones have it. */
float organ_forward_query_factor(const organ_forward_config *c, const organ_layer_kind *kind, size_t position)
{
    const organ_query_scale *const q = &c->query_scale;
    if (q->beta == 0 || (q->unrotated && kind->rotated))
        return 1;
    return (float)(1 + q->beta * log1p(floor((double)(position + q->offset) / q->length)));
}

/* ---- linear biases ----
 * ALiBi (Press, Smith and Lewis 2021, arXiv:2108.12409): the score of a key at distance d gets -slope d. The slopes are
 * those of the authors' get_slopes. */

/* Let n be the largest power of two that is at most the number of heads, and m = `max`. The first n heads have the
 * slopes 2^(-m / n), 2^(-2 m / n), ...; the other heads have 2^(-m / (2 n)), 2^(-3 m / (2 n)), ... */
static double slope_of(double max, unsigned heads, size_t head)
{
    unsigned whole = 1;
    while (whole <= heads / 2)
        whole *= 2;
    const double step = max / whole;
    return head < whole ? exp2(-step * (double)(head + 1)) : exp2(-step / 2 * (double)(2 * (head - whole) + 1));
}

/* Ties go to even. */
static float to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Slope, position and product are rounded to BF16, as build_alibi_tensor of transformers' modeling_falcon.py does. */
static float rounded_bias(float slope, size_t position) { return to_bf16(to_bf16(slope) * to_bf16((float)position)); }

/* The bias is -slope x distance. Falcon (alibi_rounded) has slope x (key - at) with products rounded to BF16. */
void organ_forward_alibi(const organ_forward_config *c, size_t head, size_t at, size_t first, float *scores,
                         size_t keys)
{
    const double slope = slope_of(c->alibi_max, c->heads, head);
    const float step = (float)(slope / c->attention_scale), own = rounded_bias((float)slope, at);
    for (size_t k = 0; k < keys; k++)
        scores[k] += c->alibi_rounded ? rounded_bias((float)slope, first + k) - own : -step * (float)(at - first - k);
}

/* ---- gates ---- */

typedef struct gate_job {
    const forward_group *group;
    float *gates, *out;           /* rows of tokens: gates before their activation; the attention's output */
    size_t gate_width, out_width; /* numbers of a token in `gates` and `out` */
    size_t stride;                /* floats from the gates of a token to those of the next */
    size_t shared;                /* neighbouring outputs that share a gate: those of a head, or 1 */
} gate_job;

static void gate_tokens_of_heads(void *context, size_t t)
{
    const gate_job *const j = context;
    const organ_forward *const f = j->group->forward;
    float *const gates = j->gates + t * j->stride;
    if (f->config.gate == ORGAN_GATE_SOFTPLUS)
        f->engine->kernels->softplus(gates, j->gate_width);
    else
        organ_forward_logistic(f->engine->kernels, gates, j->gate_width);
    for (size_t x = 0; x < j->out_width; x++)
        j->out[t * j->out_width + x] *= gates[x / j->shared];
}

/* There is a gate for each head or for each value: the logistic or softplus of a linear layer of `normed`
 * (PART_HEAD_GATE), or with gate_in_q of the gates that project_qkv has left in `scratch`. */
organ_status organ_forward_gate_output(forward_group *g, const float *normed, float *out, float *scratch,
                                       organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const organ_layer_kind *const kind = g->layer->kind;
    if (c->gate == ORGAN_UNGATED)
        return ORGAN_OK;
    gate_job j = {.group = g, .gates = scratch, .out = out, .shared = c->gate_heads ? kind->value_dim : 1};
    j.out_width = (size_t)kind->heads * kind->value_dim;
    j.gate_width = j.out_width / j.shared;
    j.stride = (c->gate_in_q ? 2 : 1) * j.gate_width;
    if (!c->gate_in_q && (organ_forward_add_linear(g, PART_HEAD_GATE, NULL, normed, scratch, j.gate_width, error) ||
                          organ_forward_products_run(&g->products, g->forward, g->scratch, error)))
        return error->status;
    const double work = (double)g->tokens * (double)(j.gate_width * ORGAN_SHARE_HARD + j.out_width);
    return organ_forward_tokens(g->forward->engine, g->tokens, work, gate_tokens_of_heads, &j, error);
}
