/* SPDX-License-Identifier: MIT
 * Copies the kept bytes of cut tensors into the output. If the memory has buffers for all workers, each worker copies
 * tensors of its own; else one worker copies all tensors. A part is a tensor of the output that is not a whole tensor
 * of the donor (organ_cut_part). */
#include "orchestrator/surgery/cut/cut_job.h"

#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/stream/share.h"

#include <stdlib.h>
#include <string.h>

#define PAGE ((size_t)4096) /* alignment of buffers that direct I/O needs */

typedef struct copy_buffers {
    unsigned char *window, *out; /* buffers of organ_cut_reader: ORGAN_CUT_WINDOW bytes each */
    void *scratch;               /* scratch of organ_write_put: ORGAN_PUT_SCRATCH bytes */
} copy_buffers;

typedef struct copy_run {
    organ_cut_run *run;
    copy_buffers *buffers;   /* for each worker */
    size_t *todo, count;     /* indices in run->parts of the parts to copy, and their number */
    organ_first_fault first; /* first error of a worker */
} copy_run;

uint64_t organ_cut_copy_memory(void) { return 2 * ORGAN_CUT_WINDOW + ORGAN_PUT_SCRATCH; }

static organ_status copy_part(organ_cut_run *run, const organ_cut_part *part, const copy_buffers *buffers,
                              organ_error *error)
{
    organ_cut_reader reader =
        organ_cut_reader_of(run->model, part, run->pieces[part->piece].bytes, buffers->window, buffers->out);
    const unsigned char *bytes;
    for (size_t at = 0, size; (size = organ_cut_read(&reader, &bytes, error)) > 0; at += size) {
        if (organ_stop_is_requested(run->cut->write.engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (organ_write_put(run->writing, part->piece, bytes, size, at, buffers->scratch, error))
            return error->status;
    }
    return error->status;
}

static void copy_task(void *context, size_t k, size_t worker)
{
    copy_run *const c = context;
    organ_cut_run *const run = c->run;
    const organ_cut_part *const part = &run->parts[c->todo[k]];
    organ_error error = {0};
    if (organ_fault_found(&c->first))
        return;
    if (copy_part(run, part, &c->buffers[worker], &error) == ORGAN_OK) {
        pthread_mutex_lock(&run->lock);
        organ_write_finish(run->writing, part->piece, json_object(), &error);
        organ_progress_advance(run->cut->write.progress, part->tensor->bytes, run->pieces[part->piece].name, NULL);
        pthread_mutex_unlock(&run->lock);
    }
    if (error.status)
        organ_fault_keep(&c->first, &error);
}

static organ_status allocate_worker_buffers(copy_run *c, size_t workers, size_t used, organ_error *error)
{
    c->buffers = calloc(workers, sizeof *c->buffers);
    if (!c->buffers)
        return organ_fail_memory(error, c->run->model->path);
    for (size_t w = 0; w < used; w++) {
        copy_buffers *const b = &c->buffers[w];
        b->window = aligned_alloc(PAGE, ORGAN_CUT_WINDOW);
        b->out = aligned_alloc(PAGE, ORGAN_CUT_WINDOW);
        b->scratch = aligned_alloc(PAGE, ORGAN_PUT_SCRATCH);
        if (!b->window || !b->out || !b->scratch)
            return organ_fail_memory(error, c->run->model->path);
    }
    return ORGAN_OK;
}

static void free_worker_buffers(copy_run *c, size_t workers)
{
    for (size_t w = 0; c->buffers && w < workers; w++) {
        free(c->buffers[w].window);
        free(c->buffers[w].out);
        free(c->buffers[w].scratch);
    }
    free(c->buffers);
    free(c->todo);
}

/* If --memory has no buffers for all workers, one worker copies all parts. */
organ_status organ_cut_copy(organ_cut_run *run, organ_error *error)
{
    const organ_engine *const engine = run->cut->write.engine;
    const size_t workers = organ_workers_count(engine->workers);
    const bool all = engine->memory / organ_cut_copy_memory() >= workers;
    copy_run c = {.run = run, .todo = calloc(run->part_count + 1, sizeof *c.todo), .first = {.error = error}};
    if (!c.todo)
        organ_fail_memory(error, run->model->path);
    for (size_t k = 0; k < run->part_count && c.todo; k++)
        if (!run->units[run->parts[k].piece].done && !run->parts[k].matrices)
            c.todo[c.count++] = k;
    if (!error->status && allocate_worker_buffers(&c, workers, all ? workers : 1, error) == ORGAN_OK) {
        if (all)
            organ_share(engine, engine->stop, c.count, copy_task, &c);
        for (size_t k = 0; !all && k < c.count && !organ_fault_found(&c.first); k++)
            copy_task(&c, k, 0);
    }
    free_worker_buffers(&c, workers);
    if (!error->status && organ_stop_is_requested(engine->stop))
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return error->status;
}
