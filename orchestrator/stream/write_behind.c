/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/write_behind.h"

#include "formats/base/activity.h"
#include "formats/base/owned.h"
#include <string.h>

#define PAGE  ((size_t)ORGAN_DIRECT_ALIGNMENT)
#define SLOTS 3
#define ROOM  (ORGAN_BEHIND_BYTES / SLOTS / PAGE * PAGE) /* bytes of a write, with the lead within its page */

/* A copy of consecutive bytes of a file until they are written. */
typedef struct behind_slot {
    organ_behind_part part;
    char *pages; /* ROOM bytes, which begin at a page */
    size_t lead, bytes;
    uint64_t offset; /* of the bytes in the file */
} behind_slot;

/* The open file of a worker, and its buffers for copies. */
typedef struct behind_lane {
    pthread_mutex_t lock;   /* protects `queued`, and `queues` of the parts */
    pthread_cond_t ended;   /* a write has ended; wakes the worker, and the thread that awaits a part */
    size_t queued;          /* writes that writers have */
    organ_direct_file file; /* path NULL: none */
    char *memory;           /* NULL: the worker has written no copies yet */
    behind_slot slots[SLOTS];
    size_t turn;       /* index of the slot for the next write */
    organ_error error; /* of the first copy that could not be written */
} behind_lane;

struct organ_behind {
    bool threads;
    pthread_mutex_t lock;   /* for the start of the writers */
    organ_writers *writers; /* NULL: the workers write */
    size_t count;
    behind_lane lanes[];
};

static void write_part(void *context, organ_queued_write *queued)
{
    organ_behind_part *const part = (organ_behind_part *)queued;
    behind_lane *const lane = part->lane;
    (void)context;
    organ_direct_write(&lane->file, part->data, part->bytes, part->offset, &part->error);
    ORGAN_LOCKED(&lane->lock);
    part->queues = false;
    lane->queued--;
    pthread_cond_broadcast(&lane->ended);
}

/* Waits until no writer has the part; NULL: any of the lane. */
static void await(behind_lane *lane, const organ_behind_part *part)
{
    ORGAN_DURING(ORGAN_WRITING);
    ORGAN_LOCKED(&lane->lock);
    while (part ? part->queues : lane->queued > 0)
        pthread_cond_wait(&lane->ended, &lane->lock);
}

static bool has_file(const behind_lane *lane, const char *path)
{
    return lane->file.path && strcmp(lane->file.path, path) == 0;
}

/* Without direct access, as on tmpfs, the system's writes only copy, so that the worker itself writes. */
static bool has_writers(const organ_behind *behind, const behind_lane *lane)
{
    return lane->file.direct >= 0 && behind->writers;
}

static organ_status start_writers(organ_behind *b, organ_error *error)
{
    ORGAN_LOCKED(&b->lock);
    return b->threads && !b->writers ? organ_writers_create(b->count, write_part, NULL, &b->writers, error) : ORGAN_OK;
}

static organ_status open_file(organ_behind *behind, behind_lane *lane, const char *path, organ_error *error)
{
    if (has_file(lane, path))
        return ORGAN_OK;
    await(lane, /*part=*/NULL);
    if (lane->file.path)
        organ_direct_close(&lane->file);
    if (organ_direct_open(path, 0666, &lane->file, error))
        lane->file.path = NULL;
    else if (lane->file.direct >= 0)
        start_writers(behind, error);
    return error->status;
}

void organ_behind_begin(organ_behind *behind, size_t worker, organ_behind_part *part, const char *path,
                        const void *data, size_t bytes, uint64_t offset)
{
    behind_lane *const lane = &behind->lanes[worker];
    *part = (organ_behind_part){.lane = lane, .data = data, .bytes = bytes, .offset = offset};
    if (open_file(behind, lane, path, &part->error))
        return;
    part->queues = has_writers(behind, lane) && bytes >= ORGAN_BEHIND_SHORT;
    if (!part->queues) {
        organ_direct_write(&lane->file, data, bytes, offset, &part->error);
        return;
    }
    pthread_mutex_lock(&lane->lock);
    lane->queued++;
    pthread_mutex_unlock(&lane->lock);
    organ_writers_queue(behind->writers, &part->queued, bytes);
}

organ_status organ_behind_await(organ_behind_part *part, organ_error *error)
{
    if (part->lane)
        await(part->lane, part);
    if (part->error.status)
        *error = part->error;
    return part->error.status;
}

/* ---- copies ---- */

static organ_status await_slot(behind_lane *lane, behind_slot *s, organ_error *error)
{
    organ_error own = {0};
    if (organ_behind_await(&s->part, &own) && !lane->error.status)
        lane->error = own;
    if (lane->error.status)
        *error = lane->error;
    return error->status;
}

/* Begins to write the bytes of the slot whose turn it is. No writer has it. */
static void flush(organ_behind *behind, size_t worker)
{
    behind_lane *const lane = &behind->lanes[worker];
    behind_slot *const s = &lane->slots[lane->turn];
    organ_behind_begin(behind, worker, &s->part, lane->file.path, s->pages + s->lead, s->bytes, s->offset);
    s->bytes = 0;
    if (has_writers(behind, lane)) /* else the bytes are written, and their memory is in the cache */
        lane->turn = (lane->turn + 1) % SLOTS;
}

organ_status organ_behind_wait(organ_behind *behind, size_t worker, organ_error *error)
{
    behind_lane *const lane = &behind->lanes[worker];
    behind_slot *const last = &lane->slots[lane->turn];
    organ_error own = {0};
    if (await_slot(lane, last, &own) == ORGAN_OK && last->bytes)
        flush(behind, worker);
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
        lane->slots[k] = (behind_slot){.pages = lane->memory + k * ROOM};
    return ORGAN_OK;
}

organ_status organ_behind_write(organ_behind *behind, size_t worker, const char *path, const void *data, size_t bytes,
                                uint64_t offset, organ_error *error)
{
    behind_lane *const lane = &behind->lanes[worker];
    const char *from = data;
    if (open_lane(lane, error) || (!has_file(lane, path) && organ_behind_wait(behind, worker, error)) ||
        open_file(behind, lane, path, error))
        return error->status;
    while (bytes) {
        behind_slot *const s = &lane->slots[lane->turn];
        if (await_slot(lane, s, error))
            break;
        if (s->bytes && (offset != s->offset + s->bytes || s->lead + s->bytes == ROOM)) {
            flush(behind, worker);
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

organ_status organ_behind_create(size_t workers, bool threads, organ_behind **behind, organ_error *error)
{
    organ_behind *const b = *behind = calloc(1, sizeof *b + workers * sizeof *b->lanes);
    if (!b)
        return organ_fail_memory(error, "the output");
    b->count = workers;
    b->threads = threads;
    pthread_mutex_init(&b->lock, NULL);
    for (size_t k = 0; k < workers; k++) {
        pthread_mutex_init(&b->lanes[k].lock, NULL);
        pthread_cond_init(&b->lanes[k].ended, NULL);
    }
    return ORGAN_OK;
}

void organ_behind_destroy(organ_behind *b)
{
    if (!b)
        return;
    organ_writers_destroy(b->writers);
    pthread_mutex_destroy(&b->lock);
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
