/* SPDX-License-Identifier: MIT
 * Mamba (Gu, Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", arXiv:2312.00752;
 * transformers, MambaMixer, FalconMambaMixer, JambaMambaMixer). One linear layer of the normed hidden state gives x and
 * z; x passes a causal convolution by channels and silu. A linear layer of x gives a short vector, B and C, which some
 * architectures normalise, and a linear layer of the short vector gives dt. With s = softplus(dt) the state of a
 * channel (N numbers) and its output are
 *
 *     S(n) = e^(-e^A_log(n) s) S(n) + s B(n) x,    y = sum of S(n) C(n) + D x.
 *
 * The output projection reads y silu(z). */
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

#define CHANNELS ((size_t)64) /* channels of one task of the recurrence */

/* inner: channels; states: numbers of the state of a channel; rank: width of the short vector; blocks: blocks of
 * CHANNELS channels. */
typedef struct mamba_job {
    forward_group *group;
    const organ_recurrent_config *sizes;
    size_t inner, states, rank, blocks;
    /* for each token: rows: 2 inner, x and z; x: inner, x after the convolution, then the output; steps: inner, dt;
     * mixed: rank + 2 states, the short vector, B and C; shorts: rank, the normed short vector */
    float *rows, *x, *steps, *mixed, *shorts;
    const float *rates, *skip; /* A_log, D */
} mamba_job;

/* In c->recurrent, `heads` is inner (each channel is a head) and `key_dim` is states. */
size_t organ_forward_mamba_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)kind;
    const organ_recurrent_config *const r = &c->recurrent;
    return 4 * (size_t)r->heads + 2 * (size_t)r->rank + 2 * (size_t)r->key_dim;
}

/* The states of all channels come first, then the tail of the convolution. */
size_t organ_forward_mamba_state(const organ_forward_config *c)
{
    const organ_recurrent_config *const r = &c->recurrent;
    return (size_t)r->heads * r->key_dim + organ_forward_conv_tail(r->kernel, r->heads);
}

/* The scratch has rates and states of CHANNELS channels, or a block of the convolution. */
size_t organ_forward_mamba_scratch(const organ_forward_config *c)
{
    const size_t states = c->recurrent.key_dim;
    return organ_max(2 * states * CHANNELS * sizeof(float), organ_forward_conv_scratch(c->recurrent.kernel));
}

/* A row of the input projection has x and z. */
static void copy_inputs(void *context, size_t t)
{
    const mamba_job *const j = context;
    memcpy(j->x + t * j->inner, j->rows + t * 2 * j->inner, j->inner * sizeof *j->x);
}

/* With step_norms, the copy in j->shorts is normalised, and B and C in place in j->mixed. */
static void prepare_mixed(void *context, size_t t)
{
    const mamba_job *const j = context;
    const organ_layer *const layer = j->group->layer;
    const size_t widths[] = {j->rank, j->states, j->states};
    float *at = j->mixed + t * (j->rank + 2 * j->states);
    float *const shorts = j->shorts + t * j->rank;
    memcpy(shorts, at, j->rank * sizeof *at);
    for (size_t k = 0; j->sizes->step_norms && k < 3; at += widths[k++])
        organ_forward_norm(at, organ_forward_values(layer, PART_NORM_STEP + k), 0, j->sizes->norm_eps, widths[k],
                           k ? at : shorts);
}

static void softplus_steps(void *context, size_t t)
{
    const mamba_job *const j = context;
    j->group->forward->engine->kernels->softplus(j->steps + t * j->inner, j->inner);
}

/* Task `index` is block index % blocks of window index / blocks. The state begins with that of the cache if the
 * group continues a text, else with zeros. j->x is replaced by the outputs. */
static void mamba_recur(void *context, size_t index, size_t worker)
{
    const mamba_job *const j = context;
    const forward_group *const g = j->group;
    const organ_kernels *const kernels = g->forward->engine->kernels;
    const size_t from = index % j->blocks * CHANNELS, w = g->window + index / j->blocks;
    const size_t n = organ_min(CHANNELS, j->inner - from), first = g->windows->begin[w] - g->first;
    const size_t mixed = j->rank + 2 * j->states;
    float *const rates = organ_forward_mixer_scratch_of(g, worker), *const state = rates + j->states * CHANNELS;
    for (size_t i = 0; i < j->states; i++) {
        float *const row = rates + i * CHANNELS;
        for (size_t k = 0; k < n; k++)
            row[k] = j->rates[(from + k) * j->states + i];
        organ_forward_rates(kernels, j->sizes, row, row, n);
    }
    if (!g->before)
        memset(state, 0, j->states * CHANNELS * sizeof *state);
    const organ_selective_scan scan = {.tokens = g->windows->begin[w + 1] - g->windows->begin[w],
                                       .channels = n,
                                       .states = j->states,
                                       .values = j->x + first * j->inner + from,
                                       .steps = j->steps + first * j->inner + from,
                                       .writes = j->mixed + first * mixed + j->rank,
                                       .reads = j->mixed + first * mixed + j->rank + j->states,
                                       .rates = rates,
                                       .skip = j->skip + from,
                                       .state = g->before ? g->before->state + from : state,
                                       .value_stride = j->inner,
                                       .step_stride = j->inner,
                                       .write_stride = mixed,
                                       .read_stride = mixed,
                                       .rate_stride = CHANNELS,
                                       .state_stride = g->before ? j->inner : CHANNELS};
    kernels->selective_scan(&scan);
}

static void mamba_gate(void *context, size_t t)
{
    const mamba_job *const j = context;
    float *const z = j->rows + (t * 2 + 1) * j->inner, *const x = j->x + t * j->inner;
    j->group->forward->engine->kernels->gate_silu(z, x, j->inner);
    memcpy(x, z, j->inner * sizeof *x);
}

/* As in Gu and Dao 2023 (arXiv:2312.00752), the input projection gives x and the gate z; x is convolved. A
 * projection of x gives the short vector, B and C of each token, and a projection of the short vector gives the time
 * step, to which softplus is applied. */
static organ_status mamba_inputs(mamba_job *j, const float *normed, organ_error *error)
{
    forward_group *const g = j->group;
    const organ_engine *const engine = g->forward->engine;
    const double numbers = (double)g->tokens * (double)j->inner;
    const forward_conv conv = {.kernels = organ_forward_values(g->layer, PART_CONV),
                               .biases = organ_forward_values(g->layer, PART_BIAS_CONV),
                               .rows = j->x,
                               .channels = j->inner,
                               .stride = j->inner,
                               .width = j->sizes->kernel,
                               .tail = g->before ? g->before->state + j->inner * j->states : NULL,
                               .silu = true};
    if (organ_forward_add_linear(g, PART_MIX_IN, organ_forward_values(g->layer, PART_BIAS_MIX_IN), normed, j->rows,
                                 2 * j->inner, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, copy_inputs, j, error) ||
        organ_forward_convolve(g, &conv, error) ||
        organ_forward_add_linear(g, PART_MIX_X, NULL, j->x, j->mixed, j->rank + 2 * j->states, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, prepare_mixed, j, error) ||
        organ_forward_add_linear(g, PART_MIX_STEP, organ_forward_values(g->layer, PART_DT_BIAS), j->shorts, j->steps,
                                 j->inner, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error))
        return error->status;
    return organ_forward_tokens(engine, g->tokens, numbers * ORGAN_SHARE_HARD, softplus_steps, j, error);
}

organ_status organ_forward_mamba(forward_group *g, const float *normed, float *out, float *work, organ_error *error)
{
    const organ_recurrent_config *const r = &g->forward->config.recurrent;
    const size_t inner = r->heads, states = r->key_dim, rank = r->rank, tokens = g->tokens;
    mamba_job j = {.group = g,
                   .sizes = r,
                   .inner = inner,
                   .states = states,
                   .rank = rank,
                   .blocks = organ_pieces_of(inner, CHANNELS),
                   .rows = work,
                   .x = work + tokens * 2 * inner,
                   .steps = work + tokens * 3 * inner,
                   .mixed = work + tokens * 4 * inner,
                   .shorts = work + tokens * (4 * inner + rank + 2 * states),
                   .rates = organ_forward_values(g->layer, PART_A_LOG),
                   .skip = organ_forward_values(g->layer, PART_SKIP)};
    const double numbers = (double)tokens * (double)inner;
    if (mamba_inputs(&j, normed, error) ||
        organ_forward_share(g->forward->engine, j.blocks * (g->until - g->window),
                            numbers * (double)states * ORGAN_SHARE_HARD, mamba_recur, &j, error) ||
        organ_forward_tokens(g->forward->engine, tokens, numbers * ORGAN_SHARE_HARD, mamba_gate, &j, error) ||
        organ_forward_add_linear(g, PART_MIX_OUT, organ_forward_values(g->layer, PART_BIAS_MIX_OUT), j.x, out,
                                 (size_t)g->forward->config.hidden, error))
        return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}
