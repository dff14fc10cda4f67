/* SPDX-License-Identifier: MIT
 * Matches the experts of two models by their rows in the router: an assignment of rows with the greatest sum of
 * cosines. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/assign.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAME_SUM 1e-9 /* a sum of cosines that is larger by less is no reason to move rows */

/* ---- routers ---- */

typedef struct router_pass {
    compare_job *job;
    size_t next, workers;
    size_t values, scratch, gains; /* bytes of a lane's parts: of one model, of readers, of cosines and assignment */
    size_t changes;                /* bytes of the state of a change, which is allocated while a router is open */
    unsigned char **lanes;
    pthread_mutex_t lock;
    organ_error error;
} router_pass;

static bool is_router(const compare_item *item)
{
    return item->like->anatomy.role == ORGAN_ROLE_ROUTER && item->like->rank == 2 && item->like->shape[0] > 1;
}

static organ_status read_rows(const compare_job *job, const compare_item *item, size_t i, float *values, void *scratch,
                              organ_error *error)
{
    const organ_merge_input input = organ_compare_input(job, item, i);
    organ_merge_reader reader;
    if (organ_merge_reader_open(&input, job->engine->kernels, &reader, error) == ORGAN_OK)
        organ_merge_reader_read(&reader, 0, (size_t)input.weight->shape[0], values, scratch, error);
    organ_merge_reader_close(&reader);
    for (size_t k = 0; !error->status && k < input.weight->elements; k++)
        values[k] = values[k] - values[k] == 0 ? values[k] : 0;
    return error->status;
}

/* Rows of zeros have cosine 0 with every row. */
static void match_rows(const float *a, const float *b, size_t n, size_t cols, double *gain, compare_match *match)
{
    double *const norm = gain + n * n;
    size_t *const row_of = (size_t *)(void *)(norm + n);
    double matched = 0, in_order = 0;
    for (size_t j = 0; j < n; j++)
        norm[j] = sqrt(organ_dot(b + j * cols, b + j * cols, cols));
    for (size_t i = 0; i < n; i++) {
        const double own = sqrt(organ_dot(a + i * cols, a + i * cols, cols));
        for (size_t j = 0; j < n; j++)
            gain[i * n + j] = own * norm[j] > 0 ? organ_dot(a + i * cols, b + j * cols, cols) / (own * norm[j]) : 0;
    }
    organ_assign(n, gain, row_of, row_of + n);
    for (size_t i = 0; i < n; i++) {
        matched += gain[i * n + row_of[i]];
        in_order += gain[i * n + i];
    }
    const bool better = matched > in_order + SAME_SUM * (double)n;
    match->rows = n;
    for (size_t i = 0; better && i < n; i++)
        match->moved += row_of[i] != i;
    match->in_order = in_order / (double)n;
    match->cosine = better ? matched / (double)n : match->in_order;
}

/* The matches of one item are consecutive. */
static organ_status match_item(router_pass *pass, size_t number, unsigned char *lane, organ_error *error)
{
    compare_job *const job = pass->job;
    const size_t index = job->matches[number].item;
    const compare_item *const item = &job->items[index];
    unsigned char *const scratch = lane + job->count * pass->values;
    for (size_t i = 0; i < job->count; i++)
        if (item->weights[i] && read_rows(job, item, i, (float *)(void *)(lane + i * pass->values), scratch, error))
            return error->status;
    for (size_t k = number; k < job->match_count && job->matches[k].item == index; k++) {
        size_t j = 1;
        while (organ_compare_pair(0, j) + j <= job->matches[k].pair)
            j++;
        const size_t i = job->matches[k].pair - organ_compare_pair(0, j);
        match_rows((const float *)(const void *)(lane + i * pass->values),
                   (const float *)(const void *)(lane + j * pass->values), (size_t)item->like->shape[0],
                   (size_t)item->like->shape[1], (double *)(void *)(scratch + pass->scratch), &job->matches[k]);
    }
    return ORGAN_OK;
}

/* Takes the first match of an item. */
static bool take_router(router_pass *pass, size_t *number)
{
    const compare_job *const job = pass->job;
    pthread_mutex_lock(&pass->lock);
    const bool any =
        pass->next < job->match_count && !pass->error.status && !organ_stop_is_requested(job->engine->stop);
    if (any) {
        *number = pass->next;
        while (pass->next < job->match_count && job->matches[pass->next].item == job->matches[*number].item)
            pass->next++;
    }
    pthread_mutex_unlock(&pass->lock);
    return any;
}

static void work(void *context, size_t worker)
{
    router_pass *const pass = context;
    if (worker >= pass->workers)
        return;
    for (size_t number; take_router(pass, &number);) {
        organ_error error = {0};
        if (match_item(pass, number, pass->lanes[worker], &error) == ORGAN_OK)
            continue;
        pthread_mutex_lock(&pass->lock);
        if (!pass->error.status)
            pass->error = error;
        pthread_mutex_unlock(&pass->lock);
    }
}

static organ_status list_routers(router_pass *pass, organ_error *error)
{
    compare_job *const job = pass->job;
    size_t room = 0;
    for (size_t k = 0; k < job->item_count; k++) {
        const compare_item *const item = &job->items[k];
        if (!is_router(item))
            continue;
        const size_t n = (size_t)item->like->shape[0],
                     values = organ_to_line((size_t)item->like->elements * sizeof(float));
        const size_t gains = organ_to_line(n * (n + 1) * sizeof(double) + n * sizeof(size_t) + organ_assign_room(n));
        pass->values = organ_max(pass->values, values);
        pass->gains = organ_max(pass->gains, gains);
        for (size_t j = 0; j < job->count; j++) {
            const organ_merge_input input = organ_compare_input(job, item, j);
            size_t scratch = 0;
            if (input.weight && organ_merge_reader_scratch(&input, job->engine->kernels, n, &scratch, error))
                return error->status;
            pass->scratch = organ_max(pass->scratch, scratch);
            pass->changes = organ_max(pass->changes, input.change ? organ_to_line(input.change->memory) : 0);
            for (size_t i = 0; i < j; i++) {
                if (!item->weights[i] || !item->weights[j])
                    continue;
                if (!organ_grow(&job->matches, job->match_count, &room, sizeof *job->matches))
                    return organ_fail_memory(error, job->models[0].path);
                job->matches[job->match_count++] = (compare_match){.item = k, .pair = organ_compare_pair(i, j)};
            }
        }
    }
    return ORGAN_OK;
}

static organ_status run_routers(router_pass *pass, organ_error *error)
{
    compare_job *const job = pass->job;
    const size_t lane = job->count * pass->values + pass->scratch + pass->gains;
    const size_t all = organ_workers_count(job->engine->workers), each = lane + pass->changes;
    if (organ_memory_claim(job->engine, each, error, "the routers of a layer of %zu models", job->count))
        return error->status;
    organ_memory_prefer(job->engine, each * all);
    const uint64_t fits = organ_engine_memory(job->engine) / each;
    pass->workers = fits < all ? (size_t)fits : all;
    pass->lanes = calloc(pass->workers, sizeof *pass->lanes);
    for (size_t k = 0; pass->lanes && k < pass->workers; k++)
        if (!(pass->lanes[k] = aligned_alloc(64, lane)))
            organ_fail_memory(error, job->models[0].path);
    if (!pass->lanes)
        organ_fail_memory(error, job->models[0].path);
    if (!error->status)
        organ_workers_run(job->engine->workers, work, pass);
    for (size_t k = 0; pass->lanes && k < pass->workers; k++)
        free(pass->lanes[k]);
    free(pass->lanes);
    if (!error->status && pass->error.status)
        *error = pass->error;
    if (!error->status && pass->next < job->match_count)
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}

organ_status organ_compare_routers(compare_job *job, organ_error *error)
{
    router_pass pass = {.job = job};
    pthread_mutex_init(&pass.lock, NULL);
    if (list_routers(&pass, error) == ORGAN_OK && job->match_count)
        run_routers(&pass, error);
    pthread_mutex_destroy(&pass.lock);
    return error->status;
}
