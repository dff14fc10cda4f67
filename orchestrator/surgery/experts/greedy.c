/* SPDX-License-Identifier: MIT
 * Greedy removal of experts: repeatedly removes the expert whose removal increases the squared error of the
 * layer's output least, with its tokens rerouted to the remaining experts. The inner products of expert outputs
 * (products.c) give the exact error of each token for any choice of experts. A token is recomputed only if the
 * removed expert worked on it or was its next candidate.
 *
 * Ranks: chunks of the text are at different ranks, so each removal is decided by the sums of all. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/experts/measure_job.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The removal of a layer's experts, one at a time, always the one that increases the error least. */
typedef struct greedy {
    organ_expert_measure *measure;
    bool *kept;       /* a flag for each expert */
    unsigned count;   /* number of kept experts */
    size_t width;     /* candidates per token: its own experts, or all experts if a removal also changes other gates */
    double *loss;     /* for each token: its current squared error */
    double *increase; /* tokens x width: the increase of the error if the candidate is removed */
    unsigned *served; /* tokens x used: experts that currently work on the token */
    unsigned *next;   /* for each token: the expert that would replace a removed one; UINT32_MAX: unknown */
    bool *stale;      /* for each token: its values were computed for other kept experts */
    double *sums;     /* row of the sums over all tokens: organ_expert_row_width() numbers */
    organ_first_fault fault;
} greedy;

/* Returns whether removing an expert affects only the tokens that it works on. False for softmax gates that are not
 * renormalised, whose denominator includes all kept experts, and for routers with groups, where a removal may change
 * which groups are chosen. */
static bool removal_is_local(const organ_forward_config *c)
{
    return (c->normalise_experts || c->router.logistic) && c->router_groups < 2;
}

/* Returns greedy.width, the number of experts with a removal that can change the output of a token: the `used` experts
 * that serve the token, or all experts if removal_is_local is false. */
static size_t candidates_per_token(const organ_forward_config *c)
{
    return removal_is_local(c) ? c->experts_used : c->experts;
}

uint64_t organ_expert_greedy_memory(const organ_forward_config *c, uint64_t tokens)
{
    return tokens * (sizeof(double) * (1 + candidates_per_token(c)) + sizeof(unsigned) * (1 + c->experts_used) +
                     sizeof(bool)) +
           c->experts * (sizeof(bool) + 3 * sizeof(double));
}

/* ---- a token ---- */

/* Chooses the experts of token t among `kept`, into w->chosen. */
static void route_among_kept(const greedy *g, size_t t, const bool *kept, const organ_expert_worker *w)
{
    const organ_expert_measure *const m = g->measure;
    organ_expert_route(m, kept, m->logits + t * m->config->experts, w->values, w->chosen);
}

/* Returns the squared error of token t with the experts in w->chosen. */
static double token_error(const greedy *g, size_t t, const float *products, const organ_expert_worker *w)
{
    const organ_forward_config *const c = g->measure->config;
    return organ_expert_products_apart(products, c->experts, g->measure->dense + t * c->experts_used, w->chosen,
                                       c->experts_used, w->differences);
}

static bool is_among_chosen(const unsigned *served, unsigned used, unsigned expert)
{
    for (unsigned k = 0; k < used; k++)
        if (served[k] == expert)
            return true;
    return false;
}

static unsigned min_experts(const greedy *g) { return organ_forward_min_experts(g->measure->config); }

/* Returns whether `expert` may be removed next. With groups only the groups with the most kept experts lose one, so
 * that the groups become equal in size after each round. */
static bool may_go(const greedy *g, unsigned expert)
{
    const organ_forward_config *const c = g->measure->config;
    const unsigned groups = c->router_groups > 1 ? c->router_groups : 1, size = c->experts / groups,
                   first = expert / size * size;
    unsigned own = 0;
    for (unsigned e = first; groups > 1 && e < first + size; e++)
        own += g->kept[e];
    return g->kept[expert] && (groups == 1 || own * groups >= g->count);
}

/* Computes the increase of the error of token t without candidate `expert`, and the expert that would replace it. */
static void try_without(greedy *g, size_t t, const float *products, const organ_expert_worker *w, size_t candidate,
                        unsigned expert)
{
    const unsigned used = g->measure->config->experts_used;
    const unsigned *const served = g->served + t * used;
    w->kept[expert] = false;
    route_among_kept(g, t, w->kept, w);
    w->kept[expert] = true;
    g->increase[t * g->width + candidate] = token_error(g, t, products, w) - g->loss[t];
    for (unsigned k = 0; k < used; k++)
        if (!is_among_chosen(served, used, w->chosen[k].expert))
            g->next[t] = w->chosen[k].expert;
}

/* Computes for one token the error with the experts that are kept now, and the increase if each of its candidates is
 * removed. Skips tokens that the last removal did not affect. */
static void refresh_token(void *context, size_t t, size_t worker)
{
    greedy *const g = context;
    const organ_expert_measure *const m = g->measure;
    const organ_expert_worker *const w = &m->workers[worker];
    const unsigned used = m->config->experts_used;
    unsigned *const served = g->served + t * used;
    organ_error error = {0};
    if (!g->stale[t] || organ_fault_found(&g->fault))
        return;
    const float *const products = organ_expert_products_of(&m->products, t, w->products, &error);
    if (!products) {
        organ_fault_keep(&g->fault, &error);
        return;
    }
    memcpy(w->kept, g->kept, m->config->experts * sizeof *w->kept);
    route_among_kept(g, t, w->kept, w);
    g->loss[t] = token_error(g, t, products, w);
    for (unsigned k = 0; k < used; k++)
        served[k] = w->chosen[k].expert;
    g->stale[t] = false;
    const bool own = removal_is_local(m->config);
    for (unsigned e = 0, k = 0; g->count > min_experts(g) && k < g->width && e < m->config->experts; e++)
        if (own ? is_among_chosen(served, used, e) : may_go(g, e)) {
            try_without(g, t, products, w, own ? k : e, e);
            k++;
        }
}

/* ---- all tokens ---- */

/* Computes the row of each chunk of this rank. For each expert that may be removed, row[expert] is the sum of
 * g->increase over the tokens of the chunk; row[2 * experts] is the sum of g->loss. Adds in token order. */
static void sum_tokens(const greedy *g)
{
    const organ_expert_measure *const m = g->measure;
    const size_t experts = m->config->experts, used = m->config->experts_used;
    for (size_t t = 0; t < m->tokens; t++) {
        double *const row = organ_expert_row_of(m, t);
        if (t % m->chunk_tokens == 0)
            memset(row, 0, organ_expert_row_width(m) * sizeof *row);
        for (size_t k = 0; k < g->width && g->count > min_experts(g); k++) {
            const unsigned expert = removal_is_local(m->config) ? g->served[t * used + k] : (unsigned)k;
            if (may_go(g, expert))
                row[expert] += g->increase[t * g->width + k];
        }
        row[2 * experts] += g->loss[t];
    }
}

/* Sets *loss to the loss with the kept experts, and g->sums[e] to the increase of the loss if expert e is removed too,
 * for each expert that may be removed. Both are sums over the tokens of all ranks. */
static organ_status score_all(greedy *g, const char *where, double *loss, organ_error *error)
{
    organ_expert_measure *const m = g->measure;
    g->fault = (organ_first_fault){error, false};
    organ_share(m->options.engine, m->options.engine->stop, m->tokens, refresh_token, g);
    if (organ_stop_is_requested(m->options.engine->stop) && !error->status)
        organ_fail(error, ORGAN_INTERRUPTED, "stopped while %s", where);
    if (!error->status)
        sum_tokens(g);
    if (organ_expert_rows_sum(m, where, g->sums, error) != ORGAN_OK)
        return error->status;
    *loss = g->sums[2 * m->config->experts];
    for (size_t e = 0; e < m->config->experts; e++)
        if (!isfinite(g->sums[e] + *loss))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: an expert returns a value that is not finite (%s)",
                              m->options.model->path, where);
    return ORGAN_OK;
}

/* Returns the kept expert whose removal increases the loss least; the higher number wins a tie. */
static unsigned expert_of_least_loss(const greedy *g)
{
    unsigned least = UINT32_MAX;
    for (unsigned e = 0; e < g->measure->config->experts; e++)
        if (may_go(g, e) && (least == UINT32_MAX || g->sums[e] <= g->sums[least]))
            least = e;
    return least;
}

/* Removes the expert. Marks the tokens with stored values that are no longer valid: those that the expert served or
 * would serve next, or all tokens if removal_is_local is false. */
static void remove_expert(greedy *g, unsigned expert)
{
    const organ_forward_config *const c = g->measure->config;
    g->kept[expert] = false;
    g->count--;
    for (size_t t = 0; t < g->measure->tokens; t++)
        g->stale[t] = !removal_is_local(c) || g->next[t] == expert ||
                      is_among_chosen(g->served + t * c->experts_used, c->experts_used, expert);
}

/* Removes the experts of a layer one after another, each time the one whose removal leaves the least loss, down to the
 * least number that the router needs. Stores the order and the loss after each removal. */
static organ_status rank_experts(greedy *g, int32_t number, organ_expert_layer *layer, organ_error *error)
{
    const unsigned experts = g->measure->config->experts, least = min_experts(g);
    char where[64];
    double loss = 0;
    snprintf(where, sizeof where, "the experts of layer %d are removed", (int)number);
    for (unsigned k = 0; k <= experts - least; k++) {
        if (score_all(g, where, &loss, error) != ORGAN_OK)
            return error->status;
        if (k > 0)
            layer->loss[k - 1] = loss;
        if (k < experts - least)
            remove_expert(g, layer->removed[k] = expert_of_least_loss(g));
    }
    return ORGAN_OK;
}

/* Removes experts one at a time, each time the one whose removal increases the error of the layer's output least, and
 * notes the order and the losses. Each token caches its candidates' increases until the removed expert is one that it
 * uses. */
organ_status organ_expert_greedy(organ_expert_measure *m, int32_t number, organ_expert_layer *layer, organ_error *error)
{
    const size_t experts = m->config->experts, used = m->config->experts_used, tokens = m->tokens;
    greedy g = {.measure = m, .count = (unsigned)experts, .width = candidates_per_token(m->config)};
    g.kept = malloc(experts * sizeof *g.kept);
    g.loss = calloc(tokens + 1, sizeof *g.loss);
    g.increase = calloc(tokens * g.width + 1, sizeof *g.increase);
    g.served = calloc(tokens * used + 1, sizeof *g.served);
    g.next = malloc((tokens + 1) * sizeof *g.next);
    g.stale = malloc((tokens + 1) * sizeof *g.stale);
    g.sums = calloc(organ_expert_row_width(m), sizeof *g.sums);
    if (!g.kept || !g.loss || !g.increase || !g.served || !g.next || !g.stale || !g.sums)
        organ_fail_errno(error, ENOMEM, "the removal of %zu experts on %zu tokens", experts, tokens);
    else {
        memset(g.kept, true, experts * sizeof *g.kept);
        memset(g.next, 0xff, (tokens + 1) * sizeof *g.next);
        memset(g.stale, true, (tokens + 1) * sizeof *g.stale);
    }
    if (organ_ranks_agree(m->options.engine->ranks, "removing experts", error) == ORGAN_OK)
        rank_experts(&g, number, layer, error);
    ORGAN_FREE_ARRAYS(g.kept, g.loss, g.increase, g.served, g.next, g.stale, g.sums);
    return error->status;
}
