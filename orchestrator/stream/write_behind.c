/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/write_behind.h"

#include "formats/base/activity.h"
#include "orchestrator/stream/direct_file.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PAGE  ((size_t)ORGAN_DIRECT_ALIGNMENT)
#define SLOTS 3
#define ROOM  (ORGAN_BEHIND_BYTES / SLOTS / PAGE * PAGE) /* bytes of a write, with the lead within its page */
#define SHORT ((size_t)64 << 10)                         /* a shorter write is not worth the change of thread */

typedef struct behind_lane behind_lane;

/* A copy of consecutive bytes of a file until they are written. */
typedef struct behind_slot {
    organ_queued_write queued; /* first member: writers have a pointer to it */
    behind_lane *lane;
    char *pages; /* ROOM bytes, which begin at a page */
    size_t lead, bytes;
    uint64_t offset; /* of the bytes in the file */
    bool queues;     /* a writer has the slot until it clears this with the lane's lock held */
} behind_slot;

/* The buffers and the open file of a worker. */
struct behind_lane {
    pthread_mutex_t lock; /* protects `queues` of the slots, and `error` */
    pthread_cond_t ended; /* a write has ended */
    char *memory;         /* NULL: the worker has written nothing yet */
    behind_slot slots[SLOTS];
    size_t turn;            /* index of the slot for the next write */
    organ_direct_file file; /* path NULL: none */
    organ_error error;      /* of the first write that failed */
};

struct organ_behind {
    organ_writers *writers;
    size_t count;
    behind_lane lanes[];
};

static void write_behind(void *context, organ_queued_write *queued)
{
    behind_slot *const s = (behind_slot *)queued;
    behind_lane *const lane = s->lane;
    organ_error error = {0};
    (void)context;
    organ_direct_write(&lane->file, s->pages + s->lead, s->bytes, s->offset, &error);
    pthread_mutex_lock(&lane->lock);
    if (error.status && !lane->error.status)
        lane->error = error;
    s->queues = false;
    s->bytes = 0;
    pthread_cond_signal(&lane->ended);
    pthread_mutex_unlock(&lane->lock);
}

static organ_status await_slot(behind_lane *lane, const behind_slot *s, organ_error *error)
{
    const organ_activity before = organ_activity_begin(ORGAN_WRITING);
    pthread_mutex_lock(&lane->lock);
    while (s->queues)
        pthread_cond_wait(&lane->ended, &lane->lock);
    if (lane->error.status)
        *error = lane->error;
    pthread_mutex_unlock(&lane->lock);
    organ_activity_begin(before);
    return error->status;
}

/* Begins to write the bytes of the slot whose turn it is. No writer has it. */
static void flush(organ_behind *behind, behind_lane *lane)
{
    behind_slot *const s = &lane->slots[lane->turn];
    s->queues = lane->file.direct >= 0 && s->bytes >= SHORT;
    if (s->queues)
        organ_writers_queue(behind->writers, &s->queued, s->bytes);
    else
        write_behind(NULL, &s->queued);
    lane->turn = (lane->turn + 1) % SLOTS;
}

organ_status organ_behind_wait(organ_behind *behind, size_t worker, organ_error *error)
{
    behind_lane *const lane = &behind->lanes[worker];
    const behind_slot *const last = &lane->slots[lane->turn];
    organ_error own = {0};
    if (await_slot(lane, last, &own) == ORGAN_OK && last->bytes)
        flush(behind, lane);
    for (size_t k = 0; k < SLOTS; k++)
        await_slot(lane, &lane->slots[k], &own);
    if (own.status)
        *error = own;
    return own.status;
}

/* A worker's memory is allocated by its first write, so that it is on the worker's NUMA node and idle workers have
 * none. */
static organ_status open_lane(behind_lane *lane, organ_error *error)
{
    if (lane->memory)
        return ORGAN_OK;
    if (!(lane->memory = aligned_alloc(PAGE, SLOTS * ROOM)))
        return organ_fail_memory(error, "the output");
    for (size_t k = 0; k < SLOTS; k++)
        lane->slots[k] = (behind_slot){.lane = lane, .pages = lane->memory + k * ROOM};
    return ORGAN_OK;
}

static organ_status open_file(organ_behind *behind, size_t worker, const char *path, organ_error *error)
{
    behind_lane *const lane = &behind->lanes[worker];
    if (lane->file.path && strcmp(lane->file.path, path) == 0)
        return ORGAN_OK;
    if (lane->file.path && organ_behind_wait(behind, worker, error))
        return error->status;
    if (lane->file.path)
        organ_direct_close(&lane->file);
    if (organ_direct_open(path, 0666, &lane->file, error))
        lane->file.path = NULL;
    return error->status;
}

organ_status organ_behind_write(organ_behind *behind, size_t worker, const char *path, const void *data, size_t bytes,
                                uint64_t offset, organ_error *error)
{
    behind_lane *const lane = &behind->lanes[worker];
    const char *from = data;
    if (open_lane(lane, error) || open_file(behind, worker, path, error))
        return error->status;
    while (bytes) {
        behind_slot *const s = &lane->slots[lane->turn];
        if (await_slot(lane, s, error))
            break;
        if (s->bytes && (offset != s->offset + s->bytes || s->lead + s->bytes == ROOM)) {
            flush(behind, lane);
            continue;
        }
        if (!s->bytes) {
            s->lead = (size_t)(offset & (PAGE - 1));
            s->offset = offset;
        }
        const size_t room = ROOM - s->lead - s->bytes, some = bytes < room ? bytes : room;
        memcpy(s->pages + s->lead + s->bytes, from, some);
        s->bytes += some;
        from += some;
        offset += some;
        bytes -= some;
    }
    return error->status;
}

organ_status organ_behind_create(size_t workers, organ_behind **behind, organ_error *error)
{
    organ_behind *const b = *behind = calloc(1, sizeof *b + workers * sizeof *b->lanes);
    if (!b)
        return organ_fail_memory(error, "the output");
    b->count = workers;
    for (size_t k = 0; k < workers; k++) {
        pthread_mutex_init(&b->lanes[k].lock, NULL);
        pthread_cond_init(&b->lanes[k].ended, NULL);
    }
    if (organ_writers_create(workers, write_behind, b, &b->writers, error)) {
        organ_behind_destroy(b);
        *behind = NULL;
    }
    return error->status;
}

void organ_behind_destroy(organ_behind *b)
{
    if (!b)
        return;
    organ_writers_destroy(b->writers);
    for (size_t k = 0; k < b->count; k++) {
        behind_lane *const lane = &b->lanes[k];
        if (lane->file.path)
            organ_direct_close(&lane->file);
        free(lane->memory);
        pthread_cond_destroy(&lane->ended);
        pthread_mutex_destroy(&lane->lock);
    }
    free(b);
}
