/* SPDX-License-Identifier: MIT
 * The slots of a pass and the order of what happens to their bands. A band is complete when it is written and retired.
 * The worker that closes a gap in a chain retires all later bands of the chain that are processed, so no thread waits
 * for another one to retire. */
#include "orchestrator/stream/pass_parts.h"

#include "formats/base/activity.h"

#include <errno.h>
#include <stdlib.h>

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

bool organ_pass_may_claim(const organ_pass_run_state *r)
{
    const size_t readers = r->engine->readers;
    return r->more && r->failed == UINT64_MAX && (!readers || r->reading < readers) && r->unfinished <= r->plan.slots;
}

organ_pass_slot *organ_pass_free_slot(organ_pass_run_state *r, unsigned node)
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

bool organ_pass_claim(organ_pass_run_state *r, organ_pass_slot *s)
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

organ_band organ_pass_band(const organ_pass_run_state *r, const organ_pass_slot *s)
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

static void retire_chain(organ_pass_run_state *r, organ_pass_slot *s)
{
    while (s && s->turn && s->worked && !s->retired) {
        organ_error error = {0};
        if (!organ_pass_given_up(r, s)) {
            s->turn = false; /* no other thread may retire it */
            pthread_mutex_unlock(&r->lock);
            const organ_band band = organ_pass_band(r, s);
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
            const organ_band band = organ_pass_band(r, s);
            status = pass->write(pass->context, &band, &error);
        }
        pthread_mutex_lock(&r->lock);
    }
    if (status)
        organ_pass_fail(r, s->number, &error);
    s->written = true;
    release_band(r, s);
}

void organ_pass_complete(organ_pass_run_state *r, organ_pass_slot *s)
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
        organ_pass_write(r, s);
}
