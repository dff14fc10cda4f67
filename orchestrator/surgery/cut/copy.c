/* SPDX-License-Identifier: MIT
 * The kept bytes of tensors of which a part stays: gathered through a window on the donor's file, and put in order, by as many workers as
 * the memory has buffers for. */
#include "orchestrator/surgery/cut/cut_job.h"

#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/stream/share.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)1 << 20) /* bytes that are read at once, and put at once */
#define PAGE   ((size_t)4096)

typedef struct bench {
    unsigned char *window, *out;
    void *scratch;
} bench;

typedef struct copying {
    organ_cut_run *run;
    bench *benches;
    size_t *todo, count; /* parts */
    organ_first_fault first;
} copying;

/* One part on its way. */
typedef struct gathering {
    organ_cut_run *run;
    const organ_cut_part *part;
    const bench *bench;
    uint64_t read, have; /* what of the tensor is in the window: from where on, and how much */
    uint64_t at;         /* of the output: what was put */
    size_t filled;       /* and what lies in `out` behind it */
    organ_error *error;
} gathering;

uint64_t organ_cut_copy_memory(void) { return 2 * WINDOW + ORGAN_PUT_SCRATCH; }

static organ_status flush(gathering *g)
{
    if (organ_stop_asked(g->run->cut->engine->stop))
        return organ_fail(g->error, ORGAN_INTERRUPTED, "interrupted");
    if (g->filled && organ_unit_run_put(g->run->run, g->part->piece, g->bench->out, g->filled, g->at, g->bench->scratch, g->error))
        return g->error->status;
    g->at += g->filled;
    g->filled = 0;
    return ORGAN_OK;
}

/* Lets the window hold `bytes` of the tensor from `from` on, and what comes behind them. */
static organ_status look_at(gathering *g, uint64_t from, size_t bytes)
{
    const organ_tensor *const t = g->part->tensor;
    if (from >= g->read && from + bytes <= g->read + g->have)
        return ORGAN_OK;
    g->read = from;
    g->have = t->bytes - from < WINDOW ? t->bytes - from : WINDOW;
    return organ_model_read(g->run->model, t->file, g->bench->window, (size_t)g->have, t->offset + from, g->error);
}

/* Bytes of the tensor that lie one behind the other. */
static organ_status take(gathering *g, uint64_t from, uint64_t bytes)
{
    while (bytes) {
        if (g->filled == WINDOW && flush(g))
            return g->error->status;
        const size_t room = WINDOW - g->filled, n = bytes < room ? (size_t)bytes : room;
        if (look_at(g, from, n))
            return g->error->status;
        memcpy(g->bench->out + g->filled, g->bench->window + (from - g->read), n);
        g->filled += n;
        from += n;
        bytes -= n;
    }
    return ORGAN_OK;
}

/* The kept numbers of an axis, neighbours together, and what lies below each of them. */
static organ_status take_axis(gathering *g, unsigned axis, uint64_t from, const uint64_t *strides)
{
    const organ_cut_keep *const keep = &g->part->axes[axis];
    bool deeper = false;
    for (unsigned k = axis + 1; k < ORGAN_CUT_AXES; k++)
        deeper = deeper || g->part->axes[k].numbers;
    const uint64_t all = axis < g->part->tensor->rank ? strides[axis] : 1;
    const size_t count = keep->numbers ? keep->count : axis ? (size_t)(strides[axis - 1] / all) : (size_t)(g->part->tensor->bytes / all);
    for (size_t k = 0; k < count && !g->error->status;) {
        size_t together = 1;
        const uint64_t number = keep->numbers ? keep->numbers[k] : k;
        while (!deeper && keep->numbers && k + together < count && keep->numbers[k + together] == number + together)
            together++;
        together = !deeper && !keep->numbers ? count : together;
        if (deeper)
            take_axis(g, axis + 1, from + number * all, strides);
        else
            take(g, from + number * all, together * all);
        k += together;
    }
    return g->error->status;
}

/* Bytes from one number of each axis to the next. */
static void find_strides(const organ_tensor *t, uint64_t *strides)
{
    const organ_dtype_info *const type = organ_dtype_describe(t->dtype);
    uint64_t bytes = type->bytes;
    for (unsigned axis = t->rank; axis-- > 0;) {
        strides[axis] = bytes;
        bytes *= axis + 1 == t->rank ? t->shape[axis] / type->elements : t->shape[axis];
    }
}

static organ_status copy_part(organ_cut_run *run, const organ_cut_part *part, const bench *b, organ_error *error)
{
    gathering g = {.run = run, .part = part, .bench = b, .error = error};
    uint64_t strides[ORGAN_CUT_AXES] = {0};
    const uint64_t bytes = run->pieces[part->piece].bytes;
    if (part->values)
        return bytes ? organ_unit_run_put(run->run, part->piece, part->values, (size_t)bytes, 0, NULL, error) : ORGAN_OK;
    if (part->tensor->bytes == 0)
        return ORGAN_OK;
    find_strides(part->tensor, strides);
    return take_axis(&g, 0, 0, strides) ? error->status : flush(&g);
}

static void copy_task(void *context, size_t k, size_t worker)
{
    copying *const c = context;
    organ_cut_run *const run = c->run;
    const organ_cut_part *const part = &run->parts[c->todo[k]];
    organ_error error = {0};
    if (organ_fault_found(&c->first))
        return;
    if (copy_part(run, part, &c->benches[worker], &error) == ORGAN_OK) {
        pthread_mutex_lock(&run->lock);
        organ_unit_run_finish(run->run, part->piece, json_object(), &error);
        organ_progress_advance(run->cut->progress, part->tensor->bytes, run->pieces[part->piece].name, NULL);
        pthread_mutex_unlock(&run->lock);
    }
    if (error.status)
        organ_fault_keep(&c->first, &error);
}

static organ_status open_benches(copying *c, size_t workers, size_t have, organ_error *error)
{
    c->benches = calloc(workers, sizeof *c->benches);
    if (!c->benches)
        return organ_fail_memory(error, c->run->model->path);
    for (size_t w = 0; w < have; w++) {
        bench *const b = &c->benches[w];
        b->window = aligned_alloc(PAGE, WINDOW);
        b->out = aligned_alloc(PAGE, WINDOW);
        b->scratch = aligned_alloc(PAGE, ORGAN_PUT_SCRATCH);
        if (!b->window || !b->out || !b->scratch)
            return organ_fail_memory(error, c->run->model->path);
    }
    return ORGAN_OK;
}

static void close_benches(copying *c, size_t workers)
{
    for (size_t w = 0; c->benches && w < workers; w++) {
        free(c->benches[w].window);
        free(c->benches[w].out);
        free(c->benches[w].scratch);
    }
    free(c->benches);
    free(c->todo);
}

/* Where the memory has buffers for fewer than all workers, one does it. */
organ_status organ_cut_copy(organ_cut_run *run, organ_error *error)
{
    const organ_engine *const engine = run->cut->engine;
    const size_t workers = organ_workers_count(engine->workers);
    const bool all = engine->memory / organ_cut_copy_memory() >= workers;
    copying c = {.run = run, .todo = calloc(run->part_count + 1, sizeof *c.todo), .first = {.error = error}};
    if (!c.todo)
        organ_fail_memory(error, run->model->path);
    for (size_t k = 0; k < run->part_count && c.todo; k++)
        if (!run->units[run->parts[k].piece].done && !run->parts[k].matrices)
            c.todo[c.count++] = k;
    if (!error->status && open_benches(&c, workers, all ? workers : 1, error) == ORGAN_OK) {
        if (all)
            organ_share(engine, engine->stop, c.count, copy_task, &c);
        for (size_t k = 0; !all && k < c.count && !organ_fault_found(&c.first); k++)
            copy_task(&c, k, 0);
    }
    close_benches(&c, workers);
    if (!error->status && organ_stop_asked(engine->stop))
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}
