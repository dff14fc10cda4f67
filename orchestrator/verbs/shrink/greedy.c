/* SPDX-License-Identifier: MIT
 * Greedy removal of experts: repeatedly removes the expert whose removal increases the squared error of the
 * layer's output least, with its tokens rerouted to the remaining experts. The inner products of expert outputs
 * give the exact error of each token for any choice of experts. After a removal, a token is recomputed
 * only if the removed expert served it or would have replaced one of its experts (see removal_is_local for exceptions).
 *
 * Ranks: chunks of the text are on different ranks, so each removal is decided by the sums over all ranks. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Arrays over tokens are for the `tokens` tokens of this rank; `used` is the number of experts per token. An expert
 * serves a token if the router chooses it among the kept experts. */
typedef struct greedy {
    organ_expert_measure *measure;
    const organ_forward_config *config;
    size_t tokens;  /* of this rank */
    bool *kept;     /* for each expert: false once it is removed */
    unsigned count; /* number of kept experts */
    size_t width;   /* columns of `increase` (candidates_per_token) */
    double *loss;   /* for each token: squared error of the layer's output with the kept experts */
    /* tokens x width: the increase of `loss` if an expert is removed. If removal_is_local, column k is for the k-th
     * expert that serves the token; otherwise columns are experts. */
    double *increase;
    unsigned *serving;   /* tokens x used: the experts that serve the token, ascending */
    unsigned *successor; /* for each token: the expert that would serve it if one of its experts were removed;
                            UINT32_MAX: unknown */
    bool *stale;         /* for each token: its values above must be recomputed after the last removal */
    double *sums; /* sums over the tokens of all ranks, laid out as in sum_tokens: organ_expert_row_width() numbers */
    organ_first_fault fault; /* first error of a worker */
} greedy;

/* A removal changes the layer's output only for the tokens that the expert serves. The exceptions are softmax gates
 * that are not renormalised, whose denominator includes all kept experts, and routers with groups, where a removal
 * may change which groups are chosen. */
static bool removal_is_local(const organ_forward_config *c)
{
    return (c->normalise_experts || c->router.logistic) && c->router_groups < 2;
}

/* The removal of an expert that does not serve a token can change its output only if removal_is_local is false. */
static size_t candidates_per_token(const organ_forward_config *c)
{
    return removal_is_local(c) ? c->experts_used : c->experts;
}

static void lay_out(void *context, organ_buffers *b)
{
    greedy *const g = context;
    const size_t experts = g->config->experts, used = g->config->experts_used;
    g->kept = organ_take(b, experts, sizeof *g->kept);
    g->loss = organ_take_zeros(b, g->tokens, sizeof *g->loss);
    g->increase = organ_take_zeros(b, g->tokens, g->width * sizeof *g->increase);
    g->serving = organ_take_zeros(b, g->tokens, used * sizeof *g->serving);
    g->successor = organ_take(b, g->tokens, sizeof *g->successor);
    g->stale = organ_take(b, g->tokens, sizeof *g->stale);
    g->sums = organ_take_zeros(b, organ_expert_row_width(g->config), sizeof *g->sums);
}

uint64_t organ_expert_greedy_memory(const organ_forward_config *c, uint64_t tokens)
{
    return organ_buffers_count(lay_out,
                               &(greedy){.config = c, .tokens = (size_t)tokens, .width = candidates_per_token(c)});
}

/* ---- a token ---- */

static void route_among_kept(const greedy *g, size_t t, const bool *kept, const organ_expert_worker *w)
{
    const organ_expert_measure *const m = g->measure;
    organ_expert_route(m, kept, m->logits + t * m->config->experts, w->values, w->chosen);
}

static double token_error(const greedy *g, size_t t, const float *products, const organ_expert_worker *w)
{
    const organ_forward_config *const c = g->measure->config;
    return organ_expert_products_apart(products, c->experts, g->measure->choices + t * c->experts_used, w->chosen,
                                       c->experts_used, w->differences);
}

static bool is_serving(const unsigned *serving, unsigned used, unsigned expert)
{
    for (unsigned k = 0; k < used; k++)
        if (serving[k] == expert)
            return true;
    return false;
}

static unsigned min_experts(const greedy *g) { return organ_forward_min_experts(g->measure->config); }

/* With groups only the groups with the most kept experts lose one, so that the groups become equal in size after
 * each round. */
static bool is_removable(const greedy *g, unsigned expert)
{
    const organ_forward_config *const c = g->measure->config;
    const unsigned groups = c->router_groups > 1 ? c->router_groups : 1, size = c->experts / groups,
                   group_begin = expert / size * size;
    unsigned kept_in_group = 0;
    for (unsigned e = group_begin; groups > 1 && e < group_begin + size; e++)
        kept_in_group += g->kept[e];
    return g->kept[expert] && (groups == 1 || kept_in_group * groups >= g->count);
}

/* g->successor[t] becomes the expert that would replace `expert`. w->kept has the flags of g->kept on entry and on
 * return. */
static void try_without(greedy *g, size_t t, const float *products, const organ_expert_worker *w, size_t column,
                        unsigned expert)
{
    const unsigned used = g->measure->config->experts_used;
    const unsigned *const serving = g->serving + t * used;
    w->kept[expert] = false;
    route_among_kept(g, t, w->kept, w);
    w->kept[expert] = true;
    g->increase[t * g->width + column] = token_error(g, t, products, w) - g->loss[t];
    for (unsigned k = 0; k < used; k++)
        if (!is_serving(serving, used, w->chosen[k].expert))
            g->successor[t] = w->chosen[k].expert;
}

/* Tokens that the last removal did not affect are skipped. */
static void refresh_token(void *context, size_t t, size_t worker)
{
    greedy *const g = context;
    const organ_expert_measure *const m = g->measure;
    const organ_expert_worker *const w = &m->workers[worker];
    const unsigned used = m->config->experts_used;
    unsigned *const serving = g->serving + t * used;
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
        serving[k] = w->chosen[k].expert;
    g->stale[t] = false;
    const bool local = removal_is_local(m->config);
    /* k counts the experts tried so far. The router returns experts in ascending order, so the k-th one tried is
     * serving[k]. */
    for (unsigned e = 0, k = 0; g->count > min_experts(g) && k < g->width && e < m->config->experts; e++)
        if (local ? is_serving(serving, used, e) : is_removable(g, e)) {
            try_without(g, t, products, w, local ? k : e, e);
            k++;
        }
}

/* ---- all tokens ---- */

/* For each expert that may be removed, row[expert] is the sum of g->increase over the tokens of the chunk; row[2 *
 * experts] is the sum of g->loss. The sums run in token order. */
static void sum_tokens(const greedy *g)
{
    const organ_expert_measure *const m = g->measure;
    const size_t experts = m->config->experts, used = m->config->experts_used;
    for (size_t t = 0; t < m->tokens; t++) {
        double *const row = organ_expert_row_of(m, t);
        if (t % m->chunk_tokens == 0)
            memset(row, 0, organ_expert_row_width(m->config) * sizeof *row);
        for (size_t k = 0; k < g->width && g->count > min_experts(g); k++) {
            const unsigned expert = removal_is_local(m->config) ? g->serving[t * used + k] : (unsigned)k;
            if (is_removable(g, expert))
                row[expert] += g->increase[t * g->width + k];
        }
        row[2 * experts] += g->loss[t];
    }
}

/* *loss is the loss with the kept experts, and g->sums[e] the increase if expert e is removed too. Both are sums
 * over the tokens of all ranks. */
static organ_status score_all(greedy *g, const char *where, double *loss, organ_error *error)
{
    organ_expert_measure *const m = g->measure;
    g->fault = (organ_first_fault){error, false};
    if (!error->status)
        organ_share(m->options.engine, m->options.engine->stop, m->tokens, refresh_token, g);
    if (organ_stop_is_requested(m->options.engine->stop) && !error->status)
        organ_fail(error, ORGAN_INTERRUPTED, "stopped while %s", where);
    if (!error->status)
        sum_tokens(g);
    if (organ_calibration_sum_rows(m->calib, where, m->rows, organ_expert_row_width(m->config), g->sums, error) !=
        ORGAN_OK)
        return error->status;
    *loss = g->sums[2 * m->config->experts];
    for (size_t e = 0; e < m->config->experts; e++)
        if (!isfinite(g->sums[e] + *loss))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: an expert returns a value that is not finite (%s)",
                              m->options.model->path, where);
    return ORGAN_OK;
}

/* The higher number wins a tie, as in organ_expert_scores_choose. */
static unsigned expert_of_least_loss(const greedy *g)
{
    unsigned least = UINT32_MAX;
    for (unsigned e = 0; e < g->measure->config->experts; e++)
        if (is_removable(g, e) && (least == UINT32_MAX || g->sums[e] <= g->sums[least]))
            least = e;
    return least;
}

/* The stored values of tokens that the expert served or would have served next are no longer valid; if
 * removal_is_local is false, those of all tokens. */
static void remove_expert(greedy *g, unsigned expert)
{
    const organ_forward_config *const c = g->measure->config;
    g->kept[expert] = false;
    g->count--;
    for (size_t t = 0; t < g->measure->tokens; t++)
        g->stale[t] = !removal_is_local(c) || g->successor[t] == expert ||
                      is_serving(g->serving + t * c->experts_used, c->experts_used, expert);
}

/* The last iteration only computes the loss. */
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
            layer->removed[k] = expert_of_least_loss(g);
        if (k < experts - least)
            remove_expert(g, layer->removed[k]);
    }
    return ORGAN_OK;
}

organ_status organ_expert_greedy(organ_expert_measure *m, int32_t number, organ_expert_layer *layer, organ_error *error)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    const size_t experts = m->config->experts, tokens = m->tokens;
    greedy g = {.measure = m,
                .config = m->config,
                .tokens = tokens,
                .count = (unsigned)experts,
                .width = candidates_per_token(m->config)};
    if (!organ_buffers_take(&buffers, lay_out, &g))
        organ_fail_errno(error, ENOMEM, "the removal of %zu experts on %zu tokens", experts, tokens);
    else {
        memset(g.kept, true, experts * sizeof *g.kept);
        memset(g.successor, 0xff, tokens * sizeof *g.successor);
        memset(g.stale, true, tokens * sizeof *g.stale);
    }
    rank_experts(&g, number, layer, error);
    return error->status;
}
