/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/model_copy.h"

#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP ((uint64_t)64 << 20) /* copied between two looks at the stop flag */

typedef struct shard {
    char *path;
    organ_direct_file file;
    bool shared; /* reflinked: nothing around the replaced tensors is left to copy */
} shard;

struct organ_model_copy {
    const organ_model *donor;
    const organ_publish *publish;
    const bool *replaced;
    const organ_stop *stop;
    shard *shards;
    organ_file_list others;
    pthread_t thread;
    bool copying; /* the thread was started and not yet joined */
    pthread_mutex_t lock;
    bool cancelled;
    organ_error fault; /* of the thread; guarded by the lock */
};

/* A donor that was named by its index takes that along: without it the copied shards are no model. */
static organ_status list_index(const organ_model *donor, organ_file_list *list, organ_error *error)
{
    char *path = NULL;
    struct stat info = {0};
    list->names = calloc(1, sizeof *list->names);
    if (!list->names || !(list->names[0] = strdup(donor->index)) || asprintf(&path, "%s/%s", donor->directory, donor->index) < 0)
        return organ_fail_memory(error, donor->path);
    list->count = 1;
    if (stat(path, &info))
        organ_fail_errno(error, errno, "%s", path);
    list->bytes = (uint64_t)info.st_size;
    free(path);
    return error->status;
}

organ_status organ_model_other_files(const organ_model *donor, organ_file_list *list, organ_error *error)
{
    *list = (organ_file_list){0};
    if (!donor->whole_directory)
        return donor->index ? list_index(donor, list, error) : ORGAN_OK;
    const char **skip = malloc(donor->file_count * sizeof *skip);
    if (!skip)
        return organ_fail_memory(error, donor->path);
    for (size_t f = 0; f < donor->file_count; f++)
        skip[f] = donor->files[f].name;
    organ_list_files(donor->directory, skip, donor->file_count, list, error);
    free(skip);
    return error->status;
}

static bool stopped(organ_model_copy *copy)
{
    pthread_mutex_lock(&copy->lock);
    const bool cancelled = copy->cancelled;
    pthread_mutex_unlock(&copy->lock);
    return cancelled || organ_stop_asked(copy->stop);
}

static organ_status copy_span(organ_model_copy *copy, size_t f, uint64_t from, uint64_t to, organ_error *error)
{
    const organ_model_file *donor = &copy->donor->files[f];
    const shard *s = &copy->shards[f];
    while (from < to && !error->status && !stopped(copy)) {
        const uint64_t bytes = to - from < STEP ? to - from : STEP;
        organ_copy_range(donor->fd, donor->path, from, s->file.fd, s->path, from, bytes, error);
        from += bytes;
    }
    return error->status;
}

/* Header, gaps and tensors that are not replaced. Tensors are ordered by offset. */
static organ_status copy_around(organ_model_copy *copy, size_t f, organ_error *error)
{
    const organ_model *donor = copy->donor;
    const organ_model_file *file = &donor->files[f];
    uint64_t done = 0;
    for (uint64_t t = file->first; t < file->first + file->count && !error->status; t++) {
        if (!copy->replaced[t])
            continue;
        copy_span(copy, f, done, donor->tensors[t].offset, error);
        done = donor->tensors[t].offset + donor->tensors[t].bytes;
    }
    return error->status ? error->status : copy_span(copy, f, done, file->size, error);
}

static organ_status copy_other(organ_model_copy *copy, const char *name, organ_error *error)
{
    char *to = NULL;
    const bool record = strncmp(name, "organ/", 6) == 0;
    if (asprintf(&to, "%s%s", record ? "organ/donor/" : "", record ? name + 6 : name) < 0)
        return organ_fail_memory(error, name);
    organ_copy_file(copy->donor->directory, name, copy->publish->partial, to, error);
    free(to);
    return error->status;
}

static void *copy_all(void *context)
{
    organ_model_copy *copy = context;
    organ_error error = {0};
    for (size_t k = 0; k < copy->others.count && !error.status && !stopped(copy); k++)
        copy_other(copy, copy->others.names[k], &error);
    for (size_t f = 0; f < copy->donor->file_count && !error.status && !stopped(copy); f++)
        if (copy->shards[f].shared || copy_around(copy, f, &error) == ORGAN_OK)
            organ_direct_sync(&copy->shards[f].file, &error); /* early: the disk works while the processor does */
    pthread_mutex_lock(&copy->lock);
    copy->fault = error;
    pthread_mutex_unlock(&copy->lock);
    return NULL;
}

static organ_status open_shard(organ_model_copy *copy, size_t f, organ_error *error)
{
    const organ_model_file *donor = &copy->donor->files[f];
    shard *s = &copy->shards[f];
    if (!(s->path = organ_publish_path(copy->publish, donor->name)))
        return organ_fail_memory(error, donor->name);
    if (organ_direct_open(s->path, 0666, &s->file, error))
        return error->status;
    s->shared = !copy->publish->resumed && organ_reflink(donor->fd, s->file.fd);
    return organ_direct_resize(&s->file, donor->size, error);
}

/* Bytes that have no place on the disk yet. */
static uint64_t space_needed(const organ_model_copy *copy)
{
    uint64_t need = copy->others.bytes;
    for (size_t f = 0; f < copy->donor->file_count; f++) {
        const organ_model_file *file = &copy->donor->files[f];
        struct stat info = {0};
        fstat(copy->shards[f].file.fd, &info);
        const uint64_t have = (uint64_t)info.st_blocks * 512;
        if (!copy->shards[f].shared)
            need += file->size > have ? file->size - have : 0;
        else
            for (uint64_t t = file->first; t < file->first + file->count; t++)
                need += copy->replaced[t] ? copy->donor->tensors[t].bytes : 0;
    }
    return need;
}

static organ_status start(organ_model_copy *copy, organ_error *error)
{
    sigset_t all, before;
    sigfillset(&all); /* signals belong to the thread that called */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&copy->thread, NULL, copy_all, copy);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    copy->copying = failed == 0;
    return failed ? organ_fail_errno(error, failed, "cannot start the copying thread (memory, or a limit on threads)") : ORGAN_OK;
}

organ_status organ_model_copy_begin(const organ_model *donor, const organ_publish *publish, const bool *replaced, const organ_stop *stop,
                                    organ_model_copy **result, organ_error *error)
{
    organ_model_copy *copy = *result = calloc(1, sizeof *copy);
    if (!copy)
        return organ_fail_memory(error, donor->path);
    *copy = (organ_model_copy){.donor = donor, .publish = publish, .replaced = replaced, .stop = stop};
    pthread_mutex_init(&copy->lock, NULL);
    copy->shards = calloc(donor->file_count, sizeof *copy->shards);
    if (!copy->shards)
        organ_fail_memory(error, donor->path);
    for (size_t f = 0; copy->shards && f < donor->file_count; f++)
        copy->shards[f].file = (organ_direct_file){.fd = -1, .direct = -1};
    for (size_t f = 0; f < donor->file_count && !error->status; f++)
        open_shard(copy, f, error);
    if (!error->status && organ_model_other_files(donor, &copy->others, error) == ORGAN_OK &&
        organ_transfer_room(publish->partial, publish->final, space_needed(copy), error) == ORGAN_OK)
        start(copy, error);
    if (error->status) {
        organ_model_copy_end(copy);
        *result = NULL;
    }
    return error->status;
}

static organ_status fault_of_thread(organ_model_copy *copy, organ_error *error)
{
    pthread_mutex_lock(&copy->lock);
    if (copy->fault.status && !error->status)
        *error = copy->fault;
    pthread_mutex_unlock(&copy->lock);
    return error->status;
}

organ_status organ_model_copy_write(organ_model_copy *copy, const organ_tensor *tensor, const void *data, size_t bytes, uint64_t offset,
                                    organ_error *error)
{
    if (fault_of_thread(copy, error))
        return error->status;
    return organ_direct_write(&copy->shards[tensor->file].file, data, bytes, offset, error);
}

organ_status organ_model_copy_read(const organ_model_copy *copy, const organ_tensor *tensor, void *data, size_t bytes, uint64_t offset,
                                   organ_error *error)
{
    const shard *s = &copy->shards[tensor->file];
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(s->file.fd, (char *)data + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return organ_fail_errno(error, got ? errno : EIO, "%s: cannot be read back at %llu", s->path,
                                    (unsigned long long)(offset + done));
        done += (size_t)got;
    }
    return ORGAN_OK;
}

static void join(organ_model_copy *copy)
{
    if (copy->copying)
        pthread_join(copy->thread, NULL);
    copy->copying = false;
}

organ_status organ_model_copy_finish(organ_model_copy *copy, organ_error *error)
{
    join(copy);
    if (fault_of_thread(copy, error))
        return error->status;
    if (stopped(copy))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    for (size_t f = 0; f < copy->donor->file_count && !error->status; f++)
        organ_direct_sync(&copy->shards[f].file, error); /* the ragged ends of bands went through the cache */
    return error->status;
}

const organ_file_list *organ_model_copy_files(const organ_model_copy *copy) { return &copy->others; }

void organ_model_copy_end(organ_model_copy *copy)
{
    if (!copy)
        return;
    pthread_mutex_lock(&copy->lock);
    copy->cancelled = true;
    pthread_mutex_unlock(&copy->lock);
    join(copy);
    for (size_t f = 0; copy->shards && f < copy->donor->file_count; f++) {
        organ_direct_close(&copy->shards[f].file);
        free(copy->shards[f].path);
    }
    free(copy->shards);
    organ_list_free(&copy->others);
    pthread_mutex_destroy(&copy->lock);
    free(copy);
}
