/* SPDX-License-Identifier: MIT
 * The gated delta rule (Yang, Kautz, Hatamizadeh 2024, "Gated Delta Networks", arXiv:2412.06464; transformers,
 * Qwen3NextGatedDeltaNet, Qwen3_5GatedDeltaNet, OlmoHybridGatedDeltaNet). q, k and v are linear layers of the normed
 * hidden state, followed by a causal convolution of each channel and silu. q and k of each head are divided by their
 * lengths, and q also by sqrt(key_dim). a, b and z are further linear layers. A token and a head have the decay and the
 * write strength
 *
 *     g = e^(-e^A_log softplus(a + dt_bias))    and    w = logistic(b), or twice that.
 *
 * Each token updates the state S of the head (key_dim x value_dim) and gets the output o:
 *
 *     S = g S,    S = S + k (w (v - S^T k))^T,    o = S^T q.
 *
 * The output projection reads norm(o) silu(z), where norm is the RMSNorm of each head.
 *
 * Kimi Delta Attention (Kimi Team 2025, "Kimi Linear", arXiv:2510.26692; transformers, KimiLinearDeltaAttention) has a
 * decay for each number of a key, computes a and z by a product of two matrices each, and its output projection reads
 * norm(o) logistic(z). In Bailing (Ling 3; transformers, BailingHybridDeltaAttention) a and z are single linear layers,
 * and with a limit L below 0
 *
 *     g = e^(L logistic(e^A_log (a + dt_bias))). */
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <string.h>

#define L2_EPS 1e-6F /* epsilon of l2norm in transformers' modeling_qwen3_next.py */

/* Rows begin `stride` floats apart; each has `width` numbers for all heads. */
typedef struct delta_rows {
    float *rows;
    size_t width, stride;
} delta_rows;

typedef struct delta_job {
    forward_group *group;
    const organ_recurrent_config *sizes;
    delta_rows parts[3]; /* q, k, v */
    /* z: tokens x values, the gate, which the gated output replaces; b: tokens x heads, which the write strengths w
     * replace; a: tokens x decays, which the decays g replace; outs: tokens x values, the outputs o */
    float *z, *b, *a, *outs;
    /* Kimi Linear (is_twofold): tokens x value_dim each, the products with the first matrices of z and a */
    float *low_z, *low_a;
    size_t decays; /* numbers of a token in a */
    /* projections of the file's fused tensors, of q, k, v, z and of b, a (split_heads); NULL: not fused */
    float *fused, *fused_ba;
    size_t keys, values;                 /* numbers of a token in k and in v */
    const float *rates, *biases, *norms; /* A_log, dt_bias, weights of the norm */
} delta_job;

static size_t keys_of(const organ_recurrent_config *r) { return (size_t)r->groups * r->key_dim; }

static size_t values_of(const organ_recurrent_config *r) { return (size_t)r->heads * r->value_dim; }

/* A token has one decay for each head, or with by_channel one for each number of its keys. */
static size_t decays_of(const organ_recurrent_config *r) { return r->by_channel ? keys_of(r) : r->heads; }

/* z and the decays are computed by two matrices each. */
static bool is_twofold(const organ_recurrent_config *r) { return r->by_channel && !r->full_rank; }

/* Rows of the state are padded for the kernel. */
static size_t state_of_head(const organ_recurrent_config *r)
{
    return (size_t)r->key_dim * organ_recurrence_stride(r->value_dim);
}

/* A token needs q, k, v, z, outs, b and a (`used`), the low-rank products of z and a, and the fused projections. */
size_t organ_forward_delta_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)kind;
    const organ_recurrent_config *const r = &c->recurrent;
    const size_t low = is_twofold(r) ? 2 * (size_t)r->value_dim : 0,
                 used = 2 * keys_of(r) + 3 * values_of(r) + r->heads + decays_of(r);
    const bool fused = r->projections == ORGAN_PROJECTIONS_BY_HEAD;
    return used + low + (fused ? 2 * keys_of(r) + 2 * values_of(r) : 0) + (r->fused_ba ? 2 * (size_t)r->heads : 0);
}

/* The states of all heads come first, then the tails of the convolutions. */
size_t organ_forward_delta_state(const organ_forward_config *c)
{
    const organ_recurrent_config *const r = &c->recurrent;
    return r->heads * state_of_head(r) + organ_forward_conv_tail(r->kernel, 2 * keys_of(r) + values_of(r));
}

/* The scratch contains the state of a head or, at another time, a block of a convolution. */
size_t organ_forward_delta_scratch(const organ_forward_config *c)
{
    return organ_max(state_of_head(&c->recurrent) * sizeof(float), organ_forward_conv_scratch(c->recurrent.kernel));
}

/* ---- projections ---- */

/* A fused projection has, for each key head in turn, the q and k of this head, then the v and z of the value heads
 * that the key head serves. */
static void split_token_heads(const delta_job *j, size_t t)
{
    const organ_recurrent_config *const r = j->sizes;
    const size_t dv = r->heads / r->groups * r->value_dim;
    const float *from = j->fused + t * 2 * (j->keys + j->values);
    for (size_t h = 0; h < r->groups; h++) {
        const size_t widths[] = {r->key_dim, r->key_dim, dv};
        for (size_t p = 0; p < 3; from += widths[p++])
            memcpy(j->parts[p].rows + t * j->parts[p].stride + h * widths[p], from, widths[p] * sizeof *from);
        memcpy(j->z + t * j->values + h * dv, from, dv * sizeof *from);
        from += dv;
    }
}

/* A fused projection has, for each key head in turn, the b and then the a of the value heads that the key head
 * serves. */
static void split_token_gates(const delta_job *j, size_t t)
{
    const organ_recurrent_config *const r = j->sizes;
    const size_t served = r->heads / r->groups;
    const float *ba = j->fused_ba + t * 2 * r->heads;
    for (size_t h = 0; h < r->groups; h++, ba += 2 * served) {
        memcpy(j->b + t * r->heads + h * served, ba, served * sizeof *ba);
        memcpy(j->a + t * r->heads + h * served, ba + served, served * sizeof *ba);
    }
}

static void split_heads(void *context, size_t t)
{
    const delta_job *const j = context;
    if (j->fused)
        split_token_heads(j, t);
    if (j->fused_ba)
        split_token_gates(j, t);
}

/* `from` and `to` have a row for each token of the group; rows of `to` have `width` numbers. */
typedef struct delta_linear {
    forward_part part;
    const float *from;
    float *to;
    size_t width;
} delta_linear;

static organ_status run_linears(const delta_job *j, const delta_linear *all, size_t count, organ_error *error)
{
    forward_group *const g = j->group;
    for (size_t k = 0; k < count; k++)
        if (g->layer->plan->parts[all[k].part].slot != SIZE_MAX &&
            organ_forward_add_linear(g, all[k].part, NULL, all[k].from, all[k].to, all[k].width, error))
            return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

/* In Kimi Linear a and z are computed by two matrices each; the second ones (`outer`) read the products of the first
 * ones, so they run in a second step. */
static organ_status delta_project(delta_job *j, const float *normed, organ_error *error)
{
    const forward_group *const g = j->group;
    const organ_recurrent_config *const r = j->sizes;
    const bool by_head = j->fused != NULL, twofold = is_twofold(r);
    const delta_linear outer[] = {{PART_MIX_Z, twofold ? j->low_z : normed, j->z, j->values},
                                  {PART_MIX_A, twofold ? j->low_a : normed, j->a, j->decays}};
    const delta_linear all[] = {
        {PART_MIX_IN, normed, by_head ? j->fused : j->parts[0].rows, 2 * j->keys + (by_head ? 2 : 1) * j->values},
        {PART_MIX_Q, normed, j->parts[0].rows, j->keys},
        {PART_MIX_K, normed, j->parts[1].rows, j->keys},
        {PART_MIX_V, normed, j->parts[2].rows, j->values},
        {PART_MIX_Z_LOW, normed, j->low_z, r->value_dim},
        {PART_MIX_A_LOW, normed, j->low_a, r->value_dim},
        {PART_MIX_BA, normed, j->fused_ba, 2 * (size_t)r->heads},
        {PART_MIX_B, normed, j->b, r->heads},
        outer[0],
        outer[1],
    };
    const size_t count = sizeof all / sizeof *all - (twofold ? 2 : 0);
    if (run_linears(j, all, count, error) || (twofold && run_linears(j, outer, 2, error)) ||
        (!j->fused && !j->fused_ba))
        return error->status;
    return organ_forward_tokens(g->forward->engine, g->tokens,
                                (double)g->tokens * (double)(2 * j->keys + 2 * j->values) * ORGAN_SHARE_NUMBER,
                                split_heads, j, error);
}

/* The model has one convolution of q, k and v, or three. The cache keeps the last inputs (`tail`) after the states
 * of all heads. */
static organ_status delta_convolve(const delta_job *j, organ_error *error)
{
    const organ_layer *const layer = j->group->layer;
    const bool separate = j->sizes->projections == ORGAN_PROJECTIONS_APART;
    const forward_keys *const before = j->group->before;
    float *tail = before ? before->state + j->sizes->heads * state_of_head(j->sizes) : NULL;
    for (size_t p = 0; p < (separate ? 3 : 1) && !error->status; p++) {
        const forward_conv conv = {
            .kernels = organ_forward_values(layer, separate ? (forward_part)(PART_CONV_Q + p) : PART_CONV),
            .rows = j->parts[p].rows,
            .channels = separate ? j->parts[p].width : 2 * j->keys + j->values,
            .stride = j->parts[p].stride,
            .width = j->sizes->kernel,
            .tail = tail,
            .silu = true};
        organ_forward_convolve(j->group, &conv, error);
        tail = tail ? tail + organ_forward_conv_tail(conv.width, conv.channels) : NULL;
    }
    return error->status;
}

/* ---- the recurrence ---- */

/* Divides each head by sqrt(its squared length + L2_EPS), and q also by sqrt(key_dim). */
static void normalise_q_and_k(const delta_job *j, size_t t)
{
    const size_t dim = j->sizes->key_dim;
    for (size_t p = 0; p < 2; p++)
        for (size_t h = 0; h < j->sizes->groups; h++) {
            float *const head = j->parts[p].rows + t * j->parts[p].stride + h * dim;
            const float length = sqrtf(organ_forward_mean_square(head, dim) * (float)dim + L2_EPS);
            const float scale = p == 0 ? 1 / sqrtf((float)dim) : 1;
            for (size_t k = 0; k < dim; k++)
                head[k] = head[k] / length * scale;
        }
}

/* Replaces a + dt_bias by the logarithm of a decay (equations at the top of this file). `rates` has a number for
 * `of_head` decays: -e^A_log, or e^A_log in GGUF files of Bailing. */
static void limit_decays(const delta_job *j, float *a, const float *rates, size_t of_head)
{
    const organ_kernels *const kernels = j->group->forward->engine->kernels;
    const float limit = (float)j->sizes->decay_limit;
    if (limit == 0)
        kernels->softplus(a, j->decays);
    for (size_t k = 0; k < j->decays; k++)
        a[k] *= limit == 0 ? rates[k / of_head] : fabsf(rates[k / of_head]);
    if (limit == 0)
        return;
    organ_forward_logistic(kernels, a, j->decays);
    for (size_t k = 0; k < j->decays; k++)
        a[k] *= limit;
}

/* a becomes the decays g, and b the write strengths w (equations at the top of this file). */
static void gate_token(const delta_job *j, size_t t)
{
    const organ_kernels *const kernels = j->group->forward->engine->kernels;
    const size_t heads = j->sizes->heads, of_head = j->decays / heads;
    float *const a = j->a + t * j->decays, *const b = j->b + t * heads;
    float *const rates = j->outs + t * j->values; /* -e^A_log; outs is free until delta_recur */
    organ_forward_rates(kernels, j->sizes, j->rates, rates, heads);
    for (size_t k = 0; k < j->decays; k++)
        a[k] += j->biases[k];
    limit_decays(j, a, rates, of_head);
    kernels->exp_below(a, j->decays, 0);
    organ_forward_logistic(kernels, b, heads);
    for (size_t h = 0; h < heads && j->sizes->twice; h++)
        b[h] *= 2;
}

static void delta_prepare(void *context, size_t t)
{
    const delta_job *const j = context;
    normalise_q_and_k(j, t);
    gate_token(j, t);
}

/* Task `index` is head index % heads of window index / heads. */
static void delta_recur(void *context, size_t index, size_t worker)
{
    const delta_job *const j = context;
    const organ_recurrent_config *const r = j->sizes;
    const forward_group *const g = j->group;
    const size_t head = index % r->heads, w = g->window + index / r->heads,
                 of_key = r->tiled ? head % r->groups : head / (r->heads / r->groups);
    const size_t first = g->windows->begin[w] - g->first;
    float *const state = organ_forward_head_state(g, head, state_of_head(r), worker);
    const organ_recurrence recurrence = {.tokens = g->windows->begin[w + 1] - g->windows->begin[w],
                                         .key_dim = r->key_dim,
                                         .value_dim = r->value_dim,
                                         .queries = j->parts[0].rows + first * j->parts[0].stride + of_key * r->key_dim,
                                         .keys = j->parts[1].rows + first * j->parts[1].stride + of_key * r->key_dim,
                                         .values = j->parts[2].rows + first * j->parts[2].stride + head * r->value_dim,
                                         .decays = j->a + first * j->decays + head * (j->decays / r->heads),
                                         .strengths = j->b + first * r->heads + head,
                                         .outs = j->outs + first * j->values + head * r->value_dim,
                                         .state = state,
                                         .key_stride = j->parts[1].stride,
                                         .query_stride = j->parts[0].stride,
                                         .value_stride = j->parts[2].stride,
                                         .decay_stride = j->decays,
                                         .decay_by_key = r->by_channel,
                                         .strength_stride = r->heads,
                                         .out_stride = j->values,
                                         .state_stride = organ_recurrence_stride(r->value_dim),
                                         .delta = true};
    g->forward->engine->kernels->recurrence(&recurrence);
}

/* z becomes norm(o) silu(z), or in Kimi Linear (by_channel) norm(o) logistic(z), where norm is the RMSNorm of each
 * head. */
static void delta_gate(void *context, size_t t)
{
    const delta_job *const j = context;
    const size_t dim = j->sizes->value_dim;
    const organ_kernels *const kernels = j->group->forward->engine->kernels;
    float *const outs = j->outs + t * j->values;
    for (size_t at = 0; at < j->values; at += dim)
        organ_forward_norm(outs + at, j->norms, 0, j->sizes->norm_eps, dim, outs + at);
    float *const z = j->z + t * j->values;
    if (!j->sizes->by_channel) {
        kernels->gate_silu(z, outs, j->values);
        return;
    }
    organ_forward_logistic(kernels, z, j->values);
    for (size_t k = 0; k < j->values; k++)
        z[k] *= outs[k];
}

static organ_status run_delta(delta_job *j, const float *normed, float *out, organ_error *error)
{
    forward_group *const g = j->group;
    const organ_engine *const engine = g->forward->engine;
    const organ_recurrent_config *const r = j->sizes;
    const double tokens = (double)g->tokens, state = (double)r->heads * r->key_dim * r->value_dim;
    if (delta_project(j, normed, error) || delta_convolve(j, error) ||
        organ_forward_tokens(engine, g->tokens,
                             tokens * (double)(4 * j->keys + 2 * (r->heads + j->decays) * ORGAN_SHARE_HARD),
                             delta_prepare, j, error) ||
        organ_forward_share(engine, r->heads * (g->until - g->window), 4 * tokens * state, delta_recur, j, error) ||
        organ_forward_tokens(engine, g->tokens, tokens * (double)j->values * ORGAN_SHARE_HARD, delta_gate, j, error))
        return error->status;
    return organ_forward_run_linear(g, PART_MIX_OUT, NULL, j->z, out, (size_t)g->forward->config.hidden, error);
}

/* q, k and v of a token are adjacent, because one projection and one convolution compute them; with
 * ORGAN_PROJECTIONS_APART each of the three has an array of its own. */
organ_status organ_forward_delta(forward_group *g, const float *normed, float *out, float *scratch, organ_error *error)
{
    const organ_recurrent_config *const r = &g->forward->config.recurrent;
    const size_t keys = keys_of(r), values = values_of(r), widths[] = {keys, keys, values};
    const bool separate = r->projections == ORGAN_PROJECTIONS_APART;
    delta_job j = {.group = g,
                   .sizes = r,
                   .keys = keys,
                   .values = values,
                   .decays = decays_of(r),
                   .rates = organ_forward_values(g->layer, PART_A_LOG),
                   .biases = organ_forward_values(g->layer, PART_DT_BIAS),
                   .norms = organ_forward_values(g->layer, PART_NORM_MIXED)};
    size_t at = 0;
    for (size_t p = 0; p < 3; at += widths[p++])
        j.parts[p] = (delta_rows){scratch + at * (separate ? g->tokens : 1), widths[p],
                                  separate ? widths[p] : 2 * keys + values};
    j.z = scratch + g->tokens * at;
    j.outs = j.z + g->tokens * values;
    j.b = j.outs + g->tokens * values;
    j.a = j.b + g->tokens * r->heads;
    j.low_z = j.a + g->tokens * j.decays;
    j.low_a = j.low_z + g->tokens * r->value_dim;
    if (r->fused_ba)
        j.fused_ba = j.low_z; /* the same memory: no model has both */
    if (r->projections == ORGAN_PROJECTIONS_BY_HEAD)
        j.fused = j.low_z + (r->fused_ba ? g->tokens * 2 * (size_t)r->heads : 0);
    return run_delta(&j, normed, out, error);
}

/* ---- lightning attention of MiniMax 1 ---- */

/* MiniMax 2025, "MiniMax-01", arXiv:2501.08313; transformers, MiniMaxLightningAttention. The rows of one linear layer
 * of the normed hidden state are q, k and v of head 0, then of head 1, and so on; silu follows. The state S of a head
 * (head_dim x head_dim) and the output of a token are
 *
 *     S = e^(-s) S + k v^T,    o = S^T q,
 *     s = 2^(-8 (h + 1) / heads) (1 - l / (layers - 1 + 1e-5) + 1e-5)
 *
 * for head h of layer l, both counted from 0. The output projection reads norm(o) logistic(z), with the root mean
 * square norm over all heads, and z a linear layer of the normed hidden state. transformers saves s and functions of it
 * as tensors (slope_rate, query_decay, key_decay, diagonal_decay), which this file does not read. */

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

size_t organ_forward_lightning_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)kind;
    const organ_recurrent_config *const r = &c->recurrent;
    /* rows 3, z 1, outs 1; decays need heads floats once, not per token */
    return 5 * (size_t)r->heads * r->value_dim + r->heads;
}

size_t organ_forward_lightning_state(const organ_forward_config *c)
{
    return c->recurrent.heads * state_of_head(&c->recurrent);
}

size_t organ_forward_lightning_scratch(const organ_forward_config *c)
{
    return state_of_head(&c->recurrent) * sizeof(float);
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
    float *const state = organ_forward_head_state(g, head, state_of_head(r), worker);
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
        organ_forward_run_linear(g, PART_MIX_Z, NULL, normed, j.z, inner, error) ||
        organ_forward_tokens(engine, g->tokens, 3 * numbers * ORGAN_SHARE_HARD, activate_rows, &j, error) ||
        organ_forward_share(engine, r->heads * (g->until - g->window), 4 * numbers * r->key_dim, lightning_recur, &j,
                            error) ||
        organ_forward_tokens(engine, g->tokens, numbers * ORGAN_SHARE_HARD, lightning_gate, &j, error))
        return error->status;
    return organ_forward_run_linear(g, PART_MIX_OUT, NULL, j.z, out, (size_t)g->forward->config.hidden, error);
}
