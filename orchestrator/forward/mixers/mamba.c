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
#include "orchestrator/machine/quantity.h"

#include <string.h>

/* ---- causal convolutions by channels ---- */

/* A task is a block of channels of one window. It processes the window from its last token to its first, because an
 * output replaces its input, which the outputs of later tokens need. */

#define CHANNELS ((size_t)64) /* channels of a block */

typedef struct conv_job {
    const forward_group *group;
    const forward_conv *conv;
    size_t blocks; /* blocks of CHANNELS channels */
} conv_job;

/* A block of n channels of a window. `kernels`: width x CHANNELS; `next`: (width - 1) x CHANNELS, the tail to store in
 * the cache; `ones`: the factor `up` of the kernel gate_silu, which then computes silu; `rows`: the first token's row.
 */
typedef struct conv_block {
    float *kernels, *next, *ones, *rows;
    const float *tail; /* inputs before the window; NULL: zeros */
    size_t n;
} conv_block;

/* The tail has the last width - 1 inputs of all channels. */
size_t organ_forward_conv_tail(size_t width, size_t channels) { return (width - 1) * channels; }

/* The scratch has `width` rows of kernels, width - 1 rows of the next tail, and a row of ones. */
size_t organ_forward_conv_scratch(size_t width) { return 2 * width * CHANNELS * sizeof(float); }

/* The input is in the window, else in the cache's tail; NULL if there is no tail, because the text begins with the
 * window. */
static const float *conv_input(const forward_conv *conv, const conv_block *b, size_t t, size_t back)
{
    if (back <= t)
        return b->rows + (t - back) * conv->stride;
    return b->tail ? b->tail + (conv->width - 1 + t - back) * conv->channels : NULL;
}

/* The sum of the last `width` inputs of each channel, weighted by the kernel, and the bias replace the input of
 * token t. */
static void convolve_token(const organ_kernels *kernels, const forward_conv *conv, const conv_block *b, size_t t,
                           const float *biases)
{
    float sums[CHANNELS] = {0};
    float *const row = b->rows + t * conv->stride;
    for (size_t j = 0; j < conv->width; j++) {
        const float *const x = conv_input(conv, b, t, conv->width - 1 - j), *const w = b->kernels + j * CHANNELS;
        for (size_t k = 0; x && k < b->n; k++)
            sums[k] += w[k] * x[k];
    }
    for (size_t k = 0; k < b->n; k++)
        row[k] = biases ? sums[k] + biases[k] : sums[k];
    if (conv->silu)
        kernels->gate_silu(row, b->ones, b->n);
}

/* If the window has fewer than width - 1 tokens, the first inputs come from the old tail. */
static void store_tail(const forward_conv *conv, const conv_block *b, size_t tokens)
{
    for (size_t j = 0; j + 1 < conv->width; j++) {
        const float *const x = conv_input(conv, b, tokens, conv->width - 1 - j);
        memcpy(b->next + j * CHANNELS, x, b->n * sizeof *x);
    }
}

/* Task `index` is block index % blocks of window index / blocks. The kernels are transposed first, so that the
 * weights of all channels for one input are contiguous. The tail for the cache is stored before the rows are
 * overwritten. */
static void convolve_block(void *context, size_t index, size_t worker)
{
    const conv_job *const j = context;
    const forward_conv *const conv = j->conv;
    const size_t from = index % j->blocks * CHANNELS, w = j->group->window + index / j->blocks;
    const size_t *const begin = j->group->windows->begin;
    const size_t first = begin[w] - j->group->first, tokens = begin[w + 1] - begin[w];
    float *const scratch = organ_forward_mixer_scratch_of(j->group, worker);
    const conv_block b = {.kernels = scratch,
                          .next = scratch + conv->width * CHANNELS,
                          .ones = scratch + (2 * conv->width - 1) * CHANNELS,
                          .rows = conv->rows + first * conv->stride + from,
                          .tail = conv->tail ? conv->tail + from : NULL,
                          .n = organ_min(CHANNELS, conv->channels - from)};
    for (size_t k = 0; k < CHANNELS; k++) {
        b.ones[k] = 1;
        for (size_t i = 0; k < b.n && i < conv->width; i++)
            b.kernels[i * CHANNELS + k] = conv->kernels[(from + k) * conv->width + i];
    }
    if (conv->tail)
        store_tail(conv, &b, tokens);
    for (size_t t = tokens; t-- > 0;)
        convolve_token(j->group->forward->engine->kernels, conv, &b, t, conv->biases ? conv->biases + from : NULL);
    for (size_t i = 0; conv->tail && i + 1 < conv->width; i++)
        memcpy(conv->tail + i * conv->channels + from, b.next + i * CHANNELS, b.n * sizeof *b.next);
}

organ_status organ_forward_convolve(const forward_group *g, const forward_conv *conv, organ_error *error)
{
    conv_job j = {g, conv, organ_pieces_of(conv->channels, CHANNELS)};
    const double number = (double)conv->width + ORGAN_SHARE_HARD;
    return organ_forward_share(g->forward->engine, j.blocks * (g->until - g->window),
                               (double)g->tokens * (double)conv->channels * number, convolve_block, &j, error);
}

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

/* A token's part of j->mixed is its short vector, B and C. With step_norms, the copy of the short vector in j->shorts
 * is normalised, and B and C in place. */
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
    if (organ_forward_run_linear(g, PART_MIX_IN, organ_forward_values(g->layer, PART_BIAS_MIX_IN), normed, j->rows,
                                 2 * j->inner, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, copy_inputs, j, error) ||
        organ_forward_convolve(g, &conv, error) ||
        organ_forward_run_linear(g, PART_MIX_X, NULL, j->x, j->mixed, j->rank + 2 * j->states, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, prepare_mixed, j, error) ||
        organ_forward_run_linear(g, PART_MIX_STEP, organ_forward_values(g->layer, PART_DT_BIAS), j->shorts, j->steps,
                                 j->inner, error))
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
        organ_forward_tokens(g->forward->engine, tokens, numbers * ORGAN_SHARE_HARD, mamba_gate, &j, error))
        return error->status;
    return organ_forward_run_linear(g, PART_MIX_OUT, organ_forward_values(g->layer, PART_BIAS_MIX_OUT), j.x, out,
                                    (size_t)g->forward->config.hidden, error);
}

/* ---- Mamba-2 ---- */

/* Dao, Gu 2024, "Transformers are SSMs", arXiv:2405.21060; transformers, Mamba2Mixer, NemotronHMamba2Mixer,
 * FalconH1Mixer. One linear layer of the normed hidden state gives z, x, B, C and dt; x, B and C pass a causal
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

/* Only Falcon-H1 has factors other than 1. */
static void scale_rows(void *context, size_t t)
{
    const mamba2_job *const j = context;
    const float *const factors = j->group->forward->config.multipliers.projections;
    const size_t ends[] = {j->row.x, j->row.b, j->row.c, j->row.dt, j->row.end};
    for (size_t part = 0, k = 0; part < 5; part++)
        for (; k < ends[part]; k++)
            j->rows[t * j->row.end + k] *= factors[part];
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

/* Task `index` is head index % heads of window index / heads. */
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

/* y becomes (y + D x) silu(z). The norm of groups is applied after the product with silu(z), or
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
}

static bool is_scaled(const float factors[5])
{
    return factors[0] != 1 || factors[1] != 1 || factors[2] != 1 || factors[3] != 1 || factors[4] != 1;
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
    if (organ_forward_run_linear(g, PART_MIX_IN, organ_forward_values(g->layer, PART_BIAS_MIX_IN), normed, j->rows,
                                 j->row.end, error) ||
        (is_scaled(g->forward->config.multipliers.projections) &&
         organ_forward_tokens(engine, g->tokens, tokens * (double)j->row.end, scale_rows, j, error)) ||
        organ_forward_convolve(g, &conv, error) ||
        organ_forward_tokens(engine, g->tokens, 2 * tokens * r->heads * ORGAN_SHARE_HARD, prepare_steps, j, error) ||
        organ_forward_share(engine, r->heads * (g->until - g->window), 4 * tokens * state, recur_head, j, error) ||
        organ_forward_tokens(engine, g->tokens, tokens * (double)j->row.x * ORGAN_SHARE_HARD, gate_tokens, j, error))
        return error->status;
    return organ_forward_run_linear(g, PART_MIX_OUT, organ_forward_values(g->layer, PART_BIAS_MIX_OUT), j->outs, out,
                                    (size_t)g->forward->config.hidden, error);
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

/* ---- the short gated convolution of LFM2 (transformers, Lfm2ShortConv) ---- */

/* One linear layer of the normed hidden state gives B, C and x, each hidden_size wide, and the output is a linear layer
 * of C conv(B x), with a causal convolution by channels. */

/* rows: tokens x 3 hidden: B, C and x; outs: tokens x hidden: C conv(B x). */
typedef struct short_conv_job {
    const forward_group *group;
    float *rows, *outs;
    size_t hidden;
} short_conv_job;

size_t organ_forward_short_conv_width(const organ_forward_config *c, const organ_layer_kind *kind)
{
    (void)kind;
    return 4 * (size_t)c->hidden;
}

size_t organ_forward_short_conv_state(const organ_forward_config *c)
{
    return organ_forward_conv_tail(c->recurrent.kernel, (size_t)c->hidden);
}

size_t organ_forward_short_conv_scratch(const organ_forward_config *c)
{
    return organ_forward_conv_scratch(c->recurrent.kernel);
}

static void gate_inputs(void *context, size_t t)
{
    const short_conv_job *const j = context;
    float *const row = j->rows + t * 3 * j->hidden;
    for (size_t k = 0; k < j->hidden; k++)
        row[2 * j->hidden + k] *= row[k];
}

static void gate_outputs(void *context, size_t t)
{
    const short_conv_job *const j = context;
    const float *const row = j->rows + t * 3 * j->hidden;
    for (size_t k = 0; k < j->hidden; k++)
        j->outs[t * j->hidden + k] = row[j->hidden + k] * row[2 * j->hidden + k];
}

/* LFM2 projects the input to B, C and x, convolves B x over the tokens, multiplies the result by C, and applies the
 * output projection. */
organ_status organ_forward_short_conv(forward_group *g, const float *normed, float *out, float *work,
                                      organ_error *error)
{
    const organ_engine *const engine = g->forward->engine;
    const organ_forward_config *const c = &g->forward->config;
    const size_t hidden = (size_t)c->hidden;
    const double numbers = (double)g->tokens * (double)hidden;
    short_conv_job j = {g, work, work + g->tokens * 3 * hidden, hidden};
    const forward_conv conv = {.kernels = organ_forward_values(g->layer, PART_CONV),
                               .biases = organ_forward_values(g->layer, PART_BIAS_CONV),
                               .rows = j.rows + 2 * hidden,
                               .channels = hidden,
                               .stride = 3 * hidden,
                               .width = c->recurrent.kernel,
                               .tail = (g->before ? g->before->state : NULL)};
    if (organ_forward_run_linear(g, PART_MIX_IN, organ_forward_values(g->layer, PART_BIAS_MIX_IN), normed, j.rows,
                                 3 * hidden, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, gate_inputs, &j, error) ||
        organ_forward_convolve(g, &conv, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, gate_outputs, &j, error))
        return error->status;
    return organ_forward_run_linear(g, PART_MIX_OUT, organ_forward_values(g->layer, PART_BIAS_MIX_OUT), j.outs, out,
                                    hidden, error);
}
