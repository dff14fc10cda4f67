/* SPDX-License-Identifier: MIT
 * Divides the matrices of a layer among ranks: plans which rank changes which, and sends the changed matrices to all
 * ranks. The inputs of all matrices are captured before any is changed, so the changes do not depend on each other. A
 * unit is a target matrix of the layer (calibration_job.h). */
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

/* A part is a set of units that one rank changes together; its number is the index of its first unit. */
typedef struct sharing_plan {
    size_t *part;    /* for each unit: the number of its part */
    uint64_t *cost;  /* estimated work of each part, indexed by the part's number; 0 at other indices */
    uint32_t *owner; /* rank that changes each part, indexed by the part's number */
    uint64_t *load;  /* sum of the costs of each rank's parts */
} sharing_plan;

/* The number is in thousands and at least 1, so that the sum over a model's units fits 64 bits. */
static uint64_t in_thousands(double products) { return (uint64_t)fmin(products / 1e3, 0x1p40) + 1; }

#define PRODUCTS_A_ROW 8 /* estimate: how often a method multiplies each row of a matrix by the second moments */

/* The cost of the products of a unit's rows with second moments is in thousands of multiplications. */
static uint64_t cost_of_rows(const sharing_unit *u)
{
    return in_thousands(PRODUCTS_A_ROW * (double)u->rows * (double)u->cols * (double)u->cols);
}

/* Factorising the second moments of the unit's inputs (cols x cols) takes cols^3 / 3 multiplications; the cost is in
 * thousands. A rank factorises them once for all its units with the same inputs. */
static uint64_t factorisation_cost(const sharing_unit *u)
{
    return in_thousands((double)u->cols * (double)u->cols * (double)u->cols / 3);
}

/* An output is a tensor or, with work->together, a group of tensors that the caller changes as a whole. */
static size_t output_of(const sharing_captures *g, const sharing_unit *u)
{
    const organ_calibration_work *const work = g->calib->work;
    return work->together ? work->together(work->context, u->target) : u->target;
}

/* One rank must change both units if they belong to one output or, with `by_inputs`, have the same inputs. */
static bool are_tied(const sharing_captures *g, const sharing_unit *a, const sharing_unit *b, bool by_inputs)
{
    return output_of(g, a) == output_of(g, b) || (by_inputs && a->group != SIZE_MAX && a->group == b->group);
}

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

/* The cost of the part includes a factorisation of H for each such unit. Units that are common or
 * done do not count. */
static bool brings_inputs(const sharing_captures *g, const sharing_plan *p, size_t k)
{
    size_t before = 0;
    while (before < k && (p->part[before] != p->part[k] || g->units[before].group != g->units[k].group ||
                          g->units[before].common || g->units[before].done))
        before++;
    return before == k;
}

/* The loads of the ranks become similar; *max is the largest. Units that are common or done are left out. */
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

static bool has_own_output(const sharing_captures *g, size_t k)
{
    for (size_t l = 0; l < g->unit_count; l++)
        if (l != k && output_of(g, &g->units[l]) == output_of(g, &g->units[k]))
            return false;
    return true;
}

/* Units that are done or common do not count. Returns SIZE_MAX if there is none. *remaining becomes the sum of the
 * costs of all others. */
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

/* With work->rows, all ranks change the largest remaining unit together, as long as its cost exceeds a rank's even
 * share of all remaining cost. */
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

/* Units with the same inputs go to one rank, so that H is factorised once, unless this raises the largest load. */
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

/* The next layer's inputs must be those of the changed model. Every rank has the common and finished units already.
 * With work->alike, each rank has changed all units itself; with ORGAN_INPUTS_DONOR, changes do not affect later
 * layers. */
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

/* ---- results of chunks ---- */

/* The walk deals the chunks to the ranks in turn. */
organ_status organ_calibration_sum_rows(const organ_calibration_run *calib, const char *where, double *rows,
                                        size_t width, double *sums, organ_error *error)
{
    const size_t count = organ_calibration_chunks_count(&calib->chunks);
    uint32_t *const owner = calloc(count + 1, sizeof *owner);
    for (size_t c = 0; c < count && owner; c++)
        owner[c] = (uint32_t)(c % calib->chunks.step);
    if (!owner)
        organ_fail_memory(error, where);
    organ_ranks_complete(calib->engine->ranks, where, rows, width * sizeof *rows, count, owner, error);
    free(owner);
    if (error->status)
        return error->status;
    memset(sums, 0, width * sizeof *sums);
    for (size_t c = 0; c < count; c++)
        for (size_t k = 0; k < width; k++)
            sums[k] += rows[c * width + k];
    return ORGAN_OK;
}

/* A rank whose `take` failed still takes part in the broadcasts. */
organ_status organ_calibration_take_chunks(
    const organ_calibration_run *calib, size_t chunk, const organ_calibration_buffer *buffers, size_t count,
    organ_status (*take)(void *context, size_t chunk, bool own, organ_error *error), void *context, organ_error *error)
{
    organ_ranks *const ranks = calib->engine->ranks;
    const organ_calibration_chunks *const chunks = &calib->chunks;
    const size_t first = chunk - chunks->first, all = organ_calibration_chunks_count(chunks);
    organ_error fault = {0};
    if (organ_ranks_agree(ranks, "running a chunk through a layer", error) != ORGAN_OK)
        return error->status;
    for (size_t r = 0; r < chunks->step && first + r < all && !error->status; r++) {
        const bool own = r == chunks->first;
        const size_t tokens = organ_calibration_chunk_windows(chunks, first + r) * calib->options->calibration.context;
        for (size_t k = 0; k < count && !error->status; k++)
            organ_ranks_broadcast(ranks, r, own ? buffers[k].own : buffers[k].other, tokens * buffers[k].token_bytes,
                                  error);
        if (!error->status && !fault.status)
            take(context, first + r, own, &fault);
    }
    if (!error->status)
        *error = fault;
    return organ_ranks_agree(ranks, "collecting the chunks of all ranks", error);
}
