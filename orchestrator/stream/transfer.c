/* SPDX-License-Identifier: MIT
 * Runs transfers as a work in parts on the workers of an engine. A part is a step of an extent: a worker reads it,
 * begins to write it and hashes it after the step before it. The calling thread reports the steps in order.
 *
 * With direct I/O a writer writes the step from a buffer that belongs to it until it is reported, while the worker
 * fills the next one. Otherwise the worker itself writes, from a buffer that stays in the cache of its core. */
#include "formats/model/composed.h"
#include "formats/base/activity.h"
#include "formats/base/files.h"
#include "formats/base/owned.h"
#include "formats/remote/remote.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/stream_parts.h"
#include "orchestrator/stream/write_behind.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

/* Bytes read, hashed and written at once: all buffers together have ROOM bytes, but each at least STEP, which stays in
 * a core's cache. Few workers need long writes to keep a disk busy. */
#define STEP    ((size_t)1 << 20)
#define LONG    ((size_t)4 << 20)
#define ROOM    ((size_t)16 << 20)
#define EXTENT  ((size_t)8 << 20) /* bytes of an extent, unless the digest of the whole tensor is needed */
#define CONVERT ((size_t)1 << 16) /* elements converted at once: whole blocks of every type */

enum { WINDOW = 2 }; /* steps for each active worker that are taken and not yet reported */

/* A step from the time a worker takes it until it is reported. */
typedef struct transfer_step {
    size_t transfer;              /* index of the transfer */
    organ_transfer_extent extent; /* the extent of the step, without its digest */
    uint64_t at;                  /* offset of the step in the bytes that are written */
    size_t bytes, source;         /* bytes to write, and the bytes of the source tensor that they are made from */
    uint64_t read;                /* source bytes of this step and all before it */
    organ_behind_part write;
} transfer_step;

/* The digest of an extent up to the end of a step, which the worker of the next step continues. */
typedef struct transfer_digest {
    XXH3_state_t *state;
    bool ended, whole;     /* the worker has ended the step; the state has the bytes of the extent up to its end */
    pthread_cond_t change; /* `ended` was set */
} transfer_digest;

/* The open source file of a worker. */
typedef struct transfer_source {
    const organ_model_file *file; /* NULL: none */
    int fd; /* its descriptor, for this worker alone: the system reads ahead separately for each descriptor; -1: the
               file is at a URL */
} transfer_source;

typedef struct transfer_run {
    const organ_transfer *transfers;
    size_t count;
    const organ_engine *engine;
    const organ_progress *progress;
    size_t active;            /* workers 0 .. active - 1 move bytes, the others do nothing */
    size_t window;            /* largest number of steps that are taken and not yet reported */
    size_t bytes;             /* of a buffer: of a step */
    size_t buffer_count;      /* one for each step of the window if writers write, else one for each active worker */
    unsigned char **buffers;  /* on the NUMA nodes of the workers in turn */
    transfer_step *steps;     /* a ring: step i is at i % window */
    transfer_digest *digests; /* a ring: that of step i is at i % (window + 1), until step i + 1 is reported */
    transfer_source *sources; /* one for each active worker */
    organ_behind *behind;
    pthread_mutex_t lock;   /* protects `ended` and `whole` of digests */
    transfer_step next;     /* the position of the next step, and its extent */
    organ_read_ahead ahead; /* announces reads in the order of the transfers */
    organ_reader_gate gate; /* limits the workers that read at the same time */
} transfer_run;

/* ---- steps ---- */

static transfer_step *step_of(const transfer_run *r, size_t number) { return &r->steps[number % r->window]; }

static transfer_digest *digest_of(const transfer_run *r, size_t number)
{
    return &r->digests[number % (r->window + 1)];
}

static uint64_t transfer_bytes(const organ_transfer *t)
{
    const organ_dtype_info *const to = organ_dtype_describe(t->as);
    return t->as == t->tensor->dtype ? t->tensor->bytes : t->tensor->elements / to->elements * to->bytes;
}

/* Returns the bytes of the source tensor from which `bytes` bytes of the output are made, whole blocks. */
static uint64_t source_bytes(const organ_transfer *t, uint64_t bytes)
{
    const organ_dtype_info *const from = organ_dtype_describe(t->tensor->dtype);
    const organ_dtype_info *const to = organ_dtype_describe(t->as);
    return t->as == t->tensor->dtype ? bytes : bytes / to->bytes * to->elements / from->elements * from->bytes;
}

/* Returns the bytes of an extent or a step that begins at byte `at` of the transfer, if as many are left. With a
 * conversion it has `elements` elements. A copy ends `bytes` bytes after the page of the output in which it begins, so
 * that only the two ends of a tensor are written through the page cache. */
static uint64_t piece_bytes(const organ_transfer *t, uint64_t at, size_t bytes, size_t elements)
{
    const organ_dtype_info *const to = organ_dtype_describe(t->as);
    return t->as == t->tensor->dtype ? bytes - ((t->offset + at) & (ORGAN_DIRECT_ALIGNMENT - 1))
                                     : elements / to->elements * to->bytes;
}

/* Fills the entries of step `number`. A transfer without bytes has one step, because that reports the tensor. Returns
 * false after the last step. */
static bool take_step(void *context, size_t number)
{
    transfer_run *const r = context;
    transfer_step *const next = &r->next;
    if (next->transfer == r->count)
        return false;
    const organ_transfer *const t = &r->transfers[next->transfer];
    const uint64_t all = transfer_bytes(t);
    if (next->at == next->extent.at + next->extent.bytes) {
        const uint64_t some = t->whole ? all : piece_bytes(t, next->at, EXTENT, EXTENT / STEP * CONVERT);
        next->extent = (organ_transfer_extent){.at = next->at, .bytes = organ_min(some, all - next->at)};
    }
    next->bytes =
        (size_t)organ_min(piece_bytes(t, next->at, r->bytes, CONVERT), next->extent.at + next->extent.bytes - next->at);
    next->source = (size_t)source_bytes(t, next->bytes);
    next->read += next->source;
    *step_of(r, number) = *next;
    digest_of(r, number)->ended = digest_of(r, number)->whole = false;
    if ((next->at += next->bytes) == all)
        *next = (transfer_step){.transfer = next->transfer + 1, .read = next->read};
    return true;
}

static organ_read_range range_of_transfer(const void *transfers, size_t index)
{
    const organ_transfer *const t = (const organ_transfer *)transfers + index;
    return (organ_read_range){t->model, t->tensor};
}

/* ---- source ---- */

/* Keeps the open file if it is the same, because consecutive tensors are usually in the same file. */
static organ_status open_source(transfer_source *source, const organ_transfer *t, organ_error *error)
{
    const organ_model_file *const file = &t->model->files[t->tensor->file];
    if (source->file == file)
        return ORGAN_OK;
    if (source->fd >= 0)
        close(source->fd);
    *source = (transfer_source){.fd = -1};
    if (!file->remote && !organ_model_is_composed(t->model) &&
        organ_model_file_open_again(file, &source->fd, error) != ORGAN_OK)
        return error->status;
    source->file = file;
    return ORGAN_OK;
}

/* Reads the source bytes of the step. */
static organ_status read_source(transfer_run *r, const transfer_step *s, size_t worker, unsigned char *data,
                                organ_error *error)
{
    const organ_transfer *const t = &r->transfers[s->transfer];
    transfer_source *const source = &r->sources[worker];
    const uint64_t at = t->tensor->offset + source_bytes(t, s->at);
    if (open_source(source, t, error) != ORGAN_OK)
        return error->status;
    organ_reader_gate_enter(&r->gate);
    if (source->fd < 0)
        organ_model_read(t->model, t->tensor->file, data, s->source, at, error);
    else
        organ_input_read(source->fd, source->file->path, data, s->source, at, error);
    organ_reader_gate_leave(&r->gate);
    return error->status;
}

/* Reads and converts a step. The stored elements (at most 8 bytes each), the FP32 values and the result are in
 * different parts of the buffer. */
static organ_status convert_step(transfer_run *r, const transfer_step *s, size_t worker, unsigned char *buffer,
                                 organ_error *error)
{
    const organ_transfer *const t = &r->transfers[s->transfer];
    const organ_dtype_info *const from = organ_dtype_describe(t->tensor->dtype);
    _Static_assert(CONVERT * (8 + sizeof(float) + sizeof(float)) <= STEP, "all parts fit in a buffer");
    unsigned char *const stored = buffer + STEP / 2;
    float *const values = (float *)(void *)(buffer + STEP / 4);
    if (read_source(r, s, worker, stored, error) != ORGAN_OK)
        return error->status;
    organ_widen(t->kernels, t->tensor->dtype, stored, values, s->source / from->bytes);
    return organ_overflow_narrow(t->overflow, t->kernels, t->as, t->tensor->name, values, buffer,
                                 s->bytes / organ_dtype_describe(t->as)->bytes, error);
}

/* ---- one step ---- */

/* Returns whether the digest has all bytes of the extent up to the end of its step, after that step has ended. */
static bool await_digest(transfer_run *r, transfer_digest *digest)
{
    ORGAN_LOCKED(&r->lock);
    ORGAN_DURING(ORGAN_WAITING);
    while (!digest->ended)
        pthread_cond_wait(&digest->change, &r->lock);
    return digest->whole;
}

/* Continues the digest of the extent with the bytes of the step; NULL: they could not be read. */
static void hash_step(transfer_run *r, size_t number, const unsigned char *data)
{
    const transfer_step *const s = step_of(r, number);
    transfer_digest *const own = digest_of(r, number);
    const bool begins = s->at == s->extent.at;
    transfer_digest *const before = begins ? NULL : digest_of(r, number - 1);
    const bool whole = data && (begins || await_digest(r, before));
    if (whole) {
        begins ? XXH3_64bits_reset(own->state) : (void)XXH3_copyState(own->state, before->state);
        XXH3_64bits_update(own->state, data, s->bytes);
    }
    ORGAN_LOCKED(&r->lock);
    own->ended = true;
    own->whole = whole;
    pthread_cond_signal(&own->change);
}

/* The bytes of a copy are congruent with their offset in the file modulo a page, as O_DIRECT requires. */
static organ_status work_on_step(void *context, size_t number, size_t worker, organ_error *error)
{
    transfer_run *const r = context;
    transfer_step *const s = step_of(r, number);
    const organ_transfer *const t = &r->transfers[s->transfer];
    const bool copies = t->as == t->tensor->dtype;
    unsigned char *const buffer = r->buffers[r->buffer_count == r->window ? number % r->window : worker];
    unsigned char *const data = buffer + (copies ? (t->offset + s->at) & (ORGAN_DIRECT_ALIGNMENT - 1) : 0);
    organ_read_ahead_move(&r->ahead, s->read);
    (void)(copies ? read_source : convert_step)(r, s, worker, data, error);
    if (!error->status)
        organ_behind_begin(r->behind, worker, &s->write, t->path, data, s->bytes, t->offset + s->at);
    if (t->written)
        hash_step(r, number, error->status ? NULL : data);
    return error->status;
}

/* Reports the extent that the step ends, and the tensor if it is complete. */
static organ_status report_step(void *context, size_t number, organ_error *error)
{
    transfer_run *const r = context;
    transfer_step *const s = step_of(r, number);
    const organ_transfer *const t = &r->transfers[s->transfer];
    const uint64_t end = s->at + s->bytes;
    const bool complete = end == transfer_bytes(t);
    if (organ_behind_await(&s->write, error) != ORGAN_OK)
        return error->status;
    organ_progress_advance(r->progress, s->source, NULL, NULL);
    if (t->written && s->extent.bytes && end == s->extent.at + s->extent.bytes) {
        s->extent.xxh3 = XXH3_64bits_digest(digest_of(r, number)->state);
        t->written(t->context, t, &s->extent, error);
    }
    if (complete && !error->status && t->done)
        t->done(t->context, t, error);
    if (complete && !error->status)
        organ_progress_advance(r->progress, 0, t->tensor->name, NULL);
    return error->status;
}

/* ---- the run ---- */

static size_t count_steps(const transfer_run *r, size_t most)
{
    size_t steps = 0;
    for (size_t k = 0; k < r->count && steps < most; k++) {
        const organ_transfer *const t = &r->transfers[k];
        steps += 1 + (size_t)organ_min(transfer_bytes(t) / piece_bytes(t, 0, STEP, CONVERT), most);
    }
    return organ_min(steps, most);
}

/* Writes wait for a disk if some are long and the first file is written with direct I/O. */
static bool writes_wait(const transfer_run *r)
{
    organ_direct_file file;
    organ_error ignored = {0}; /* a worker reports it */
    size_t k = 0;
    while (k < r->count && transfer_bytes(&r->transfers[k]) < ORGAN_BEHIND_SHORT)
        k++;
    if (k == r->count || organ_direct_open(r->transfers[k].path, 0666, &file, &ignored) != ORGAN_OK)
        return false;
    const bool direct = file.direct >= 0;
    organ_direct_close(&file);
    return direct;
}

static void plan_transfer_buffers(transfer_run *r)
{
    const size_t memory = (size_t)organ_min(organ_engine_memory(r->engine), ROOM);
    const size_t fits = (size_t)organ_max(organ_engine_memory(r->engine) / STEP, 1);
    r->active = organ_min(count_steps(r, organ_workers_count(r->engine->workers)), fits);
    r->window = WINDOW * r->active;
    r->buffer_count = r->window <= fits && writes_wait(r) ? r->window : r->active;
    r->bytes = STEP;
    while (r->bytes < LONG && 2 * r->bytes * r->buffer_count <= memory)
        r->bytes *= 2;
}

static organ_status allocate_transfer_buffers(transfer_run *r, organ_error *error)
{
    const organ_engine *const e = r->engine;
    plan_transfer_buffers(r);
    r->buffers = calloc(r->buffer_count + 1, sizeof *r->buffers);
    r->steps = calloc(r->window + 1, sizeof *r->steps);
    r->digests = calloc(r->window + 1, sizeof *r->digests);
    r->sources = calloc(r->active + 1, sizeof *r->sources);
    if (!r->buffers || !r->steps || !r->digests || !r->sources)
        return organ_fail_errno(error, ENOMEM, "cannot allocate buffers for %zu threads", r->active);
    for (size_t k = 0; k <= r->window; k++)
        pthread_cond_init(&r->digests[k].change, NULL);
    for (size_t k = 0; k <= r->active; k++)
        r->sources[k].fd = -1;
    for (size_t k = 0; k <= r->window; k++)
        if (!(r->digests[k].state = XXH3_createState()))
            return organ_fail_memory(error, "the digests of tensors");
    for (size_t k = 0; k < r->buffer_count; k++) {
        const unsigned node = organ_workers_place(e->workers, k % r->active).node;
        if (!(r->buffers[k] = organ_topology_allocate(e->topology, node, r->bytes)))
            return organ_fail_errno(error, ENOMEM, "cannot allocate a buffer of %zu bytes", r->bytes);
    }
    return organ_behind_create(r->active, r->buffer_count > r->active, &r->behind, error);
}

/* Accepts what allocate_transfer_buffers leaves after it has failed. */
static void release_transfer_run(transfer_run *r)
{
    organ_behind_destroy(r->behind);
    for (size_t k = 0; r->buffers && k < r->buffer_count; k++)
        organ_topology_free(r->engine->topology, r->buffers[k], r->bytes);
    for (size_t k = 0; r->buffers && r->steps && r->digests && r->sources && k <= r->window; k++) {
        pthread_cond_destroy(&r->digests[k].change);
        XXH3_freeState(r->digests[k].state);
    }
    for (size_t k = 0; r->sources && k < r->active; k++)
        if (r->sources[k].file && r->sources[k].fd >= 0)
            close(r->sources[k].fd);
    ORGAN_FREE_ARRAYS(r->buffers, r->steps, r->digests, r->sources);
    organ_read_ahead_close(&r->ahead);
    organ_reader_gate_close(&r->gate);
    pthread_mutex_destroy(&r->lock);
}

organ_status organ_transfer_run(const organ_transfer *transfers, size_t count, const organ_engine *engine,
                                const organ_progress *progress, organ_error *error)
{
    if (!count)
        return ORGAN_OK;
    transfer_run r = {.transfers = transfers, .count = count, .engine = engine, .progress = progress};
    r.ahead = (organ_read_ahead){.count = count, .range = range_of_transfer, .context = transfers};
    organ_read_ahead_open(&r.ahead);
    organ_reader_gate_open(&r.gate, engine);
    pthread_mutex_init(&r.lock, NULL);
    if (allocate_transfer_buffers(&r, error) == ORGAN_OK) {
        const organ_parts steps = {.count = SIZE_MAX,
                                   .workers = r.active,
                                   .window = r.window,
                                   .context = &r,
                                   .take = take_step,
                                   .work = work_on_step,
                                   .retire = report_step};
        organ_parts_run(&steps, engine, error);
    }
    release_transfer_run(&r);
    return error->status;
}
