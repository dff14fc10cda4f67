/* SPDX-License-Identifier: MIT
 * Runs transfers on the workers of an engine. A worker takes the next extent of the list of transfers, reads it in
 * steps into its own buffers, hashes and writes it. The extents of a transfer whose whole digest is needed are
 * single steps, because each step waits until the step before it is hashed.
 *
 * A worker that writes with direct I/O has two buffers: while a writer writes one, the worker
 * fills the other. The worker itself reports a write, before it uses the buffer again or ends. */
#include "formats/model/composed.h"
#include "formats/base/activity.h"
#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "formats/remote/remote.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/write_behind.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Bytes read, hashed and written at once: all workers together have ROOM bytes of buffers, but each at least STEP,
 * which stays in a core's cache. Few workers need long writes to keep a disk busy. */
#define STEP    ((size_t)1 << 20)
#define LONG    ((size_t)4 << 20)
#define ROOM    ((size_t)16 << 20)
#define EXTENT  ((size_t)8 << 20) /* bytes of an extent, unless the digest of the whole tensor is needed */
#define CONVERT ((size_t)1 << 16) /* elements converted at once: whole blocks of every type */

enum { MOST_SLOTS = 2 };

typedef struct transfer_part {
    size_t number;              /* index of the transfer */
    organ_transfer_extent here; /* range of its bytes in the output, and after the last step their digest */
} transfer_part;

typedef struct transfer_wait {
    pthread_cond_t turn;     /* the bytes before the step are hashed, or an earlier part failed */
    const organ_transfer *t; /* the transfer of the step; NULL: the worker does not wait */
    uint64_t at;             /* offset of the step in the transfer */
} transfer_wait;

typedef struct transfer_pool {
    organ_transfer *transfers;
    size_t count;
    const organ_engine *engine;
    const organ_progress *progress;
    const organ_stop *stop;
    unsigned char **buffers; /* slots * step bytes for each active worker, on its NUMA node */
    XXH3_state_t **hashes;   /* a digest for each active worker */
    size_t step;             /* bytes of a buffer: of a step */
    size_t slots;            /* buffers of each worker: MOST_SLOTS with writers, else 1 */
    organ_behind *behind;
    size_t active;        /* workers 0 .. active - 1 move bytes, the others do nothing */
    transfer_wait *waits; /* one for each active worker */
    pthread_mutex_t lock; /* protects the members below, waits, `left` and `hashed` of transfers, and the callbacks */
    size_t next;          /* index of the transfer with the next part */
    uint64_t next_at;     /* offset of that part in the bytes that are written */
    transfer_part failed; /* the first part, in their order, that failed; valid if `fault` is set */
    organ_error fault;    /* its error */
    uint64_t moved;       /* bytes of source tensors that are processed */

    organ_read_ahead ahead; /* announces reads in the order of the transfers */
    organ_reader_gate gate; /* limits the workers that read at the same time */
} transfer_pool;

typedef struct transfer_slot {
    organ_behind_part write;
    unsigned char *memory; /* pool->step bytes, aligned to a page */
    bool busy;             /* a write was begun and is not reported yet */
    bool ends;             /* these are the last bytes of their part */
    transfer_part part;    /* the part of the bytes */
    uint64_t at;           /* offset of the bytes in the transfer */
    size_t bytes, source;  /* bytes written, and the bytes of the source tensor that they were made from */
} transfer_slot;

typedef struct transfer_worker {
    transfer_pool *pool;
    size_t number;
    transfer_slot slots[MOST_SLOTS];
    size_t turn;                    /* index of the slot for the next step; used in turn */
    XXH3_state_t *hash;             /* of the bytes of the current part */
    transfer_wait *wait;            /* its element of pool->waits */
    const organ_model_file *source; /* the open file of a model; NULL: none */
    int fd;                         /* its descriptor, for this worker alone: the system reads ahead separately for each
                                       descriptor; -1: the file is at a URL */
} transfer_worker;

/* ---- parts ---- */

static uint64_t transfer_bytes(const organ_transfer *t)
{
    const organ_dtype_info *const to = organ_dtype_describe(t->as);
    return t->as == t->tensor->dtype ? t->tensor->bytes : t->tensor->elements / to->elements * to->bytes;
}

/* `at` is a byte of the transfer where a part begins. Parts of copied tensors end on a page of the output, so that
 * only the two ends of a tensor are written through the page cache. */
static size_t part_bytes(const transfer_pool *c, const organ_transfer *t, uint64_t at)
{
    const organ_dtype_info *const to = organ_dtype_describe(t->as);
    if (t->as == t->tensor->dtype)
        return (t->whole ? c->step : EXTENT) - (size_t)((t->offset + at) & (ORGAN_DIRECT_ALIGNMENT - 1));
    return (t->whole ? 1 : EXTENT / STEP) * CONVERT / to->elements * to->bytes;
}

static bool is_before(const transfer_part *a, const transfer_part *b)
{
    return a->number != b->number ? a->number < b->number : a->here.at < b->here.at;
}

/* Keeps the error of the earliest part. The caller holds the lock. */
static void keep_transfer_fault(transfer_pool *c, const transfer_part *part, const organ_error *error)
{
    if (!error->status || (c->fault.status && !is_before(part, &c->failed)))
        return;
    c->fault = *error;
    c->failed = *part;
    for (size_t k = 0; k < c->active; k++)
        pthread_cond_signal(&c->waits[k].turn);
}

/* Parts are taken in order, and a part that was taken is finished, so the earliest part that fails is always tried. */
static bool take_part(transfer_pool *c, transfer_part *part)
{
    ORGAN_LOCKED(&c->lock);
    bool go = c->next < c->count && !c->fault.status && !organ_stop_is_requested(c->stop);
    if (go) {
        organ_transfer *const t = &c->transfers[c->next];
        const uint64_t all = transfer_bytes(t), rest = all - c->next_at;
        *part = (transfer_part){c->next, {.at = c->next_at, .bytes = organ_min(part_bytes(c, t, c->next_at), rest)}};
        if (part->here.at == 0)
            t->left = all;
        if (part->here.at == 0 && t->whole && !(t->hash = XXH3_createState())) {
            organ_error error = {0};
            organ_fail_memory(&error, t->path);
            keep_transfer_fault(c, part, &error);
            go = false;
        } else if (part->here.at == 0 && t->whole)
            XXH3_64bits_reset(t->hash);
        c->next_at += part->here.bytes;
        if (part->here.bytes == rest) {
            c->next++;
            c->next_at = 0;
        }
    }
    return go;
}

static organ_read_range range_of_transfer(const void *transfers, size_t index)
{
    const organ_transfer *const t = (const organ_transfer *)transfers + index;
    return (organ_read_range){t->model, t->tensor};
}

static void announce_transfers(transfer_pool *c)
{
    pthread_mutex_lock(&c->lock);
    const uint64_t moved = c->moved;
    pthread_mutex_unlock(&c->lock);
    organ_read_ahead_move(&c->ahead, moved);
}

static bool part_is_in_vain(transfer_pool *c, const transfer_part *part)
{
    ORGAN_LOCKED(&c->lock);
    const bool failed = c->fault.status && !is_before(part, &c->failed);
    return failed || organ_stop_is_requested(c->stop);
}

/* ---- writes ---- */

/* The slot is busy until end_write. */
static void begin_write(transfer_worker *h, transfer_slot *s, const unsigned char *data)
{
    const organ_transfer *const t = &h->pool->transfers[s->part.number];
    s->busy = true;
    organ_behind_begin(h->pool->behind, h->number, &s->write, t->path, data, s->bytes, t->offset + s->at);
}

/* Counts the bytes of a slot as written. Reports the extent that they end, or, with `whole`, the tensor that they
 * complete, and a complete tensor to `done`. After an error a tensor may be written but not hashed as a whole: it then
 * does not count as complete. The caller holds the lock. */
static void report_written(transfer_pool *c, const transfer_slot *s, organ_error *error)
{
    organ_transfer *const t = &c->transfers[s->part.number];
    const bool complete = (t->left -= s->bytes) == 0 && (!t->whole || t->hashed == transfer_bytes(t));
    organ_transfer_extent extent = s->part.here;
    organ_progress_advance(c->progress, s->source, NULL, NULL);
    c->moved += s->source;
    if (complete && t->whole) {
        extent = (organ_transfer_extent){.bytes = t->hashed, .xxh3 = XXH3_64bits_digest(t->hash)};
        XXH3_freeState(t->hash);
        t->hash = NULL;
    }
    if (t->written && extent.bytes && (t->whole ? complete : s->ends))
        t->written(t->context, t, &extent, error);
    if (complete && !error->status && t->done)
        t->done(t->context, t, error);
    if (complete && !error->status)
        organ_progress_advance(c->progress, 0, t->tensor->name, NULL);
}

/* Returns false if the write or a callback failed; the error is kept then. The slots are ended in the order in which
 * they were begun. */
static bool end_write(transfer_worker *h, transfer_slot *s)
{
    transfer_pool *const c = h->pool;
    if (!s->busy)
        return true;
    organ_error error = {0};
    s->busy = false;
    organ_behind_await(&s->write, &error);
    pthread_mutex_lock(&c->lock);
    if (!error.status)
        report_written(c, s, &error);
    keep_transfer_fault(c, &s->part, &error);
    pthread_mutex_unlock(&c->lock);
    for (size_t k = 0; k < c->slots && error.status; k++) /* an extent with a failed write is not reported */
        if (!is_before(&s->part, &h->slots[k].part))
            h->slots[k].ends = false;
    return !error.status;
}

static void end_writes(transfer_worker *h)
{
    for (size_t k = 0; k < h->pool->slots; k++)
        end_write(h, &h->slots[(h->turn + k) % h->pool->slots]);
}

/* ---- source ---- */

/* Keeps the open file if it is the same, because consecutive tensors are usually in the same file. */
static organ_status open_source(transfer_worker *h, const organ_transfer *t, organ_error *error)
{
    const organ_model_file *const file = &t->model->files[t->tensor->file];
    if (h->source == file)
        return ORGAN_OK;
    if (h->fd >= 0)
        close(h->fd);
    h->source = NULL;
    h->fd = -1;
    if (!file->remote && !organ_model_is_composed(t->model) &&
        organ_model_file_open_again(file, &h->fd, error) != ORGAN_OK)
        return error->status;
    h->source = file;
    return ORGAN_OK;
}

static organ_status read_source(const transfer_worker *h, const organ_transfer *t, void *data, size_t bytes,
                                uint64_t from, organ_error *error)
{
    const uint64_t at = t->tensor->offset + from;
    organ_reader_gate_enter(&h->pool->gate);
    if (h->fd < 0)
        organ_model_read(t->model, t->tensor->file, data, bytes, at, error);
    else
        organ_input_read(h->fd, h->source->path, data, bytes, at, error);
    organ_reader_gate_leave(&h->pool->gate);
    return error->status;
}

/* ---- one step ---- */

/* Reads up to a page of the output. The bytes at *data are congruent with their offset in the file modulo a page, as
 * O_DIRECT requires. */
static organ_status read_step(const transfer_worker *h, const organ_transfer *t, transfer_slot *s, unsigned char **data,
                              organ_error *error)
{
    const size_t lead = (size_t)((t->offset + s->at) & (ORGAN_DIRECT_ALIGNMENT - 1));
    s->source = s->bytes = organ_min(h->pool->step - lead, s->part.here.at + s->part.here.bytes - s->at);
    *data = s->memory + lead;
    return read_source(h, t, *data, s->bytes, s->at, error);
}

/* The stored elements (at most 8 bytes each), the FP32 values and the result are in different parts of the slot. */
static organ_status convert_step(const transfer_worker *h, const organ_transfer *t, transfer_slot *s,
                                 unsigned char **data, organ_error *error)
{
    const organ_dtype_info *const from = organ_dtype_describe(t->tensor->dtype);
    const organ_dtype_info *const to = organ_dtype_describe(t->as);
    _Static_assert(CONVERT * (8 + sizeof(float) + sizeof(float)) <= STEP, "all parts fit in a slot");
    unsigned char *const stored = s->memory + STEP / 2;
    float *const values = (float *)(void *)(s->memory + STEP / 4);
    const uint64_t left = s->part.here.at + s->part.here.bytes - s->at;
    const size_t count = organ_min(CONVERT, (size_t)organ_min(left, STEP) / to->bytes * to->elements);
    *data = s->memory;
    s->bytes = count / to->elements * to->bytes;
    s->source = count / from->elements * from->bytes;
    if (read_source(h, t, stored, s->source, s->at / to->bytes * to->elements / from->elements * from->bytes, error))
        return error->status;
    organ_widen(t->kernels, t->tensor->dtype, stored, values, count / from->elements);
    return organ_overflow_narrow(t->overflow, t->kernels, t->as, t->tensor->name, values, *data, count / to->elements,
                                 error);
}

/* Returns false if an earlier part has failed, because the bytes before may then never be hashed. */
static bool await_turn(transfer_pool *c, transfer_wait *wait, const transfer_slot *s)
{
    const organ_transfer *const t = &c->transfers[s->part.number];
    ORGAN_LOCKED(&c->lock);
    wait->t = t;
    wait->at = s->at;
    ORGAN_DURING(ORGAN_WAITING);
    while (t->hashed != s->at && !(c->fault.status && is_before(&c->failed, &s->part)))
        pthread_cond_wait(&wait->turn, &c->lock);
    wait->t = NULL;
    return t->hashed == s->at;
}

static void hash_in_order(transfer_pool *c, transfer_wait *wait, const transfer_slot *s, const unsigned char *data)
{
    organ_transfer *const t = &c->transfers[s->part.number];
    if (!await_turn(c, wait, s))
        return;
    XXH3_64bits_update(t->hash, data, s->bytes);
    ORGAN_LOCKED(&c->lock);
    t->hashed += s->bytes;
    for (size_t k = 0; k < c->active; k++)
        if (c->waits[k].t == t && c->waits[k].at == t->hashed)
            pthread_cond_signal(&c->waits[k].turn);
}

/* Returns false after an error of this step, or of an earlier one of this worker, which is kept already. */
static bool move_step(transfer_worker *h, transfer_part *part, uint64_t at, size_t *bytes, organ_error *error)
{
    const organ_transfer *const t = &h->pool->transfers[part->number];
    transfer_slot *const s = &h->slots[h->turn];
    unsigned char *data;
    if (!end_write(h, s))
        return false;
    s->part = *part;
    s->at = at;
    if ((t->as == t->tensor->dtype ? read_step : convert_step)(h, t, s, &data, error) != ORGAN_OK)
        return false;
    h->turn = (h->turn + 1) % h->pool->slots;
    *bytes = s->bytes;
    s->ends = at + s->bytes == part->here.at + part->here.bytes;
    if (!t->whole && t->written)
        XXH3_64bits_update(h->hash, data, s->bytes);
    if (s->ends && !t->whole && t->written)
        s->part.here.xxh3 = XXH3_64bits_digest(h->hash);
    begin_write(h, s, data);
    if (t->whole && s->bytes)
        hash_in_order(h->pool, h->wait, s, data);
    return h->pool->slots > 1 || end_write(h, s);
}

/* ---- workers ---- */

/* A part without bytes has one step too, because that reports the tensor. */

static void move_part(transfer_worker *h, transfer_part *part)
{
    const organ_transfer *const t = &h->pool->transfers[part->number];
    const uint64_t end = part->here.at + part->here.bytes;
    organ_error error = {0};
    size_t bytes = 0;
    XXH3_64bits_reset(h->hash);
    if (open_source(h, t, &error) == ORGAN_OK)
        for (uint64_t at = part->here.at; !error.status && (at == part->here.at || at < end); at += bytes) {
            announce_transfers(h->pool);
            if (!move_step(h, part, at, &bytes, &error) || at + bytes == end || part_is_in_vain(h->pool, part))
                break;
        }
    if (error.status) /* a write of an earlier step may have failed too, and its error comes first */
        end_writes(h);
    ORGAN_LOCKED(&h->pool->lock);
    keep_transfer_fault(h->pool, part, &error);
}

static void run_transfers(void *context, size_t worker)
{
    transfer_pool *const c = context;
    transfer_worker h = {.pool = c, .number = worker, .fd = -1};
    transfer_part part;
    if (worker >= c->active)
        return;
    for (size_t k = 0; k < c->slots; k++)
        h.slots[k].memory = c->buffers[worker] + k * c->step;
    h.hash = c->hashes[worker];
    h.wait = &c->waits[worker];
    while (take_part(c, &part))
        move_part(&h, &part);
    end_writes(&h);
    if (h.fd >= 0)
        close(h.fd);
}

/* ---- the run ---- */

static size_t count_parts(const transfer_pool *c, size_t most)
{
    size_t parts = 0;
    for (size_t k = 0; k < c->count && parts < most; k++)
        parts += 1 + (size_t)organ_min(transfer_bytes(&c->transfers[k]) / part_bytes(c, &c->transfers[k], 0), most);
    return organ_min(parts, most);
}

/* Writes wait for a disk if some are long and the first file is written with direct I/O. */
static bool writes_wait(const transfer_pool *c)
{
    organ_direct_file file;
    organ_error ignored = {0}; /* a worker reports it */
    size_t k = 0;
    while (k < c->count && transfer_bytes(&c->transfers[k]) < ORGAN_BEHIND_SHORT)
        k++;
    if (k == c->count || organ_direct_open(c->transfers[k].path, 0666, &file, &ignored) != ORGAN_OK)
        return false;
    const bool direct = file.direct >= 0;
    organ_direct_close(&file);
    return direct;
}

static void plan_transfer_buffers(transfer_pool *c)
{
    const organ_engine *const e = c->engine;
    const size_t fits = (size_t)organ_max(organ_engine_memory(e) / STEP, 1);
    c->step = STEP; /* count_parts needs it */
    c->active = organ_min(count_parts(c, organ_workers_count(e->workers)), fits);
    c->slots = c->active * MOST_SLOTS <= fits && writes_wait(c) ? MOST_SLOTS : 1;
    while (c->active && c->step < LONG &&
           2 * c->step * c->slots * c->active <= organ_min(ROOM, (size_t)organ_engine_memory(e)))
        c->step *= 2;
}

static organ_status allocate_transfer_buffers(transfer_pool *c, organ_error *error)
{
    const organ_engine *const e = c->engine;
    plan_transfer_buffers(c);
    c->buffers = calloc(c->active + 1, sizeof *c->buffers);
    c->hashes = calloc(c->active + 1, sizeof *c->hashes);
    c->waits = calloc(c->active + 1, sizeof *c->waits);
    if (!c->buffers || !c->hashes || !c->waits)
        return organ_fail_errno(error, ENOMEM, "cannot allocate buffers for %zu threads", c->active);
    for (size_t k = 0; k < c->active; k++) {
        const unsigned node = organ_workers_place(e->workers, k).node;
        c->buffers[k] = organ_topology_allocate(e->topology, node, c->slots * c->step);
        c->hashes[k] = XXH3_createState();
        pthread_cond_init(&c->waits[k].turn, NULL);
        if (!c->buffers[k] || !c->hashes[k])
            return organ_fail_errno(error, ENOMEM, "cannot allocate a buffer of %zu bytes", c->slots * c->step);
    }
    return organ_behind_create(c->active, c->slots > 1, &c->behind, error);
}

/* Accepts what allocate_transfer_buffers leaves after it has failed. Frees digests of unfinished transfers. */
static void release_transfer_pool(transfer_pool *c)
{
    organ_behind_destroy(c->behind);
    for (size_t k = 0; c->buffers && c->hashes && c->waits && k < c->active; k++) {
        organ_topology_free(c->engine->topology, c->buffers[k], c->slots * c->step);
        XXH3_freeState(c->hashes[k]);
        pthread_cond_destroy(&c->waits[k].turn);
    }
    ORGAN_FREE_ARRAYS(c->buffers, c->hashes, c->waits);
    for (size_t k = 0; k < c->count; k++)
        XXH3_freeState(c->transfers[k].hash);
    organ_read_ahead_close(&c->ahead);
    organ_reader_gate_close(&c->gate);
    pthread_mutex_destroy(&c->lock);
}

organ_status organ_transfer_run(organ_transfer *transfers, size_t count, const organ_engine *engine,
                                const organ_progress *progress, const organ_stop *stop, organ_error *error)
{
    transfer_pool c = {.transfers = transfers, .count = count, .engine = engine, .progress = progress, .stop = stop};
    c.ahead = (organ_read_ahead){.count = count, .range = range_of_transfer, .context = transfers};
    organ_read_ahead_open(&c.ahead);
    organ_reader_gate_open(&c.gate, engine);
    pthread_mutex_init(&c.lock, NULL);
    if (allocate_transfer_buffers(&c, error) == ORGAN_OK) {
        organ_workers_run(engine->workers, run_transfers, &c);
        if (c.fault.status)
            *error = c.fault;
        else if (organ_stop_is_requested(stop))
            organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    }
    release_transfer_pool(&c);
    return error->status;
}
