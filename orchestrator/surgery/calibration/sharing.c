/* SPDX-License-Identifier: MIT
 * Divides the matrices of a layer among ranks: plans which rank changes which, and sends the changed matrices to all
 * ranks. The inputs of all matrices are captured before any is changed, so the changes do not depend on each other. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/calibration/calibration_job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef organ_calibration_captures sharing_captures;
typedef organ_calibration_unit sharing_unit;

/* ---- the plan ---- */

/* Which rank changes which targets of a layer. */
typedef struct sharing_plan {
    size_t *part;    /* for each unit: the first unit of its part, the units that one rank changes together */
    uint64_t *cost;  /* of each part, indexed by its first unit; other units have 0 */
    uint32_t *owner; /* rank that changes each part, indexed by its first unit */
    uint64_t *load;  /* of each rank */
} sharing_plan;

/* Returns a cost in thousands of products, so that the sum over all units of a model fits 64 bits. */
static uint64_t in_thousands(double products) { return (uint64_t)fmin(products / 1e3, 0x1p40) + 1; }

#define PRODUCTS_A_ROW 8 /* estimate: how often a method multiplies each row of a matrix by the second moments */

/* Estimates the cost of multiplying a unit's rows by second moments, in thousands. */
static uint64_t cost_of_rows(const sharing_unit *u)
{
    return in_thousands(PRODUCTS_A_ROW * (double)u->rows * (double)u->cols * (double)u->cols);
}

/* Estimates the cost of factorising H, cols^3 / 3 operations, in thousands. A rank does it once for all units with the
 * same inputs. */
static uint64_t factorisation_cost(const sharing_unit *u)
{
    return in_thousands((double)u->cols * (double)u->cols * (double)u->cols / 3);
}

/* Returns the index of the output that a unit belongs to: its tensor, or a group of tensors that the caller changes as
 * a whole. */
static size_t output_of(const sharing_captures *g, const sharing_unit *u)
{
    const organ_calibration_work *const work = g->calib->work;
    return work->together ? work->together(work->context, u->target) : u->target;
}

/* Returns whether two units must be processed by the same rank: they belong to one output or, with `by_inputs`, have
 * the same inputs. */
static bool are_tied(const sharing_captures *g, const sharing_unit *a, const sharing_unit *b, bool by_inputs)
{
    return output_of(g, a) == output_of(g, b) || (by_inputs && a->group != SIZE_MAX && a->group == b->group);
}

/* Divides the units into parts that one rank processes: tied units are in the same part. A part has the number of its
 * first unit. */
static void group_units(const sharing_captures *g, bool by_inputs, sharing_plan *p)
{
    for (size_t k = 0; k < g->unit_count; k++) {
        p->part[k] = k;
        for (size_t l = 0; l < k; l++) {
            const size_t from = p->part[k], to = p->part[l];
            if (from == to || !are_tied(g, &g->units[k], &g->units[l], by_inputs))
                continue;
            for (size_t m = 0; m <= k; m++)
                if (p->part[m] == from || p->part[m] == to)
                    p->part[m] = organ_min(from, to);
        }
    }
}

/* Returns true if no earlier unit of its part has the same inputs, so that the part's cost includes a factorisation for
 * it. */
static bool brings_inputs(const sharing_captures *g, const sharing_plan *p, size_t k)
{
    size_t before = 0;
    while (before < k && (p->part[before] != p->part[k] || g->units[before].group != g->units[k].group ||
                          g->units[before].common || g->units[before].done))
        before++;
    return before == k;
}

/* Assigns the parts to ranks so that their loads are similar. *max is the load of the rank with most. */
static organ_status assign_parts(const sharing_captures *g, bool by_inputs, sharing_plan *p, uint64_t *max,
                                 organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    memset(p->cost, 0, g->unit_count * sizeof *p->cost);
    memset(p->load, 0, organ_ranks_count(ranks) * sizeof *p->load);
    group_units(g, by_inputs, p);
    for (size_t k = 0; k < g->unit_count; k++)
        if (!g->units[k].done && !g->units[k].common)
            p->cost[p->part[k]] +=
                cost_of_rows(&g->units[k]) + (brings_inputs(g, p, k) ? factorisation_cost(&g->units[k]) : 0);
    if (organ_ranks_assign(ranks, p->cost, g->unit_count, p->owner, error) != ORGAN_OK)
        return error->status;
    *max = 0;
    for (size_t k = 0; k < g->unit_count; k++) {
        uint64_t *const load = &p->load[p->owner[k]];
        *load += p->cost[k];
        *max = *load > *max ? *load : *max;
    }
    return ORGAN_OK;
}

/* Returns true if no other unit writes to the same output tensor. */
static bool has_own_output(const sharing_captures *g, size_t k)
{
    for (size_t l = 0; l < g->unit_count; l++)
        if (l != k && output_of(g, &g->units[l]) == output_of(g, &g->units[k]))
            return false;
    return true;
}

/* Returns the index of the most expensive unit that is neither done nor common, SIZE_MAX if there is none. *remaining
 * is the cost of all such units. */
static size_t find_largest(const sharing_captures *g, uint64_t *remaining)
{
    size_t largest = SIZE_MAX;
    *remaining = 0;
    for (size_t k = 0; k < g->unit_count; k++) {
        if (g->units[k].done || g->units[k].common)
            continue;
        *remaining += cost_of_rows(&g->units[k]);
        largest = largest == SIZE_MAX || cost_of_rows(&g->units[k]) > cost_of_rows(&g->units[largest]) ? k : largest;
    }
    return largest;
}

/* Marks units that all ranks change together (common): the largest, while it needs more work than an even share of all
 * work that remains. */
static void choose_common(const sharing_captures *g)
{
    uint64_t remaining = 0;
    for (size_t k; g->calib->work->rows && (k = find_largest(g, &remaining)) != SIZE_MAX;) {
        if (cost_of_rows(&g->units[k]) <= remaining / organ_ranks_count(g->calib->engine->ranks) ||
            !has_own_output(g, k))
            return;
        g->units[k].common = true;
    }
}

static void apply_plan(const sharing_captures *g, const sharing_plan *p)
{
    for (size_t k = 0; k < g->unit_count; k++)
        g->units[k].owner = p->owner[p->part[k]];
}

/* Chooses the assignment of units to ranks: units with the same inputs on one rank, unless this raises the largest
 * load. */
static organ_status choose_plan(const sharing_captures *g, sharing_plan *p, organ_error *error)
{
    uint64_t apart = 0, tied = 0;
    choose_common(g);
    if (assign_parts(g, false, p, &apart, error) != ORGAN_OK)
        return error->status;
    apply_plan(g, p);
    if (assign_parts(g, true, p, &tied, error) == ORGAN_OK && tied <= apart)
        apply_plan(g, p);
    return error->status;
}

/* Assigns each unit of the layer to the rank that changes it. With work->alike every rank changes all, because callers
 * need equal copies. */
organ_status organ_calibration_assign_units(const sharing_captures *g, organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    if (!ranks || error->status)
        return error->status;
    if (g->calib->work->alike) {
        for (size_t k = 0; k < g->unit_count; k++)
            g->units[k].owner = (uint32_t)organ_ranks_rank(ranks);
        return ORGAN_OK;
    }
    const size_t capacity = g->unit_count + 1;
    sharing_plan p = {calloc(capacity, sizeof *p.part), calloc(capacity, sizeof *p.cost),
                      calloc(capacity, sizeof *p.owner), calloc(organ_ranks_count(ranks), sizeof *p.load)};
    if (!p.part || !p.cost || !p.owner || !p.load)
        organ_fail_memory(error, g->calib->model->path);
    else
        choose_plan(g, &p, error);
    ORGAN_FREE_ARRAYS(p.part, p.cost, p.owner, p.load);
    return error->status;
}

/* ---- exchange of the layer ---- */

/* Sends each changed matrix of the layer from its owner to all ranks, so that the next layer's inputs are those of the
 * changed model. */
organ_status organ_calibration_exchange_matrices(const sharing_captures *g, const organ_calibration_layer *layer,
                                                 organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    char where[64];
    if (!ranks || !g->unit_count)
        return error->status;
    snprintf(where, sizeof where, "changing layer %d", (int)layer->number);
    if (organ_ranks_agree(ranks, where, error) || g->calib->options->streams == ORGAN_INPUTS_DONOR ||
        g->calib->work->alike)
        return error->status;
    for (size_t k = 0; k < g->unit_count && !error->status; k++) {
        const sharing_unit *const u = &g->units[k];
        uint64_t bytes = 0;
        if (u->done || u->common)
            continue;
        void *const values = organ_layer_values(layer->loaded, u->name, &bytes);
        if (values)
            organ_ranks_broadcast(ranks, u->owner, values, (size_t)bytes, error);
    }
    return error->status;
}
