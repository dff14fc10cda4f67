/* SPDX-License-Identifier: MIT
 * Lightning attention of MiniMax 1 (MiniMax 2025, "MiniMax-01", arXiv:2501.08313; transformers,
 * MiniMaxLightningAttention). The rows of one linear layer of the normed hidden state are q, k and v of head 0, then of
 * head 1, and so on; silu follows. The state S of a head (head_dim x head_dim) and the output of a token are
 *
 *     S = e^(-s) S + k v^T,    o = S^T q,
 *     s = 2^(-8 (h + 1) / heads) (1 - l / (layers - 1 + 1e-5) + 1e-5)
 *
 * for head h of layer l, both counted from 0. The output projection reads norm(o) logistic(z), with the root mean
 * square norm over all heads, and z a linear layer of the normed hidden state. transformers saves s and functions of it
 * as tensors (slope_rate, query_decay, key_decay, diagonal_decay), which this file does not read. */
#include "orchestrator/forward/mixers.h"

#include <math.h>
#include <string.h>

#define NORM_EPS 1e-6 /* transformers constructs the norm with this epsilon */

typedef struct lightning_job {
    forward_group *group;
    const organ_recurrent_config *sizes;
    float *rows;        /* tokens x 3 inner: q, k and v of head 0, then of head 1, ... */
    float *z, *outs;    /* tokens x inner: gate, then gated output; output o */
    float *decays;      /* e^(-s) of each head */
    const float *norms; /* weights of the norm of o */
    size_t inner;       /* heads x head_dim */
} lightning_job;

/* Rows of the state are padded for the kernel. */
static size_t state_of(const organ_recurrent_config *r)
{
    return (size_t)r->key_dim * organ_recurrence_stride(r->value_dim);
}

size_t organ_forward_lightning_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)kind;
    const organ_recurrent_config *const r = &c->recurrent;
    /* rows 3, z 1, outs 1; decays need heads floats once, not per token */
    return 5 * (size_t)r->heads * r->value_dim + r->heads;
}

size_t organ_forward_lightning_state(const organ_forward_config *c)
{
    return c->recurrent.heads * state_of(&c->recurrent);
}

size_t organ_forward_lightning_scratch(const organ_forward_config *c)
{
    return state_of(&c->recurrent) * sizeof(float);
}

/* The factor is e^(-s) per token (equation at the top of the file), as in transformers' MiniMaxLightningAttention. */
static void make_decays(const lightning_job *j)
{
    const forward_group *const g = j->group;
    const size_t heads = j->sizes->heads;
    const double layer = (double)(g->layer->plan - g->forward->plans), last = (double)g->forward->config.layers - 1;
    const double factor = 1 - layer / (last + 1e-5) + 1e-5;
    for (size_t h = 0; h < heads; h++)
        j->decays[h] = (float)(-exp2(-8 * (double)(h + 1) / (double)heads) * factor);
    g->forward->engine->kernels->exp_below(j->decays, heads, 0);
}

static void activate_rows(void *context, size_t t)
{
    const lightning_job *const j = context;
    const size_t width = 3 * j->inner;
    organ_forward_activate(j->group->forward->engine->kernels, ORGAN_SILU, NULL, j->rows + t * width, width);
}

/* Task `index` is head index % heads of window index / heads. Decay and write strength (1) are the same for all
 * tokens: their strides are 0. */
static void lightning_recur(void *context, size_t index, size_t worker)
{
    static const float one = 1;
    const lightning_job *const j = context;
    const organ_recurrent_config *const r = j->sizes;
    const forward_group *const g = j->group;
    const size_t head = index % r->heads, w = g->window + index / r->heads, dim = r->key_dim,
                 first = g->windows->begin[w] - g->first;
    const float *const row = j->rows + first * 3 * j->inner + head * 3 * dim;
    float *const state = organ_forward_head_state(g, head, state_of(r), worker);
    const organ_recurrence recurrence = {.tokens = g->windows->begin[w + 1] - g->windows->begin[w],
                                         .key_dim = dim,
                                         .value_dim = dim,
                                         .queries = row,
                                         .keys = row + dim,
                                         .values = row + 2 * dim,
                                         .decays = j->decays + head,
                                         .strengths = &one,
                                         .outs = j->outs + first * j->inner + head * dim,
                                         .state = state,
                                         .key_stride = 3 * j->inner,
                                         .query_stride = 3 * j->inner,
                                         .value_stride = 3 * j->inner,
                                         .out_stride = j->inner,
                                         .state_stride = organ_recurrence_stride(r->value_dim)};
    g->forward->engine->kernels->recurrence(&recurrence);
}

/* z = norm(o) logistic(z). */
static void lightning_gate(void *context, size_t t)
{
    const lightning_job *const j = context;
    float *const outs = j->outs + t * j->inner, *const z = j->z + t * j->inner;
    organ_forward_norm(outs, j->norms, 0, NORM_EPS, j->inner, outs);
    organ_forward_logistic(j->group->forward->engine->kernels, z, j->inner);
    for (size_t k = 0; k < j->inner; k++)
        z[k] *= outs[k];
}

organ_status organ_forward_lightning(forward_group *g, const float *normed, float *out, float *work, organ_error *error)
{
    const organ_engine *const engine = g->forward->engine;
    const organ_recurrent_config *const r = &g->forward->config.recurrent;
    const size_t inner = (size_t)r->heads * r->value_dim, floats = g->tokens * inner;
    const double numbers = (double)floats;
    lightning_job j = {.group = g,
                       .sizes = r,
                       .rows = work,
                       .z = work + 3 * floats,
                       .outs = work + 4 * floats,
                       .decays = work + 5 * floats,
                       .norms = organ_forward_values(g->layer, PART_NORM_MIXED),
                       .inner = inner};
    if (g->tokens == 0)
        return ORGAN_OK;
    make_decays(&j);
    if (organ_forward_add_linear(g, PART_MIX_IN, NULL, normed, j.rows, 3 * inner, error) ||
        organ_forward_add_linear(g, PART_MIX_Z, NULL, normed, j.z, inner, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_tokens(engine, g->tokens, 3 * numbers * ORGAN_SHARE_HARD, activate_rows, &j, error) ||
        organ_forward_share(engine, r->heads * (g->until - g->window), 4 * numbers * r->key_dim, lightning_recur, &j,
                            error) ||
        organ_forward_tokens(engine, g->tokens, numbers * ORGAN_SHARE_HARD, lightning_gate, &j, error) ||
        organ_forward_add_linear(g, PART_MIX_OUT, NULL, j.z, out, (size_t)g->forward->config.hidden, error))
        return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}
