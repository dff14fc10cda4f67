/* SPDX-License-Identifier: MIT
 * The calling thread of a pass: it allocates the slots, starts workers and companions, and receives finished items. */

#include "formats/base/activity.h"
#include "formats/base/owned.h"

#include "formats/base/results.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/pass_parts.h"

#include <errno.h>
#include <stdlib.h>

/* ---- companions ---- */

static void write_band(void *run, organ_queued_write *queued)
{
    organ_pass_run_state *const r = run;
    ORGAN_LOCKED(&r->lock);
    organ_pass_write(r, (organ_pass_slot *)queued);
    r->writing--;
}

static organ_status start_companions(organ_pass_run_state *r, organ_error *error)
{
    if (!r->pass->behind)
        return ORGAN_OK;
    return organ_writers_create(organ_workers_count(r->engine->workers), write_band, r, &r->companions, error);
}

/* ---- the calling thread ---- */

/* The caller holds the lock. */
static organ_pass_open *take_complete(organ_pass_run_state *r)
{
    organ_pass_open *const items = r->complete;
    r->complete = NULL;
    r->complete_end = &r->complete;
    return items;
}

/* Calls pass->tell for finished items in their order, up to the first unfinished one; with `all`, skips unfinished
 * items. */
static void tell_items(organ_pass_run_state *r, bool all)
{
    const organ_pass *const pass = r->pass;
    for (; r->told < pass->item_count; r->told++) {
        const organ_pass_item *const item = &pass->items[r->told];
        if (r->ended[r->told] && pass->tell)
            pass->tell(pass->context, r->told);
        else if (!r->ended[r->told] && !all && !item->elsewhere && item->tensor->bytes)
            return;
    }
}

/* Stops passing items to `finish` after the first that fails there, and then returns false. */
static bool finish_items(organ_pass_run_state *r, organ_pass_open *items, bool usable)
{
    for (organ_pass_open *next; items; items = next) {
        organ_error error = {0};
        next = items->next;
        if (usable && !items->failed && r->pass->finish &&
            r->pass->finish(r->pass->context, items->item, &error) != ORGAN_OK) {
            usable = false;
            ORGAN_LOCKED(&r->lock);
            organ_pass_fail(r, items->number, &error);
        }
        r->ended[items->item] = usable && !items->failed;
        tell_items(r, /*all=*/false);
        free(items);
        ORGAN_LOCKED(&r->lock);
        r->unfinished--;
        if (r->idle)
            pthread_cond_broadcast(&r->changed);
    }
    return usable;
}

/* Waits for complete items or a fifth of a second. Returns false if nothing more will come. The caller holds the
 * lock. */
static bool await_items(organ_pass_run_state *r)
{
    if (organ_stop_is_requested(r->engine->stop)) {
        organ_error error = {0};
        organ_fail(&error, ORGAN_INTERRUPTED, "interrupted");
        organ_pass_fail(r, 0, &error);
    }
    if (r->complete)
        return true;
    if ((!r->more || r->failed != UINT64_MAX) && r->active == 0)
        return false;
    ORGAN_DURING(ORGAN_WAITING);
    organ_condition_wait(&r->finished, &r->lock);
    return true;
}

/* At the end frees the item whose last band was never claimed, if there is one. */
static void receive_items(organ_pass_run_state *r)
{
    bool usable = true;
    pthread_mutex_lock(&r->lock);
    while (await_items(r)) {
        organ_pass_open *const items = take_complete(r);
        const uint64_t bytes = r->bytes;
        r->bytes = 0;
        pthread_mutex_unlock(&r->lock);
        if (bytes && r->pass->advance)
            r->pass->advance(r->pass->context, bytes);
        usable = finish_items(r, items, usable);
        pthread_mutex_lock(&r->lock);
    }
    const uint64_t bytes = r->bytes;
    pthread_mutex_unlock(&r->lock);
    if (bytes && r->pass->advance)
        r->pass->advance(r->pass->context, bytes);
    tell_items(r, /*all=*/true);
    free(r->open);
}

/* ---- memory ---- */

/* The scratch of each worker is on its NUMA node, and slot k on the node of worker k modulo the workers, so that
 * each node has slots in proportion to its workers. */
static organ_status allocate_slots(organ_pass_run_state *r, organ_error *error)
{
    const organ_topology *topology = r->engine->topology;
    const size_t workers = organ_workers_count(r->engine->workers);
    r->slots = calloc(r->plan.slots, sizeof *r->slots);
    r->hands = calloc(workers, sizeof *r->hands);
    r->ended = calloc(r->pass->item_count + 1, sizeof *r->ended);
    r->writes = calloc(r->pass->model->file_count + 1, sizeof *r->writes);
    if (!r->slots || !r->hands || !r->ended || !r->writes)
        return organ_fail_errno(error, ENOMEM, "cannot allocate the bands of a pass");
    for (size_t k = 0; k < workers; k++)
        r->hands[k].fd[0] = r->hands[k].fd[1] = -1;
    for (size_t k = 0; k < workers && r->pass->scratch_bytes; k++) {
        const unsigned node = organ_workers_place(r->engine->workers, k).node;
        if (!(r->hands[k].scratch = organ_topology_allocate(topology, node, r->pass->scratch_bytes)))
            return organ_fail_errno(error, errno, "cannot allocate %zu bytes of scratch", r->pass->scratch_bytes);
    }
    for (size_t k = 0; k < r->plan.slots; k++) {
        organ_pass_slot *s = &r->slots[k];
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

static void release_slots(organ_pass_run_state *r)
{
    const organ_topology *topology = r->engine->topology;
    for (size_t k = 0; r->slots && k < r->plan.slots; k++) {
        free(r->slots[k].results);
        organ_topology_free(topology, r->slots[k].memory[0], r->buffer_bytes);
        organ_topology_free(topology, r->slots[k].memory[1], r->buffer_bytes);
    }
    for (size_t k = 0; r->hands && k < organ_workers_count(r->engine->workers); k++)
        organ_topology_free(topology, r->hands[k].scratch, r->pass->scratch_bytes);
    ORGAN_FREE_ARRAYS(r->slots, r->hands, r->ended, r->writes);
}

static void begin_run(organ_pass_run_state *r)
{
    r->buffer_bytes = r->plan.band_bytes + 2 * ORGAN_PASS_PAGE;
    r->failed = UINT64_MAX;
    r->more = r->more_ahead = true;
    r->last_item = SIZE_MAX;
    r->complete_end = &r->complete;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    organ_condition_init(&r->finished);
}

static void end_run(organ_pass_run_state *r)
{
    pthread_cond_destroy(&r->changed);
    pthread_cond_destroy(&r->finished);
    pthread_mutex_destroy(&r->lock);
}

organ_status organ_pass_run(const organ_pass *pass, const organ_engine *engine, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_pass_run_state r = {.pass = pass, .engine = engine};
    if (organ_band_plan_make(pass, engine, organ_workers_count(engine->workers), &r.plan, error))
        return error->status;
    if (r.plan.total_bytes == 0 && !r.plan.moves)
        return ORGAN_OK;
    begin_run(&r);
    if (allocate_slots(&r, error) == ORGAN_OK)
        start_companions(&r, error);
    if (!error->status) {
        organ_workers_start(engine->workers, organ_pass_work, &r);
        receive_items(&r);
        organ_workers_wait(engine->workers);
    }
    organ_writers_destroy(r.companions);
    if (r.error.status)
        *error = r.error;
    release_slots(&r);
    end_run(&r);
    return error->status;
}
