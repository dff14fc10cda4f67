/* SPDX-License-Identifier: MIT
 * Choice of experts for each token, and the settings of a layer for its router and experts. */
#include "orchestrator/forward/forward_job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void organ_forward_logistic(const organ_kernels *kernels, float *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        values[k] = -values[k];
    kernels->exp_below(values, n, 0);
    for (size_t k = 0; k < n; k++)
        values[k] = 1 / (1 + values[k]);
}

/* ---- scores of experts ---- */

/* `kept` NULL: the router may choose all experts. */
static bool is_kept(const bool *kept, unsigned expert) { return !kept || kept[expert]; }

/* The logits of kept experts are made contiguous first, so that the order of the sum, and so its bits, equal those
 * of a router without the other experts. */
static float softmax_numerators(const organ_router *r, const bool *kept, const float *logits, float *scratch)
{
    unsigned count = 0;
    float max = -INFINITY;
    for (unsigned e = 0; e < organ_forward_choices(r->config); e++)
        if (is_kept(kept, e))
            scratch[count++] = logits[e];
    for (unsigned e = 0; e < count; e++)
        max = scratch[e] > max ? scratch[e] : max;
    const float sum = r->kernels->exp_below(scratch, count, max);
    for (unsigned e = organ_forward_choices(r->config); e-- > 0;)
        if (is_kept(kept, e))
            scratch[e] = scratch[--count];
    return sum;
}

/* If the rule applies the logistic only after the choice (`late`), copies the capped logits instead. Returns 1: the
 * result is not divided, unlike the numerators of softmax_numerators. */
static float logistics_of(const organ_router *r, const float *logits, float *scratch)
{
    const organ_router_rule *const rule = &r->config->router;
    memmove(scratch, logits, organ_forward_choices(r->config) * sizeof *scratch);
    if (rule->cap > 0)
        r->kernels->softcap(scratch, organ_forward_choices(r->config), rule->cap);
    if (!rule->late)
        organ_forward_logistic(r->kernels, scratch, organ_forward_choices(r->config));
    return 1;
}

/* The correction is not part of the factor of the expert's output. */
static float score_of(const organ_router *r, const float *scratch, unsigned expert)
{
    return r->correction ? scratch[expert] + r->correction[expert] : scratch[expert];
}

/* ---- groups ---- */

/* The score is that of the best kept expert (best_in_group), or the sum of the two best; -infinity if the group does
 * not keep that many experts, so that it is chosen last. */
static float group_score(const organ_router *r, const bool *kept, const float *scratch, unsigned first, unsigned size)
{
    float best = -INFINITY, next = -INFINITY;
    for (unsigned e = first; e < first + size; e++) {
        const float score = is_kept(kept, e) ? score_of(r, scratch, e) : -INFINITY;
        if (score > best)
            next = best;
        else if (score > next)
            next = score;
        best = score > best ? score : best;
    }
    return r->config->router.best_in_group ? best : best + next;
}

/* Only the router_groups_used groups with the best scores stay open. Among groups with equal scores the one with the
 * lower number is better. */
static void close_groups(const organ_router *r, const bool *kept, float *scratch)
{
    const unsigned groups = r->config->router_groups, size = groups ? r->config->experts / groups : 0;
    float scores[ORGAN_ROUTER_GROUPS];
    for (unsigned g = 0; g < groups; g++)
        scores[g] = group_score(r, kept, scratch, g * size, size);
    for (unsigned g = 0; g < groups; g++) {
        unsigned better = 0;
        for (unsigned other = 0; other < groups; other++)
            better += scores[other] > scores[g] || (!(scores[other] < scores[g]) && other < g);
        for (unsigned e = g * size; better >= r->config->router_groups_used && e < (g + 1) * size; e++)
            scratch[e] = -INFINITY;
    }
}

/* ---- the choice ---- */

/* Among equal scores the lowest number wins. A NaN is never higher than another score. */
static unsigned next_best(const organ_router *r, const bool *kept, const float *scratch,
                          const organ_expert_choice *chosen, unsigned taken)
{
    unsigned best = UINT32_MAX;
    float max = 0;
    for (unsigned e = 0; e < organ_forward_choices(r->config); e++) {
        bool is_out = !is_kept(kept, e);
        for (unsigned i = 0; i < taken; i++)
            is_out = is_out || chosen[i].expert == e;
        const float score = score_of(r, scratch, e);
        if (!is_out && (best == UINT32_MAX || score > max)) {
            best = e;
            max = score;
        }
    }
    return best;
}

/* Sorts by number, so that sums have the same order in every run. */
static void sort_choices(organ_expert_choice *chosen, unsigned used)
{
    for (unsigned k = 1; k < used; k++)
        for (unsigned i = k; i > 0 && chosen[i].expert < chosen[i - 1].expert; i--) {
            const organ_expert_choice other = chosen[i];
            chosen[i] = chosen[i - 1];
            chosen[i - 1] = other;
        }
}

/* Returns SparseMixer's factor of the chosen expert: 1 / the sum of e^(value - top) over the kept experts near the top,
 * without expert `without` (UINT32_MAX: none). `top`, the value of the chosen expert, is the highest value of the kept
 * experts other than `without`. A value is near if top - value is at most `jitter` times the larger of |value| and
 * top. */
static float sparse_factor(const organ_router *r, const bool *kept, const float *values, float top, unsigned without)
{
    float near[64], sum = 0; /* near: up to 64 values at a time */
    unsigned count = 0;
    for (unsigned e = 0; e < organ_forward_choices(r->config); e++) {
        const float size = fabsf(values[e]) < top ? top : fabsf(values[e]);
        if (is_kept(kept, e) && e != without && !((top - values[e]) / size > r->config->router.jitter))
            near[count++] = values[e];
        if (count == sizeof near / sizeof *near || e + 1 == organ_forward_choices(r->config)) {
            sum += r->kernels->exp_below(near, count, top);
            count = 0;
        }
    }
    return 1 / sum;
}

/* Chooses two experts as SparseMixer does at inference (Liu et al. 2024, arXiv:2409.12136; sparsemixer of
 * transformers). The second expert is chosen among all but the first, with a softmax of its own. */
static void route_sparse(const organ_router *r, const bool *kept, const float *logits, organ_expert_choice *chosen)
{
    for (unsigned k = 0; k < 2; k++) {
        const unsigned best = next_best(r, kept, logits, chosen, k), without = k ? chosen[0].expert : UINT32_MAX;
        chosen[k] =
            (organ_expert_choice){.expert = best, .weight = sparse_factor(r, kept, logits, logits[best], without)};
    }
    sort_choices(chosen, 2);
}

void organ_forward_route(const organ_router *r, const bool *kept, const float *logits, float *scratch,
                         organ_expert_choice *chosen)
{
    const organ_forward_config *const c = r->config;
    if (c->router.sparse) {
        route_sparse(r, kept, logits, chosen);
        return;
    }
    float divisor =
              c->router.logistic ? logistics_of(r, logits, scratch) : softmax_numerators(r, kept, logits, scratch),
          all = 0;
    /* A correction is added to the softmax, not to its numerators, so these are divided before the choice. */
    for (unsigned e = 0; c->router.corrected && e < organ_forward_choices(c); e++)
        scratch[e] /= divisor;
    divisor = c->router.corrected ? 1 : divisor;
    if (c->router_groups > 1)
        close_groups(r, kept, scratch);
    for (unsigned k = 0; k < c->experts_used; k++) {
        const unsigned best = next_best(r, kept, scratch, chosen, k);
        chosen[k] = (organ_expert_choice){.expert = best, .weight = scratch[best] / divisor};
        if (c->router.late)
            organ_forward_logistic(r->kernels, &chosen[k].weight, 1);
        all += chosen[k].weight;
    }
    if (c->router.logistic) /* all logistic values may be 0; the small constant avoids a division by 0 */
        all += 1e-20F;
    all = (all < c->router.least_sum ? c->router.least_sum : all) + c->router.sum_plus;
    for (unsigned k = 0; c->normalise_experts && k < c->experts_used; k++)
        chosen[k].weight /= all;
    for (unsigned k = 0; c->router_scale != 0 && k < c->experts_used; k++)
        chosen[k].weight *= c->router_scale;
    for (unsigned k = 0; r->scales && k < c->experts_used; k++)
        chosen[k].weight *= r->scales[chosen[k].expert];
    sort_choices(chosen, c->experts_used);
}

void organ_forward_input_factors(const organ_router *r, const float *logits, float *factors)
{
    memcpy(factors, logits, organ_forward_choices(r->config) * sizeof *factors);
    organ_forward_logistic(r->kernels, factors, organ_forward_choices(r->config));
}

/* ---- of a layer ---- */

organ_router organ_layer_router(const organ_layer *layer)
{
    return (organ_router){layer->forward->engine->kernels, &layer->forward->config,
                          organ_forward_values(layer, PART_ROUTER_BIAS),
                          organ_forward_values(layer, PART_EXPERT_SCALE)};
}

unsigned organ_layer_experts(const organ_layer *layer)
{
    return layer->plan->experts ? layer->forward->config.experts : 0;
}

void organ_layer_tap_router(organ_layer *layer, void *context, organ_routed *routed)
{
    layer->routed = routed;
    layer->routed_context = context;
}

void organ_layer_tap_weighted(organ_layer *layer, bool weigh) { layer->weigh = weigh; }

void organ_layer_set_all_tokens(organ_layer *layer, const bool *experts) { layer->all_tokens = experts; }

unsigned organ_forward_min_experts(const organ_forward_config *c)
{
    if (c->router_groups < 2)
        return c->experts_used;
    const unsigned each = (c->experts_used + c->router_groups_used - 1) / c->router_groups_used;
    const unsigned least = c->router.best_in_group ? 1 : 2;
    return c->router_groups * (each < least ? least : each);
}

/* A group is a range of expert numbers, so groups must have equal sizes when the kept experts are renumbered.
 * `count` is the number of kept experts of all groups. */
static bool groups_are_even(const organ_forward_config *c, const bool *kept, unsigned count)
{
    const unsigned groups = c->router_groups, size = groups > 1 ? c->experts / groups : 0;
    for (unsigned g = 0; g < groups && size && kept; g++) {
        unsigned own = 0;
        for (unsigned e = g * size; e < (g + 1) * size; e++)
            own += kept[e];
        if (own * groups != count)
            return false;
    }
    return true;
}

/* After an error the router may choose all experts. */
organ_status organ_layer_keep(organ_layer *layer, const bool *kept, organ_error *error)
{
    const organ_forward_config *c = &layer->forward->config;
    unsigned count = 0;
    free(layer->kept);
    layer->kept = NULL;
    for (unsigned e = 0; e < c->experts; e++)
        count += !kept || kept[e];
    if (count == 0 || count < c->experts_used)
        return organ_fail(error, ORGAN_USAGE, "%s: %u of %u experts are kept, but each token needs %u",
                          layer->forward->model->path, count, c->experts, c->experts_used);
    if (count < organ_forward_min_experts(c) || !groups_are_even(c, kept, count))
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: %u of %u experts are kept, but each of the %u groups must keep the same number, at least %u",
            layer->forward->model->path, count, c->experts, c->router_groups, organ_forward_min_experts(c));
    if (kept && !(layer->kept = malloc(c->experts * sizeof *kept)))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of %u experts", c->experts);
    if (kept)
        memcpy(layer->kept, kept, c->experts * sizeof *kept);
    return ORGAN_OK;
}
