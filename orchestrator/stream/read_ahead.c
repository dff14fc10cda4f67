/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/read_ahead.h"

#include "formats/base/activity.h"
#include "formats/base/file_calls.h"

#include <fcntl.h>
#include <unistd.h>

#define AHEAD ((uint64_t)64 << 20) /* announced reads are at most this many bytes ahead */
#define ANNOUNCE                                                                                                       \
    ((uint64_t)512 << 10) /* bytes of an announcement: Linux shortens longer ones to about its read-ahead */

void organ_read_ahead_open(organ_read_ahead *ahead)
{
    pthread_mutex_init(&ahead->lock, NULL);
    ahead->fd = -1;
}

void organ_read_ahead_close(organ_read_ahead *ahead)
{
    pthread_mutex_destroy(&ahead->lock);
    if (ahead->fd >= 0)
        close(ahead->fd);
}

/* ahead->fd becomes -1 for a file at a URL and for one that cannot be opened. */
static void open_announced(organ_read_ahead *ahead, const organ_model_file *file)
{
    if (ahead->file == file)
        return;
    if (ahead->fd >= 0)
        close(ahead->fd);
    ahead->fd = file->remote ? -1 : organ_open(file->path, O_RDONLY | O_NONBLOCK, 0);
    ahead->file = file;
}

static void announce_next(organ_read_ahead *ahead)
{
    const organ_read_range range = ahead->range(ahead->context, ahead->next);
    const uint64_t remaining = range.tensor ? range.tensor->bytes - ahead->offset : 0;
    const uint64_t bytes = remaining < ANNOUNCE ? remaining : ANNOUNCE;
    if (bytes)
        open_announced(ahead, &range.model->files[range.tensor->file]);
    if (bytes && ahead->fd >= 0)
        posix_fadvise(ahead->fd, (off_t)(range.tensor->offset + ahead->offset), (off_t)bytes, POSIX_FADV_WILLNEED);
    ahead->announced += bytes;
    ahead->offset += bytes;
    if (bytes == remaining) {
        ahead->next++;
        ahead->offset = 0;
    }
}

void organ_read_ahead_move(organ_read_ahead *ahead, uint64_t read)
{
    if (pthread_mutex_trylock(&ahead->lock))
        return;
    while (ahead->next < ahead->count && ahead->announced < read + AHEAD)
        announce_next(ahead);
    pthread_mutex_unlock(&ahead->lock);
}

/* ---- the limit ---- */

void organ_reader_gate_open(organ_reader_gate *gate, const organ_engine *engine)
{
    const size_t readers = engine->readers;
    *gate = (organ_reader_gate){.limits = readers && readers < organ_workers_count(engine->workers), .free = readers};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->left, NULL);
}

void organ_reader_gate_close(organ_reader_gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
    pthread_cond_destroy(&gate->left);
}

void organ_reader_gate_enter(organ_reader_gate *gate)
{
    if (!gate->limits)
        return;
    const organ_activity before = organ_activity_begin(ORGAN_WAITING);
    pthread_mutex_lock(&gate->lock);
    while (gate->free == 0)
        pthread_cond_wait(&gate->left, &gate->lock);
    gate->free--;
    pthread_mutex_unlock(&gate->lock);
    organ_activity_begin(before);
}

void organ_reader_gate_leave(organ_reader_gate *gate)
{
    if (!gate->limits)
        return;
    pthread_mutex_lock(&gate->lock);
    gate->free++;
    pthread_cond_signal(&gate->left);
    pthread_mutex_unlock(&gate->lock);
}
