/* SPDX-License-Identifier: MIT
 * Mamba-2 (Dao, Gu 2024, "Transformers are SSMs", arXiv:2405.21060; transformers, Mamba2Mixer, NemotronHMamba2Mixer,
 * FalconH1Mixer). One linear layer of the normed hidden state gives z, x, B, C and dt; x, B and C pass a causal
 * convolution of each channel and silu. A head has P numbers of x; the heads of a group share N numbers of B and of C.
 * The time step and the decay of a token and a head are
 *
 *     s = softplus(dt + dt_bias), limited to step_min .. step_max,    g = e^(-e^A_log s).
 *
 * Each token updates the state S of the head (N x P) and gets the output y:
 *
 *     S = g S + B (s x)^T,    y = S^T C + D x.
 *
 * The output projection reads y silu(z) after an RMSNorm of each group's heads (variants: organ_recurrent_config). */
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

/* Offsets are in floats: z is at 0, then x, B, C and dt; `end` is the width of the row. */
typedef struct mamba2_row {
    size_t x, b, c, dt, end;
} mamba2_row;

typedef struct mamba2_job {
    forward_group *group;
    const organ_recurrent_config *sizes;
    mamba2_row row;
    float *rows;                        /* tokens x row.end: the input projection (mamba2_row) */
    float *outs;                        /* tokens x (heads x value_dim): y, which the gated and normed y replaces */
    float *decays;                      /* tokens x heads: g */
    const float *rates, *biases, *skip; /* A_log, dt_bias, D */
    const float *norms;                 /* weights of the norm of groups; NULL: the model has no such norm */
} mamba2_job;

static mamba2_row row_of(const organ_recurrent_config *r)
{
    const size_t inner = (size_t)r->heads * r->value_dim, keys = (size_t)r->groups * r->key_dim;
    return (mamba2_row){inner, 2 * inner, 2 * inner + keys, 2 * inner + 2 * keys, 2 * inner + 2 * keys + r->heads};
}

/* Rows of the state are padded for the kernel. */
static size_t head_floats(const organ_recurrent_config *r)
{
    return (size_t)r->key_dim * organ_recurrence_stride(r->value_dim);
}

size_t organ_forward_mamba2_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)kind;
    return row_of(&c->recurrent).end + (size_t)c->recurrent.heads * (c->recurrent.value_dim + 1);
}

/* The states of all heads come first, then the tail of the convolution. */
size_t organ_forward_mamba2_state(const organ_forward_config *c)
{
    const organ_recurrent_config *const r = &c->recurrent;
    const mamba2_row row = row_of(r);
    return r->heads * head_floats(r) + organ_forward_conv_tail(r->kernel, row.dt - row.x);
}

/* The scratch contains the state of a head or, at another time, a block of the convolution. */
size_t organ_forward_mamba2_scratch(const organ_forward_config *c)
{
    return organ_max(head_floats(&c->recurrent) * sizeof(float), organ_forward_conv_scratch(c->recurrent.kernel));
}

/* Only Falcon-H1 has these factors, sizes->scales. */
static void scale_rows(void *context, size_t t)
{
    const mamba2_job *const j = context;
    const size_t ends[] = {j->row.x, j->row.b, j->row.c, j->row.dt, j->row.end};
    for (size_t part = 0, k = 0; part < 5; part++)
        for (; k < ends[part]; k++)
            j->rows[t * j->row.end + k] *= j->sizes->scales[part];
}

/* dt of each head becomes the step s, which gives the decay g (equations at the top of this file). */
static void prepare_steps(void *context, size_t t)
{
    const mamba2_job *const j = context;
    const organ_kernels *const kernels = j->group->forward->engine->kernels;
    const size_t heads = j->sizes->heads;
    const float least = (float)j->sizes->step_min, max = (float)j->sizes->step_max;
    float *const steps = j->rows + t * j->row.end + j->row.dt, *const decays = j->decays + t * heads;
    for (size_t h = 0; h < heads; h++)
        steps[h] += j->biases[h];
    kernels->softplus(steps, heads);
    organ_forward_rates(kernels, j->sizes, j->rates, decays, heads);
    for (size_t h = 0; h < heads; h++) {
        steps[h] = steps[h] < least ? least : steps[h];
        steps[h] = steps[h] > max ? max : steps[h];
        decays[h] *= steps[h];
    }
    kernels->exp_below(decays, heads, 0);
}

static void recur_head(void *context, size_t index, size_t worker)
{
    const mamba2_job *const j = context;
    const organ_recurrent_config *const r = j->sizes;
    const forward_group *const g = j->group;
    const size_t head = index % r->heads, w = g->window + index / r->heads, of_key = head / (r->heads / r->groups);
    const size_t first = g->windows->begin[w] - g->first, inner = j->row.x;
    const float *const row = j->rows + first * j->row.end;
    float *const state = organ_forward_head_state(g, head, head_floats(r), worker);
    const organ_recurrence recurrence = {.tokens = g->windows->begin[w + 1] - g->windows->begin[w],
                                         .key_dim = r->key_dim,
                                         .value_dim = r->value_dim,
                                         .queries = row + j->row.c + of_key * r->key_dim,
                                         .keys = row + j->row.b + of_key * r->key_dim,
                                         .values = row + j->row.x + head * r->value_dim,
                                         .decays = j->decays + first * r->heads + head,
                                         .strengths = row + j->row.dt + head,
                                         .outs = j->outs + first * inner + head * r->value_dim,
                                         .state = state,
                                         .key_stride = j->row.end,
                                         .query_stride = j->row.end,
                                         .value_stride = j->row.end,
                                         .decay_stride = r->heads,
                                         .strength_stride = j->row.end,
                                         .out_stride = inner,
                                         .state_stride = organ_recurrence_stride(r->value_dim)};
    g->forward->engine->kernels->recurrence(&recurrence);
}

static void norm_groups(const mamba2_job *j, float *values)
{
    const size_t width = j->row.x / j->sizes->groups;
    for (size_t at = 0; j->norms && at < j->row.x; at += width)
        organ_forward_norm(values + at, j->norms + at, 0, j->sizes->norm_eps, width, values + at);
}

/* y becomes (y + D x) silu(z), times out_scale. The norm of groups is applied after the product with silu(z), or
 * with norm_first before it. */
static void gate_tokens(void *context, size_t t)
{
    const mamba2_job *const j = context;
    const organ_recurrent_config *const r = j->sizes;
    const size_t inner = j->row.x;
    float *const z = j->rows + t * j->row.end, *const y = j->outs + t * inner;
    for (size_t k = 0; k < inner; k++)
        y[k] += j->skip[k / r->value_dim] * z[inner + k]; /* x follows z */
    if (r->norm_first)
        norm_groups(j, y);
    j->group->forward->engine->kernels->gate_silu(z, y, inner);
    memcpy(y, z, inner * sizeof *y);
    if (!r->norm_first)
        norm_groups(j, y);
    for (size_t k = 0; r->out_scale != 1 && k < inner; k++)
        y[k] *= r->out_scale;
}

static organ_status run_mamba2(mamba2_job *j, const float *normed, float *out, organ_error *error)
{
    forward_group *const g = j->group;
    const organ_engine *const engine = g->forward->engine;
    const organ_recurrent_config *const r = j->sizes;
    const forward_conv conv = {.kernels = organ_forward_values(g->layer, PART_CONV),
                               .biases = organ_forward_values(g->layer, PART_BIAS_CONV),
                               .rows = j->rows + j->row.x,
                               .channels = j->row.dt - j->row.x,
                               .stride = j->row.end,
                               .width = r->kernel,
                               .tail = g->before ? g->before->state + r->heads * head_floats(r) : NULL,
                               .silu = true};
    const double tokens = (double)g->tokens, state = (double)r->heads * r->key_dim * r->value_dim;
    if (organ_forward_add_linear(g, PART_MIX_IN, organ_forward_values(g->layer, PART_BIAS_MIX_IN), normed, j->rows,
                                 j->row.end, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        (r->scaled && organ_forward_tokens(engine, g->tokens, tokens * (double)j->row.end, scale_rows, j, error)) ||
        organ_forward_convolve(g, &conv, error) ||
        organ_forward_tokens(engine, g->tokens, 2 * tokens * r->heads * ORGAN_SHARE_HARD, prepare_steps, j, error) ||
        organ_forward_share(engine, r->heads * (g->until - g->window), 4 * tokens * state, recur_head, j, error) ||
        organ_forward_tokens(engine, g->tokens, tokens * (double)j->row.x * ORGAN_SHARE_HARD, gate_tokens, j, error) ||
        organ_forward_add_linear(g, PART_MIX_OUT, organ_forward_values(g->layer, PART_BIAS_MIX_OUT), j->outs, out,
                                 (size_t)g->forward->config.hidden, error))
        return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

organ_status organ_forward_mamba2(forward_group *g, const float *normed, float *out, float *scratch, organ_error *error)
{
    const organ_recurrent_config *const r = &g->forward->config.recurrent;
    const mamba2_row row = row_of(r);
    mamba2_job j = {.group = g,
                    .sizes = r,
                    .row = row,
                    .rows = scratch,
                    .outs = scratch + g->tokens * row.end,
                    .decays = scratch + g->tokens * (row.end + row.x),
                    .rates = organ_forward_values(g->layer, PART_A_LOG),
                    .biases = organ_forward_values(g->layer, PART_DT_BIAS),
                    .skip = organ_forward_values(g->layer, PART_SKIP),
                    .norms = organ_forward_values(g->layer, PART_NORM_MIXED)};
    return run_mamba2(&j, normed, out, error);
}
