/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/transfer.h"

#include "formats/base/file_calls.h"
#include "formats/base/input_file.h"
#include "formats/remote/remote.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/thread.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#define THREADS 4                  /* including the calling thread */
#define STEP    ((size_t)4 << 20)  /* bytes read, hashed and written at once */
#define CONVERT ((size_t)1 << 17)  /* elements converted at once: whole blocks of every type */
#define AHEAD   ((size_t)64 << 20) /* announced reads are at most this many bytes ahead of the written bytes */

/* The transfers of a call of organ_transfer_run, which its threads share. */
typedef struct transfer_pool {
    organ_transfer *transfers;
    size_t count, next; /* number of transfers; index of the first that no thread has taken */
    const organ_progress *progress;
    const organ_stop *stop;
    pthread_mutex_t lock;       /* protects `next`, `fault` and `moved`, and calls of callbacks */
    organ_error fault;          /* the first error of a thread */
    uint64_t moved;             /* bytes of tensors that are processed */
    pthread_mutex_t ahead_lock; /* protects the members below: the next read to announce */
    size_t ahead;               /* index of its transfer */
    uint64_t ahead_offset;      /* offset in the tensor of that transfer */
    uint64_t ahead_announced;   /* bytes announced so far, of all transfers */
} transfer_pool;

/* State of one thread. */
typedef struct transfer_worker {
    transfer_pool *pool;
    unsigned char *buffer;  /* STEP bytes, aligned to a page */
    XXH3_state_t *hash;     /* of the bytes of the current tensor */
    organ_direct_file file; /* the open output file; path NULL: none */
    organ_error error;      /* of this thread */
} transfer_worker;

/* Creates a new file of `size` bytes; fails if the file exists. */
organ_status organ_transfer_file(const char *path, uint64_t size, organ_error *error)
{
    const int fd = organ_open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s: cannot be created", path);
    organ_direct_reserve(&(organ_direct_file){.path = path, .fd = fd, .direct = -1}, size, error);
    if (close(fd) && errno != EINTR) /* after EINTR the descriptor is closed too */
        organ_fail_errno(error, errno, "%s: cannot be written", path);
    return error->status;
}

/* Writes bytes from memory at `offset` of the file at `path`. */
organ_status organ_transfer_bytes(const char *path, const void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    organ_direct_file file;
    if (organ_direct_open(path, 0666, &file, error) == ORGAN_OK) {
        organ_direct_write(&file, data, bytes, offset, error);
        organ_direct_close(&file);
    }
    return error->status;
}

/* Returns whether a worker has failed or a stop is requested. */
static bool transfers_must_end(transfer_pool *c)
{
    pthread_mutex_lock(&c->lock);
    const bool failed = c->fault.status != ORGAN_OK;
    pthread_mutex_unlock(&c->lock);
    return failed || organ_stop_is_requested(c->stop);
}

/* Adds processed bytes to the progress and to c->moved. `tensor`: name of a tensor that is complete now, or NULL. */
static void note_moved(transfer_pool *c, uint64_t bytes, const char *tensor)
{
    pthread_mutex_lock(&c->lock);
    organ_progress_advance(c->progress, bytes, tensor, NULL);
    c->moved += bytes;
    pthread_mutex_unlock(&c->lock);
}

/* Asks the system to read the next STEP bytes of transfer c->ahead, or its remaining bytes, into the page cache, and
 * moves the position of announcements past them. For files at a URL, and for files that cannot be opened, it moves the
 * position and announces nothing; a later read reports the error. */
static void announce_reads(transfer_pool *c)
{
    const organ_transfer *const t = &c->transfers[c->ahead];
    const organ_model_file *const file = &t->model->files[t->tensor->file];
    const uint64_t remaining = t->tensor->bytes - c->ahead_offset, bytes = remaining < STEP ? remaining : STEP;
    const int fd = bytes && !file->remote ? organ_open(file->path, O_RDONLY | O_NONBLOCK, 0) : -1;
    if (fd >= 0) {
        posix_fadvise(fd, (off_t)(t->tensor->offset + c->ahead_offset), (off_t)bytes, POSIX_FADV_WILLNEED);
        close(fd);
    }
    c->ahead_announced += bytes;
    c->ahead_offset += bytes;
    if (bytes == remaining) {
        c->ahead++;
        c->ahead_offset = 0;
    }
}

/* Announces reads to the system, in the order of the transfers, until it has announced AHEAD bytes more than were
 * moved. Does nothing if another thread runs this function. */
static void announce_ahead(transfer_pool *c)
{
    if (pthread_mutex_trylock(&c->ahead_lock))
        return;
    pthread_mutex_lock(&c->lock);
    const uint64_t until = c->moved + AHEAD;
    pthread_mutex_unlock(&c->lock);
    while (c->ahead < c->count && c->ahead_announced < until)
        announce_reads(c);
    pthread_mutex_unlock(&c->ahead_lock);
}

/* Opens the file t->path as h->file. If h->file is this file already, keeps it open, because consecutive tensors are
 * usually in the same file; otherwise closes h->file first. */
static organ_status open_target(transfer_worker *h, const organ_transfer *t)
{
    if (h->file.path && strcmp(h->file.path, t->path) == 0)
        return ORGAN_OK;
    if (h->file.path)
        organ_direct_close(&h->file);
    if (organ_direct_open(t->path, 0666, &h->file, &h->error) != ORGAN_OK)
        h->file.path = NULL;
    return h->error.status;
}

/* Opens the model's file with the tensor again, for this thread alone, because the system reads ahead separately for
 * each descriptor. The caller closes *fd, which is -1 for a file at a URL. */
static organ_status open_source(const organ_transfer *t, int *fd, organ_error *error)
{
    const organ_model_file *const file = &t->model->files[t->tensor->file];
    *fd = -1;
    if (!file->remote && organ_model_file_open_again(file, fd, error) == ORGAN_OK)
        posix_fadvise(*fd, (off_t)t->tensor->offset, (off_t)t->tensor->bytes, POSIX_FADV_SEQUENTIAL);
    return error->status;
}

/* Reads `bytes` bytes of a tensor from its byte `done` on, through fd or, if fd is negative, through the model. */
static organ_status read_step(const organ_transfer *t, int fd, void *data, size_t bytes, uint64_t done,
                              organ_error *error)
{
    const uint64_t at = t->tensor->offset + done;
    return fd < 0 ? organ_model_read(t->model, t->tensor->file, data, bytes, at, error)
                  : organ_input_read(fd, t->model->files[t->tensor->file].path, data, bytes, at, error);
}

/* Copies the bytes of a tensor to h->file in steps and adds them to h->hash. Returns early without an error if another
 * thread has failed or a stop is requested. */
static organ_status move_bytes(transfer_worker *h, const organ_transfer *t, int fd)
{
    const uint64_t all = t->tensor->bytes;
    for (uint64_t done = 0; done < all && !h->error.status && !transfers_must_end(h->pool);) {
        const uint64_t to = t->offset + done;
        /* Later steps begin on a page of the output, so that only the two ends of a tensor are written through the page
         * cache. */
        const size_t lead = (size_t)(to & (ORGAN_DIRECT_ALIGNMENT - 1)), max = STEP - lead;
        const size_t bytes = all - done < max ? (size_t)(all - done) : max;
        unsigned char *data =
            h->buffer + lead; /* congruent with its offset in the file modulo a page, as O_DIRECT requires */
        announce_ahead(h->pool);
        if (read_step(t, fd, data, bytes, done, &h->error))
            break;
        XXH3_64bits_update(h->hash, data, bytes);
        if (organ_direct_write(&h->file, data, bytes, to, &h->error))
            break;
        note_moved(h->pool, bytes, NULL);
        done += bytes;
    }
    return h->error.status;
}

/* Converts a tensor to type t->as in steps of CONVERT elements: reads, widens to FP32, narrows, writes. The stored
 * elements (at most 8 bytes each), the FP32 values and the converted elements are in different parts of h->buffer. */
static organ_status convert_tensor(transfer_worker *h, const organ_transfer *t, int fd)
{
    const organ_dtype_info *const from = organ_dtype_describe(t->tensor->dtype), *const to =
                                                                                     organ_dtype_describe(t->as);
    _Static_assert(CONVERT * 8 <= STEP / 4, "stored elements of 64 bits end before the FP32 values");
    unsigned char *const read = h->buffer, *const write = h->buffer + STEP / 2;
    float *const values = (float *)(void *)(h->buffer + STEP / 4);
    for (uint64_t done = 0; done < t->tensor->elements && !h->error.status && !transfers_must_end(h->pool);) {
        const uint64_t remaining = t->tensor->elements - done;
        const size_t count = remaining < CONVERT ? (size_t)remaining : CONVERT;
        const size_t got = count / from->elements * from->bytes, put = count / to->elements * to->bytes;
        if (read_step(t, fd, read, got, done / from->elements * from->bytes, &h->error))
            break;
        organ_widen(t->kernels, t->tensor->dtype, read, values, count / from->elements);
        if (organ_overflow_narrow(t->overflow, t->kernels, t->as, t->tensor->name, values, write, count / to->elements,
                                  &h->error))
            break;
        XXH3_64bits_update(h->hash, write, put);
        if (organ_direct_write(&h->file, write, put, t->offset + done / to->elements * to->bytes, &h->error))
            break;
        note_moved(h->pool, got, NULL);
        done += count;
    }
    return h->error.status;
}

/* Copies or converts one tensor and sets t->xxh3. */
static organ_status move_tensor(transfer_worker *h, organ_transfer *t)
{
    int fd;
    XXH3_64bits_reset(h->hash);
    if (open_target(h, t) == ORGAN_OK && open_source(t, &fd, &h->error) == ORGAN_OK) {
        if (t->as == t->tensor->dtype)
            move_bytes(h, t, fd);
        else
            convert_tensor(h, t, fd);
        if (fd >= 0)
            close(fd);
    }
    t->xxh3 = XXH3_64bits_digest(h->hash);
    return h->error.status;
}

/* Takes the next transfer; returns NULL if none is left, a thread has failed or a stop is requested. */
static organ_transfer *next_transfer(transfer_pool *c)
{
    if (transfers_must_end(c))
        return NULL;
    pthread_mutex_lock(&c->lock);
    organ_transfer *t = c->next < c->count ? &c->transfers[c->next++] : NULL;
    pthread_mutex_unlock(&c->lock);
    return t;
}

/* Calls t->done, if it is set, with the lock held, so that calls never overlap. Returns its error. */
static organ_status report_done(transfer_worker *h, const organ_transfer *t)
{
    if (!t->done)
        return ORGAN_OK;
    pthread_mutex_lock(&h->pool->lock);
    t->done(t->context, t, &h->error);
    pthread_mutex_unlock(&h->pool->lock);
    return h->error.status;
}

/* Runs in each thread: moves transfers until none is left, one fails in any thread, or a stop is requested. */
static void *run_transfers(void *context)
{
    transfer_worker h = {
        .pool = context, .buffer = aligned_alloc(ORGAN_DIRECT_ALIGNMENT, STEP), .hash = XXH3_createState()};
    if (!h.buffer || !h.hash)
        organ_fail_errno(&h.error, ENOMEM, "cannot allocate a buffer of %zu bytes", STEP);
    for (organ_transfer *t; !h.error.status && (t = next_transfer(h.pool));)
        if (move_tensor(&h, t) == ORGAN_OK && !transfers_must_end(h.pool) && report_done(&h, t) == ORGAN_OK)
            note_moved(h.pool, 0, t->tensor->name);
    if (h.file.path)
        organ_direct_close(&h.file);
    pthread_mutex_lock(&h.pool->lock);
    if (h.error.status && !h.pool->fault.status)
        h.pool->fault = h.error;
    pthread_mutex_unlock(&h.pool->lock);
    XXH3_freeState(h.hash);
    free(h.buffer);
    return NULL;
}

/* Starts up to THREADS - 1 more threads and runs transfers on them and on this thread. If no thread can be started,
 * this thread runs all transfers. */
static void work_together(transfer_pool *c)
{
    pthread_t threads[THREADS - 1];
    size_t started = 0;
    while (started < THREADS - 1 && started + 1 < c->count &&
           organ_thread_create(&threads[started], NULL, run_transfers, c) == 0)
        started++;
    run_transfers(c);
    while (started)
        pthread_join(threads[--started], NULL);
}

/* Runs the transfers with up to THREADS threads. After the first error no thread begins another step. */
organ_status organ_transfer_run(organ_transfer *transfers, size_t count, const organ_progress *progress,
                                const organ_stop *stop, organ_error *error)
{
    transfer_pool c = {.transfers = transfers, .count = count, .progress = progress, .stop = stop};
    pthread_mutex_init(&c.lock, NULL);
    pthread_mutex_init(&c.ahead_lock, NULL);
    work_together(&c);
    pthread_mutex_destroy(&c.lock);
    pthread_mutex_destroy(&c.ahead_lock);
    if (c.fault.status) {
        *error = c.fault;
        return error->status;
    }
    return organ_stop_is_requested(stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

/* Synchronises the file system that contains `directory` with the disk (syncfs). */
organ_status organ_transfer_sync(const char *directory, organ_error *error)
{
    const int fd = organ_open(directory, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 || syncfs(fd))
        organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", directory);
    if (fd >= 0)
        close(fd);
    return error->status;
}

/* Returns ORGAN_IO with errnum ENOSPC if the file system of `directory` has less than `bytes` bytes free. */
organ_status organ_transfer_room(const char *directory, const char *final, const char *what, uint64_t bytes,
                                 organ_error *error)
{
    struct statvfs disk;
    if (statvfs(directory, &disk))
        return organ_fail_errno(error, errno, "%s: cannot determine the free space", directory);
    const uint64_t have = (uint64_t)disk.f_bavail * disk.f_frsize;
    char need_text[16], have_text[16], missing_text[16];
    if (bytes <= have)
        return ORGAN_OK;
    organ_fail(error, ORGAN_IO, "%s: no space: %s %s more, but %s are free: %s are missing", final, what,
               organ_quantity_text(bytes, need_text), organ_quantity_text(have, have_text),
               organ_quantity_text(bytes - have, missing_text));
    error->errnum = ENOSPC;
    return error->status;
}
