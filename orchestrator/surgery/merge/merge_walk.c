/* SPDX-License-Identifier: MIT
 * Divides tensors among workers. A tensor of at most WHOLE_VALUES values is merged by one worker, at the same time as
 * others. The strips of a larger one are divided among all workers, pass by pass. Strips and the order in which their
 * sums are added are the same in both cases, so the number of workers has no influence on the result. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE_VALUES ((uint64_t)1 << 22)

/* Strips of a result that a worker takes at once at most, so that its writes are long. */
#define RUN 8

/* The phase of a divided tensor that applies the method; other numbers are passes of `scan`. */
#define APPLY UINT_MAX

typedef struct merge_state {
    const organ_merge_walk *walk;
    const organ_engine *engine;
    merge_sizes sizes;
    size_t workers; /* workers that have memory */
    merge_lane *lanes;
    organ_reader_gate gate;
    pthread_mutex_t lock;
    pthread_cond_t more, finished; /* for workers: a strip may be taken; for the calling thread: an item is done */
    organ_error error;             /* of the first item, or strip of the divided item, that failed */
    uint64_t failed;               /* its number */
    bool failing;                  /* no further items or strips are taken */
    size_t working;                /* workers that have not returned */
    /* Items [from, to) that are merged by one worker each. */
    size_t from, to, next;
    bool *done;               /* for each of them */
    organ_merge_moved *moved; /* sizes.inputs for each of them */
    /* The divided item. */
    unsigned phase;
    void *state;
    uint64_t strips, taken, folded; /* number of strips, strips taken, and strips whose sums are added */
    size_t run;                     /* strips that a worker takes at once */
    size_t window;                  /* slots of the ring of sums: strip k has slot k % window */
    size_t slot;                    /* bytes of a slot, which has the sums of a strip */
    unsigned char *slots;
    bool *ready; /* the slot has the sums of its strip */
} merge_state;

/* ---- memory ---- */

static uint64_t lane_bytes(const merge_sizes *s)
{
    return (s->inputs + 1) * (uint64_t)s->values + s->reading + s->scratch + s->state + s->counters + s->sums;
}

static size_t moved_bytes(const merge_sizes *s) { return s->inputs * sizeof(organ_merge_moved); }

/* Each worker adds slots for four times the strips that it takes at once. */
static size_t ring_bytes(const merge_sizes *s)
{
    const size_t scan = 4 * s->sums, apply = 4 * RUN * moved_bytes(s);
    return organ_to_line(scan > apply ? scan : apply);
}

/* A lane, its share of the ring, and what it allocates for the open item. */
static uint64_t bytes_of_worker(const merge_state *w)
{
    return lane_bytes(&w->sizes) + ring_bytes(&w->sizes) + w->sizes.changes + w->walk->put_memory;
}

static organ_status measure_all(merge_state *w, size_t *widest, organ_error *error)
{
    uint64_t most = 0;
    for (size_t k = 0; k < w->walk->count; k++) {
        if (organ_merge_measure(w->walk, &w->walk->items[k], &w->sizes, error))
            return error->status;
        *widest = lane_bytes(&w->sizes) > most ? k : *widest;
        most = lane_bytes(&w->sizes);
    }
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
    const size_t count = organ_workers_count(w->engine->workers);
    if (organ_memory_claim(w->engine, each + shared, error, "a strip of tensor '%s' of all inputs",
                           w->walk->items[widest].task.name))
        return error->status;
    organ_memory_prefer(w->engine, each * count + shared);
    const uint64_t fits = (organ_engine_memory(w->engine) - shared) / each;
    w->workers = fits < count ? (size_t)fits : count;
    return ORGAN_OK;
}

static organ_status allocate_lane(const merge_state *w, size_t worker, organ_error *error)
{
    const merge_sizes *const s = &w->sizes;
    const unsigned node = organ_workers_place(w->engine->workers, worker).node;
    merge_lane *const lane = &w->lanes[worker];
    lane->worker = worker;
    unsigned char *at = organ_topology_allocate(w->engine->topology, node, (size_t)lane_bytes(s));
    lane->memory = at;
    lane->input = calloc(s->inputs, sizeof *lane->input);
    lane->from = calloc(s->readers, sizeof *lane->from);
    if (!at || !lane->input || !lane->from)
        return organ_fail_memory(error, w->walk->items[0].task.name);
    for (size_t k = 0; k < s->inputs; k++, at += s->values)
        lane->input[k] = (float *)(void *)at;
    lane->out = (float *)(void *)at;
    at += s->values;
    lane->reading = at;
    at += s->reading;
    lane->scratch = at;
    at += s->scratch;
    lane->state = at;
    at += s->state;
    lane->counters = (uint64_t *)(void *)at;
    lane->sums = (double *)(void *)(at + s->counters);
    return ORGAN_OK;
}

static organ_status allocate_all(merge_state *w, organ_error *error)
{
    const size_t inputs = w->sizes.inputs;
    w->lanes = calloc(w->workers, sizeof *w->lanes);
    w->done = calloc(w->walk->count, sizeof *w->done);
    w->moved = calloc(w->walk->count * inputs, sizeof *w->moved);
    w->ready = calloc(4 * RUN * w->workers, sizeof *w->ready);
    w->slots = aligned_alloc(64, w->workers * ring_bytes(&w->sizes));
    w->state = w->sizes.state ? aligned_alloc(64, w->sizes.state) : NULL;
    if (!w->lanes || !w->done || !w->moved || !w->ready || !w->slots || (w->sizes.state && !w->state))
        return organ_fail_memory(error, w->walk->items[0].task.name);
    for (size_t k = 0; k < w->workers && !error->status; k++)
        allocate_lane(w, k, error);
    return error->status;
}

static void release_all(merge_state *w)
{
    for (size_t k = 0; w->lanes && k < w->workers; k++) {
        organ_topology_free(w->engine->topology, w->lanes[k].memory, (size_t)lane_bytes(&w->sizes));
        free(w->lanes[k].input);
        free(w->lanes[k].from);
    }
    free(w->lanes);
    free(w->done);
    free(w->moved);
    free(w->ready);
    free(w->slots);
    free(w->state);
}

/* ---- faults ---- */

/* The caller holds the lock. Keeps the error of the smallest number: all smaller ones were taken before. */
static void keep_error(merge_state *w, uint64_t number, const organ_error *error)
{
    if (w->failing && w->failed <= number)
        return;
    w->error = *error;
    w->failed = number;
    w->failing = true;
    pthread_cond_broadcast(&w->more);
}

static void name_tensor(const organ_merge_item *item, organ_error *error)
{
    char message[sizeof error->message];
    memcpy(message, error->message, sizeof message);
    *error = (organ_error){0};
    organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': %s", item->task.method->name, item->task.name, message);
}

static organ_status end_pass(const organ_merge_item *item, void *state, unsigned pass, const uint64_t *counters,
                             bool *again, organ_error *error)
{
    *again = false;
    if (item->task.method->next(&item->task, state, pass, counters, again, error))
        name_tensor(item, error);
    return error->status;
}

/* ---- a tensor that one worker merges ---- */

static void clear_counters(const organ_merge_item *item, merge_lane *lane)
{
    memset(lane->counters, 0, organ_merge_stated(item->task.method->counters, item) * sizeof *lane->counters);
}

static void begin_state(const organ_merge_item *item, void *state)
{
    if (item->task.method->state)
        memset(state, 0, item->task.method->state(&item->task));
    if (item->task.method->begin)
        item->task.method->begin(&item->task, state);
}

static organ_status scan_whole(merge_state *w, merge_lane *lane, const organ_merge_item *item)
{
    const uint64_t strips = organ_merge_strips(&item->task.shape);
    bool again = organ_merge_scans(item);
    for (unsigned pass = 0; again; pass++) {
        clear_counters(item, lane);
        for (uint64_t s = 0; s < strips && !lane->error.status; s++)
            if (!organ_merge_scan_strip(lane, item, lane->state, pass, s, &w->gate, &lane->error) &&
                item->task.method->fold)
                item->task.method->fold(&item->task, lane->state, pass, lane->sums);
        if (lane->error.status || end_pass(item, lane->state, pass, lane->counters, &again, &lane->error))
            return lane->error.status;
    }
    return ORGAN_OK;
}

static void add_moved(organ_merge_moved *moved, const double *sums, size_t inputs)
{
    organ_merge_add_moved(moved, (const organ_merge_moved *)(const void *)sums, inputs);
}

static organ_status settle(const merge_state *w, merge_lane *lane)
{
    organ_error own = {0};
    if (w->walk->settle && w->walk->settle(w->walk->context, lane->worker, &own) && !lane->error.status)
        lane->error = own;
    return lane->error.status;
}

static organ_status merge_whole(merge_state *w, merge_lane *lane, size_t number)
{
    const organ_merge_item *const item = &w->walk->items[number];
    const size_t inputs = organ_merge_item_inputs(item);
    begin_state(item, lane->state);
    if (!organ_merge_open_item(lane->from, item, &lane->error) && !scan_whole(w, lane, item))
        for (uint64_t s = 0; s < organ_merge_strips(&item->task.shape) && !lane->error.status; s++)
            if (!organ_merge_apply_strip(lane, w->walk, w->engine->kernels, number, lane->state, s, &w->gate,
                                         &lane->error))
                add_moved(&w->moved[number * w->sizes.inputs], lane->sums, inputs);
    organ_merge_close_item(lane->from, item);
    return settle(w, lane);
}

static bool take_whole(merge_state *w, size_t *number)
{
    pthread_mutex_lock(&w->lock);
    const bool any = !w->failing && w->next < w->to && !organ_stop_is_requested(w->engine->stop);
    if (any)
        *number = w->next++;
    else if (--w->working == 0)
        pthread_cond_signal(&w->finished);
    pthread_mutex_unlock(&w->lock);
    return any;
}

static void work_whole(void *context, size_t worker)
{
    merge_state *const w = context;
    if (worker >= w->workers)
        return;
    merge_lane *const lane = &w->lanes[worker];
    for (size_t number; take_whole(w, &number);) {
        const organ_status status = merge_whole(w, lane, number);
        pthread_mutex_lock(&w->lock);
        if (status)
            keep_error(w, number, &lane->error);
        else
            w->done[number] = true;
        pthread_cond_signal(&w->finished);
        pthread_mutex_unlock(&w->lock);
    }
}

/* Finishes the items in their order while the workers merge. */
static organ_status finish_items(merge_state *w, organ_error *error)
{
    size_t k = w->from;
    pthread_mutex_lock(&w->lock);
    while (k < w->to && (w->working || w->done[k])) {
        if (!w->done[k]) {
            organ_condition_wait(&w->finished, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        if (!error->status)
            w->walk->finish(w->walk->context, k, &w->moved[k * w->sizes.inputs], error);
        pthread_mutex_lock(&w->lock);
        if (error->status)
            keep_error(w, k, error);
        k++;
    }
    pthread_mutex_unlock(&w->lock);
    return error->status;
}

static organ_status merge_each(merge_state *w, size_t from, size_t to, organ_error *error)
{
    w->from = w->next = from;
    w->to = to;
    w->working = w->workers;
    organ_workers_start(w->engine->workers, work_whole, w);
    finish_items(w, error);
    organ_workers_wait(w->engine->workers);
    if (!error->status && w->failing)
        *error = w->error;
    if (!error->status && organ_stop_is_requested(w->engine->stop))
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}

/* ---- a tensor that all workers merge ---- */

/* A worker without strips takes the next ones, once their sums have room. It finishes those before a strip that failed,
 * so that the error is that of the first. */
static bool take_strip(merge_state *w, merge_lane *lane, uint64_t *strip)
{
    pthread_mutex_lock(&w->lock);
    while (lane->next == lane->end && !w->failing && w->taken < w->strips && w->taken + w->run > w->folded + w->window)
        pthread_cond_wait(&w->more, &w->lock);
    if (lane->next == lane->end && !w->failing) {
        lane->next = w->taken;
        w->taken = w->strips - w->taken < w->run ? w->strips : w->taken + w->run;
        lane->end = w->taken;
    }
    const bool any =
        lane->next < lane->end && (!w->failing || lane->next < w->failed) && !organ_stop_is_requested(w->engine->stop);
    if (any)
        *strip = lane->next++;
    pthread_mutex_unlock(&w->lock);
    return any;
}

/* The caller holds the lock. */
static void fold_ready(merge_state *w)
{
    const organ_merge_item *const item = &w->walk->items[w->from];
    for (size_t slot; w->folded < w->taken && w->ready[slot = (size_t)(w->folded % w->window)]; w->folded++) {
        const double *const sums = (const double *)(const void *)(w->slots + slot * w->slot);
        w->ready[slot] = false;
        if (w->phase == APPLY)
            add_moved(&w->moved[w->from * w->sizes.inputs], sums, organ_merge_item_inputs(item));
        else if (item->task.method->fold)
            item->task.method->fold(&item->task, w->state, w->phase, sums);
    }
    pthread_cond_broadcast(&w->more);
}

/* Strips whose sums are added may be written still: an error that comes now has their last number. */
static void settle_divided(merge_state *w, merge_lane *lane)
{
    const bool failed = lane->error.status;
    if (w->phase != APPLY || !settle(w, lane) || failed)
        return;
    pthread_mutex_lock(&w->lock);
    keep_error(w, w->strips, &lane->error);
    pthread_mutex_unlock(&w->lock);
}

static void work_divided(void *context, size_t worker)
{
    merge_state *const w = context;
    if (worker >= w->workers)
        return;
    merge_lane *const lane = &w->lanes[worker];
    const organ_merge_item *const item = &w->walk->items[w->from];
    clear_counters(item, lane);
    organ_merge_open_item(lane->from, item, &lane->error);
    lane->next = lane->end = 0;
    for (uint64_t strip; take_strip(w, lane, &strip);) {
        if (!lane->error.status && w->phase == APPLY)
            organ_merge_apply_strip(lane, w->walk, w->engine->kernels, w->from, w->state, strip, &w->gate,
                                    &lane->error);
        else if (!lane->error.status)
            organ_merge_scan_strip(lane, item, w->state, w->phase, strip, &w->gate, &lane->error);
        const size_t slot = (size_t)(strip % w->window);
        memcpy(w->slots + slot * w->slot, lane->sums, w->slot);
        pthread_mutex_lock(&w->lock);
        w->ready[slot] = true;
        if (lane->error.status)
            keep_error(w, strip, &lane->error);
        else
            fold_ready(w);
        pthread_mutex_unlock(&w->lock);
    }
    settle_divided(w, lane);
    organ_merge_close_item(lane->from, item);
}

static organ_status run_phase(merge_state *w, unsigned phase, organ_error *error)
{
    const uint64_t share = w->strips / (4 * w->workers), most = share < RUN ? share : RUN;
    w->phase = phase;
    w->run = phase == APPLY && most ? (size_t)most : 1;
    w->window = 4 * w->run * w->workers;
    w->slot = phase == APPLY ? moved_bytes(&w->sizes) : w->sizes.sums;
    w->taken = w->folded = 0;
    memset(w->ready, 0, w->window * sizeof *w->ready);
    organ_workers_run(w->engine->workers, work_divided, w);
    if (w->failing)
        *error = w->error;
    else if (w->folded < w->strips)
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}

static organ_status merge_divided(merge_state *w, size_t number, organ_error *error)
{
    const organ_merge_item *const item = &w->walk->items[number];
    const size_t counters = organ_merge_stated(item->task.method->counters, item);
    bool again = organ_merge_scans(item);
    w->from = number;
    w->strips = organ_merge_strips(&item->task.shape);
    begin_state(item, w->state);
    for (unsigned pass = 0; again; pass++) {
        if (run_phase(w, pass, error))
            return error->status;
        for (size_t k = 1; k < w->workers; k++)
            for (size_t c = 0; c < counters; c++)
                w->lanes[0].counters[c] += w->lanes[k].counters[c];
        if (end_pass(item, w->state, pass, w->lanes[0].counters, &again, error))
            return error->status;
    }
    if (!run_phase(w, APPLY, error))
        w->walk->finish(w->walk->context, number, &w->moved[number * w->sizes.inputs], error);
    return error->status;
}

static organ_status merge_all_items(merge_state *w, organ_error *error)
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
    merge_state w = {.walk = run, .engine = engine};
    if (run->count == 0 || plan_lanes(&w, error))
        return error->status;
    organ_reader_gate_open(&w.gate, engine);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.more, NULL);
    organ_condition_init(&w.finished);
    if (allocate_all(&w, error) == ORGAN_OK)
        merge_all_items(&w, error);
    release_all(&w);
    pthread_cond_destroy(&w.finished);
    pthread_cond_destroy(&w.more);
    pthread_mutex_destroy(&w.lock);
    organ_reader_gate_close(&w.gate);
    return error->status;
}
