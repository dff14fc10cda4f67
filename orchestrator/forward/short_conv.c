/* SPDX-License-Identifier: MIT
 * The short gated convolution of LFM2 (transformers, Lfm2ShortConv): one linear layer of the normed hidden state gives
 * B, C and x, each hidden_size wide, and the output is a linear layer of C conv(B x), with a causal convolution by
 * channels. */
#include "orchestrator/forward/mixers.h"

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
    if (organ_forward_add_linear(g, PART_MIX_IN, organ_forward_values(g->layer, PART_BIAS_MIX_IN), normed, j.rows,
                                 3 * hidden, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, gate_inputs, &j, error) ||
        organ_forward_convolve(g, &conv, error) ||
        organ_forward_tokens(engine, g->tokens, numbers, gate_outputs, &j, error) ||
        organ_forward_add_linear(g, PART_MIX_OUT, organ_forward_values(g->layer, PART_BIAS_MIX_OUT), j.outs, out,
                                 hidden, error))
        return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}
