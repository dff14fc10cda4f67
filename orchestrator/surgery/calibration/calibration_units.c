/* SPDX-License-Identifier: MIT
 * Lets the caller change the units of a layer, its target matrices: one after another, or small ones several at a time,
 * each on a team of the workers. Such a batch has several items: units with the same inputs (work->grouped), or one
 * unit. The results of a batch are stored one after another in the usual order, so files, reports and errors do not
 * depend on the batches. */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"

#include <math.h>
#include <stdlib.h>

organ_status organ_calibration_stopped(const organ_calibration_run *calib, int32_t layer, organ_error *error)
{
    return organ_stop_is_requested(calib->engine->stop)
               ? organ_fail(error, ORGAN_INTERRUPTED, "stopped in layer %d", (int)layer)
               : ORGAN_OK;
}

/* A unit is local if this rank owns it, if all ranks share it, or if an earlier run has finished it (then every rank
 * reads the result from the output). */
static bool walk_is_local(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    if (u->pass != g->pass)
        return false;
    return u->done || u->common || u->owner == organ_ranks_rank(g->calib->engine->ranks);
}

static size_t count_later_users(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    size_t count = 0;
    for (const organ_calibration_unit *other = u + 1; other < g->units + g->unit_count; other++)
        count += other->group == u->group && walk_is_local(g, other) && !other->done;
    return count;
}

static bool is_calibrated(const organ_calibration_unit *u) { return !u->done && u->group != SIZE_MAX; }

static organ_calibration_matrix matrix_of(const organ_calibration_captures *g, const organ_calibration_unit *u,
                                          const organ_calibration_layer *layer)
{
    return (organ_calibration_matrix){.layer = layer,
                                      .target = u->target,
                                      .matrix = u->matrix,
                                      .rows = u->rows,
                                      .cols = u->cols,
                                      .name = u->name,
                                      .calibration = is_calibrated(u) ? g->groups[u->group].calibration : NULL,
                                      .users_left = is_calibrated(u) ? count_later_users(g, u) : 0,
                                      .spare = g->spare,
                                      .ranks = u->common ? g->calib->engine->ranks : NULL,
                                      .fallback = u->fallback,
                                      .own = u->owner == organ_ranks_rank(g->calib->engine->ranks)};
}

/* Returns the weights of the unit, which the caller frees; NULL on error. */
static float *read_unit(const organ_calibration_unit *u, const organ_calibration_layer *layer, organ_error *error)
{
    uint64_t rows = 0, cols = 0;
    organ_product_operand held;
    if (!organ_layer_matrix(layer->loaded, u->name, &rows, &cols, &held) || rows != u->rows || cols != u->cols) {
        organ_fail(error, ORGAN_BAD_INPUT,
                   "tensor '%s' is %llu x %llu in the file, but %llu x %llu in the forward pass", u->name,
                   (unsigned long long)u->rows, (unsigned long long)u->cols, (unsigned long long)rows,
                   (unsigned long long)cols);
        return NULL;
    }
    float *const weights = organ_floats((size_t)rows, (size_t)cols);
    if (!weights)
        organ_fail_memory(error, u->name);
    else
        organ_layer_read(layer->loaded, u->name, weights);
    return weights;
}

/* With ORGAN_INPUTS_DONOR the result is not written to the layer. The layer keeps weights in the type of the file,
 * and changed values are rounded to this type, so writing them is exact. */
static organ_status store_unit(const organ_calibration_captures *g, const organ_calibration_unit *u,
                               const organ_calibration_matrix *matrix, float *weights, organ_error *error)
{
    const organ_calibration_work *const work = g->calib->work;
    if ((u->done ? work->restore : work->change)(work->context, matrix, weights, error) == ORGAN_OK &&
        g->calib->options->streams != ORGAN_INPUTS_DONOR)
        organ_layer_write(matrix->layer->loaded, u->name, weights);
    return error->status;
}

static organ_status change_unit(const organ_calibration_captures *g, const organ_calibration_unit *u,
                                const organ_calibration_layer *layer, organ_error *error)
{
    const organ_calibration_matrix matrix = matrix_of(g, u, layer);
    ORGAN_OWNED float *const weights = read_unit(u, layer, error);
    return weights ? store_unit(g, u, &matrix, weights, error) : error->status;
}

/* ---- one after another ---- */

/* Returns whether unit l is changed together with unit k: k itself, or with work->grouped a later one with the same
 * inputs. */
static bool is_of_item(const organ_calibration_captures *g, size_t k, size_t l, const bool *changed)
{
    const size_t group = g->units[k].group;
    return !changed[l] && (l == k || (g->calib->work->grouped && group != SIZE_MAX && g->units[l].group == group));
}

/* Units whose flag in `changed` is set already are skipped; those that are changed get the flag. */
static organ_status change_item(const organ_calibration_captures *g, size_t k, bool *changed,
                                const organ_calibration_layer *layer, organ_error *error)
{
    for (size_t l = k; l < g->unit_count && !organ_calibration_stopped(g->calib, layer->number, error); l++) {
        if (!is_of_item(g, k, l, changed))
            continue;
        changed[l] = true;
        if (change_unit(g, &g->units[l], layer, error) != ORGAN_OK)
            return error->status;
    }
    return error->status;
}

/* ---- several at a time ---- */

#define SMALL      ((uint64_t)1 << 20) /* weights of a matrix for each worker up to which it is solved beside others */
#define SHARED     ((uint64_t)4) /* matrices of the size of H that matrices with the same inputs may share (`spare`) */
#define TEAM_BYTES ((uint64_t)1 << 20) /* buffers of a further worker, without those for a row */
#define ROW_BYTES  ((uint64_t)512)     /* these, for each weight of a row */

/* Entries [first, first + count) of the batch. */
typedef struct batch_item {
    size_t first, count;
    organ_error error;
} batch_item;

typedef struct units_batch {
    const organ_calibration_captures *g;
    const organ_calibration_layer *layer;
    organ_calibration_solving *entries;
    size_t *units; /* of each entry: its index in g->units */
    size_t entry_count;
    batch_item *items;
    size_t item_count;
    double *costs;         /* of each item */
    size_t *order, *sizes; /* organ_workers_divide */
    uint64_t bytes;
    size_t failed; /* least index of an item that has failed; atomic */
} units_batch;

static bool may_batch(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    const size_t workers = organ_workers_count(g->calib->engine->workers);
    return workers > 1 && g->calib->work->solve && is_calibrated(u) && !u->common &&
           u->rows * u->cols <= SMALL * workers;
}

/* Returns the bytes of the batch's item that unit k leads, and adds its work to *cost and its units to *count. Matrices
 * with the same inputs may use *spare bytes together. */
static uint64_t item_bytes(const organ_calibration_captures *g, size_t k, const bool *changed, size_t *count,
                           uint64_t *spare, double *cost)
{
    const organ_calibration_work *const work = g->calib->work;
    const double cols = (double)g->units[k].cols;
    uint64_t bytes = TEAM_BYTES + ROW_BYTES * g->units[k].cols;
    *count = 0;
    *cost = cols * cols * cols / 3;
    for (size_t l = k; l < g->unit_count; l++) {
        const organ_calibration_unit *const u = &g->units[l];
        if (!is_of_item(g, k, l, changed))
            continue;
        bytes += u->rows * u->cols * sizeof(float) +
                 work->memory(work->context, g->calib, g->calib->targets->tensors[u->target]);
        *cost += 8 * (double)u->rows * cols * cols;
        ++*count;
    }
    const organ_input_moments *const m = organ_calibration_moments(g->groups[g->units[k].group].calibration);
    *spare = *count > 1 ? SHARED * organ_block_entries(m->features, m->block) * sizeof(float) : 0;
    return bytes + *spare;
}

/* Adds the item that unit k leads to the batch, unless it would exceed the memory. */
static bool add_item(units_batch *b, size_t k, bool *changed)
{
    const organ_calibration_captures *const g = b->g;
    batch_item item = {.first = b->entry_count};
    uint64_t spare;
    const uint64_t bytes = item_bytes(g, k, changed, &item.count, &spare, &b->costs[b->item_count]);
    if (bytes > g->calib->work_memory + g->spare - b->bytes)
        return false;
    b->bytes += bytes;
    for (size_t l = k; l < g->unit_count; l++) {
        if (!is_of_item(g, k, l, changed))
            continue;
        organ_calibration_matrix matrix = matrix_of(g, &g->units[l], b->layer);
        matrix.spare = spare;
        b->units[b->entry_count] = l;
        b->entries[b->entry_count++] = (organ_calibration_solving){.matrix = matrix};
    }
    for (size_t e = item.first; e < b->entry_count; e++)
        changed[b->units[e]] = true;
    b->items[b->item_count++] = item;
    return true;
}

static void note_failure(units_batch *b, size_t item)
{
    size_t failed = __atomic_load_n(&b->failed, __ATOMIC_RELAXED);
    while (item < failed &&
           !__atomic_compare_exchange_n(&b->failed, &failed, item, /*weak=*/true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

/* After a failure only items before the failed one begin: those after it will not be stored. */
static void solve_item(void *context, size_t k, organ_workers *team)
{
    units_batch *const b = context;
    const organ_calibration_run *const calib = b->g->calib;
    const size_t number = b->order[k];
    batch_item *const item = &b->items[number];
    organ_engine engine = *calib->engine;
    engine.workers = team;
    engine.ranks = NULL;
    if (__atomic_load_n(&b->failed, __ATOMIC_RELAXED) < number ||
        (!organ_calibration_stopped(calib, b->layer->number, &item->error) &&
         calib->work->solve(calib->work->context, &engine, b->entries + item->first, item->count, &item->error) ==
             ORGAN_OK))
        return;
    note_failure(b, number);
}

static organ_status store_item(units_batch *b, const batch_item *item, organ_error *error)
{
    for (size_t e = item->first; e < item->first + item->count && !error->status; e++) {
        organ_calibration_solving *const x = &b->entries[e];
        x->matrix.solved = x->solved;
        x->matrix.spare = b->g->spare;
        if (!x->solved)
            *error = item->error;
        else if (organ_calibration_stopped(b->g->calib, b->layer->number, error) == ORGAN_OK)
            store_unit(b->g, &b->g->units[b->units[e]], &x->matrix, x->weights, error);
    }
    return error->status;
}

static organ_status run_batch(units_batch *b, organ_error *error)
{
    organ_workers *const workers = b->g->calib->engine->workers;
    organ_workers_divide(workers, b->costs, b->item_count, /*places=*/1, b->order, b->sizes);
    for (size_t e = 0; e < b->entry_count && !error->status; e++)
        b->entries[e].weights = read_unit(&b->g->units[b->units[e]], b->layer, error);
    if (error->status || organ_workers_run_teams(workers, b->sizes, b->item_count, solve_item, b, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < b->item_count && !error->status; k++)
        store_item(b, &b->items[k], error);
    return error->status;
}

static void batch_close(units_batch *b)
{
    for (size_t e = 0; e < b->entry_count; e++) {
        b->g->calib->work->drop(b->entries[e].solved);
        free(b->entries[e].weights);
    }
    ORGAN_FREE_ARRAYS(b->entries, b->units, b->items, b->costs, b->order, b->sizes);
}

/* Changes the items from unit k on that fit the memory together, at most twice as many as there are workers. If only
 * one does, it is changed alone. */
static organ_status change_batch(const organ_calibration_captures *g, size_t k, bool *changed,
                                 const organ_calibration_layer *layer, organ_error *error)
{
    const size_t most = 2 * organ_workers_count(g->calib->engine->workers), units = g->unit_count;
    ORGAN_RELEASED_BY(batch_close) units_batch b = {.g = g, .layer = layer, .failed = SIZE_MAX};
    b.entries = calloc(units, sizeof *b.entries);
    b.units = calloc(units, sizeof *b.units);
    b.items = calloc(most, sizeof *b.items);
    b.costs = calloc(most, sizeof *b.costs);
    b.order = calloc(most, sizeof *b.order);
    b.sizes = calloc(most, sizeof *b.sizes);
    if (!b.entries || !b.units || !b.items || !b.costs || !b.order || !b.sizes)
        return organ_fail_memory(error, g->calib->model->path);
    for (size_t l = k; l < units && b.item_count < most; l++)
        if (!changed[l] && (!may_batch(g, &g->units[l]) || !add_item(&b, l, changed)))
            break;
    if (b.item_count > 1)
        return run_batch(&b, error);
    for (size_t e = 0; e < b.entry_count; e++)
        changed[b.units[e]] = false;
    return change_item(g, k, changed, layer, error);
}

organ_status organ_calibration_change_units(const organ_calibration_captures *g, const organ_calibration_layer *layer,
                                            organ_error *error)
{
    ORGAN_OWNED bool *const changed = calloc(g->unit_count + 1, sizeof *changed);
    if (!changed)
        organ_fail_memory(error, g->calib->model->path);
    else
        organ_calibration_assign_units(g, error);
    /* Matrices that ranks share come first, so that no rank waits while another changes its own matrices. */
    for (unsigned turn = 0; turn < 2 && !error->status; turn++) {
        for (size_t k = 0; k < g->unit_count; k++)
            changed[k] = !walk_is_local(g, &g->units[k]) || g->units[k].common != (turn == 0);
        for (size_t k = 0; k < g->unit_count && !error->status; k++)
            if (!changed[k])
                (may_batch(g, &g->units[k]) ? change_batch : change_item)(g, k, changed, layer, error);
    }
    return organ_calibration_exchange_matrices(g, layer, error);
}
