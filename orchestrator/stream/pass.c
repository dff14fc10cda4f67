/* SPDX-License-Identifier: MIT
 * The pass has a ring of slots, each with the memory of one band. The reader thread fills slot after slot. The workers
 * take tiles from any filled slot, those on their own NUMA node first. The calling thread retires the slots in order.
 * One mutex guards the ring; threads read and process without it. */
#include "orchestrator/stream/pass.h"

#include "orchestrator/machine/thread.h"
#include "orchestrator/stream/band_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096

/* The memory of one band, and how far its tiles are processed. */
typedef struct pass_slot {
    organ_band_shape shape;
    char *memory[2];    /* buffers of the tensor and of its counterpart */
    char *data[2];      /* start of the band in each buffer: congruent to the file offset modulo a page */
    char *results;      /* result_bytes for each tile */
    unsigned node;      /* NUMA node of the buffers */
    size_t taken, done; /* tiles given to workers; tiles finished */
} pass_slot;

/* A running pass over bands: one thread reads, workers process tiles, the calling thread retires bands. */
typedef struct pass_run {
    const organ_pass *pass;
    const organ_engine *engine;
    organ_band_plan plan;
    size_t buffer_bytes; /* of each buffer of a slot */
    pass_slot *slots;    /* [plan.slots]; band number b is in slot b % plan.slots */
    void **scratch;      /* per worker */
    pthread_mutex_t lock;
    /* `filled` wakes workers: a slot was filled. `finished` wakes the calling thread: all tiles of a band are done.
     * `freed` wakes the reader: a slot was retired */
    pthread_cond_t filled, finished, freed;
    uint64_t read, retired; /* numbers of bands read and retired since the start: slots [retired, read) are filled */
    bool all_read;          /* the last band was read */
    bool halted;            /* all threads must end */
    organ_error error;      /* first fault */
} pass_run;

static bool stop_requested(const pass_run *r) { return organ_stop_is_requested(r->engine->stop); }

/* Returns the slot of band number `band`, counted from the start of the pass. */
static pass_slot *slot_of_band(pass_run *r, uint64_t band) { return &r->slots[band % r->plan.slots]; }

/* Makes all threads of the pass end after their current step. Call with the lock held. */
static void halt_pass(pass_run *r)
{
    r->halted = true;
    pthread_cond_broadcast(&r->filled);
    pthread_cond_broadcast(&r->finished);
    pthread_cond_broadcast(&r->freed);
}

/* Reads the bytes of band s->shape of the tensor, and of its counterpart if it has one, into the slot, and zeroes its
 * results. */
static organ_status fill_slot(pass_run *r, pass_slot *s, organ_error *error)
{
    const organ_pass_item *item = &r->pass->items[s->shape.item];
    const organ_tensor *side[2] = {item->tensor, item->other};
    const organ_model *model[2] = {r->pass->model, r->pass->other};
    for (int k = 0; k < 2 && side[k]; k++) {
        const uint64_t offset = side[k]->offset + s->shape.from;
        s->data[k] = s->memory[k] + offset % PAGE;
        if (organ_model_read(model[k], side[k]->file, s->data[k], s->shape.bytes, offset, error))
            return error->status;
    }
    if (!item->other)
        s->data[1] = NULL;
    memset(s->results, 0, s->shape.tiles * r->pass->result_bytes);
    return ORGAN_OK;
}

/* Waits until a slot of the ring is free. Returns false if the pass was halted. */
static bool await_slot(pass_run *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->halted && r->read - r->retired == r->plan.slots)
        pthread_cond_wait(&r->freed, &r->lock);
    const bool go = !r->halted;
    pthread_mutex_unlock(&r->lock);
    return go;
}

/* Runs in a thread of its own: reads band after band into free slots of the ring and wakes the workers. A failed read
 * halts the pass. */
static void *read_bands(void *context)
{
    pass_run *r = context;
    organ_band_cursor cursor = {0};
    organ_band_shape shape;
    while (organ_band_next(r->pass, &r->plan, &cursor, &shape) && await_slot(r)) {
        pass_slot *s = slot_of_band(r, r->read); /* only this thread changes r->read */
        s->shape = shape;
        organ_error error = {0};
        const organ_status status = fill_slot(r, s, &error);
        pthread_mutex_lock(&r->lock);
        if (status) {
            if (!r->error.status)
                r->error = error;
            halt_pass(r);
        } else {
            s->taken = s->done = 0;
            r->read++;
            pthread_cond_broadcast(&r->filled);
        }
        pthread_mutex_unlock(&r->lock);
        if (status)
            return NULL;
    }
    pthread_mutex_lock(&r->lock);
    r->all_read = true;
    pthread_cond_broadcast(&r->filled);
    pthread_cond_broadcast(&r->finished);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Returns the oldest filled slot on NUMA node `node` that has tiles which no worker has taken, else the oldest such
 * slot on any node, else NULL. Call with the lock held. */
static pass_slot *slot_with_work(pass_run *r, unsigned node)
{
    pass_slot *any = NULL;
    for (uint64_t band = r->retired; band < r->read; band++) {
        pass_slot *s = slot_of_band(r, band);
        if (s->taken == s->shape.tiles)
            continue;
        if (s->node == node)
            return s;
        if (!any)
            any = s;
    }
    return any;
}

/* Takes tiles [*from, *to) of a band and returns the slot of the band, preferably one in the memory of NUMA node
 * `node`. Waits if all tiles in memory are taken. The number of taken tiles is that of the remaining ones divided by
 * twice the workers, at least one: with many small tiles a worker needs the lock rarely, and the last tiles are spread
 * over the workers. Returns NULL if no tiles are left, the pass was halted, or a stop is requested. */
static pass_slot *take_tiles(pass_run *r, unsigned node, size_t *from, size_t *to)
{
    pthread_mutex_lock(&r->lock);
    pass_slot *s = NULL;
    while (!r->halted && !stop_requested(r) && !(s = slot_with_work(r, node)) && !(r->all_read))
        pthread_cond_wait(&r->filled, &r->lock);
    if (r->halted || stop_requested(r))
        s = NULL;
    if (s) {
        const size_t share = (s->shape.tiles - s->taken) / (2 * organ_workers_count(r->engine->workers));
        *from = s->taken;
        *to = s->taken += share ? share : 1;
    }
    pthread_mutex_unlock(&r->lock);
    return s;
}

/* Runs on each worker: processes tiles until the pass ends. */
static void work_on_tiles(void *context, size_t worker)
{
    pass_run *r = context;
    const unsigned node = organ_workers_place(r->engine->workers, worker).node;
    size_t from, to;
    for (pass_slot *s; (s = take_tiles(r, node, &from, &to));) {
        for (size_t t = from; t < to; t++) {
            const organ_tile tile = organ_band_tile(&s->shape, t, s->data[0], s->data[1]);
            r->pass->work(r->pass->context, &tile, r->scratch[worker], s->results + t * r->pass->result_bytes);
        }
        pthread_mutex_lock(&r->lock);
        s->done += to - from;
        if (s->done == s->shape.tiles)
            pthread_cond_broadcast(&r->finished);
        pthread_mutex_unlock(&r->lock);
    }
}

/* Waits until all tiles of the oldest band that is not retired are done, and returns its slot. Returns NULL after the
 * last band, or if the pass was halted; halts the pass if a stop is requested. */
static pass_slot *await_band(pass_run *r)
{
    pass_slot *s = NULL;
    pthread_mutex_lock(&r->lock);
    while (!r->halted) {
        if (stop_requested(r)) {
            organ_fail(&r->error, ORGAN_INTERRUPTED, "interrupted");
            halt_pass(r);
        } else if (r->read > r->retired &&
                   slot_of_band(r, r->retired)->done == slot_of_band(r, r->retired)->shape.tiles) {
            s = slot_of_band(r, r->retired);
            break;
        } else if (r->all_read && r->read == r->retired) {
            break;
        } else {
            organ_condition_wait(&r->finished, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return s;
}

/* Runs on the calling thread: passes completed bands to `retire` in order and frees their slots. Halts the pass if
 * `retire` fails. */
static void retire_all(pass_run *r)
{
    for (pass_slot *s; (s = await_band(r));) {
        const organ_band band = {.item = s->shape.item,
                                 .data = s->data[0],
                                 .offset = r->pass->items[s->shape.item].tensor->offset + s->shape.from,
                                 .bytes = s->shape.bytes,
                                 .tiles = s->shape.tiles,
                                 .results = s->results,
                                 .last = s->shape.last,
                                 .other = r->pass->items[s->shape.item].other ? s->data[1] : NULL};
        organ_error error = {0};
        const organ_status status = r->pass->retire(r->pass->context, &band, &error);
        pthread_mutex_lock(&r->lock);
        if (status) {
            if (!r->error.status)
                r->error = error;
            halt_pass(r);
        }
        r->retired++;
        pthread_cond_signal(&r->freed);
        pthread_mutex_unlock(&r->lock);
    }
}

/* Allocates the scratch of each worker on its NUMA node, and slot k on the node of worker k modulo the workers, so that
 * each node has slots in proportion to its workers. */
static organ_status allocate_ring(pass_run *r, organ_error *error)
{
    const organ_topology *topology = r->engine->topology;
    const size_t workers = organ_workers_count(r->engine->workers);
    r->slots = calloc(r->plan.slots, sizeof *r->slots);
    r->scratch = calloc(workers, sizeof *r->scratch);
    if (!r->slots || !r->scratch)
        return organ_fail_errno(error, ENOMEM, "cannot allocate the ring of bands");
    for (size_t k = 0; k < workers && r->pass->scratch_bytes; k++) {
        const unsigned node = organ_workers_place(r->engine->workers, k).node;
        if (!(r->scratch[k] = organ_topology_allocate(topology, node, r->pass->scratch_bytes)))
            return organ_fail_errno(error, errno, "cannot allocate %zu bytes of scratch", r->pass->scratch_bytes);
    }
    for (size_t k = 0; k < r->plan.slots; k++) {
        pass_slot *s = &r->slots[k];
        s->node = organ_workers_place(r->engine->workers, k % workers).node;
        s->results = malloc(r->plan.band_tiles * r->pass->result_bytes + 1);
        s->memory[0] = organ_topology_allocate(topology, s->node, r->buffer_bytes);
        if (r->pass->other)
            s->memory[1] = organ_topology_allocate(topology, s->node, r->buffer_bytes);
        if (!s->results || !s->memory[0] || (r->pass->other && !s->memory[1]))
            return organ_fail_errno(error, ENOMEM, "cannot allocate %zu bytes for a band", r->buffer_bytes);
    }
    return ORGAN_OK;
}

/* Frees the buffers of the ring and of the workers. */
static void release_ring(pass_run *r)
{
    const organ_topology *topology = r->engine->topology;
    for (size_t k = 0; r->slots && k < r->plan.slots; k++) {
        free(r->slots[k].results);
        organ_topology_free(topology, r->slots[k].memory[0], r->buffer_bytes);
        organ_topology_free(topology, r->slots[k].memory[1], r->buffer_bytes);
    }
    for (size_t k = 0; r->scratch && k < organ_workers_count(r->engine->workers); k++)
        organ_topology_free(topology, r->scratch[k], r->pass->scratch_bytes);
    free(r->slots);
    free(r->scratch);
    pthread_cond_destroy(&r->filled);
    pthread_cond_destroy(&r->finished);
    pthread_cond_destroy(&r->freed);
    pthread_mutex_destroy(&r->lock);
}

/* Advises the operating system to read ahead in the model's files, because the pass reads them in order. NULL is
 * allowed. */
static void expect_sequential(const organ_model *model)
{
    for (size_t f = 0; model && f < model->file_count; f++)
        posix_fadvise(model->files[f].fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

/* Runs a pass over tensors: a thread reads bands into a ring of buffers, workers process their tiles, and this thread
 * retires finished bands in order. */
organ_status organ_pass_run(const organ_pass *pass, const organ_engine *engine, organ_error *error)
{
    pass_run r = {.pass = pass, .engine = engine};
    if (organ_band_plan_make(pass, engine->memory, organ_workers_count(engine->workers), &r.plan, error))
        return error->status;
    if (r.plan.total_bytes == 0)
        return ORGAN_OK;
    r.buffer_bytes = r.plan.band_bytes + 2 * PAGE;
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.filled, NULL);
    pthread_cond_init(&r.freed, NULL);
    organ_condition_init(&r.finished);
    expect_sequential(pass->model);
    expect_sequential(pass->other);
    pthread_t thread;
    const int failed = allocate_ring(&r, error) == ORGAN_OK ? organ_thread_create(&thread, NULL, read_bands, &r) : 0;
    if (failed)
        organ_fail_errno(error, failed, "cannot start the reading thread (memory, or a limit on threads)");
    if (!error->status) {
        organ_workers_start(engine->workers, work_on_tiles, &r);
        retire_all(&r);
        organ_workers_wait(engine->workers);
        pthread_join(thread, NULL);
        if (r.error.status)
            *error = r.error;
    }
    release_ring(&r);
    return error->status;
}
