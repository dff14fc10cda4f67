/* SPDX-License-Identifier: MIT
 * A mixture of experts: tokens are sorted by expert, every expert works on its own, and each token takes the weighted sum of what its
 * experts gave, in the order of their numbers. */
#include "orchestrator/forward/job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One choice of one token. */
typedef struct choice {
    unsigned expert;
    float weight;
    size_t place; /* row among the sorted ones */
} choice;

typedef struct job {
    forward_group *group;
    size_t first, tokens;
    const float *normed;
    float *out, *scores, *inputs, *gate, *up, *outputs;
    choice *choices;  /* tokens x used, by expert */
    size_t *begin;    /* of each expert's rows; experts + 1 */
    size_t *token_of; /* of each sorted row */
} job;

size_t organ_forward_experts_room(const organ_forward_config *c, size_t tokens)
{
    return tokens * (c->experts + (size_t)c->experts_used * 2 * (size_t)(c->hidden + c->expert_intermediate));
}

/* The largest scores, in the order of experts. A NaN is never larger; where nothing is, the first ones are taken. */
static void choose_experts(const organ_kernels *kernels, const organ_forward_config *c, float *scores, choice *chosen)
{
    float most = -INFINITY;
    for (unsigned e = 0; e < c->experts; e++)
        most = scores[e] > most ? scores[e] : most;
    const float sum = kernels->exp_below(scores, c->experts, most);
    for (unsigned k = 0; k < c->experts_used; k++) {
        unsigned best = UINT32_MAX;
        for (unsigned e = 0; e < c->experts; e++) {
            bool taken = false;
            for (unsigned i = 0; i < k; i++)
                taken = taken || chosen[i].expert == e;
            if (!taken && (best == UINT32_MAX || scores[e] > scores[best]))
                best = e;
        }
        chosen[k] = (choice){.expert = best, .weight = scores[best] / sum};
    }
    float all = 0;
    for (unsigned k = 0; k < c->experts_used; k++)
        all += chosen[k].weight;
    for (unsigned k = 0; c->normalise_experts && k < c->experts_used; k++)
        chosen[k].weight /= all;
    for (unsigned k = 1; k < c->experts_used; k++)
        for (unsigned i = k; i > 0 && chosen[i].expert < chosen[i - 1].expert; i--) {
            const choice other = chosen[i];
            chosen[i] = chosen[i - 1];
            chosen[i - 1] = other;
        }
}

static void choose_token(void *context, size_t t, size_t worker)
{
    (void)worker;
    const job *j = context;
    const organ_forward_config *c = &j->group->forward->config;
    choose_experts(j->group->forward->engine->kernels, c, j->scores + t * c->experts, j->choices + t * c->experts_used);
}

static void sum_token(void *context, size_t t, size_t worker)
{
    (void)worker;
    const job *j = context;
    const organ_forward_config *c = &j->group->forward->config;
    const size_t hidden = (size_t)c->hidden;
    float *out = j->out + t * hidden;
    memset(out, 0, hidden * sizeof *out);
    for (unsigned k = 0; k < c->experts_used; k++) {
        const choice *chosen = &j->choices[t * c->experts_used + k];
        const float *from = j->outputs + chosen->place * hidden;
        for (size_t x = 0; x < hidden; x++)
            out[x] += chosen->weight * from[x];
    }
}

static void gather_row(void *context, size_t row, size_t worker)
{
    (void)worker;
    const job *j = context;
    const size_t hidden = (size_t)j->group->forward->config.hidden;
    memcpy(j->inputs + row * hidden, j->normed + j->token_of[row] * hidden, hidden * sizeof *j->inputs);
}

/* Rows by expert, tokens of an expert in their order. */
static void sort_by_expert(job *j)
{
    const organ_forward_config *c = &j->group->forward->config;
    const size_t rows = j->tokens * c->experts_used;
    memset(j->begin, 0, ((size_t)c->experts + 1) * sizeof *j->begin);
    for (size_t k = 0; k < rows; k++)
        j->begin[j->choices[k].expert + 1]++;
    for (size_t e = 0; e < c->experts; e++)
        j->begin[e + 1] += j->begin[e];
    for (size_t k = 0; k < rows; k++) {
        size_t *next = &j->begin[j->choices[k].expert];
        j->token_of[*next] = k / c->experts_used;
        j->choices[k].place = (*next)++;
    }
    for (size_t e = c->experts; e > 0; e--)
        j->begin[e] = j->begin[e - 1];
    j->begin[0] = 0;
}

static organ_status add_expert(job *j, size_t expert, unsigned which, const float *x, float *y, size_t out, organ_error *error)
{
    forward_group *g = j->group;
    const forward_linear linear = organ_forward_linear_of(g->layer, g->layer->plan->experts[3 * expert + which], out);
    const size_t row = j->begin[expert];
    return organ_forward_products_add(&g->products, x + row * linear.in, &linear, y + row * out, j->begin[expert + 1] - row, error);
}

static organ_status tap_expert(const job *j, size_t expert, unsigned which, const float *x, size_t in, organ_error *error)
{
    const forward_group *g = j->group;
    const forward_view *views = g->layer->plan->experts + 3 * expert;
    if (which == 1 && views[1].slot == views[0].slot)
        return ORGAN_OK;
    const size_t row = j->begin[expert];
    return organ_forward_tap(g, views[which], g->routed[expert], j->begin[expert + 1] - row, in, x + row * in, error);
}

static organ_status route_tokens(job *j, organ_error *error)
{
    forward_group *g = j->group;
    const organ_forward_config *c = &g->forward->config;
    const forward_view view = g->layer->plan->parts[PART_ROUTER];
    const forward_linear router = organ_forward_linear_of(g->layer, view, c->experts);
    if (organ_forward_tap(g, view, g->first + j->first, j->tokens, router.in, j->normed, error))
        return error->status;
    if (organ_forward_products_add(&g->products, j->normed, &router, j->scores, j->tokens, error) ||
        organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_share(g->forward->engine, j->tokens, choose_token, j, error))
        return error->status;
    sort_by_expert(j);
    return organ_forward_share(g->forward->engine, j->tokens * c->experts_used, gather_row, j, error);
}

static organ_status run_experts(job *j, organ_error *error)
{
    forward_group *g = j->group;
    const organ_forward_config *c = &g->forward->config;
    const size_t hidden = (size_t)c->hidden, inner = (size_t)c->expert_intermediate;
    for (size_t e = 0; e < c->experts; e++)
        if (tap_expert(j, e, 0, j->inputs, hidden, error) || tap_expert(j, e, 1, j->inputs, hidden, error) ||
            add_expert(j, e, 0, j->inputs, j->gate, inner, error) || add_expert(j, e, 1, j->inputs, j->up, inner, error))
            return error->status;
    if (organ_forward_products_run(&g->products, g->forward, g->scratch, error) ||
        organ_forward_gate_all(g, j->gate, j->up, j->tokens * c->experts_used, inner, error))
        return error->status;
    for (size_t e = 0; e < c->experts; e++) {
        if (tap_expert(j, e, 2, j->gate, inner, error) || add_expert(j, e, 2, j->gate, j->outputs, hidden, error))
            return error->status;
        g->routed[e] += j->begin[e + 1] - j->begin[e];
    }
    if (organ_forward_products_run(&g->products, g->forward, g->scratch, error))
        return error->status;
    return organ_forward_share(g->forward->engine, j->tokens, sum_token, j, error);
}

organ_status organ_forward_experts(forward_group *g, size_t first, size_t tokens, const float *normed, float *out, float *room,
                                   organ_error *error)
{
    const organ_forward_config *c = &g->forward->config;
    const size_t rows = tokens * c->experts_used, inner = (size_t)c->expert_intermediate, hidden = (size_t)c->hidden;
    job j = {.group = g, .first = first, .tokens = tokens, .normed = normed, .out = out, .inputs = room};
    j.outputs = j.inputs + rows * hidden;
    j.gate = j.outputs + rows * hidden;
    j.up = j.gate + rows * inner;
    j.scores = j.up + rows * inner;
    j.choices = calloc(rows, sizeof *j.choices);
    j.begin = calloc((size_t)c->experts + 1, sizeof *j.begin);
    j.token_of = calloc(rows, sizeof *j.token_of);
    if (!j.choices || !j.begin || !j.token_of)
        organ_fail_errno(error, ENOMEM, "cannot allocate the routing of %zu tokens", tokens);
    else if (route_tokens(&j, error) == ORGAN_OK)
        run_experts(&j, error);
    free(j.choices);
    free(j.begin);
    free(j.token_of);
    return error->status;
}
