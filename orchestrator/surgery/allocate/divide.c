/* SPDX-License-Identifier: MIT
 * Divides a budget of removed elements over tensors so that the sum of their predicted costs is least. With a Lagrange
 * multiplier, the price of a removed element, each tensor minimises its cost minus price times removed elements on its
 * own; bisection finds the price at which the budget is met. Sparsities have steps, so at that price the sum may jump
 * over the budget: the result is interpolated between the divisions before and after the jump. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS      150   /* steps of 0.005 from ORGAN_ALLOCATION_MIN to ORGAN_ALLOCATION_MAX */
#define MIN_COST   1e-12 /* nats per token; smaller costs become this, so that their logarithm exists */
#define MIN_POWER  0.5   /* smallest exponent of a cost curve: a flat curve would attract the whole budget */
#define ROOT_STEPS 16    /* of Newton's method: enough for every sparsity up to ORGAN_ALLOCATION_MAX */
#define MIN_PRICE  1e-15 /* lowest price of zeros in all elements, in nats per token */
#define MAX_PRICE  1e9   /* highest price of zeros in all elements, in nats per token */
#define BISECTIONS 120   /* of the interval of prices, on a logarithmic scale */

const double organ_sparsity_levels[ORGAN_SPARSITY_LEVELS] = {0.50, 0.80};

static double positive_cost(double cost) { return cost > MIN_COST ? cost : MIN_COST; }

/* The share of the s N smallest of N normal weights in the sum of all squares is s - 2 t p(t), where p is the
 * density of the standard normal distribution and t its quantile of (1 + s) / 2, so erf(t / sqrt(2)) = s. The error
 * function is concave for t > 0, so Newton's method from a value below t stays below it. Returns ln of the share. */
static double ln_share_of_smallest(double s)
{
    const double pi = 3.14159265358979323846;
    double t = s * sqrt(pi / 2);
    for (size_t k = 0; k < ROOT_STEPS; k++)
        t += (s - erf(t / sqrt(2))) * sqrt(pi / 2) * exp(t * t / 2);
    return log(s - 2 * t * exp(-t * t / 2) / sqrt(2 * pi));
}

/* Between levels the cost is a power of the share of energy that the s N smallest weights have, since removing them
 * is the least possible damage. The exponent comes from the two measured levels around s. The share is that of
 * normal weights, so costs depend on s alone and not on the values of the tensor. The cost is 0 if s <= 0. */
double organ_allocation_cost(const organ_allocation *a, const organ_allocation_tensor *tensor, double sparsity)
{
    double cost = log(positive_cost(tensor->cost[0])), power = MIN_POWER, from = ln_share_of_smallest(a->levels[0]);
    if (sparsity <= 0)
        return 0;
    for (size_t k = 1; k < a->level_count; k++) {
        const double to = ln_share_of_smallest(a->levels[k]);
        power = fmax(MIN_POWER, (log(positive_cost(tensor->cost[k])) - cost) / (to - from));
        if (k + 1 == a->level_count || sparsity <= a->levels[k])
            break;
        cost += power * (to - from);
        from = to;
    }
    return exp(cost + power * (ln_share_of_smallest(sparsity) - from));
}

static double step_at(size_t k)
{
    return ORGAN_ALLOCATION_MIN + (ORGAN_ALLOCATION_MAX - ORGAN_ALLOCATION_MIN) * (double)k / STEPS;
}

static double all_elements(const organ_allocation *a)
{
    double sum = 0;
    for (size_t k = 0; k < a->count; k++)
        sum += (double)a->tensors[k].elements;
    return sum;
}

/* Each tensor gets the sparsity with the least cost - price * zeros, where `price` is the value of zeros in all
 * elements together. `costs` has STEPS + 1 costs for each tensor. Returns the resulting share of zeros among all
 * elements. */
static double divide_choose(const organ_allocation *a, const double *costs, double price, double *chosen)
{
    const double all = all_elements(a);
    double share = 0;
    for (size_t t = 0; t < a->count; t++) {
        const double weight = (double)a->tensors[t].elements / all, *const own = costs + t * (STEPS + 1);
        size_t best = 0;
        for (size_t k = 1; k <= STEPS; k++)
            best = own[k] - price * step_at(k) * weight < own[best] - price * step_at(best) * weight ? k : best;
        chosen[t] = step_at(best);
        share += chosen[t] * weight;
    }
    return share;
}

/* `fewer_zeros` becomes a division with fewer zeros than the budget, `more_zeros` one with at least as many, at
 * prices that are nearly equal. `tried` becomes an interpolation between these two divisions, which meets the
 * budget. Each array has a sparsity for each tensor. */
static void bisect_price(const organ_allocation *a, const double *costs, double budget, double *fewer_zeros,
                         double *more_zeros, double *tried)
{
    const size_t bytes = a->count * sizeof *tried;
    double low = MIN_PRICE, high = MAX_PRICE, spare = divide_choose(a, costs, low, fewer_zeros),
           spent = divide_choose(a, costs, high, more_zeros);
    for (size_t k = 0; k < BISECTIONS; k++) {
        const double price = sqrt(low * high), share = divide_choose(a, costs, price, tried);
        if (share < budget) {
            low = price;
            spare = share;
            memcpy(fewer_zeros, tried, bytes);
        } else {
            high = price;
            spent = share;
            memcpy(more_zeros, tried, bytes);
        }
    }
    const double at = spent > spare ? fmin(fmax((budget - spare) / (spent - spare), 0), 1) : 1;
    for (size_t t = 0; t < a->count; t++)
        tried[t] = fewer_zeros[t] + at * (more_zeros[t] - fewer_zeros[t]);
}

/* The result moves from equal sparsities towards the division with the least cost (bisect_price) by the share `way`
 * of the distance, because measured curves are not exact. */
bool organ_allocation_divide(organ_allocation *a, double budget, double way)
{
    ORGAN_OWNED double *const costs = malloc((a->count * (STEPS + 1) + 1) * sizeof *costs);
    ORGAN_OWNED double *const divisions = malloc((3 * a->count + 1) * sizeof *divisions);
    if (!costs || !divisions)
        return false;
    for (size_t t = 0; t < a->count; t++)
        for (size_t k = 0; k <= STEPS; k++)
            costs[t * (STEPS + 1) + k] = organ_allocation_cost(a, &a->tensors[t], step_at(k));
    double *const fewer_zeros = divisions, *const more_zeros = divisions + a->count,
                  *const optimum = divisions + 2 * a->count;
    bisect_price(a, costs, budget, fewer_zeros, more_zeros, optimum);
    a->budget = budget;
    a->cost = a->uniform_cost = 0;
    for (size_t t = 0; t < a->count; t++) {
        a->tensors[t].sparsity = budget + way * (optimum[t] - budget);
        a->cost += organ_allocation_cost(a, &a->tensors[t], a->tensors[t].sparsity);
        a->uniform_cost += organ_allocation_cost(a, &a->tensors[t], budget);
    }
    return true;
}

static const organ_allocation_tensor *nearest_measured(const organ_allocation *a, const organ_allocation_tensor *to,
                                                       bool before)
{
    const organ_allocation_tensor *best = NULL;
    for (size_t k = 0; k < a->count; k++) {
        const organ_allocation_tensor *const t = &a->tensors[k];
        const bool meant = t->known && !t->between && strcmp(t->role, to->role) == 0 &&
                           (before ? t->layer <= to->layer : t->layer >= to->layer);
        if (meant && (!best || (before ? t->layer > best->layer : t->layer < best->layer)))
            best = t;
    }
    return best;
}

bool organ_allocation_fill(organ_allocation *a, size_t *missing)
{
    for (size_t k = 0; k < a->count; k++) {
        organ_allocation_tensor *const t = &a->tensors[k];
        if (t->known && !t->between)
            continue;
        const organ_allocation_tensor *const before = nearest_measured(a, t, /*before=*/true),
                                             *const after = nearest_measured(a, t, /*before=*/false);
        const organ_allocation_tensor *const from = before ? before : after, *const to = after ? after : before;
        *missing = k;
        if (!from)
            return false;
        const double span = (double)to->layer - from->layer,
                     at = span > 0 ? ((double)t->layer - from->layer) / span : 0;
        for (size_t l = 0; l < a->level_count; l++)
            t->cost[l] = exp(log(positive_cost(from->cost[l])) +
                             at * (log(positive_cost(to->cost[l])) - log(positive_cost(from->cost[l]))));
        t->known = t->between = true;
    }
    return true;
}

void organ_allocation_release(organ_allocation *a)
{
    for (size_t k = 0; k < a->count; k++)
        free(a->tensors[k].name);
    free(a->tensors);
    *a = (organ_allocation){0};
}

/* ---- storing matrices of a layer at several levels ---- */

typedef struct kept {
    char *name;
    size_t weights;
    organ_dtype dtype;
    void *values[ORGAN_ALLOCATION_LEVELS + 1];
} kept;

typedef struct pool {
    int32_t layer;
    uint64_t matrices, bytes; /* number of matrices; their bytes as stored here */
    kept *kept;               /* the stored matrices; NULL: none */
    size_t count;             /* number of matrices that are stored at all levels */
} pool;

struct organ_pooled_tensors {
    size_t tensors, levels; /* number of tensors; the last level, counted from 0 */
    const organ_kernels *kernels;
    pool *pools; /* one per tensor of the allocation */
};

/* Half precision halves the memory of BF16 models; a quantised file's own type would change the values. */
static organ_dtype kept_as(const organ_tensor *stored)
{
    return organ_target_is_float(stored) ? stored->dtype : ORGAN_F32;
}

organ_pooled_tensors *organ_pooled_create(size_t count, size_t levels, const organ_targets *targets, const size_t *of,
                                          const organ_kernels *kernels)
{
    organ_pooled_tensors *const made = calloc(1, sizeof *made);
    if (!made || !(made->pools = calloc(count + 1, sizeof *made->pools))) {
        free(made);
        return NULL;
    }
    made->tensors = count;
    made->levels = levels;
    made->kernels = kernels;
    for (size_t k = 0; k < targets->count; k++) {
        pool *const p = &made->pools[of[k]];
        p->layer = targets->tensors[k]->anatomy.layer;
        p->matrices += organ_tensor_matrices(targets->tensors[k]).count;
        p->bytes += targets->tensors[k]->elements * organ_dtype_describe(kept_as(targets->tensors[k]))->bytes;
    }
    return made;
}

void organ_pooled_give_back(organ_pooled_tensors *pooled, size_t tensor)
{
    pool *const p = &pooled->pools[tensor];
    for (uint64_t k = 0; p->kept && k < p->matrices; k++) {
        free(p->kept[k].name);
        for (size_t l = 0; l <= pooled->levels; l++)
            free(p->kept[k].values[l]);
    }
    organ_clear(&p->kept);
    p->count = 0;
}

void organ_pooled_destroy(organ_pooled_tensors *pooled)
{
    if (!pooled)
        return;
    for (size_t k = 0; k < pooled->tensors; k++)
        organ_pooled_give_back(pooled, k);
    ORGAN_FREE_ARRAYS(pooled->pools, pooled);
}

uint64_t organ_pooled_matrices(const organ_pooled_tensors *pooled, size_t tensor)
{
    return pooled->pools[tensor].matrices;
}

bool organ_pooled_has_several(const organ_pooled_tensors *pooled, size_t tensor)
{
    return pooled->pools[tensor].matrices > 1;
}

uint64_t organ_pooled_memory(const organ_pooled_tensors *pooled, int32_t layer, bool all)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < pooled->tensors; k++)
        if (pooled->pools[k].layer == layer && (all || organ_pooled_has_several(pooled, k))) {
            const uint64_t own = (pooled->levels + 1) * pooled->pools[k].bytes;
            bytes = all ? bytes + own : organ_max(own, bytes);
        }
    return bytes;
}

/* The last level ends the matrix. */
organ_status organ_pooled_keep(organ_pooled_tensors *pooled, size_t tensor, const char *name,
                               const organ_tensor *stored, size_t level, const float *weights, organ_error *error)
{
    const organ_matrices m = organ_tensor_matrices(stored);
    pool *const p = &pooled->pools[tensor];
    if (!p->kept && !(p->kept = calloc((size_t)p->matrices, sizeof *p->kept)))
        return organ_fail_memory(error, name);
    kept *const own = &p->kept[p->count];
    own->weights = (size_t)(m.rows * m.cols);
    own->dtype = kept_as(stored);
    if (!own->name && !(own->name = strdup(name)))
        return organ_fail_memory(error, name);
    if (!(own->values[level] = malloc(own->weights * organ_dtype_describe(own->dtype)->bytes)))
        return organ_fail_memory(error, name);
    organ_narrow(pooled->kernels, own->dtype, weights, own->values[level], own->weights);
    p->count += level == pooled->levels;
    return ORGAN_OK;
}

organ_status organ_pooled_write(const organ_pooled_tensors *pooled, size_t tensor, size_t level, organ_layer *layer,
                                organ_error *error)
{
    const pool *const p = &pooled->pools[tensor];
    for (size_t k = 0; k < p->count; k++) {
        const kept *const own = &p->kept[k];
        ORGAN_OWNED float *const values = malloc(own->weights * sizeof *values);
        if (!values)
            return organ_fail_memory(error, own->name);
        organ_widen(pooled->kernels, own->dtype, own->values[level], values, own->weights);
        organ_layer_write(layer, own->name, values);
    }
    return ORGAN_OK;
}
