/* SPDX-License-Identifier: MIT
 * Chooses the width of each tensor's codes within a budget of bits. All tensors start at the smallest width; each step
 * widens the tensor that lowers the predicted divergence most per bit. A step may skip widths, so it follows the convex
 * hull of the tensor's curve of cost over bits: the result is optimal for the bits spent, as if one Lagrange multiplier
 * priced a bit for all tensors. Exchanges between pairs of tensors then use bits that are too few for any single step.
 */
#include "orchestrator/surgery/allocate/allocate.h"

#include <math.h>

#define MAX_PASSES 20 /* of exchanges over all tensors and levels */
/* The square of E(32) / E(64), where E(n) is the expected largest magnitude of n normal weights, and that of E(32) /
 * E(128). */
#define NARROWER  0.8173518555267973
#define NARROWEST 0.6890210736860123
#define MIN_POWER 1.0   /* smallest power in organ_width_derive_costs */
#define MIN_COST  1e-12 /* nats per token; smaller costs become this, so that their logarithm exists */

const double organ_width_levels[ORGAN_WIDTH_LEVELS] = {2, 2.5, 3, 3.5, 4, 4.5, 8, 8.5};
const bool organ_width_measured[ORGAN_WIDTH_LEVELS] = {[0] = true, [4] = true};

/* The cost is the expected squared step of groups of 32 columns over that of groups of `group` columns, for normal
 * weights: narrower groups have smaller maxima and so smaller steps. */
static double narrow_group_cost(size_t group)
{
    if (group <= 32)
        return 1;
    return group <= 64 ? NARROWER : NARROWEST;
}

/* The logarithm of the cost is a linear function of the logarithm of the number of steps, 2^bits - 1. Odd levels
 * have groups of 32 columns, which multiply the cost by narrow_group_cost. */
void organ_width_derive_costs(double cost[ORGAN_WIDTH_LEVELS], size_t group)
{
    const double two = log(fmax(cost[0], MIN_COST)), four = log(fmax(cost[4], MIN_COST)),
                 power = fmax(MIN_POWER, (two - four) / log(15.0 / 3)), narrow = narrow_group_cost(group);
    for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l++) {
        const double steps = exp2(floor(organ_width_levels[l])) - 1, from = steps < 15 ? two : four,
                     begun = steps < 15 ? 3 : 15;
        cost[l] = exp(from - power * log(steps / begun)) * (l % 2 ? narrow : 1);
    }
}

static double cost_at(const organ_allocation *a, size_t tensor, size_t level)
{
    return level < a->level_count ? a->tensors[tensor].cost[level] : 0;
}

static double total_size_at(const organ_allocation *a, const double *sizes, size_t level)
{
    double sum = 0;
    for (size_t t = 0; t < a->count; t++)
        sum += sizes[t * (a->level_count + 1) + level];
    return sum;
}

/* The best step lowers the cost most per unit of size and fits into `remaining`. Returns false if no step lowers the
 * cost. */
static bool best_step(const organ_allocation *a, const double *sizes, double remaining, const size_t *chosen,
                      size_t *tensor, size_t *level)
{
    double max = 0;
    for (size_t t = 0; t < a->count; t++) {
        const double *const own = sizes + t * (a->level_count + 1);
        for (size_t l = chosen[t] + 1; l <= a->level_count; l++) {
            const double more = own[l] - own[chosen[t]], skipped = cost_at(a, t, chosen[t]) - cost_at(a, t, l);
            if (more <= 0 || more > remaining || skipped / more <= max)
                continue;
            max = skipped / more;
            *tensor = t;
            *level = l;
        }
    }
    return max > 0;
}

typedef struct choose_change {
    double size, cost;
} choose_change;

static choose_change change_to(const organ_allocation *a, const double *sizes, const size_t *chosen, size_t tensor,
                               size_t level)
{
    const double *const own = sizes + tensor * (a->level_count + 1);
    return (choose_change){own[level] - own[chosen[tensor]],
                           cost_at(a, tensor, level) - cost_at(a, tensor, chosen[tensor])};
}

/* The move is made alone or together with a move of one other tensor to another level: the combination that lowers
 * the cost most among those that fit into *remaining, the unused budget. Returns false, and changes nothing, if none
 * lowers the cost. */
static bool choose_exchange(const organ_allocation *a, const double *sizes, size_t tensor, size_t level,
                            double *remaining, size_t *chosen)
{
    const choose_change first = change_to(a, sizes, chosen, tensor, level);
    const double free_size = *remaining - first.size;
    double least = 0, taken = 0;
    size_t with = tensor, to = level;
    if (free_size >= 0 && first.cost < least)
        least = first.cost;
    for (size_t t = 0; t < a->count; t++)
        for (size_t l = 0; l <= a->level_count && t != tensor; l++) {
            const choose_change second = change_to(a, sizes, chosen, t, l);
            if (second.size > free_size || first.cost + second.cost >= least)
                continue;
            least = first.cost + second.cost;
            taken = second.size;
            with = t;
            to = l;
        }
    if (least < 0) {
        *remaining = free_size - taken;
        chosen[tensor] = level;
        chosen[with] = to;
    }
    return least < 0;
}

/* At most MAX_PASSES passes are made, until a pass finds no exchange that lowers the cost. `chosen` is the level of
 * each tensor, *remaining the unused budget. */
static void choose_exchange_pairs(const organ_allocation *a, const double *sizes, double *remaining, size_t *chosen)
{
    bool improved = true;
    for (size_t pass = 0; pass < MAX_PASSES && improved; pass++) {
        improved = false;
        for (size_t t = 0; t < a->count; t++)
            for (size_t l = 0; l <= a->level_count; l++)
                improved |= l != chosen[t] && choose_exchange(a, sizes, t, l, remaining, chosen);
    }
}

/* The best steps come first, then exchanges of pairs. Returns the unused part of the budget. */
static double choose_improve(const organ_allocation *a, const double *sizes, double budget, size_t *chosen)
{
    double spent = 0;
    size_t t, level;
    for (size_t k = 0; k < a->count; k++)
        spent += sizes[k * (a->level_count + 1) + chosen[k]];
    while (best_step(a, sizes, budget - spent, chosen, &t, &level)) {
        const double *const own = sizes + t * (a->level_count + 1);
        spent += own[level] - own[chosen[t]];
        chosen[t] = level;
    }
    double remaining = budget - spent;
    choose_exchange_pairs(a, sizes, &remaining, chosen);
    return remaining;
}

static void set_all_levels(const organ_allocation *a, size_t level, size_t *chosen)
{
    for (size_t k = 0; k < a->count; k++)
        chosen[k] = level;
}

static double cost_of(const organ_allocation *a, const size_t *chosen)
{
    double cost = 0;
    for (size_t k = 0; k < a->count; k++)
        cost += cost_at(a, k, chosen[k]);
    return cost;
}

/* The choice starts from the lowest levels, and again from *uniform, the highest level that all tensors can have, if
 * the first result costs more than that level. Returns the sum of the chosen sizes. */
double organ_allocation_choose(organ_allocation *a, const double *sizes, double budget, size_t *chosen, size_t *uniform)
{
    *uniform = 0;
    for (size_t l = 1; l <= a->level_count; l++)
        *uniform = total_size_at(a, sizes, l) <= budget ? l : *uniform;
    a->uniform_cost = 0;
    for (size_t k = 0; k < a->count; k++)
        a->uniform_cost += cost_at(a, k, *uniform);
    set_all_levels(a, 0, chosen);
    double unspent = choose_improve(a, sizes, budget, chosen);
    if (cost_of(a, chosen) > a->uniform_cost) { /* small tensors used the budget that a step of a large one needs: all
                                                   experts of a layer are one tensor */
        set_all_levels(a, *uniform, chosen);
        unspent = choose_improve(a, sizes, budget, chosen);
    }
    a->cost = cost_of(a, chosen);
    return budget - unspent;
}
