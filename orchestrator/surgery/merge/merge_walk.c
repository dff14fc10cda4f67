/* SPDX-License-Identifier: MIT
 * Divides tensors among workers. A tensor of at most WHOLE_VALUES values is merged by one worker, at the same time as
 * others. The strips of a larger one are divided among all workers, pass by pass. Strips and the order in which their
 * sums are added are the same in both cases, so the number of workers has no influence on the result. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/stream_parts.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_VALUES ((uint64_t)1 << 22)

/* Strips of a result that a worker takes at once at most, so that its writes are long. */
#define RUN ((size_t)8)

/* The phase of a divided tensor that applies the method; other numbers are passes of `scan`. */
#define APPLY   UINT_MAX
#define COMPARE (UINT_MAX - 1) /* the phase that compares inputs with the base */

typedef struct merge_state {
    const organ_merge_walk *walk;
    const organ_engine *engine;
    organ_strip_lanes strips;
    merge_sizes sizes;
    merge_lane *lanes;        /* strips.count of them */
    size_t from;              /* the divided item, or the first of the items that are merged by one worker each */
    size_t inputs;            /* most inputs of an item, with the base */
    organ_merge_moved *moved; /* `inputs` for each item */
    /* The divided item. */
    unsigned phase;
    _Atomic uint64_t equal; /* as in merge_lane, while strips are compared */
    void *state;
    size_t window; /* slots of the ring of sums: strip k has slot k % window */
    size_t slot;   /* bytes of a slot, which has the sums of a strip */
    unsigned char *slots;
} merge_state;

/* ---- memory ---- */

static size_t moved_bytes(const merge_state *w) { return w->inputs * sizeof(organ_merge_moved); }

/* Each worker adds slots for four times the strips that it takes at once. */
static size_t ring_bytes(const merge_state *w)
{
    return organ_to_line(organ_max(4 * w->sizes.sums, 4 * RUN * moved_bytes(w)));
}

/* A lane, its share of the ring, and what it allocates for the open item. */
static uint64_t bytes_of_worker(const merge_state *w)
{
    return organ_strip_lane_bytes(&w->strips) + ring_bytes(w) + w->strips.changes + w->walk->put_memory;
}

/* *widest becomes the index of the item whose lane is the largest. */
static organ_status measure_all(merge_state *w, size_t *widest, organ_error *error)
{
    size_t most = 0;
    for (size_t k = 0; k < w->walk->count; k++) {
        if (organ_merge_measure(w->walk, &w->walk->items[k], &w->strips, &w->sizes, error))
            return error->status;
        *widest = organ_strip_lane_bytes(&w->strips) > most ? k : *widest;
        most = organ_strip_lane_bytes(&w->strips);
    }
    w->inputs = w->strips.inputs - 1;
    return ORGAN_OK;
}

uint64_t organ_merge_walk_enough(const organ_merge_walk *run, const organ_engine *engine, organ_error *error)
{
    merge_state w = {.walk = run, .engine = engine};
    size_t widest = 0;
    return measure_all(&w, &widest, error) ? 0 : bytes_of_worker(&w) + w.sizes.state;
}

static organ_status plan_lanes(merge_state *w, organ_error *error)
{
    size_t widest = 0;
    if (measure_all(w, &widest, error))
        return error->status;
    const uint64_t each = bytes_of_worker(w), shared = w->sizes.state;
    if (organ_memory_claim(w->engine, each + shared, error, "a strip of tensor '%s' of all inputs",
                           w->walk->items[widest].task.name))
        return error->status;
    w->strips.count = organ_memory_workers(w->engine, each, shared);
    return ORGAN_OK;
}

/* strip->rest has room for scratch, state, counters and sums (organ_merge_measure). */
static void place_lane(const merge_state *w, size_t worker)
{
    organ_strip_lane *const strip = &w->strips.lanes[worker];
    unsigned char *const state = strip->rest + w->sizes.scratch, *const counters = state + w->sizes.state;
    w->lanes[worker] = (merge_lane){.worker = worker,
                                    .strip = strip,
                                    .out = strip->values[w->inputs],
                                    .scratch = strip->rest,
                                    .state = state,
                                    .counters = (uint64_t *)(void *)counters,
                                    .sums = (double *)(void *)(counters + w->sizes.counters)};
}

static organ_status allocate_all(merge_state *w, organ_error *error)
{
    const char *const first = w->walk->items[0].task.name;
    if (organ_strip_lanes_open(&w->strips, first, error))
        return error->status;
    w->lanes = calloc(w->strips.count, sizeof *w->lanes);
    w->moved = calloc(w->walk->count * w->inputs, sizeof *w->moved);
    w->slots = aligned_alloc(64, w->strips.count * ring_bytes(w));
    w->state = w->sizes.state ? aligned_alloc(64, w->sizes.state) : NULL;
    if (!w->lanes || !w->moved || !w->slots || (w->sizes.state && !w->state))
        return organ_fail_memory(error, first);
    for (size_t k = 0; k < w->strips.count; k++)
        place_lane(w, k);
    return ORGAN_OK;
}

static void release_all(merge_state *w)
{
    organ_strip_lanes_close(&w->strips);
    ORGAN_FREE_ARRAYS(w->lanes, w->moved, w->slots, w->state);
}

/* ---- faults ---- */

/* Puts the names of method and tensor before the message. */
static void name_tensor(const organ_merge_item *item, organ_error *error)
{
    char message[sizeof error->message];
    memcpy(message, error->message, sizeof message);
    *error = (organ_error){0};
    organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': %s", item->task.method->name, item->task.name, message);
}

static organ_status end_pass(const organ_merge_item *item, void *state, unsigned pass, uint64_t *counters, bool *again,
                             organ_error *error)
{
    *again = false;
    if (item->task.method->next(&item->task, state, pass, counters, again, error))
        name_tensor(item, error);
    return error->status;
}

/* ---- a tensor that one worker merges ---- */

static organ_status open_item(const merge_state *w, merge_lane *lane, size_t number, organ_error *error)
{
    const organ_merge_item *const item = &w->walk->items[number];
    return organ_strip_lane_open(lane->strip, number, organ_merge_reads_of(item), organ_merge_reads(item),
                                 item->task.kernels, error);
}

static void clear_counters(const organ_merge_item *item, merge_lane *lane)
{
    memset(lane->counters, 0, organ_merge_stated(item->task.method->counters, item) * sizeof *lane->counters);
    lane->counts = true;
}

static void begin_state(const organ_merge_item *item, void *state)
{
    if (item->task.method->state)
        memset(state, 0, item->task.method->state(&item->task));
    if (item->task.method->begin)
        item->task.method->begin(&item->task, state);
}

/* Returns whether there is a pass, where `equal` are the inputs that equal the base. */
static bool has_pass(const organ_merge_item *item, uint64_t equal)
{
    bool all = true;
    for (size_t k = 0; k < item->task.inputs; k++)
        all = all && equal >> k & 1;
    return organ_merge_scans(item) && !(item->task.method->skips_equal && all);
}

static organ_status compare_whole(merge_state *w, merge_lane *lane, const organ_merge_item *item, organ_error *error)
{
    const uint64_t strips = organ_merge_strips(&item->task.shape);
    lane->equal = organ_merge_candidates(item);
    for (uint64_t s = 0; s < strips && lane->equal && !error->status; s++)
        organ_merge_compare_strip(lane, item, s, &lane->equal, &w->strips.gate, error);
    return error->status;
}

static organ_status scan_whole(merge_state *w, merge_lane *lane, const organ_merge_item *item, organ_error *error)
{
    const uint64_t strips = organ_merge_strips(&item->task.shape);
    bool again = has_pass(item, lane->equal);
    for (unsigned pass = 0; again; pass++) {
        clear_counters(item, lane);
        for (uint64_t s = 0; s < strips && !error->status; s++)
            if (!organ_merge_scan_strip(lane, item, lane->state, pass, s, &w->strips.gate, error) &&
                item->task.method->fold)
                item->task.method->fold(&item->task, lane->state, pass, lane->sums);
        if (error->status || end_pass(item, lane->state, pass, lane->counters, &again, error))
            return error->status;
    }
    return ORGAN_OK;
}

static void add_moved(organ_merge_moved *moved, const double *sums, size_t inputs)
{
    organ_merge_add_moved(moved, (const organ_merge_moved *)(const void *)sums, inputs);
}

/* Waits for the worker's writes also after an error, which then stays. */
static organ_status settle(const merge_state *w, size_t worker, organ_error *error)
{
    organ_error own = {0};
    if (w->walk->settle && w->walk->settle(w->walk->context, worker, &own) && !error->status)
        *error = own;
    return error->status;
}

static organ_status merge_whole(void *context, size_t part, size_t worker, organ_error *error)
{
    merge_state *const w = context;
    merge_lane *const lane = &w->lanes[worker];
    const size_t number = w->from + part;
    const organ_merge_item *const item = &w->walk->items[number];
    begin_state(item, lane->state);
    if (!open_item(w, lane, number, error) && !compare_whole(w, lane, item, error) && !scan_whole(w, lane, item, error))
        for (uint64_t s = 0; s < organ_merge_strips(&item->task.shape) && !error->status; s++)
            if (!organ_merge_apply_strip(lane, w->walk, w->engine->kernels, number, lane->state, s, &w->strips.gate,
                                         error))
                add_moved(&w->moved[number * w->inputs], lane->sums, organ_merge_item_inputs(item));
    organ_strip_lane_close(lane->strip, organ_merge_reads(item));
    return settle(w, worker, error);
}

static organ_status finish_item(void *context, size_t part, organ_error *error)
{
    const merge_state *const w = context;
    const size_t number = w->from + part;
    return w->walk->finish(w->walk->context, number, &w->moved[number * w->inputs], error);
}

static organ_status merge_each(merge_state *w, size_t from, size_t to, organ_error *error)
{
    const organ_parts items = {
        .count = to - from, .workers = w->strips.count, .context = w, .work = merge_whole, .retire = finish_item};
    w->from = from;
    return organ_parts_run(&items, w->engine, error);
}

/* ---- a tensor that all workers merge ---- */

static organ_status compare_divided(merge_state *w, const merge_lane *lane, const organ_merge_item *item, size_t strip,
                                    organ_error *error)
{
    uint64_t equal = atomic_load(&w->equal);
    if (equal && organ_merge_compare_strip(lane, item, strip, &equal, &w->strips.gate, error) == ORGAN_OK)
        atomic_fetch_and(&w->equal, equal);
    return error->status;
}

static organ_status merge_strip(void *context, size_t strip, size_t worker, organ_error *error)
{
    merge_state *const w = context;
    merge_lane *const lane = &w->lanes[worker];
    const organ_merge_item *const item = &w->walk->items[w->from];
    if (open_item(w, lane, w->from, error))
        return error->status;
    if (!lane->counts)
        clear_counters(item, lane);
    if (w->phase == APPLY)
        organ_merge_apply_strip(lane, w->walk, w->engine->kernels, w->from, w->state, strip, &w->strips.gate, error);
    else if (w->phase == COMPARE)
        return compare_divided(w, lane, item, strip, error);
    else
        organ_merge_scan_strip(lane, item, w->state, w->phase, strip, &w->strips.gate, error);
    memcpy(w->slots + strip % w->window * w->slot, lane->sums, w->slot);
    return error->status;
}

static organ_status fold_strip(void *context, size_t strip, organ_error *error)
{
    const merge_state *const w = context;
    const organ_merge_item *const item = &w->walk->items[w->from];
    const double *const sums = (const double *)(const void *)(w->slots + strip % w->window * w->slot);
    if (w->phase == APPLY)
        add_moved(&w->moved[w->from * w->inputs], sums, organ_merge_item_inputs(item));
    else
        item->task.method->fold(&item->task, w->state, w->phase, sums);
    return error->status;
}

/* Strips whose sums are added may be written still. */
static organ_status leave_strips(void *context, size_t worker, organ_error *error)
{
    const merge_state *const w = context;
    organ_strip_lane_close(w->lanes[worker].strip, organ_merge_reads(&w->walk->items[w->from]));
    return w->phase == APPLY ? settle(w, worker, error) : ORGAN_OK;
}

/* Returns the bytes of sums that a strip of the phase has for `fold_strip`. */
static size_t slot_of(const merge_state *w, const organ_merge_item *item, unsigned phase)
{
    if (phase == APPLY)
        return moved_bytes(w);
    return phase != COMPARE && item->task.method->fold
               ? organ_merge_stated(item->task.method->sums, item) * sizeof(double)
               : 0;
}

static organ_status run_phase(merge_state *w, unsigned phase, organ_error *error)
{
    const organ_merge_item *const item = &w->walk->items[w->from];
    const size_t strips = (size_t)organ_merge_strips(&item->task.shape), share = strips / (4 * w->strips.count);
    w->phase = phase;
    w->slot = slot_of(w, item, phase);
    const size_t room = w->slot ? ring_bytes(w) / (4 * w->slot) : RUN;
    organ_parts parts = {.count = strips,
                         .workers = w->strips.count,
                         .run = organ_max(organ_min(organ_min(share, room), RUN), 1),
                         .context = w,
                         .work = merge_strip,
                         .leave = leave_strips,
                         .retire = w->slot ? fold_strip : NULL};
    w->window = parts.window = 4 * parts.run * w->strips.count;
    for (size_t k = 0; k < w->strips.count; k++)
        w->lanes[k].counts = false; /* the worker itself clears them, if it gets a strip */
    return organ_parts_run(&parts, w->engine, error);
}

/* The counters of the first worker become those of all. */
static void join_counters(const merge_state *w, const organ_merge_item *item, unsigned pass)
{
    const organ_merge_method *const method = item->task.method;
    const size_t counters = organ_merge_stated(method->counters, item);
    uint64_t *const into = w->lanes[0].counters;
    if (!w->lanes[0].counts)
        clear_counters(item, &w->lanes[0]);
    for (size_t k = 1; k < w->strips.count; k++)
        if (!w->lanes[k].counts)
            continue;
        else if (method->join)
            method->join(&item->task, w->state, pass, into, w->lanes[k].counters);
        else
            for (size_t c = 0; c < counters; c++)
                into[c] += w->lanes[k].counters[c];
}

static organ_status merge_divided(merge_state *w, size_t number, organ_error *error)
{
    const organ_merge_item *const item = &w->walk->items[number];
    w->from = number;
    begin_state(item, w->state);
    atomic_store(&w->equal, organ_merge_candidates(item));
    if (atomic_load(&w->equal) && run_phase(w, COMPARE, error))
        return error->status;
    for (size_t k = 0; k < w->strips.count; k++)
        w->lanes[k].equal = atomic_load(&w->equal);
    bool again = has_pass(item, w->lanes[0].equal);
    for (unsigned pass = 0; again; pass++) {
        if (run_phase(w, pass, error))
            return error->status;
        join_counters(w, item, pass);
        if (end_pass(item, w->state, pass, w->lanes[0].counters, &again, error))
            return error->status;
    }
    return run_phase(w, APPLY, error) ? error->status : finish_item(w, 0, error);
}

static organ_status walk_all_items(merge_state *w, organ_error *error)
{
    for (size_t k = 0; k < w->walk->count && !error->status; k++)
        if (w->walk->items[k].rows)
            organ_merge_fill_pads(&w->walk->items[k], error);
    for (size_t k = 0, to; k < w->walk->count && !error->status; k = to) {
        for (to = k; to < w->walk->count && organ_merge_elements(&w->walk->items[to].task) <= WHOLE_VALUES;)
            to++;
        if (to > k)
            merge_each(w, k, to, error);
        else
            merge_divided(w, to++, error);
    }
    return error->status;
}

organ_status organ_merge_walk_run(const organ_merge_walk *run, const organ_engine *engine, organ_error *error)
{
    merge_state w = {.walk = run, .engine = engine, .strips.engine = engine};
    if (run->count == 0 || plan_lanes(&w, error))
        return error->status;
    if (allocate_all(&w, error) == ORGAN_OK)
        walk_all_items(&w, error);
    release_all(&w);
    return error->status;
}
