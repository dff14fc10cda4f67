/* SPDX-License-Identifier: MIT
 * Every tensor is measured by one thread from its first element to its last: nothing depends on how many threads there are. Tensors that
 * would keep one thread busy after all others are done go first. */
#include "orchestrator/surgery/z_measure.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/surgery/z_tensor.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct crew {
    const organ_model *model;
    const organ_z_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_z *out;
    const organ_tensor **order;
    size_t count, next;
    uint64_t bytes;             /* of all that are to be measured */
    void **memory;              /* per worker */
    size_t room_bytes;          /* of each */
    organ_seed_sample *samples; /* one a worker, for the older measure, or NULL */
    pthread_mutex_t lock;
    organ_error error; /* the first */
} crew;

static const organ_tensor *take(crew *c)
{
    pthread_mutex_lock(&c->lock);
    const bool over = c->error.status != ORGAN_OK || c->next == c->count;
    const organ_tensor *tensor = over ? NULL : c->order[c->next++];
    pthread_mutex_unlock(&c->lock);
    return tensor;
}

static void told(crew *c, const organ_tensor *tensor, const organ_z *z, organ_error *error)
{
    char remark[32];
    snprintf(remark, sizeof remark, z->reason ? "no theta" : "theta %.2f", z->theta);
    pthread_mutex_lock(&c->lock);
    if (!error->status && c->options->finished)
        c->options->finished(c->options->context, tensor, z, error);
    if (error->status && !c->error.status)
        c->error = *error;
    if (!error->status)
        organ_progress_advance(c->progress, tensor->bytes, tensor->name, remark);
    pthread_mutex_unlock(&c->lock);
}

static void work(void *context, size_t worker)
{
    crew *c = context;
    organ_z_room room = organ_z_room_make(c->memory[worker], c->room_bytes);
    room.sample = c->samples ? &c->samples[worker] : NULL;
    for (const organ_tensor *tensor; (tensor = take(c));) {
        organ_error error = {0};
        organ_z *z = &c->out[tensor - c->model->tensors];
        if (organ_z_tensor(c->model, tensor, c->engine->kernels, c->engine->stop, &room, z, &error) != ORGAN_OK)
            *z = (organ_z){0};
        told(c, tensor, z, &error);
    }
}

static bool wanted(const crew *c, size_t t) { return !c->out[t].done && (!c->options->chosen || c->options->chosen[t]); }

static organ_status make_order(crew *c, organ_error *error)
{
    const organ_model *model = c->model;
    if (!(c->order = calloc(model->tensor_count + 1, sizeof *c->order)))
        return organ_fail_errno(error, ENOMEM, "%s", model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        c->bytes += wanted(c, t) ? model->tensors[t].bytes : 0;
    const uint64_t large = c->bytes / (4 * organ_workers_count(c->engine->workers)) + 1;
    for (int early = 1; early >= 0; early--)
        for (size_t t = 0; t < model->tensor_count; t++)
            if (wanted(c, t) && (model->tensors[t].bytes >= large) == early)
                c->order[c->count++] = &model->tensors[t];
    return ORGAN_OK;
}

/* Each thread has its part of three quarters of the memory, but no more than the largest tensor asks for: the rest is for headers, stacks
 * and what else the process holds. */
static organ_status make_rooms(crew *c, organ_error *error)
{
    const size_t workers = organ_workers_count(c->engine->workers), fixed = organ_z_room_fixed(), least = fixed + organ_z_window_least();
    const uint64_t part = c->engine->memory / 4 * 3 / workers / 4096 * 4096;
    uint64_t most = least;
    for (size_t k = 0; k < c->count; k++)
        most = c->order[k]->bytes + fixed > most ? c->order[k]->bytes + fixed : most;
    if (part < least) {
        char need[16], have[16];
        return organ_fail(error, ORGAN_USAGE, "--memory %s is too small: %zu threads need %s; give more memory or fewer threads",
                          organ_quantity_text(c->engine->memory, have), workers,
                          organ_quantity_text((uint64_t)workers * (least + 4096) / 3 * 4, need));
    }
    c->room_bytes = (size_t)(most < part ? most : part);
    if (!(c->memory = calloc(workers, sizeof *c->memory)) || (c->options->seed && !(c->samples = calloc(workers, sizeof *c->samples))))
        return organ_fail_errno(error, ENOMEM, "%s", c->model->path);
    for (size_t k = 0; k < workers; k++) {
        const unsigned node = organ_workers_place(c->engine->workers, k).node;
        if (!(c->memory[k] = organ_topology_allocate(c->engine->topology, node, c->room_bytes)))
            return organ_fail_errno(error, errno, "cannot allocate %zu bytes for a thread", c->room_bytes);
    }
    return ORGAN_OK;
}

static void release(crew *c)
{
    for (size_t k = 0; c->memory && k < organ_workers_count(c->engine->workers); k++)
        organ_topology_free(c->engine->topology, c->memory[k], c->room_bytes);
    free(c->memory);
    free(c->samples);
    free(c->order);
    pthread_mutex_destroy(&c->lock);
}

organ_status organ_measure_tensors(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_z *out, organ_error *error)
{
    crew c = {.model = model, .options = options, .engine = engine, .progress = progress, .out = out};
    pthread_mutex_init(&c.lock, NULL);
    if (make_order(&c, error) == ORGAN_OK && c.count > 0 && make_rooms(&c, error) == ORGAN_OK) {
        organ_progress_begin(progress, "measuring", c.bytes, c.count);
        organ_workers_run(engine->workers, work, &c);
        organ_progress_end(progress);
        if (c.error.status)
            *error = c.error;
        else
            organ_model_unchanged(model, error);
    }
    release(&c);
    return error->status;
}

organ_status organ_measure_model(const organ_model *model, const organ_engine *engine, const organ_progress *progress, organ_z *out,
                                 organ_error *error)
{
    return organ_measure_tensors(model, &(organ_z_options){0}, engine, progress, out, error);
}
