/* SPDX-License-Identifier: MIT
 * Measures the tensors of a model. One thread measures a tensor from its first element to its last, so results do not
 * depend on the number of threads. Large tensors are measured first, so that no thread begins one at the end. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "formats/base/owned.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* The workers share this state. */
typedef struct z_measure_crew {
    const organ_model *model;
    const organ_z_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_z *out;                     /* results, one element for each tensor of the model */
    const organ_z_subjects *subjects; /* weights of the model */
    const organ_weight **order;       /* the weights to measure, in this order */
    organ_assignment assignment; /* which rank measures which tensor; before it is created, this process measures all */
    size_t count;                /* entries of `order` */
    uint64_t bytes;              /* bytes to measure in this process */
    uint64_t all_bytes;          /* bytes to measure in all ranks */
    size_t all_count;            /* number of weights to measure in all ranks */
    organ_z_scratch *scratches;  /* of each worker; its memory begins at `values` */
    size_t scratch_bytes;        /* bytes of scratch of each worker */
    organ_seed_sample *samples;  /* one for each worker, for the older measure seed/1; NULL: not requested */
    pthread_mutex_t lock;        /* guards the calls of options->finished and of the progress */
    uint64_t min_scratch;        /* bytes of scratch with which a worker can measure every weight */
} z_measure_crew;

static organ_status report_weight(z_measure_crew *c, const organ_weight *weight, const organ_z *z, organ_error *error)
{
    char remark[32];
    organ_snprintf(remark, sizeof remark, z->reason ? "no theta" : "theta %.2f", z->theta);
    ORGAN_LOCKED(&c->lock);
    if (c->options->finished && c->options->finished(c->options->context, weight, z, error) != ORGAN_OK)
        return error->status;
    organ_progress_advance(c->progress, organ_weight_bytes(weight), weight->name, remark);
    return ORGAN_OK;
}

/* The worker itself reports the weight, because weights that take longer may be measured before it. */
static organ_status measure_weight(void *context, size_t k, size_t worker, organ_error *error)
{
    z_measure_crew *const c = context;
    const organ_weight *const weight = c->order[k];
    organ_z *const z = &c->out[weight->codes - c->model->tensors];
    if (organ_z_tensor(c->model, weight, c->engine->kernels, c->engine->stop, &c->scratches[worker], z, error) ==
        ORGAN_OK)
        return report_weight(c, weight, z, error);
    *z = (organ_z){0};
    return error->status;
}

static bool is_selected(const z_measure_crew *c, size_t t)
{
    return c->subjects->weight_of[t] && !(c->out && c->out[t].done) && (!c->options->chosen || c->options->chosen[t]) &&
           (!c->assignment.owner || organ_assignment_is_local(&c->assignment, t));
}

static uint64_t bytes_of(const void *context, size_t t)
{
    const z_measure_crew *const c = context;
    return is_selected(c, t) ? organ_weight_bytes(c->subjects->weight_of[t]) : 0;
}

static organ_status assign_tensors(z_measure_crew *c, organ_error *error)
{
    const size_t count = c->model->tensor_count;
    for (size_t t = 0; t < count; t++)
        if (is_selected(c, t)) {
            c->all_bytes += bytes_of(c, t);
            c->all_count++;
        }
    organ_assignment assignment;
    organ_assignment_create(c->engine->ranks, count, bytes_of, c, &assignment, error);
    c->assignment = assignment;
    return error->status;
}

/* Large weights come first, so that no worker begins one when the others have finished. A weight is large if it has
 * at least a quarter of the bytes that a worker measures on average. */
static organ_status make_order(z_measure_crew *c, organ_error *error)
{
    const organ_model *model = c->model;
    if (!(c->order = calloc(model->tensor_count + 1, sizeof *c->order)))
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        c->bytes += bytes_of(c, t);
    const uint64_t large = c->bytes / (4 * organ_workers_count(c->engine->workers)) + 1;
    for (int large_first = 1; large_first >= 0; large_first--)
        for (size_t t = 0; t < model->tensor_count; t++)
            if (is_selected(c, t) && (organ_weight_bytes(c->subjects->weight_of[t]) >= large) == large_first)
                c->order[c->count++] = c->subjects->weight_of[t];
    return ORGAN_OK;
}

/* With *least bytes of scratch a worker can measure every weight; more than *max bytes have no use. */
static organ_status find_scratch_range(const z_measure_crew *c, uint64_t *least, uint64_t *max, organ_error *error)
{
    *least = *max = 0;
    for (size_t k = 0; k < c->count; k++) {
        uint64_t enough, useful;
        if (organ_z_source_size(c->model, c->order[k], c->engine->kernels, &enough, &useful, error))
            return error->status;
        *least = enough > *least ? enough : *least;
        *max = useful > *max ? useful : *max;
    }
    *max = (*max > *least ? *max : *least) + organ_z_scratch_fixed_bytes();
    *least += organ_z_scratch_fixed_bytes();
    return ORGAN_OK;
}

/* The workers share three quarters of the memory; the rest is for headers, stacks and other data of the process. */
static uint64_t scratch_of_thread(const z_measure_crew *c, uint64_t memory)
{
    return memory / 4 * 3 / organ_workers_count(c->engine->workers) / 4096 * 4096;
}

/* The inverse of scratch_of_thread. */
static uint64_t memory_for_scratch(const z_measure_crew *c, uint64_t scratch)
{
    return ((scratch + 4096) * organ_workers_count(c->engine->workers) / 3 + 1) * 4;
}

static bool memory_suffices(void *crew_of, uint64_t memory)
{
    const z_measure_crew *const c = crew_of;
    return scratch_of_thread(c, memory) >= c->min_scratch;
}

/* The scratch of a worker is in its memory node, and not more than the largest weight can use. */
static organ_status allocate_scratch(z_measure_crew *c, organ_error *error)
{
    const size_t workers = organ_workers_count(c->engine->workers);
    uint64_t max;
    if (find_scratch_range(c, &c->min_scratch, &max, error))
        return error->status;
    if (organ_memory_require(c->engine, memory_suffices, c, error, "the tensors of %s and %zu threads", c->model->path,
                             workers) != ORGAN_OK)
        return error->status;
    organ_memory_prefer(c->engine, memory_for_scratch(c, max));
    const uint64_t part = scratch_of_thread(c, organ_engine_memory(c->engine));
    c->scratch_bytes = (size_t)(max < part ? max : part);
    if (!(c->scratches = calloc(workers, sizeof *c->scratches)) ||
        (c->options->seed && !(c->samples = calloc(workers, sizeof *c->samples))))
        return organ_fail_memory(error, c->model->path);
    for (size_t k = 0; k < workers; k++) {
        const unsigned node = organ_workers_place(c->engine->workers, k).node;
        void *const memory = organ_topology_allocate(c->engine->topology, node, c->scratch_bytes);
        if (!memory)
            return organ_fail_errno(error, errno, "cannot allocate %zu bytes for a thread", c->scratch_bytes);
        c->scratches[k] = organ_z_scratch_divide(memory, c->scratch_bytes);
        c->scratches[k].sample = c->samples ? &c->samples[k] : NULL;
    }
    return ORGAN_OK;
}

static void free_scratch(z_measure_crew *c)
{
    for (size_t k = 0; c->scratches && k < organ_workers_count(c->engine->workers); k++)
        organ_topology_free(c->engine->topology, c->scratches[k].values, c->scratch_bytes);
    ORGAN_FREE_ARRAYS(c->scratches, c->samples, c->order);
    organ_assignment_release(&c->assignment);
    pthread_mutex_destroy(&c->lock);
}

static organ_status run_workers(z_measure_crew *c, organ_error *error)
{
    if (make_order(c, error) || c->count == 0 || allocate_scratch(c, error))
        return error->status;
    organ_progress_begin(c->progress, "measuring", c->all_bytes, c->all_count);
    organ_share_try(c->engine, c->count, measure_weight, c, error);
    organ_progress_end(c->progress);
    return error->status ? error->status : organ_model_unchanged(c->model, error);
}

/* organ_z.reason points to a constant string of the process, so it is set again for results of other ranks. */
organ_status organ_measure_tensors(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                                   const organ_progress *progress, organ_z *out, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    z_measure_crew c = {.model = model,
                        .options = options,
                        .engine = engine,
                        .progress = progress,
                        .out = out,
                        .subjects = options->subjects};
    ORGAN_RELEASED_BY(organ_z_subjects_release) organ_z_subjects mine = {0};
    c.assignment.ranks = engine->ranks; /* ranks exchange results even if there is no tensor to assign */
    pthread_mutex_init(&c.lock, NULL);
    if (c.subjects || organ_z_subjects_find(model, &mine, error) == ORGAN_OK) {
        c.subjects = c.subjects ? c.subjects : &mine;
        if (assign_tensors(&c, error) == ORGAN_OK)
            run_workers(&c, error);
    }
    if (organ_assignment_complete(&c.assignment, "measuring the tensors", out, sizeof *out, sizeof *out, error) ==
        ORGAN_OK)
        for (size_t t = 0; engine->ranks && t < model->tensor_count; t++)
            organ_z_reason(c.subjects->weight_of[t], &out[t]); /* the pointers of another process are invalid here */
    free_scratch(&c);
    return error->status;
}

organ_status organ_measure_min(const organ_model *model, const organ_z_options *options, const organ_engine *engine,
                               uint64_t *least, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    z_measure_crew c = {.model = model, .options = options, .engine = engine};
    ORGAN_RELEASED_BY(organ_z_subjects_release) organ_z_subjects mine = {0};
    uint64_t max;
    *least = 0;
    if (organ_z_subjects_find(model, &mine, error) == ORGAN_OK) {
        c.subjects = &mine;
        if (make_order(&c, error) == ORGAN_OK && c.count &&
            find_scratch_range(&c, &c.min_scratch, &max, error) == ORGAN_OK)
            *least = organ_memory_enough(0, memory_suffices, &c);
    }
    free(c.order);
    return error->status;
}
