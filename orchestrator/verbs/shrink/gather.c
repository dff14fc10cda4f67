/* SPDX-License-Identifier: MIT
 * Reads the kept bytes of a tensor (its part, organ_cut_part), in their order, through a window on the donor's file. A
 * line is a combination of kept entries of the axes before `deepest`, the last axis that is cut. Consecutive kept
 * entries of axis `deepest` in a line are a run of consecutive bytes. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/stream_parts.h"

#include <stdlib.h>
#include <string.h>

/* On axis part->each_axis the kept entries depend on the entry of the first axis (an expert) in the current line. */
static const organ_cut_keep *kept_of(const organ_cut_reader *r, unsigned axis)
{
    const organ_cut_part *const part = r->part;
    if (!part->each || axis != part->each_axis)
        return &part->axes[axis];
    const organ_cut_keep *const experts = &part->axes[0];
    return &part->each[experts->numbers ? experts->numbers[r->place[0]] : r->place[0]];
}

static size_t count_on_axis(const organ_cut_reader *r, unsigned axis)
{
    const organ_cut_keep *const keep = kept_of(r, axis);
    const uint64_t whole = axis ? r->strides[axis - 1] : r->part->tensor->bytes;
    return keep->numbers ? keep->count : (size_t)(whole / r->strides[axis]);
}

/* On the last axis an entry is a block, for types with blocks. Axes that the tensor does not have get 1. */
static void find_strides(const organ_tensor *t, uint64_t *strides)
{
    const organ_dtype_info *const type = organ_dtype_describe(t->dtype);
    uint64_t bytes = type->bytes;
    for (unsigned axis = ORGAN_CUT_AXES; axis-- > t->rank;)
        strides[axis] = 1;
    for (unsigned axis = t->rank; axis-- > 0;) {
        strides[axis] = bytes;
        bytes *= axis + 1 == t->rank ? t->shape[axis] / type->elements : t->shape[axis];
    }
}

/* If only the first axis is cut, or none, `deepest` stays 0 and the tensor is a single line. */
organ_cut_reader organ_cut_reader_of(const organ_model *model, const organ_cut_part *part, uint64_t bytes,
                                     unsigned char *window, unsigned char *out)
{
    organ_cut_reader r = {.model = model, .part = part, .window = window, .out = out};
    for (unsigned axis = 1; axis < ORGAN_CUT_AXES; axis++)
        if (part->axes[axis].numbers || (part->each && axis == part->each_axis))
            r.deepest = axis;
    find_strides(part->tensor, r.strides);
    r.ended = part->tensor->bytes == 0;
    r.left = part->values ? bytes : 0;
    return r;
}

/* Returns false after the last line. The positions in `place` count like digits, the last axis fastest: an axis that
 * passes its last kept entry returns to 0 and advances the axis before it. */
static bool next_line(organ_cut_reader *r)
{
    unsigned axis = 0;
    if (r->ended)
        return false;
    r->ended = r->deepest == 0; /* the only line */
    if (r->begun) {             /* never with `deepest` 0: its only line has ended */
        axis = r->deepest - 1;
        r->place[axis]++;
    }
    r->begun = true;
    while (axis < r->deepest)
        if (r->place[axis] < count_on_axis(r, axis)) {
            axis++;
        } else if (axis == 0) {
            r->ended = true;
            return false;
        } else {
            r->place[axis] = 0;
            r->place[--axis]++;
        }
    r->line = 0;
    for (axis = 0; axis < r->deepest; axis++) {
        const organ_cut_keep *const keep = kept_of(r, axis);
        r->line += (keep->numbers ? keep->numbers[r->place[axis]] : r->place[axis]) * r->strides[axis];
    }
    r->keep = kept_of(r, r->deepest);
    r->count = count_on_axis(r, r->deepest);
    r->next = 0;
    return true;
}

/* Returns false after the last run of the last line. */
static bool next_run(organ_cut_reader *r)
{
    while (r->next == r->count)
        if (!next_line(r))
            return false;
    const uint32_t *const numbers = r->keep->numbers;
    const uint64_t number = numbers ? numbers[r->next] : 0;
    size_t together = numbers ? 1 : r->count; /* entries of the run */
    while (r->next + together < r->count && numbers[r->next + together] == number + together)
        together++;
    r->from = r->line + number * r->strides[r->deepest];
    r->left = together * r->strides[r->deepest];
    r->next += together;
    return true;
}

/* Reads from `from` on unless the window has these bytes. `bytes` is at most ORGAN_CUT_WINDOW. */
static organ_status fill_window(organ_cut_reader *r, uint64_t from, size_t bytes, organ_error *error)
{
    const organ_tensor *const t = r->part->tensor;
    if (from >= r->window_from && from + bytes <= r->window_from + r->window_bytes)
        return ORGAN_OK;
    r->window_from = from;
    r->window_bytes = t->bytes - from < ORGAN_CUT_WINDOW ? t->bytes - from : ORGAN_CUT_WINDOW;
    return organ_model_read(r->model, t->file, r->window, (size_t)r->window_bytes, t->offset + from, error);
}

size_t organ_cut_read(organ_cut_reader *r, const unsigned char **bytes, organ_error *error)
{
    size_t filled = 0;
    *bytes = r->part->values ? r->part->values : r->out;
    if (r->part->values) {
        filled = (size_t)r->left;
        r->left = 0;
        return filled;
    }
    while (filled < ORGAN_CUT_WINDOW && (r->left || next_run(r))) {
        const size_t n = organ_min((size_t)r->left, ORGAN_CUT_WINDOW - filled);
        if (fill_window(r, r->from, n, error))
            return 0;
        memcpy(r->out + filled, r->window + (r->from - r->window_from), n);
        filled += n;
        r->from += n;
        r->left -= n;
    }
    return filled;
}

/* ---- copying the kept bytes ---- */

/* Copies the kept bytes of cut tensors into the output. If the memory has buffers for all workers, each worker copies
 * tensors of its own; else one worker copies all tensors. A part is a tensor of the output that is not a whole tensor
 * of the donor (organ_cut_part). */

#define PAGE ((size_t)4096) /* alignment of buffers that direct I/O needs */

typedef struct copy_run {
    organ_cut_run *run;
    /* For each worker organ_cut_copy_memory() bytes: the window and the output of organ_cut_reader, of ORGAN_CUT_WINDOW
     * bytes each, and the scratch of organ_write_put. */
    unsigned char *buffers;
    size_t *todo, count; /* indices in run->parts of the parts to copy, and their number */
} copy_run;

uint64_t organ_cut_copy_memory(void) { return 2 * ORGAN_CUT_WINDOW + ORGAN_PUT_SCRATCH; }

static organ_status copy_part(organ_cut_run *run, const organ_cut_part *part, unsigned char *buffers,
                              organ_error *error)
{
    organ_cut_reader reader =
        organ_cut_reader_of(run->model, part, run->pieces[part->piece].bytes, buffers, buffers + ORGAN_CUT_WINDOW);
    const unsigned char *bytes;
    for (size_t at = 0, size; (size = organ_cut_read(&reader, &bytes, error)) > 0; at += size) {
        if (organ_stop_is_requested(run->cut->write.engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (organ_write_put(run->writing, part->piece, bytes, size, at, buffers + 2 * ORGAN_CUT_WINDOW, error))
            return error->status;
    }
    return error->status;
}

static organ_status copy_task(void *context, size_t k, size_t worker, organ_error *error)
{
    const copy_run *const c = context;
    organ_cut_run *const run = c->run;
    const organ_cut_part *const part = &run->parts[c->todo[k]];
    if (copy_part(run, part, c->buffers + worker * organ_cut_copy_memory(), error))
        return error->status;
    ORGAN_LOCKED(&run->lock);
    organ_write_finish(run->writing, part->piece, json_object(), error);
    organ_progress_advance(run->cut->write.progress, part->tensor->bytes, run->pieces[part->piece].name, NULL);
    return error->status;
}

organ_status organ_cut_copy(organ_cut_run *run, organ_error *error)
{
    const organ_engine *const engine = run->cut->write.engine;
    const size_t workers = organ_memory_workers(engine, organ_cut_copy_memory(), 0);
    copy_run c = {.run = run,
                  .buffers = aligned_alloc(PAGE, workers * organ_cut_copy_memory()),
                  .todo = calloc(run->part_count + 1, sizeof *c.todo)};
    if (!c.buffers || !c.todo)
        organ_fail_memory(error, run->model->path);
    for (size_t k = 0; k < run->part_count && c.todo; k++)
        if (!organ_write_done(run->writing, run->parts[k].piece) && !run->parts[k].matrices)
            c.todo[c.count++] = k;
    const organ_parts copies = {.count = c.count, .workers = workers, .context = &c, .work = copy_task};
    if (!error->status)
        organ_parts_run(&copies, engine, error);
    ORGAN_FREE_ARRAYS(c.buffers, c.todo);
    return error->status;
}
