/* SPDX-License-Identifier: MIT
 * Operations of attention and feed-forward on the tokens of a group: norms, sums, gates, windows, the tap, and the
 * products of a gated feed-forward. */
#include "orchestrator/forward/mixers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Each operation uses some of the members. Rows have `width` numbers. */
typedef struct token_job {
    forward_norm norm;
    const float *from;
    float *to, *up; /* gated feed-forwards: `to` is the gate */
    size_t tokens, width;
    float scale;        /* factor of sums; of cut_tokens: gate_cut */
    float limit, alpha; /* of the clamped SwiGLU; limit 0: not clamped */
    float bound;        /* limit of the activated gate and of up; 0: none */
    float gate_scale;   /* factor of the gate */
    float cut;          /* expert_limit; 0: none */
    const organ_kernels *kernels;
    organ_activation activation;
    forward_xielu xielu;
} token_job;

static void norm_tokens(void *context, size_t t)
{
    const token_job *j = context;
    organ_forward_norm_by(&j->norm, j->from + t * j->width, j->width, j->to + t * j->width);
}

static void add_tokens(void *context, size_t t)
{
    const token_job *j = context;
    for (size_t k = t * j->width; k < (t + 1) * j->width; k++)
        j->to[k] += j->from[k] * j->scale;
}

/* Without up, gate = act(gate). Uses the clamped SwiGLU if `limit` is above 0, and limits the product's factors if
 * `bound` is. */
static void gate_numbers(const token_job *j, size_t t, size_t first, size_t count)
{
    float *const gate = j->to + t * j->width + first, *const up = j->up ? j->up + t * j->width + first : NULL;
    for (size_t k = 0; up && j->gate_scale != 1 && k < count; k++)
        gate[k] *= j->gate_scale;
    for (size_t k = 0; up && j->cut > 0 && k < count; k++) {
        gate[k] = gate[k] > j->cut ? j->cut : gate[k];
        up[k] = up[k] > j->cut ? j->cut : up[k];
        up[k] = up[k] < -j->cut ? -j->cut : up[k];
    }
    if (!up)
        organ_forward_activate(j->kernels, j->activation, &j->xielu, gate, count);
    else if (j->bound > 0)
        organ_forward_gate_limited(j->kernels, j->activation, j->bound, gate, up, count);
    else if (j->limit > 0)
        organ_forward_gate_clamped(j->kernels, j->limit, j->alpha, gate, up, count);
    else
        organ_forward_gate(j->kernels, j->activation, gate, up, count);
}

static void gate_tokens(void *context, size_t t)
{
    const token_job *const j = context;
    gate_numbers(j, t, 0, j->width);
}

static void gate_part(const void *context, size_t row, size_t rows, size_t column, size_t columns)
{
    for (size_t t = row; t < row + rows; t++)
        gate_numbers(context, t, column, columns);
}

static void split_tokens(void *context, size_t t)
{
    const token_job *j = context;
    for (size_t k = t * j->width; k < (t + 1) * j->width; k++) {
        j->to[k] = j->from[2 * k];
        j->up[k] = j->from[2 * k + 1];
    }
}

/* `work_of_number` is the work for each number of a row, in the units of organ_share_work. */
static organ_status share_tokens(const forward_group *g, token_job *j, int work_of_number, organ_token_task *task,
                                 organ_error *error)
{
    const double work = (double)j->tokens * (double)j->width * work_of_number;
    return organ_forward_tokens(g->forward->engine, j->tokens, work, task, j, error);
}

/* Norms without weights run for every part; x is copied only if norms of this model have weights and the layer lacks
 * this one. */
organ_status organ_forward_norm_all(const forward_group *g, forward_part part, const float *x, float *y, size_t tokens,
                                    organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    ORGAN_IN_PHASE(ORGAN_PHASE_NORMS);
    const float *const weights = organ_forward_values(g->layer, part);
    /* of the norms, those up to PART_NORM_K may have biases */
    const float *const biases = part <= PART_NORM_K ? organ_forward_values(g->layer, organ_norm_bias(part)) : NULL;
    if (!weights && !c->norm_unweighted) { /* the layer does not have this norm */
        memcpy(y, x, tokens * (size_t)c->hidden * sizeof *y);
        return ORGAN_OK;
    }
    token_job j = {.norm = {c->norm, weights, biases, c->norm_adds_one ? 1 : 0, c->rms_eps},
                   .from = x,
                   .to = y,
                   .tokens = tokens,
                   .width = (size_t)c->hidden};
    return share_tokens(g, &j, 2 * ORGAN_SHARE_NUMBER, norm_tokens, error);
}

organ_status organ_forward_norm_inner(const forward_group *g, forward_part part, float *x, size_t tokens, size_t width,
                                      organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    token_job j = {.norm = {.kind = c->norm, .weights = organ_forward_values(g->layer, part), .eps = c->rms_eps},
                   .from = x,
                   .to = x,
                   .tokens = tokens,
                   .width = width};
    return j.norm.weights ? share_tokens(g, &j, 2 * ORGAN_SHARE_NUMBER, norm_tokens, error) : ORGAN_OK;
}

organ_status organ_forward_add_all(const forward_group *g, forward_part part, float *hidden, float *out, size_t tokens,
                                   organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    ORGAN_IN_PHASE(ORGAN_PHASE_NORMS);
    token_job j = {
        .from = out, .to = hidden, .tokens = tokens, .width = (size_t)c->hidden, .scale = (float)c->residual_scale};
    if (c->connections.streams) { /* organ_forward_connect_out adds the output */
        memcpy(hidden, out, tokens * (size_t)c->hidden * sizeof *out);
        return ORGAN_OK;
    }
    if (c->residual_normed)
        j.scale = g->layer->kind->beta[part == PART_NORM_POST_FFN];
    const organ_norm_placement norms = organ_forward_norms_of(c, g->layer->kind);
    const bool on_sum = norms == ORGAN_NORMS_ON_SUM, of_output = norms != ORGAN_NORMS_BEFORE && !on_sum;
    if ((of_output && organ_forward_norm_all(g, part, out, out, tokens, error)) ||
        share_tokens(g, &j, ORGAN_SHARE_NUMBER, add_tokens, error))
        return error->status;
    return on_sum ? organ_forward_norm_all(g, part, hidden, hidden, tokens, error) : ORGAN_OK;
}

bool organ_layer_output_norm(const organ_layer *layer, bool ffn, organ_output_norm *norm)
{
    const organ_forward_config *const c = &layer->forward->config;
    const organ_norm_placement norms = organ_forward_norms_of(c, layer->kind);
    const forward_part part = ffn ? PART_NORM_POST_FFN : PART_NORM_POST_ATTENTION;
    *norm = (organ_output_norm){.plus = c->norm_adds_one ? 1 : 0, .eps = c->rms_eps, .scale = (float)c->residual_scale};
    const float *const layer_scale = organ_forward_values(layer, PART_LAYER_SCALE);
    norm->scale *= (layer_scale ? *layer_scale : 1) * (ffn ? c->multipliers.down : c->multipliers.attention_out);
    if (norms == ORGAN_NORMS_BEFORE)
        return !c->residual_normed && !c->connections.streams;
    norm->weights = organ_forward_values(layer, part);
    return (norms == ORGAN_NORMS_AROUND || norms == ORGAN_NORMS_AFTER) && !c->residual_normed && !c->dual_ffn &&
           c->state == c->hidden && c->norm == ORGAN_NORM_RMS && norm->weights &&
           !organ_forward_values(layer, organ_norm_bias(part));
}

static void combine_tokens(void *context, size_t t)
{
    const token_job *j = context;
    for (size_t k = t * j->width; k < (t + 1) * j->width; k++)
        j->to[k] = (j->from ? j->to[k] + j->from[k] : j->to[k]) * j->scale;
}

organ_status organ_forward_combine(const forward_group *g, float *to, const float *from, size_t tokens, float scale,
                                   organ_error *error)
{
    token_job j = {
        .from = from, .to = to, .tokens = tokens, .width = (size_t)g->forward->config.hidden, .scale = scale};
    return share_tokens(g, &j, ORGAN_SHARE_NUMBER, combine_tokens, error);
}

organ_status organ_forward_keep_normed(const forward_group *g, unsigned half, const float *normed, float *hidden,
                                       size_t tokens, organ_error *error)
{
    if (!g->forward->config.residual_normed)
        return ORGAN_OK;
    memcpy(hidden, normed, tokens * (size_t)g->forward->config.hidden * sizeof *hidden);
    return organ_forward_combine(g, hidden, /*from=*/NULL, tokens, g->layer->kind->alpha[half], error);
}

/* Does what _gaussian_topk of transformers' modeling_gemma3n.py does. */
static void cut_tokens(void *context, size_t t)
{
    const token_job *j = context;
    organ_forward_cut(j->to + t * j->width, j->width, j->scale);
}

/* a = softplus(alpha_p) and b = beta + softplus(alpha_n) are from the tensors of the layer or from the metadata of a
 * GGUF file. */
static forward_xielu xielu_of(const organ_layer *layer)
{
    const float *values[4];
    for (unsigned k = 0; k < 4; k++) {
        const float *const tensor = organ_forward_values(layer, (forward_part)(PART_XIELU_P + k));
        values[k] = tensor ? tensor : &layer->kind->xielu[k];
    }
    return (forward_xielu){(float)log1p(exp((double)*values[0])), *values[2] + (float)log1p(exp((double)*values[1])),
                           *values[2], *values[3]};
}

static token_job gate_job_of(const forward_group *g, bool routed, float *gate, float *up, size_t tokens, size_t width)
{
    const organ_forward_config *const c = &g->forward->config;
    token_job j = {.to = gate,
                   .up = up,
                   .limit = (float)c->gate_limit,
                   .alpha = (float)c->gate_alpha,
                   .bound = g->layer->kind->limits[routed],
                   .gate_scale = c->multipliers.gate,
                   .tokens = tokens,
                   .width = width,
                   .kernels = g->forward->engine->kernels,
                   .activation = c->activation};
    j.cut = routed || c->limits_shared ? (float)c->expert_limit : 0;
    if (!up)
        j.xielu = xielu_of(g->layer);
    return j;
}

organ_status organ_forward_gate_all(const forward_group *g, bool routed, float *gate, float *up, size_t tokens,
                                    size_t width, organ_error *error)
{
    token_job j = gate_job_of(g, routed, gate, up, tokens, width);
    return share_tokens(g, &j, ORGAN_SHARE_HARD, gate_tokens, error);
}

organ_status organ_forward_split_all(const forward_group *g, const float *pairs, float *gate, float *up, size_t rows,
                                     size_t width, organ_error *error)
{
    token_job j = {.from = pairs, .to = gate, .up = up, .tokens = rows, .width = width};
    return share_tokens(g, &j, ORGAN_SHARE_NUMBER, split_tokens, error);
}

/* For a matrix of a stack, the name of the tensor ends with its number in brackets. */
organ_status organ_forward_tap(const forward_group *g, forward_view view, size_t first, size_t tokens, size_t in,
                               const float *inputs, organ_error *error)
{
    if (!g->tap || tokens == 0)
        return ORGAN_OK;
    const forward_slot *slot = &g->layer->plan->slots[view.slot];
    const char *name = slot->weight->name;
    char of_stack[400];
    if (slot->matrices > 1) {
        snprintf(of_stack, sizeof of_stack, "%.300s[%llu]", name,
                 (unsigned long long)(view.row / (slot->rows / slot->matrices)));
        name = of_stack;
    }
    return g->tap->inputs(g->tap->context, name, first, tokens, in, inputs, error);
}

void organ_forward_copy_hidden(const forward_group *g, size_t first, size_t tokens, float *to, bool back)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t hidden = (size_t)c->hidden;
    float *const states = g->states + first * c->state;
    for (size_t t = 0; t < tokens; t++)
        memcpy(back ? states + t * c->state : to + t * hidden, back ? to + t * hidden : states + t * c->state,
               hidden * sizeof(float));
}

float *organ_forward_mixer_scratch_of(const forward_group *g, size_t worker)
{
    return g->scratch + (worker * g->forward->worker_bytes + ORGAN_PRODUCT_SCRATCH) / sizeof(float);
}

float *organ_forward_head_state(const forward_group *g, size_t head, size_t floats, size_t worker)
{
    if (g->before)
        return g->before->state + head * floats;
    float *const state = organ_forward_mixer_scratch_of(g, worker);
    return memset(state, 0, floats * sizeof *state);
}

organ_status organ_forward_add_linear(forward_group *g, forward_part part, const float *bias, const float *x, float *y,
                                      size_t out, organ_error *error)
{
    const forward_view view = g->layer->plan->parts[part];
    forward_linear linear = organ_forward_linear_of(g->layer, view, out);
    linear.bias = bias;
    if (organ_forward_tap(g, view, g->first, g->tokens, linear.in, x, error))
        return error->status;
    return organ_forward_products_add(&g->products, x, &linear, y, g->tokens, error);
}

organ_status organ_forward_run_linear(forward_group *g, forward_part part, const float *bias, const float *x, float *y,
                                      size_t out, organ_error *error)
{
    return organ_forward_add_linear(g, part, bias, x, y, out, error)
               ? error->status
               : organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

static const float *bias_of(const organ_layer *layer, forward_part part)
{
    static const forward_part biases[PART_COUNT] = {
        [PART_GATE] = PART_BIAS_GATE,           [PART_UP] = PART_BIAS_UP,
        [PART_DOWN] = PART_BIAS_DOWN,           [PART_SHARED_GATE] = PART_BIAS_SHARED_GATE,
        [PART_SHARED_UP] = PART_BIAS_SHARED_UP, [PART_SHARED_DOWN] = PART_BIAS_SHARED_DOWN,
        [PART_LATENT_IN] = PART_BIAS_LATENT_IN, [PART_LATENT_OUT] = PART_BIAS_LATENT_OUT};
    return biases[part] ? organ_forward_values(layer, biases[part]) : NULL;
}

/* The products that are already in the list are computed too. */
organ_status organ_forward_apply(forward_group *g, forward_part part, size_t first, size_t tokens, const float *x,
                                 float *y, size_t out, organ_error *error)
{
    const forward_view view = g->layer->plan->parts[part];
    forward_linear linear = organ_forward_linear_of(g->layer, view, out);
    linear.bias = bias_of(g->layer, part);
    if (organ_forward_tap(g, view, g->first + first, tokens, linear.in, x, error) ||
        organ_forward_products_add(&g->products, x, &linear, y, tokens, error))
        return error->status;
    return organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

/* ---- gated feed-forward ---- */

static organ_status group_add_product(forward_group *g, forward_part part, size_t out, size_t tokens, const float *x,
                                      float *y, organ_error *error)
{
    forward_linear linear = organ_forward_linear_of(g->layer, g->layer->plan->parts[part], out);
    linear.bias = bias_of(g->layer, part);
    return organ_forward_products_add(&g->products, x, &linear, y, tokens, error);
}

/* Gates below mean + gate_cut x standard deviation of the token's gates become 0, and this threshold is subtracted
 * from the others (Gemma 3n). */
static organ_status cut_gates(const forward_group *g, float *gates, size_t tokens, size_t width, organ_error *error)
{
    token_job j = {.to = gates, .tokens = tokens, .width = width, .scale = g->layer->kind->gate_cut};
    return g->layer->kind->gate_is_cut ? share_tokens(g, &j, 3 * ORGAN_SHARE_NUMBER, cut_tokens, error) : ORGAN_OK;
}

/* Without a gate, only up is computed, into `gates`. A worker activates the part that it has computed, while it is
 * in its cache. Only if the layer cuts gates, which needs all gates of a token, or packs gate and up in different
 * types, the activation follows the products. */
static organ_status run_gate_and_up(forward_group *g, forward_part gate, size_t inner, size_t tokens,
                                    const float *normed, float *gates, float *ups, organ_error *error)
{
    const forward_part up = gate + (PART_UP - PART_GATE); /* PART_UP or PART_SHARED_UP */
    const bool gated = g->layer->plan->parts[gate].slot != SIZE_MAX,
               cut = gate == PART_GATE && g->layer->kind->gate_is_cut;
    const token_job job = gate_job_of(g, /*routed=*/false, gates, gated ? ups : NULL, tokens, inner);
    if ((gated && group_add_product(g, gate, inner, tokens, normed, gates, error)) ||
        group_add_product(g, up, inner, tokens, normed, gated ? ups : gates, error))
        return error->status;
    organ_panels *const last = &g->products.panels[g->products.count - 1];
    last->joined = gated && !last[-1].make == !last->make && last[-1].type == last->type;
    const bool at_once = !cut && (last->joined || !gated);
    if (at_once) {
        last->after = gate_part;
        last->after_context = &job;
    }
    if (organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        (cut && cut_gates(g, gates, tokens, inner, error)))
        return error->status;
    return at_once ? ORGAN_OK
                   : organ_forward_gate_all(g, /*routed=*/false, gates, gated ? ups : NULL, tokens, inner, error);
}

/* With PART_GATE, the sparsity of Gemma 3n and the norm before the down projection are applied if the layer has
 * them. */
organ_status organ_forward_gated(forward_group *g, forward_part gate, size_t inner, size_t first, size_t tokens,
                                 const float *normed, float *out, float *work, organ_error *error)
{
    const forward_part up = gate + (PART_UP - PART_GATE), down = gate + (PART_DOWN - PART_GATE);
    const size_t hidden = (size_t)g->forward->config.hidden;
    const forward_view *parts = g->layer->plan->parts;
    float *gates = work, *ups = work + tokens * inner;
    const bool gated = parts[gate].slot != SIZE_MAX;
    if (gated && organ_forward_tap(g, parts[gate], g->first + first, tokens, hidden, normed, error))
        return error->status;
    if (parts[up].slot != parts[gate].slot &&
        organ_forward_tap(g, parts[up], g->first + first, tokens, hidden, normed, error))
        return error->status;
    if (run_gate_and_up(g, gate, inner, tokens, normed, gates, ups, error) ||
        (gate == PART_GATE && organ_forward_norm_inner(g, PART_NORM_INNER, gates, tokens, inner, error)) ||
        organ_forward_tap(g, parts[down], g->first + first, tokens, inner, gates, error) ||
        group_add_product(g, down, hidden, tokens, gates, out, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error))
        return error->status;
    const float of_output = g->forward->config.multipliers.down;
    return gate == PART_GATE && of_output != 1 ? organ_forward_combine(g, out, /*from=*/NULL, tokens, of_output, error)
                                               : ORGAN_OK;
}

/* ---- attention by head and position: the scale of queries, ALiBi, and the gate of the output ---- */

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
    if (!c->gate_in_q && organ_forward_run_linear(g, PART_HEAD_GATE, NULL, normed, scratch, j.gate_width, error))
        return error->status;
    const double work = (double)g->tokens * (double)(j.gate_width * ORGAN_SHARE_HARD + j.out_width);
    return organ_forward_tokens(g->forward->engine, g->tokens, work, gate_tokens_of_heads, &j, error);
}
