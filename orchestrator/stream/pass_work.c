/* SPDX-License-Identifier: MIT
 * The workers of a pass. */
#include "orchestrator/stream/pass_parts.h"

#include "formats/base/activity.h"
#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- slots of a pass, and the order of what happens to their bands ---- */

/* A band is complete when it is written and retired. The worker that closes a gap in a chain retires all later bands of
 * the chain that are processed, so no thread waits for another one to retire. */

void organ_pass_fail(organ_pass_run_state *r, uint64_t number, const organ_error *error)
{
    if (number >= r->failed)
        return;
    if (number > 0 || !r->error.status) /* a stop does not hide an error */
        r->error = *error;
    r->failed = number;
    pthread_cond_broadcast(&r->changed);
    pthread_cond_signal(&r->finished);
}

/* Returns whether a band may be begun: there is one, none failed, the readers are not too many, and neither are the
 * items that the calling thread has not finished, so that work waits for a journal or a terminal that is held. */
static bool pass_may_claim(const organ_pass_run_state *r)
{
    const size_t readers = r->engine->readers;
    return r->more && r->failed == UINT64_MAX && (!readers || r->reading < readers) && r->unfinished <= r->plan.slots;
}

/* Returns a free slot, on this NUMA node if one is free there; NULL if there is none. */
static organ_pass_slot *pass_free_slot(organ_pass_run_state *r, unsigned node)
{
    organ_pass_slot *any = NULL;
    for (size_t k = 0; k < r->plan.slots; k++) {
        organ_pass_slot *const s = &r->slots[k];
        if (s->number)
            continue;
        if (s->node == node)
            return s;
        any = any ? any : s;
    }
    return any;
}

/* Adds a band to the item of the band before it, or opens the next item. Returns false if memory runs out. */
static bool join_item(organ_pass_run_state *r, organ_pass_slot *s)
{
    if (!r->open) {
        if (!(r->open = calloc(1, sizeof *r->open)))
            return false;
        r->open->item = s->shape.item;
    }
    s->of = r->open;
    s->of->number = s->number;
    s->of->bands++;
    s->of->all = s->shape.last;
    if (s->of->all)
        r->open = NULL;
    return true;
}

/* Appends the band to the chain of the band before it, or begins a chain. */
static void join_chain(organ_pass_run_state *r, organ_pass_slot *s)
{
    const organ_pass *const pass = r->pass;
    const size_t item = s->shape.item;
    /* The first item of all begins a chain in any case. An item of another rank in between ends the chain. */
    const bool same = r->last_item == item || !pass->follows ||
                      (item > 0 && r->last_item == item - 1 && pass->follows(pass->context, item));
    s->turn = !same || r->tail == NULL;
    if (same && r->tail)
        r->tail->successor = s;
    r->tail = s;
    r->last_item = item;
}

/* Makes `s` the slot of the next band. Returns false, after organ_pass_fail, if memory ran out. */
static bool pass_claim(organ_pass_run_state *r, organ_pass_slot *s)
{
    organ_band_shape next;
    s->shape.bytes = 0;
    if (!(r->more = organ_band_next(r->pass, &r->plan, &r->cursor, &next)))
        return false;
    s->shape = next;
    s->number = ++r->claimed;
    s->of = NULL;
    s->successor = NULL;
    s->filled = s->worked = s->turn = false;
    s->written = !next.is_span && !r->pass->write;
    s->retired = next.is_span;
    r->cursor_bytes += next.bytes;
    r->active++;
    r->reading++;
    if (next.is_span)
        return true;
    if (join_item(r, s)) {
        join_chain(r, s);
        return true;
    }
    organ_error error = {0};
    organ_fail_errno(&error, ENOMEM, "cannot allocate the state of an item");
    s->number = 0;
    r->active--;
    r->reading--;
    organ_pass_fail(r, r->claimed, &error);
    return false;
}

static organ_band pass_band(const organ_pass_run_state *r, const organ_pass_slot *s)
{
    const organ_pass_item *const item = &r->pass->items[s->shape.item];
    return (organ_band){.item = s->shape.item,
                        .data = s->data[0],
                        .offset = item->tensor->offset + s->shape.from,
                        .bytes = s->shape.bytes,
                        .tiles = s->shape.tiles,
                        .results = s->results,
                        .last = s->shape.last,
                        .other = item->other ? s->data[1] : NULL};
}

/* Frees the slot if its band needs nothing more, and queues the item if this was its last band. The caller holds the
 * lock. */
static void release_band(organ_pass_run_state *r, organ_pass_slot *s)
{
    organ_pass_open *const of = s->of;
    if (!s->written || !s->retired || !s->worked)
        return;
    const bool failed = s->number >= r->failed;
    s->number = 0;
    r->active--;
    if (of) {
        of->failed |= failed;
        of->bands--;
        r->bytes += failed ? 0 : s->shape.bytes;
        if (of->bands == 0 && of->all) {
            of->next = NULL;
            r->unfinished++;
            *r->complete_end = of;
            r->complete_end = &of->next;
            pthread_cond_signal(&r->finished);
        }
    }
    if (r->idle)
        pthread_cond_signal(&r->changed);
    if (r->active == 0)
        pthread_cond_signal(&r->finished);
}

/* Retires the band if it is its turn, then those after it in its chain that are processed. The caller holds the lock,
 * which is released during the calls of `retire`. */
static void retire_chain(organ_pass_run_state *r, organ_pass_slot *s)
{
    while (s && s->turn && s->worked && !s->retired) {
        organ_error error = {0};
        if (!organ_pass_given_up(r, s)) {
            s->turn = false; /* no other thread may retire it */
            pthread_mutex_unlock(&r->lock);
            const organ_band band = pass_band(r, s);
            const organ_status status = r->pass->retire(r->pass->context, &band, &error);
            pthread_mutex_lock(&r->lock);
            if (status)
                organ_pass_fail(r, s->number, &error);
        }
        organ_pass_slot *const next = s->successor;
        s->retired = true;
        if (next)
            next->turn = true;
        else if (r->tail == s)
            r->tail = NULL;
        release_band(r, s);
        s = next;
    }
}

/* Returns the index of the file that has the band, in the model and in the output. Files without weights count as one,
 * whose index is the number of the model's files. */
static size_t pass_file(const organ_pass *pass, const organ_band_shape *shape)
{
    return shape->is_span ? organ_min(shape->part.file, pass->model->file_count)
                          : pass->items[shape->item].tensor->file;
}

void organ_pass_write(organ_pass_run_state *r, organ_pass_slot *s)
{
    const organ_pass *const pass = r->pass;
    organ_error error = {0};
    organ_status status = ORGAN_OK;
    if (!organ_pass_given_up(r, s)) {
        pthread_mutex_unlock(&r->lock);
        if (s->shape.is_span)
            status = pass->moves->move(pass->moves->context, &s->shape.part, s->shape.part.given ? NULL : s->data[0],
                                       &error);
        else {
            const organ_band band = pass_band(r, s);
            status = pass->write(pass->context, &band, &error);
        }
        pthread_mutex_lock(&r->lock);
    }
    if (status)
        organ_pass_fail(r, s->number, &error);
    s->written = true;
    release_band(r, s);
}

/* Returns the slot of the first held band of this file, which is held no more; NULL: there is none. The caller holds
 * the lock. */
static organ_pass_slot *take_held(organ_pass_run_state *r, size_t file)
{
    organ_pass_slot *first = NULL;
    for (size_t k = 0; k < r->plan.slots; k++) {
        organ_pass_slot *const s = &r->slots[k];
        if (s->held && pass_file(r->pass, &s->shape) == file && (!first || s->number < first->number))
            first = s;
    }
    if (first) {
        first->held = false;
        r->writing--;
    }
    return first;
}

/* Without direct I/O the system lets only one thread write into a file, and others would wait: a worker passes its band
 * to the one that writes into the same file. */
static void write_or_pass(organ_pass_run_state *r, organ_pass_slot *s)
{
    const size_t file = pass_file(r->pass, &s->shape);
    if (r->writes[file]) {
        s->held = true;
        r->writing++;
        return;
    }
    r->writes[file] = true;
    do
        organ_pass_write(r, s);
    while ((s = take_held(r, file)));
    r->writes[file] = false;
}

/* Continues with a band that is processed: queues or does its writing, and retires it and those after it in its chain
 * if it is their turn. Releases the lock meanwhile. The caller uses the slot no more. */
static void pass_complete(organ_pass_run_state *r, organ_pass_slot *s)
{
    s->worked = true;
    const bool write = !s->written, queue = write && r->companions && !s->shape.part.given;
    if (queue) {
        r->writing++;
        organ_writers_queue(r->companions, &s->queued, s->shape.bytes);
    }
    if (!s->retired)
        retire_chain(r, s);
    if (write && !queue)
        write_or_pass(r, s);
}

/* Bytes after the bands that are being read for which the kernel is asked to read ahead: enough for a disk to be busy
 * while all workers compute. One call announces at most STEP_AHEAD bytes, because the kernel cuts longer ranges at the
 * largest request of the device. */
#define AHEAD      ((uint64_t)16 << 20)
#define STEP_AHEAD ((uint64_t)1 << 18)
enum { MAX_AHEAD = 16 }; /* bands that are announced at once */

/* ---- reading ---- */

typedef struct pass_range {
    const organ_model *model;
    size_t file;
    uint64_t offset, bytes;
} pass_range;

/* Sets `ranges` to what has to be read for a band: of the model, then of its counterpart. Returns their number. */
static size_t ranges_of(const organ_pass *pass, const organ_band_shape *shape, pass_range ranges[2])
{
    if (shape->is_span) {
        ranges[0] = (pass_range){pass->model, shape->part.file, shape->part.offset, shape->part.bytes};
        return shape->part.given ? 0 : 1;
    }
    const organ_pass_item *const item = &pass->items[shape->item];
    ranges[0] = (pass_range){pass->model, item->tensor->file, item->tensor->offset + shape->from, shape->bytes};
    if (item->other)
        ranges[1] = (pass_range){pass->other, item->other->file, item->other->offset + shape->from, shape->bytes};
    return item->other ? 2 : 1;
}

/* Sets `next` to the bands up to AHEAD bytes after the one claimed last that are not announced yet, and moves the
 * cursor `ahead` past them. Returns their number. The caller holds the lock. */
static size_t bands_ahead(organ_pass_run_state *r, organ_band_shape next[MAX_AHEAD])
{
    size_t count = 0;
    if (r->ahead_bytes < r->cursor_bytes) { /* never after the first call; the band claimed last is read at once */
        r->ahead = r->cursor;
        r->ahead_bytes = r->cursor_bytes;
    }
    while (count < MAX_AHEAD && r->more_ahead && r->ahead_bytes - r->cursor_bytes < AHEAD) {
        r->more_ahead = organ_band_next(r->pass, &r->plan, &r->ahead, &next[count]);
        if (r->more_ahead)
            r->ahead_bytes += next[count++].bytes;
    }
    return count;
}

/* Files that the model does not keep open are not announced. */
static void announce(const organ_pass *pass, const organ_band_shape *next, size_t count)
{
    pass_range ranges[2];
    for (size_t k = 0; k < count; k++)
        for (size_t n = ranges_of(pass, &next[k], ranges); n-- > 0;) {
            const int fd = ranges[n].model->files[ranges[n].file].fd;
            const uint64_t end = ranges[n].offset + ranges[n].bytes;
            for (uint64_t at = ranges[n].offset; fd >= 0 && at < end; at += STEP_AHEAD)
                posix_fadvise(fd, (off_t)at, (off_t)(end - at < STEP_AHEAD ? end - at : STEP_AHEAD),
                              POSIX_FADV_WILLNEED);
        }
}

/* Each worker has its own descriptor, because the kernel keeps the state of its reading ahead in it. Returns the
 * model's descriptor if the file cannot be opened again. */
static int own_descriptor(organ_pass_hand *hand, int side, const organ_model *model, size_t file)
{
    char path[40];
    if (hand->fd[side] >= 0 && hand->file[side] == file)
        return hand->fd[side];
    if (hand->fd[side] >= 0)
        close(hand->fd[side]);
    snprintf(path, sizeof path, "/proc/self/fd/%d", model->files[file].fd); /* the same file, even if it was renamed */
    hand->fd[side] = organ_open(path, O_RDONLY, 0);
    hand->file[side] = file;
    return hand->fd[side] >= 0 ? hand->fd[side] : model->files[file].fd;
}

static organ_status fill_slot(organ_pass_run_state *r, organ_pass_hand *hand, organ_pass_slot *s, organ_error *error)
{
    pass_range ranges[2];
    const size_t count = ranges_of(r->pass, &s->shape, ranges);
    for (size_t k = 0; k < count && !error->status; k++) {
        const pass_range *const from = &ranges[k];
        const organ_model_file *const file = &from->model->files[from->file];
        s->data[k] = s->memory[k] + from->offset % ORGAN_PASS_PAGE;
        if (file->remote || file->fd < 0)
            organ_model_read(from->model, (uint32_t)from->file, s->data[k], from->bytes, from->offset, error);
        else
            organ_input_read(own_descriptor(hand, (int)k, from->model, from->file), file->path, s->data[k],
                             (size_t)from->bytes, from->offset, error);
    }
    if (!error->status && !s->shape.is_span)
        memset(s->results, 0, s->shape.tiles * r->pass->result_bytes);
    return error->status;
}

/* ---- tiles ---- */

/* Takes the remaining tiles divided by twice the workers, at least one, so that many small tiles are taken together
 * and the last ones are spread over the workers. Returns false if none is left. */
static bool take_tiles(const organ_pass_run_state *r, organ_pass_slot *s, size_t *from, size_t *to)
{
    size_t taken = atomic_load(&s->taken), share;
    do {
        if (taken >= s->shape.tiles)
            return false;
        share = (s->shape.tiles - taken) / (2 * organ_workers_count(r->engine->workers));
        share = share ? share : 1;
    } while (!atomic_compare_exchange_weak(&s->taken, &taken, taken + share));
    *from = taken;
    *to = taken + share;
    return true;
}

/* The caller does not hold the lock. */
static void heed_stop(organ_pass_run_state *r)
{
    if (!organ_stop_is_requested(r->engine->stop) || r->failed == 0)
        return;
    organ_error error = {0};
    organ_fail(&error, ORGAN_INTERRUPTED, "interrupted");
    ORGAN_LOCKED(&r->lock);
    organ_pass_fail(r, 0, &error);
}

/* Counts `count` more tiles of the band as processed. Returns true if nothing of the band is left: then the caller
 * completes it, and no other thread uses the slot any more. */
static bool count_done_tiles(organ_pass_slot *s, size_t count)
{
    const size_t all = s->shape.tiles + 1; /* one for the reader of the band, so that it is the last to take tiles */
    return atomic_fetch_add(&s->done, count) + count == all;
}

/* Processes tiles [from, to), unless the band is given up. Returns the result of count_done_tiles. */
static bool work_on_tiles(organ_pass_run_state *r, organ_pass_slot *s, size_t from, size_t to, void *scratch)
{
    for (size_t t = from; t < to && !organ_pass_given_up(r, s); t++) {
        const organ_tile tile = organ_band_tile(&s->shape, t, s->data[0], s->data[1]);
        r->pass->work(r->pass->context, &tile, scratch, s->results + t * r->pass->result_bytes);
    }
    heed_stop(r);
    return count_done_tiles(s, to - from);
}

/* Stores the processed band, unless it is given up, and goes on with it as pass_complete does. */
static void complete_band(organ_pass_run_state *r, organ_pass_slot *s)
{
    organ_error error = {0};
    organ_status status = ORGAN_OK;
    if (r->pass->store && !s->shape.is_span && !organ_pass_given_up(r, s)) {
        const organ_band band = pass_band(r, s);
        status = r->pass->store(r->pass->context, &band, &error);
    }
    ORGAN_LOCKED(&r->lock);
    if (status)
        organ_pass_fail(r, s->number, &error);
    pass_complete(r, s);
}

static void work_on_band(organ_pass_run_state *r, organ_pass_hand *hand, organ_pass_slot *s,
                         const organ_band_shape *next, size_t announced)
{
    organ_error error = {0};
    size_t from, to;
    announce(r->pass, next, announced);
    const organ_status status = fill_slot(r, hand, s, &error);
    pthread_mutex_lock(&r->lock);
    if (status)
        organ_pass_fail(r, s->number, &error);
    r->reading--;
    atomic_store(&s->done, 0);
    atomic_store(&s->taken, 0);
    s->filled = true;
    if (r->idle)
        pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    while (take_tiles(r, s, &from, &to))
        work_on_tiles(r, s, from, to, hand->scratch); /* never all, because of the count below */
    if (count_done_tiles(s, 1))
        complete_band(r, s);
}

/* ---- the loop ---- */

static organ_pass_slot *slot_with_tiles(organ_pass_run_state *r)
{
    organ_pass_slot *first = NULL;
    for (size_t k = 0; k < r->plan.slots; k++) {
        organ_pass_slot *const s = &r->slots[k];
        if (s->number && s->filled && !s->worked && (!first || s->number < first->number) &&
            atomic_load(&s->taken) < s->shape.tiles)
            first = s;
    }
    return first;
}

/* A worker without memory for its next band waits for writes, if there are any, else for other workers. */
static void await_change(organ_pass_run_state *r)
{
    organ_activity what = r->reading ? ORGAN_READING : ORGAN_WAITING;
    if (r->more && r->writing)
        what = ORGAN_WRITING;
    ORGAN_DURING(what);
    r->idle++;
    pthread_cond_wait(&r->changed, &r->lock);
    r->idle--;
}

/* Returns false if this worker has nothing more to do. The caller holds the lock. */
static bool take_step(organ_pass_run_state *r, size_t worker)
{
    organ_pass_hand *const hand = &r->hands[worker];
    const unsigned node = organ_workers_place(r->engine->workers, worker).node;
    organ_pass_slot *s = pass_may_claim(r) ? pass_free_slot(r, node) : NULL;
    if (s && pass_claim(r, s)) {
        organ_band_shape next[MAX_AHEAD];
        const size_t announced = bands_ahead(r, next);
        pthread_mutex_unlock(&r->lock);
        work_on_band(r, hand, s, next, announced);
        heed_stop(r);
        pthread_mutex_lock(&r->lock);
        return true;
    }
    size_t from, to;
    if ((s = slot_with_tiles(r)) && take_tiles(r, s, &from, &to)) {
        pthread_mutex_unlock(&r->lock);
        if (work_on_tiles(r, s, from, to, hand->scratch))
            complete_band(r, s);
        pthread_mutex_lock(&r->lock);
        return true;
    }
    if ((!r->more || r->failed != UINT64_MAX) && r->reading == 0)
        return false;
    await_change(r);
    return true;
}

void organ_pass_work(void *run, size_t worker)
{
    organ_pass_run_state *const r = run;
    organ_pass_hand *const hand = &r->hands[worker];
    pthread_mutex_lock(&r->lock);
    while (take_step(r, worker))
        ;
    pthread_cond_broadcast(&r->changed); /* wakes the other workers at the end */
    pthread_cond_signal(&r->finished);
    pthread_mutex_unlock(&r->lock);
    for (int side = 0; side < 2; side++)
        if (hand->fd[side] >= 0)
            close(hand->fd[side]);
}
