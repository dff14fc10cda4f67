/* SPDX-License-Identifier: MIT
 * Mixture of experts. Tokens are sorted by expert, so that each expert is one product over its tokens. Each token
 * then adds the weighted outputs of its experts in the order of their numbers, which makes the sum independent of the
 * sorting. */
#include "orchestrator/forward/token_experts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDENTITY SIZE_MAX /* experts_job.place of an identity expert, which has no sorted row: output = input */

/* Numbers of the matrices of an expert, in the order of forward_plan.experts. */
enum { GATE, UP, DOWN };

/* A sorted row is a pair of token and expert; rows are sorted by expert, then by token. */
typedef struct experts_job {
    forward_group *group;
    size_t first, tokens;
    const float *normed, *requested; /* tokens x hidden_size: inputs of the mixture and of the router */
    float *out;                      /* tokens x hidden_size: the output of the mixture */
    float *scores;                   /* tokens x organ_forward_choices: the router's logits */
    size_t base, rows;    /* sorted rows [base, base + rows) are in the buffers: all, or some in a streamed layer */
    float *inputs, *gate; /* buffers: rows x width, rows x expert_intermediate; `gate` becomes act(gate) * up */
    float *up, *outputs;  /* buffers: rows x expert_intermediate, rows x width */
    float *pairs;         /* buffer, rows x 2 expert_intermediate, for gate and up if they alternate in one stack */
    const float *read;    /* tokens x width: the input of the experts, `normed` or its projection */
    float *sums;          /* tokens x width: the sums over a token's experts */
    size_t width;         /* organ_forward_expert_hidden */
    organ_expert_choice *choices; /* tokens x experts_used, experts of a token in ascending order */
    size_t *place;                /* for each choice, the number of its sorted row, or IDENTITY */
    size_t *begin;                /* first sorted row of each expert; experts + 1 entries */
    size_t *token_of;             /* token of each sorted row, counted from `first` */
    float *weight_of;             /* the router's factor for each sorted row */
} experts_job;

/* A token needs 1 float for the gate of its output, 2 x shared_intermediate for gate and up, hidden_size for its
 * output. The shared expert runs after the routed experts and reuses their memory. */
static size_t shared_expert_floats(const organ_forward_config *c)
{
    return c->shared_intermediate ? 1 + 2 * (size_t)c->shared_intermediate + (size_t)c->hidden : 0;
}

/* Without expert_latent, `read` is the input of the mixture and `sums` its output, so neither needs memory. */
static size_t latent_floats(const organ_forward_config *c) { return 2 * (size_t)c->expert_latent; }

/* At most FORWARD_GROUP sorted rows are in the buffers at a time; the shared expert runs afterwards and uses the
 * same memory. */
size_t organ_forward_stream_room(const organ_forward_config *c, size_t tokens)
{
    const size_t rows = organ_min(tokens * c->experts_used, FORWARD_GROUP),
                 widths = (c->gate_up_pairs ? 4 : 2) * (size_t)c->expert_intermediate,
                 hidden = (size_t)organ_forward_expert_hidden(c);
    return organ_max(tokens * (organ_forward_choices(c) + latent_floats(c)) + rows * (2 * hidden + widths),
                     organ_min(tokens, FORWARD_GROUP) * shared_expert_floats(c));
}

/* The shared expert runs after the routed experts in the same memory. */
size_t organ_forward_experts_room(const organ_forward_config *c, size_t tokens)
{
    const size_t inner = (size_t)c->expert_intermediate, widths = c->gate_up_pairs ? 4 * inner : 2 * inner;
    const size_t hidden = (size_t)organ_forward_expert_hidden(c);
    const size_t routed = organ_forward_choices(c) + latent_floats(c) + (size_t)c->experts_used * (2 * hidden + widths);
    return tokens * organ_max(routed, shared_expert_floats(c));
}

/* The router logits in j->scores are overwritten. */
static void choose_token(void *context, size_t t, size_t worker)
{
    (void)worker;
    const experts_job *j = context;
    const organ_forward_config *c = &j->group->forward->config;
    float *const scores = j->scores + t * organ_forward_choices(c);
    const organ_router router = organ_layer_router(j->group->layer);
    const uint32_t *const table = organ_forward_token_experts(j->group, j->first + t);
    if (table)
        organ_forward_route_to(&router, table, scores, scores, j->choices + t * c->experts_used);
    else
        organ_forward_route(&router, j->group->layer->kept, scores, scores, j->choices + t * c->experts_used);
}

/* The factor is 1 if the router's factor multiplies the input of the expert. */
static float output_factor(const experts_job *j, size_t row)
{
    return j->group->forward->config.router.into_inputs ? 1 : j->weight_of[row];
}

/* Outputs are added in the order of the choices, without identity experts. */
static void sum_token(void *context, size_t t, size_t worker)
{
    (void)worker;
    const experts_job *j = context;
    const organ_forward_config *c = &j->group->forward->config;
    const size_t hidden = j->width;
    float *out = j->sums + t * hidden;
    memset(out, 0, hidden * sizeof *out);
    for (unsigned k = 0; k < c->experts_used; k++) {
        const size_t row = j->place[t * c->experts_used + k];
        if (row == IDENTITY)
            continue;
        const float *from = j->outputs + row * hidden;
        const float weight = output_factor(j, row);
        for (size_t x = 0; x < hidden; x++)
            out[x] += weight * from[x];
    }
}

/* Adds the inputs of a token times the factors of its identity experts. */
static void add_identities(void *context, size_t t, size_t worker)
{
    (void)worker;
    const experts_job *j = context;
    const unsigned used = j->group->forward->config.experts_used;
    const size_t hidden = j->width;
    for (size_t k = t * used; k < (t + 1) * used; k++)
        for (size_t x = 0; j->place[k] == IDENTITY && x < hidden; x++)
            j->sums[t * hidden + x] += j->choices[k].weight * j->read[t * hidden + x];
}

static void gather_row(void *context, size_t row, size_t worker)
{
    (void)worker;
    const experts_job *j = context;
    const size_t hidden = j->width, token = j->token_of[j->base + row];
    float *const to = j->inputs + row * hidden;
    memcpy(to, j->read + token * hidden, hidden * sizeof *to);
    const float factor = j->weight_of[j->base + row];
    for (size_t x = 0; j->group->forward->config.router.into_inputs && x < hidden; x++)
        to[x] *= factor;
}

/* A counting sort leaves the tokens of an expert in order. Identity experts have no rows: their place is IDENTITY. */
static void sort_by_expert(experts_job *j)
{
    const organ_forward_config *c = &j->group->forward->config;
    const size_t rows = j->tokens * c->experts_used;
    memset(j->begin, 0, ((size_t)c->experts + 1) * sizeof *j->begin);
    for (size_t k = 0; k < rows; k++)
        if (j->choices[k].expert < c->experts)
            j->begin[j->choices[k].expert + 1]++;
    for (size_t e = 0; e < c->experts; e++)
        j->begin[e + 1] += j->begin[e];
    for (size_t k = 0; k < rows; k++) {
        j->place[k] = IDENTITY;
        if (j->choices[k].expert >= c->experts)
            continue;
        size_t *next = &j->begin[j->choices[k].expert];
        j->token_of[*next] = k / c->experts_used;
        j->weight_of[*next] = j->choices[k].weight;
        j->place[k] = (*next)++;
    }
    for (size_t e = c->experts; e > 0; e--)
        j->begin[e] = j->begin[e - 1];
    j->begin[0] = 0;
}

/* `which` is GATE, UP or DOWN. If gate and up alternate in one matrix, the result for gate has the
 * rows of both. In models without a gate, the result for gate is up. */
static forward_linear expert_linear(const organ_layer *layer, size_t expert, unsigned which)
{
    const organ_forward_config *const c = &layer->forward->config;
    const forward_plan *const plan = layer->plan;
    const size_t inner = (size_t)c->expert_intermediate, rows = plan->pairs ? 2 * inner : inner,
                 hidden = (size_t)organ_forward_expert_hidden(c);
    forward_linear linear =
        organ_forward_linear_of(layer, plan->experts[3 * expert + which], which == DOWN ? hidden : rows);
    if (plan->expert_biases)
        linear.bias = organ_forward_view_values(layer, plan->expert_biases[3 * expert + which]);
    return linear;
}

/* x and y are buffers for all rows [base, base + rows); the product reads and writes the rows of the expert in them. */
static organ_status add_expert(experts_job *j, size_t expert, unsigned which, const float *x, float *y,
                               organ_error *error)
{
    forward_group *g = j->group;
    const forward_linear linear = expert_linear(g->layer, expert, which);
    const size_t first = organ_max(j->begin[expert], j->base), row = first - j->base,
                 end = organ_min(j->begin[expert + 1], j->base + j->rows);
    return organ_forward_products_add(&g->products, x + row * linear.in, &linear, y + row * linear.out, end - first,
                                      error);
}

static bool captures_all_tokens(const forward_group *g, size_t expert)
{
    return g->layer->all_tokens && g->layer->all_tokens[expert];
}

/* x has `in` numbers for each row in the buffers. Skips matrix up if it is in one tensor with gate, and experts whose
 * taps get the inputs of all tokens. */
static organ_status tap_expert(const experts_job *j, size_t expert, unsigned which, const float *x, size_t in,
                               organ_error *error)
{
    const forward_group *g = j->group;
    const forward_view *views = g->layer->plan->experts + 3 * expert;
    if ((which == UP && views[UP].slot == views[GATE].slot) || captures_all_tokens(g, expert))
        return ORGAN_OK;
    const size_t first = organ_max(j->begin[expert], j->base), end = organ_min(j->begin[expert + 1], j->base + j->rows);
    return organ_forward_tap(g, views[which], g->routed[expert] + (first - j->begin[expert]), end - first, in,
                             x + (first - j->base) * in, error);
}

/* j->gate has the activations, the inputs of the down projection; j->up becomes their product with the router's
 * factor, for the tap. */
static void weigh_row(void *context, size_t row, size_t worker)
{
    (void)worker;
    const experts_job *j = context;
    const size_t inner = (size_t)j->group->forward->config.expert_intermediate;
    const float weight = output_factor(j, row);
    for (size_t x = 0; x < inner; x++)
        j->up[row * inner + x] = weight * j->gate[row * inner + x];
}

/* `work_of_row` is in the units of organ_share_work. */
static organ_status experts_share_rows(experts_job *j, size_t count, double work_of_row,
                                       void (*task)(void *context, size_t index, size_t worker), organ_error *error)
{
    return organ_forward_share(j->group->forward->engine, count, (double)count * work_of_row, task, j, error);
}

/* With organ_layer.weigh the rows are products of j->gate and the router's factors, which overwrite j->up, no longer
 * needed. */
static const float *down_inputs_of(experts_job *j, organ_error *error)
{
    const forward_group *g = j->group;
    if (!g->tap || !g->layer->weigh)
        return j->gate;
    const organ_forward_config *const c = &g->forward->config;
    experts_share_rows(j, j->rows, ORGAN_SHARE_NUMBER * (double)c->expert_intermediate, weigh_row, error);
    return j->up;
}

static organ_status tap_router(const experts_job *j, organ_error *error)
{
    const forward_group *g = j->group;
    const organ_layer *layer = g->layer;
    const int32_t number = (int32_t)(layer->plan - g->forward->plans);
    if (!layer->routed || j->tokens == 0)
        return ORGAN_OK;
    return layer->routed(layer->routed_context, number, g->first + j->first, j->tokens, j->normed, j->scores, error);
}

static organ_status route_tokens(experts_job *j, organ_error *error)
{
    forward_group *g = j->group;
    const organ_forward_config *c = &g->forward->config;
    const forward_view view = g->layer->plan->parts[PART_ROUTER];
    forward_linear router = organ_forward_linear_of(g->layer, view, organ_forward_choices(c));
    router.bias = organ_forward_values(g->layer, PART_BIAS_ROUTER);
    if (organ_forward_tap(g, view, g->first + j->first, j->tokens, router.in, j->requested, error))
        return error->status;
    if (organ_forward_products_add(&g->products, j->requested, &router, j->scores, j->tokens, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) || tap_router(j, error) ||
        experts_share_rows(j, j->tokens, ORGAN_SHARE_HARD * (double)organ_forward_choices(c), choose_token, error))
        return error->status;
    sort_by_expert(j);
    return ORGAN_OK;
}

/* Computes the outputs of the sorted rows in the buffers, which belong to experts [from, until). */
static organ_status run_rows(experts_job *j, size_t from, size_t until, organ_error *error)
{
    forward_group *g = j->group;
    const organ_forward_config *c = &g->forward->config;
    const size_t hidden = j->width, inner = (size_t)c->expert_intermediate;
    const bool pairs = g->layer->plan->pairs, both = !pairs && !c->ungated;
    if (experts_share_rows(j, j->rows, ORGAN_SHARE_NUMBER * (double)hidden, gather_row, error))
        return error->status;
    for (size_t e = from; e < until; e++)
        if (tap_expert(j, e, GATE, j->inputs, hidden, error) || tap_expert(j, e, UP, j->inputs, hidden, error) ||
            add_expert(j, e, GATE, j->inputs, pairs ? j->pairs : j->gate, error) ||
            (both && add_expert(j, e, UP, j->inputs, j->up, error)))
            return error->status;
    if (organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        (pairs && organ_forward_split_all(g, j->pairs, j->gate, j->up, j->rows, inner, error)) ||
        organ_forward_gate_all(g, /*routed=*/true, j->gate, c->ungated ? NULL : j->up, j->rows, inner, error))
        return error->status;
    const float *const all_inputs = down_inputs_of(j, error);
    for (size_t e = from; e < until && !error->status; e++)
        if (tap_expert(j, e, DOWN, all_inputs, inner, error) || add_expert(j, e, DOWN, j->gate, j->outputs, error))
            return error->status;
    return error->status ? error->status : organ_forward_products_run(&g->products, g->forward, g->scratch, error);
}

static void count_routed(const experts_job *j)
{
    for (size_t e = 0; e < j->group->forward->config.experts; e++)
        j->group->routed[e] += j->begin[e + 1] - j->begin[e];
}

static organ_status run_experts(experts_job *j, organ_error *error)
{
    const organ_forward_config *c = &j->group->forward->config;
    j->rows = j->begin[c->experts];
    if (run_rows(j, 0, c->experts, error))
        return error->status;
    count_routed(j);
    return experts_share_rows(j, j->tokens, ORGAN_SHARE_NUMBER * (double)(c->experts_used * j->width), sum_token,
                              error);
}

/* ---- experts of a streamed layer ---- */

/* Columns of the sums that one task of add_columns computes. */
#define COLUMNS_AT_ONCE ((size_t)256)

/* Rows are added in ascending order of experts, as sum_token does, in one block of COLUMNS_AT_ONCE columns. */
static void add_columns(void *context, size_t index, size_t worker)
{
    (void)worker;
    const experts_job *j = context;
    const size_t hidden = j->width, from = index * COLUMNS_AT_ONCE, until = organ_min(from + COLUMNS_AT_ONCE, hidden);
    for (size_t row = 0; row < j->rows; row++) {
        float *const out = j->sums + j->token_of[j->base + row] * hidden;
        const float weight = output_factor(j, j->base + row);
        for (size_t x = from; x < until; x++)
            out[x] += weight * j->outputs[row * hidden + x];
    }
}

/* The weights of the experts are in memory. `first` and `last` limit each step of FORWARD_GROUP sorted rows to the
 * experts that have rows in it. */
static organ_status run_group(experts_job *j, size_t from, size_t until, organ_error *error)
{
    const size_t hidden = j->width;
    for (j->base = j->begin[from]; j->base < j->begin[until] && !error->status; j->base += j->rows) {
        j->rows = organ_min(FORWARD_GROUP, j->begin[until] - j->base);
        size_t first = from, last = until;
        while (j->begin[first + 1] <= j->base)
            first++;
        while (j->begin[last - 1] >= j->base + j->rows)
            last--;
        if (run_rows(j, first, last, error) == ORGAN_OK)
            organ_forward_share(j->group->forward->engine, organ_pieces_of(hidden, COLUMNS_AT_ONCE),
                                ORGAN_SHARE_NUMBER * (double)(j->rows * hidden), add_columns, j, error);
    }
    return error->status;
}

static organ_status run_streamed(experts_job *j, organ_error *error)
{
    const organ_layer *const layer = j->group->layer;
    const organ_forward_config *c = &j->group->forward->config;
    memset(j->sums, 0, j->tokens * j->width * sizeof *j->sums);
    for (size_t from = 0, until; from < c->experts && !error->status; from = until) {
        until = organ_forward_stream_group(layer, j->begin, from);
        if (j->begin[until] == j->begin[from])
            continue;
        if (organ_forward_read_experts(layer, j->begin, from, until, error) == ORGAN_OK)
            run_group(j, from, until, error);
        organ_forward_drop_experts(layer, from, until);
    }
    count_routed(j);
    return error->status;
}

/* Computes the inputs of the down projection of an expert for `rows` rows x. `up` and `pairs` are scratch of rows x
 * expert_intermediate and twice as many floats. */
static organ_status run_inner(forward_group *g, size_t expert, const float *x, size_t rows, float *inner, float *up,
                              float *pairs, organ_error *error)
{
    const size_t width = (size_t)g->forward->config.expert_intermediate;
    const bool split = g->layer->plan->pairs, ungated = g->forward->config.ungated;
    const forward_linear gate = expert_linear(g->layer, expert, GATE), upper = expert_linear(g->layer, expert, UP);
    if (organ_forward_products_add(&g->products, x, &gate, split ? pairs : inner, rows, error) ||
        (!split && !ungated && organ_forward_products_add(&g->products, x, &upper, up, rows, error)) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        (split && organ_forward_split_all(g, pairs, inner, up, rows, width, error)))
        return error->status;
    return organ_forward_gate_all(g, /*routed=*/true, inner, ungated ? NULL : up, rows, width, error);
}

/* ---- experts whose taps get all tokens ---- */

/* The inputs of down are computed for this purpose. Uses the buffers of the routed tokens, which have at least as
 * many rows and are no longer needed. */
static organ_status capture_expert_inputs(experts_job *j, size_t expert, organ_error *error)
{
    forward_group *const g = j->group;
    const forward_view *const views = g->layer->plan->experts + 3 * expert;
    const size_t inner = (size_t)g->forward->config.expert_intermediate, first = g->first + j->first;
    if (organ_forward_tap(g, views[GATE], first, j->tokens, j->width, j->read, error) ||
        (views[UP].slot != views[GATE].slot &&
         organ_forward_tap(g, views[UP], first, j->tokens, j->width, j->read, error)) ||
        run_inner(g, expert, j->read, j->tokens, j->gate, j->up, j->pairs, error))
        return error->status;
    return organ_forward_tap(g, views[DOWN], first, j->tokens, inner, j->gate, error);
}

static organ_status capture_all_experts(experts_job *j, organ_error *error)
{
    const forward_group *const g = j->group;
    for (size_t e = 0; g->tap && e < g->forward->config.experts && !error->status; e++)
        if (captures_all_tokens(g, e))
            capture_expert_inputs(j, e, error);
    return error->status;
}

/* ---- the shared expert ---- */

/* `from` and `out` are tokens x hidden_size; `shares` NULL: no gate. */
typedef struct shared_job {
    const organ_forward_config *config;
    const float *shares, *from;
    float *out;
} shared_job;

/* Without a gate the factor is 1, which changes no bit of the product. With shared_average the sum is then halved. */
static void add_shared_token(void *context, size_t t, size_t worker)
{
    (void)worker;
    const shared_job *const j = context;
    const size_t hidden = (size_t)j->config->hidden;
    const float share = j->shares ? j->shares[t] : 1;
    for (size_t x = t * hidden; x < (t + 1) * hidden; x++)
        j->out[x] += share * j->from[x];
    for (size_t x = t * hidden; j->config->shared_average && x < (t + 1) * hidden; x++)
        j->out[x] /= 2;
}

/* organ_forward_gated, which run_shared calls next, computes the list. */
static organ_status add_shared_gate(forward_group *g, size_t first, size_t tokens, const float *normed, float *shares,
                                    organ_error *error)
{
    const forward_view view = g->layer->plan->parts[PART_SHARED];
    const forward_linear share = organ_forward_linear_of(g->layer, view, 1);
    if (organ_forward_tap(g, view, g->first + first, tokens, (size_t)g->forward->config.hidden, normed, error))
        return error->status;
    return organ_forward_products_add(&g->products, normed, &share, shares, tokens, error);
}

/* With shared_gated, the output of each token is multiplied by logistic(normed . gate). `scratch` has
 * shared_expert_floats per token. */
static organ_status run_shared(forward_group *g, size_t first, size_t tokens, const float *normed, float *out,
                               float *scratch, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const size_t inner = (size_t)c->shared_intermediate, hidden = (size_t)c->hidden;
    float *const shares = scratch, *const given = shares + tokens;
    const bool gated = c->shared_gated;
    if ((gated && add_shared_gate(g, first, tokens, normed, shares, error)) ||
        organ_forward_gated(g, PART_SHARED_GATE, inner, first, tokens, normed, given, given + tokens * hidden, error))
        return error->status;
    if (gated)
        organ_forward_logistic(g->forward->engine->kernels, shares, tokens);
    shared_job j = {c, gated ? shares : NULL, given, out};
    return organ_forward_share(g->forward->engine, tokens, ORGAN_SHARE_NUMBER * (double)(tokens * hidden),
                               add_shared_token, &j, error);
}

/* If the model has expert_latent (Nemotron 3), the experts read a projection of `normed`, and a second projection
 * maps their sums to j->out. */
static organ_status run_routed(experts_job *j, organ_error *error)
{
    forward_group *const g = j->group;
    const organ_forward_config *const c = &g->forward->config;
    float *const latents = j->scores + j->tokens * organ_forward_choices(c);
    j->read = c->expert_latent ? latents : j->normed;
    j->sums = c->expert_latent ? latents + j->tokens * j->width : j->out;
    if (route_tokens(j, error) ||
        (c->expert_latent &&
         organ_forward_apply(g, PART_LATENT_IN, j->first, j->tokens, j->normed, latents, j->width, error)) ||
        (g->layer->reserved ? run_streamed : run_experts)(j, error) ||
        (c->identity_experts &&
         experts_share_rows(j, j->tokens, ORGAN_SHARE_NUMBER * (double)j->width, add_identities, error)) ||
        capture_all_experts(j, error) || !c->expert_latent)
        return error->status;
    return organ_forward_apply(g, PART_LATENT_OUT, j->first, j->tokens, j->sums, j->out, (size_t)c->hidden, error);
}

organ_status organ_forward_experts(forward_group *g, size_t first, size_t tokens, const float *normed,
                                   const float *requested, float *out, float *scratch, organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const bool streamed = g->layer->reserved;
    const size_t rows = tokens * c->experts_used, inner = (size_t)c->expert_intermediate, hidden = (size_t)c->hidden,
                 kept = streamed ? organ_min(rows, FORWARD_GROUP) : rows;
    experts_job j = {.group = g,
                     .first = first,
                     .tokens = tokens,
                     .normed = normed,
                     .requested = requested,
                     .out = out,
                     .inputs = scratch,
                     .width = (size_t)organ_forward_expert_hidden(c)};
    j.outputs = j.inputs + kept * j.width;
    j.gate = j.outputs + kept * j.width;
    j.up = j.gate + kept * inner;
    j.pairs = j.up + kept * inner;
    j.scores = j.pairs + (c->gate_up_pairs ? 2 * kept * inner : 0);
    j.choices = calloc(rows, sizeof *j.choices);
    j.place = calloc(rows, sizeof *j.place);
    j.begin = calloc((size_t)c->experts + 1, sizeof *j.begin);
    j.token_of = calloc(rows, sizeof *j.token_of);
    j.weight_of = calloc(rows, sizeof *j.weight_of);
    if (!j.choices || !j.place || !j.begin || !j.token_of || !j.weight_of)
        organ_fail_errno(error, ENOMEM, "cannot allocate the routing of %zu tokens", tokens);
    else if (run_routed(&j, error) == ORGAN_OK && c->shared_intermediate)
        for (size_t k = 0; k < tokens && !error->status; k += FORWARD_GROUP)
            run_shared(g, first + k, organ_min(FORWARD_GROUP, tokens - k), normed + k * hidden, out + k * hidden,
                       scratch, error);
    ORGAN_FREE_ARRAYS(j.choices, j.place, j.begin, j.token_of, j.weight_of);
    return error->status;
}

/* Runs up to FORWARD_GROUP rows at a time. `inner` and `out` may be NULL. g->room has, for each of these rows: with
 * expert_latent, the input and the output of the expert (expert_latent floats each); then 2 x expert_intermediate
 * floats, or 4 x if gate and up alternate. */
static organ_status run_expert(forward_group *g, size_t expert, const float *x, size_t count, float *inner, float *out,
                               organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t hidden = (size_t)c->hidden, latent = (size_t)c->expert_latent, width = (size_t)c->expert_intermediate;
    const forward_linear down = expert_linear(g->layer, expert, DOWN);
    for (size_t first = 0; first < count && !error->status; first += FORWARD_GROUP) {
        const size_t rows = organ_min(FORWARD_GROUP, count - first);
        float *const latent_in = g->room, *const latent_out = latent_in + rows * latent,
                     *const inner_rows = latent_out + rows * latent;
        float *const to = inner ? inner + first * width : inner_rows + rows * width;
        const float *const from = x + first * hidden;
        float *const result = out ? out + first * hidden : NULL;
        if ((latent && organ_forward_apply(g, PART_LATENT_IN, 0, rows, from, latent_in, latent, error)) ||
            run_inner(g, expert, latent ? latent_in : from, rows, to, inner_rows, inner_rows + 2 * rows * width,
                      error) ||
            !out || organ_forward_products_add(&g->products, to, &down, latent ? latent_out : result, rows, error) ||
            organ_forward_products_run(&g->products, g->forward, g->scratch, error))
            continue;
        if (latent)
            organ_forward_apply(g, PART_LATENT_OUT, 0, rows, latent_out, result, hidden, error);
    }
    return error->status;
}

organ_status organ_layer_expert(organ_forward *forward, const organ_layer *layer, unsigned expert, const float *x,
                                size_t count, float *inner, float *out, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    const organ_forward_config *c = &forward->config;
    if (expert >= organ_layer_experts(layer))
        return organ_fail(error, ORGAN_USAGE, "%s: there is no expert %u of %u", forward->model->path, expert,
                          organ_layer_experts(layer));
    forward_group g = {.forward = forward, .layer = layer};
    const size_t widths = (c->gate_up_pairs ? 4 : 2) * (size_t)c->expert_intermediate + latent_floats(c);
    g.room = organ_forward_layer_room(layer, organ_min(FORWARD_GROUP, count) * widths, error);
    g.scratch = error->status ? NULL : organ_forward_scratch(forward, error);
    if (!error->status)
        run_expert(&g, expert, x, count, inner, out, error);
    organ_forward_products_release(&g.products);
    return error->status;
}
