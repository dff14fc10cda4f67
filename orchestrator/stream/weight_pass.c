/* SPDX-License-Identifier: MIT
 * Passes over weights. The calling thread opens items ahead of the workers and retires strips in order. Each worker
 * takes the next strip, reads it into its own buffers and processes it. One mutex guards the queue of strips; workers
 * read and process without it. Workers take strips in order, so for any number of workers the pass ends with the error
 * of the earliest strip that fails. */
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/stream/widen.h"

#include "formats/base/paged_rows.h"
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/machine/thread.h"
#include "orchestrator/stream/weight_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE ((size_t)4096)

/* How the rows of an item are divided into strips. All members are 0 if the weight has no elements. */
typedef struct weight_pass_cut {
    uint64_t rows, matrix_rows; /* rows of all matrices together, and of one matrix */
    size_t cols, strip_rows;    /* columns; rows of a strip, the last strip of a matrix may have fewer */
} weight_pass_cut;

/* An item from open_next to close_item. */
typedef struct open_item {
    organ_weight_reader *reader[2]; /* of the weight, and of its counterpart or NULL */
    weight_pass_cut cut;
} open_item;

/* A strip from the time a worker takes it until the calling thread retires it. */
typedef struct weight_pass_slot {
    organ_weight_strip strip; /* rows and values of the strip */
    void *result;             /* pass->result_bytes bytes, within weight_pass_run.results */
    bool done;                /* the worker has finished the strip, or failed */
    organ_error error;        /* of the worker */
} weight_pass_slot;

/* Sizes of the buffers, and number of workers and strips. */
typedef struct buffer_plan {
    /* bytes in the buffer of one worker, each a multiple of a page: values of a strip, values of its counterpart,
     * scratch of the weight reader, scratch of the callback `work` */
    size_t values, other, reader, scratch;
    size_t active; /* workers with buffers */
    size_t window; /* largest number of strips that are taken and not yet retired */
} buffer_plan;

/* The state of a pass. Only the calling thread opens and closes items. */
typedef struct weight_pass_run {
    const organ_weight_pass *pass;
    const organ_engine *engine;
    buffer_plan plan;
    unsigned char **buffers; /* one per active worker */
    open_item *items;        /* a ring: item i is at i % limit */
    size_t limit;            /* largest number of open items */
    weight_pass_slot *slots; /* a ring: strip i, counted over all items, is at i % plan.window */
    unsigned char *results;  /* results of all slots */
    pthread_mutex_t lock;
    /* `more` wakes workers: a strip may be taken, or the pass ends. `finished` wakes the calling thread: a strip is
     * done */
    pthread_cond_t more, finished;
    size_t opened, closed;   /* items opened and closed since the start */
    size_t item;             /* item of the next strip */
    uint64_t row;            /* first row of the next strip */
    uint64_t ahead;          /* strips of open items that no worker has taken */
    uint64_t taken, retired; /* strips taken and retired since the start */
    bool all_open;           /* no item is left to open */
    bool halted;             /* the pass has ended: workers must return */
    bool failing;            /* a strip has failed, so no later strip is begun */
    organ_error error;       /* of open_next; reported after all strips of earlier items are retired */
} weight_pass_run;

static size_t round_up_to_page(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }
/* Returns the bytes of a value of type `as`: F32, BF16 or F16. */
static size_t element_bytes(organ_dtype as) { return as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t); }

/* Chooses the rows of a strip: about ORGAN_STRIP_VALUES values, a multiple of pass->row_multiple, and whole steps of
 * the reader (rows that share scales) unless a step is much longer than that. */
static weight_pass_cut weight_pass_cut_of(const organ_weight_pass *pass, const organ_weight_reader *reader)
{
    const size_t multiple = pass->row_multiple ? pass->row_multiple : 1;
    weight_pass_cut c = {.rows = organ_weight_reader_rows(reader),
                         .matrix_rows = reader->shape.rows,
                         .cols = (size_t)reader->shape.cols};
    if (c.rows == 0 || c.cols == 0)
        return (weight_pass_cut){0};
    const size_t requested = organ_max(ORGAN_STRIP_VALUES / c.cols, 1);
    size_t rows = organ_weight_reader_step(reader, requested);
    if (rows / 8 > requested) /* a step of very long rows would need too much memory; a part of a step only reads some
                                 scales twice */
        rows = requested;
    rows = (rows + multiple - 1) / multiple * multiple;
    c.strip_rows = c.matrix_rows < rows ? (size_t)c.matrix_rows : rows;
    return c;
}

/* Returns the number of strips of an item; a strip does not extend over two matrices. */
static uint64_t strips_of(const weight_pass_cut *c)
{
    if (c->strip_rows == 0)
        return 0;
    return c->rows / c->matrix_rows * ((c->matrix_rows + c->strip_rows - 1) / c->strip_rows);
}

/* Enlarges the buffer sizes of *plan to what item number `item` needs, from headers alone. Returns ORGAN_BAD_INPUT if
 * the headers are invalid or the counterpart has another number of rows or columns. */
static organ_status measure_item(const weight_pass_run *r, size_t item, buffer_plan *plan, organ_error *error)
{
    const organ_weight_item *both = &r->pass->items[item];
    organ_weight_reader reader;
    if (organ_weight_reader_prepare(r->pass->model, both->weight, r->engine->kernels, &reader, error))
        return error->status;
    const weight_pass_cut c = weight_pass_cut_of(r->pass, &reader);
    const size_t bytes = round_up_to_page(c.strip_rows * c.cols * element_bytes(r->pass->as));
    plan->values = organ_max(plan->values, bytes);
    plan->reader = organ_max(plan->reader, round_up_to_page(organ_weight_reader_scratch(&reader, c.strip_rows)));
    if (!both->other)
        return ORGAN_OK;
    if (organ_weight_reader_prepare(r->pass->other_model, both->other, r->engine->kernels, &reader, error))
        return error->status;
    if (organ_weight_reader_rows(&reader) != c.rows && c.cols)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %llu rows, but its counterpart '%s' has %llu",
                          both->weight->name, (unsigned long long)c.rows, both->other->name,
                          (unsigned long long)organ_weight_reader_rows(&reader));
    if (organ_weight_reader_cols(&reader) != c.cols && c.cols)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %zu columns, but its counterpart '%s' has %llu",
                          both->weight->name, c.cols, both->other->name,
                          (unsigned long long)organ_weight_reader_cols(&reader));
    plan->other = organ_max(plan->other, bytes);
    plan->reader = organ_max(plan->reader, round_up_to_page(organ_weight_reader_scratch(&reader, c.strip_rows)));
    return ORGAN_OK;
}

/* Returns the bytes of the buffer of one worker. */
static size_t worker_bytes(const buffer_plan *plan)
{
    return plan->values + plan->other + plan->reader + plan->scratch;
}

/* Sets the buffer sizes of *plan to what the largest item needs, and *widest to the index of that item. Sets *each to
 * the bytes that one worker needs: its buffer and the results of 4 strips, because plan_buffers sets the window to 4
 * strips per worker. */
static organ_status measure_items(const weight_pass_run *r, buffer_plan *plan, size_t *widest, uint64_t *each,
                                  organ_error *error)
{
    *plan = (buffer_plan){.scratch = round_up_to_page(r->pass->scratch_bytes)};
    *widest = 0;
    for (size_t i = 0; i < r->pass->item_count; i++) {
        const size_t before = worker_bytes(plan);
        if (measure_item(r, i, plan, error))
            return error->status;
        *widest = worker_bytes(plan) > before ? i : *widest;
        organ_rows_passed(); /* large arrays of the verb give memory back (paged_rows.h) */
    }
    *each = worker_bytes(plan) + 4 * (uint64_t)r->pass->result_bytes;
    return ORGAN_OK;
}

/* Returns the bytes that one worker needs, the least memory of a pass; 0 after an error of the headers. */
uint64_t organ_weight_pass_enough(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error)
{
    const weight_pass_run r = {.pass = pass, .engine = engine};
    buffer_plan plan;
    size_t widest;
    uint64_t each;
    return measure_items(&r, &plan, &widest, &each, error) == ORGAN_OK ? each : 0;
}

/* Sets r->plan: buffer sizes, the number of workers that the memory has room for, and the window. Returns ORGAN_USAGE
 * if there is no room for one worker. */
static organ_status plan_buffers(weight_pass_run *r, organ_error *error)
{
    buffer_plan plan;
    size_t widest;
    uint64_t each;
    if (measure_items(r, &plan, &widest, &each, error) != ORGAN_OK)
        return error->status;
    const uint64_t fits = each ? r->engine->memory / each : 0;
    if (fits == 0 && each)
        return organ_memory_refuse(error, r->engine->memory, each, "a strip of tensor '%s'",
                                   r->pass->items[widest].weight->name);
    plan.active = each ? organ_min(organ_workers_count(r->engine->workers), (size_t)fits) : 1;
    plan.window = ORGAN_STRIPS_OPEN / 2 * plan.active;
    r->plan = plan;
    return ORGAN_OK;
}

/* Makes the workers return after their current strips. Call with the lock held. */
static void halt_weight_pass(weight_pass_run *r)
{
    r->halted = true;
    pthread_cond_broadcast(&r->more);
    pthread_cond_broadcast(&r->finished);
}

/* Advances r->item past open items without strips. Such an item may be closed already; its zeroed entry has no strips
 * either. Call with the lock held. */
static void skip_empty_items(weight_pass_run *r)
{
    while (r->item < r->opened && r->items[r->item % r->limit].cut.strip_rows == 0)
        r->item++;
}

/* ---- workers ---- */

/* Waits until a strip may be taken: one is left, and fewer than plan.window strips are taken and not retired. Takes the
 * strip and returns its slot. Returns NULL if no strip is left, a strip has failed, or the pass was halted. */
static weight_pass_slot *await_strip(weight_pass_run *r)
{
    weight_pass_slot *s = NULL;
    pthread_mutex_lock(&r->lock);
    while (!r->halted && !r->failing && !(r->all_open && r->ahead == 0) &&
           (r->ahead == 0 || r->taken - r->retired == r->plan.window))
        pthread_cond_wait(&r->more, &r->lock);
    if (!r->halted && !r->failing && r->ahead > 0) {
        const weight_pass_cut *c = &r->items[r->item % r->limit].cut;
        const uint64_t remaining = c->matrix_rows - r->row % c->matrix_rows;
        s = &r->slots[r->taken++ % r->plan.window];
        s->done = false;
        s->error.status = ORGAN_OK;
        s->strip = (organ_weight_strip){.item = r->item, .first = r->row, .cols = c->cols};
        s->strip.rows = remaining < c->strip_rows ? (size_t)remaining : c->strip_rows;
        r->row += s->strip.rows;
        r->ahead--;
        if ((s->strip.last = r->row == c->rows)) {
            r->item++;
            r->row = 0;
            skip_empty_items(r);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return s;
}

/* Looks for values of a strip that are infinite in `values` (type pass->as) although they are finite in the weight, and
 * refuses or limits them. Reads rows with infinite values again, as FP32. `scratch`: that of the reader. */
static organ_status limit_strip(const weight_pass_run *r, const organ_weight_reader *reader,
                                const organ_weight_strip *strip, uint16_t *values, void *scratch, organ_error *error)
{
    const organ_weight_pass *const pass = r->pass;
    const char *const tensor = pass->items[strip->item].weight->name;
    float *wide = NULL;
    uint64_t found = 0;
    for (size_t row = 0; row < strip->rows && !error->status; row++) {
        uint16_t *const stored = values + row * strip->cols;
        if (!organ_any_not_finite(pass->as, stored, strip->cols * sizeof *stored))
            continue;
        if (!wide && !(wide = aligned_alloc(64, (strip->cols * sizeof *wide + 63) / 64 * 64)))
            return organ_fail_memory(error, tensor);
        if (organ_weight_read(reader, strip->first + row, 1, ORGAN_F32, wide, scratch, error) != ORGAN_OK)
            break;
        const uint64_t count = organ_overflow_count(r->engine->kernels, pass->as, wide, stored, strip->cols);
        found += count;
        if (!count)
            continue;
        organ_overflow_clamp(wide, strip->cols, organ_overflow_limit(pass->as));
        organ_narrow(r->engine->kernels, pass->as, wide, stored, strip->cols);
    }
    free(wide);
    return found && !error->status ? organ_overflow_found(pass->overflow, tensor, pass->as, found, error)
                                   : error->status;
}

/* Reads a strip of the weight, and of its counterpart if there is one, into `buffer` and calls pass->work. */
static organ_status do_strip(weight_pass_run *r, weight_pass_slot *s, unsigned char *buffer)
{
    const organ_weight_pass *pass = r->pass;
    const open_item *item = &r->items[s->strip.item % r->limit];
    organ_weight_strip *strip = &s->strip;
    unsigned char *other = buffer + r->plan.values, *reading = other + r->plan.other,
                  *scratch = reading + r->plan.reader;
    if (organ_weight_read(item->reader[0], strip->first, strip->rows, pass->as, buffer, reading, &s->error))
        return s->error.status;
    if (pass->overflow && pass->as != ORGAN_F32 &&
        limit_strip(r, item->reader[0], strip, (uint16_t *)(void *)buffer, reading, &s->error))
        return s->error.status;
    if (item->reader[1] &&
        organ_weight_read(item->reader[1], strip->first, strip->rows, pass->as, other, reading, &s->error))
        return s->error.status;
    strip->values = buffer;
    strip->other = item->reader[1] ? other : NULL;
    memset(s->result, 0, pass->result_bytes);
    return pass->work(pass->context, strip, scratch, s->result, &s->error);
}

/* Runs on each worker: processes strips until the pass ends. Workers without a buffer return at once. */
static void work_on_strips(void *context, size_t worker)
{
    weight_pass_run *r = context;
    if (worker >= r->plan.active)
        return;
    for (weight_pass_slot *s; (s = await_strip(r));) {
        const organ_status status = do_strip(r, s, r->buffers[worker]);
        pthread_mutex_lock(&r->lock);
        s->strip.values = NULL;
        s->strip.other = NULL;
        s->done = true;
        if (status) {
            r->failing = true; /* strips before this one are completed, later ones are not begun */
            pthread_cond_broadcast(&r->more);
        }
        pthread_cond_signal(&r->finished);
        pthread_mutex_unlock(&r->lock);
    }
}

/* ---- the calling thread ---- */

/* Closes the readers and zeroes the entry, which is then free for a later item. */
static void close_item(open_item *item)
{
    organ_weight_reader_close(item->reader[0]);
    organ_weight_reader_close(item->reader[1]);
    *item = (open_item){0};
}

/* Opens item number r->opened, calls pass->begin and makes the strips of the item available to the workers. Takes the
 * lock only for the counters: workers do not use the item before these count it. */
static organ_status open_next(weight_pass_run *r, organ_error *error)
{
    const organ_weight_pass *pass = r->pass;
    const organ_weight_item *both = &pass->items[r->opened];
    open_item *item = &r->items[r->opened % r->limit];
    char note[256];
    if (organ_weight_reader_open(pass->model, both->weight, r->engine->kernels, note, &item->reader[0], error))
        return error->status;
    item->cut = weight_pass_cut_of(pass, item->reader[0]);
    if (both->other &&
        organ_weight_reader_open(pass->other_model, both->other, r->engine->kernels, NULL, &item->reader[1], error))
        return error->status;
    if (pass->begin && pass->begin(pass->context, r->opened, note, error))
        return error->status;
    pthread_mutex_lock(&r->lock);
    r->ahead += strips_of(&item->cut);
    r->opened++;
    skip_empty_items(r);
    pthread_cond_broadcast(&r->more);
    pthread_mutex_unlock(&r->lock);
    return ORGAN_OK;
}

/* Closes all open items before item number `until`, and then the items without strips that follow them. */
static void close_items(weight_pass_run *r, size_t until)
{
    while (r->closed < until || (r->closed < r->opened && r->items[r->closed % r->limit].cut.strip_rows == 0))
        close_item(&r->items[r->closed++ % r->limit]);
}

/* Passes the result of the oldest strip to pass->retire and frees its slot. Returns the error of the strip or of
 * pass->retire. */
static organ_status retire_next(weight_pass_run *r, weight_pass_slot *s, organ_error *error)
{
    if (s->error.status) {
        *error = s->error;
        return error->status;
    }
    if (r->pass->retire && r->pass->retire(r->pass->context, &s->strip, s->result, error))
        return error->status;
    if (s->strip.last)
        close_items(r, s->strip.item + 1);
    pthread_mutex_lock(&r->lock);
    r->retired++;
    pthread_cond_broadcast(&r->more);
    pthread_mutex_unlock(&r->lock);
    return ORGAN_OK;
}

/* The next action of the calling thread. */
typedef enum step { STEP_OPEN, STEP_RETIRE, STEP_END, STEP_STOP } step;

/* Waits until the calling thread can retire a strip or open an item, or until the pass was stopped or has ended, and
 * returns which. Retiring comes first, because it frees a slot for the workers. Call with the lock held. */
static step await_step(weight_pass_run *r)
{
    for (;;) {
        if (organ_stop_is_requested(r->engine->stop))
            return STEP_STOP;
        if (r->retired < r->taken && r->slots[r->retired % r->plan.window].done)
            return STEP_RETIRE;
        if (!r->all_open && !r->failing && r->ahead < r->plan.window && r->opened - r->closed < r->limit)
            return STEP_OPEN;
        if (r->retired == r->taken && r->ahead == 0 && r->all_open)
            return STEP_END;
        organ_condition_wait(&r->finished, &r->lock);
    }
}

/* Opens the next item if there is one. Sets r->all_open if there is none or if opening failed; the pass then ends after
 * the strips of earlier items. */
static void open_step(weight_pass_run *r)
{
    close_items(r, r->closed);
    const bool none = r->opened == r->pass->item_count, failed = !none && open_next(r, &r->error);
    pthread_mutex_lock(&r->lock);
    r->all_open = r->all_open || none || failed;
    pthread_cond_broadcast(&r->more);
    pthread_mutex_unlock(&r->lock);
}

/* The loop of the calling thread: opens items and retires strips in order, until all strips are retired, the pass is
 * stopped, or a strip or a callback fails. */
static organ_status drive_weight_pass(weight_pass_run *r, organ_error *error)
{
    for (;;) {
        pthread_mutex_lock(&r->lock);
        const step next = await_step(r);
        weight_pass_slot *s = &r->slots[r->retired % r->plan.window];
        pthread_mutex_unlock(&r->lock);
        if (next == STEP_STOP)
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (next == STEP_OPEN)
            open_step(r);
        else if (next == STEP_RETIRE && retire_next(r, s, error))
            return error->status;
        if (next == STEP_END) {
            if (r->error.status)
                *error = r->error;
            return r->error.status;
        }
    }
}

/* Allocates the rings of items and slots, the results, and for each active worker a buffer on its NUMA node. Up to
 * `window` strips are available and as many are taken, each perhaps of another item, so twice `window` items may be
 * open. */
static organ_status allocate_queue(weight_pass_run *r, organ_error *error)
{
    const size_t bytes = worker_bytes(&r->plan), result = weight_round(r->pass->result_bytes + 1);
    r->limit = 2 * r->plan.window;
    r->buffers = calloc(r->plan.active, sizeof *r->buffers);
    r->items = calloc(r->limit, sizeof *r->items);
    r->slots = calloc(r->plan.window, sizeof *r->slots);
    r->results = aligned_alloc(64, r->plan.window * result);
    if (!r->buffers || !r->items || !r->slots || !r->results)
        return organ_fail_errno(error, ENOMEM, "cannot allocate a queue of %zu strips", r->plan.window);
    for (size_t k = 0; k < r->plan.window; k++)
        r->slots[k].result = r->results + k * result;
    for (size_t k = 0; k < r->plan.active && bytes; k++) {
        const unsigned node = organ_workers_place(r->engine->workers, k).node;
        if (!(r->buffers[k] = organ_topology_allocate(r->engine->topology, node, bytes)))
            return organ_fail_errno(error, ENOMEM, "cannot allocate %zu bytes for a strip", bytes);
    }
    return ORGAN_OK;
}

/* Closes the items that are still open, and frees all that allocate_queue allocated, also after it has failed. */
static void release_queue(weight_pass_run *r)
{
    for (size_t k = 0; r->buffers && k < r->plan.active; k++)
        organ_topology_free(r->engine->topology, r->buffers[k], worker_bytes(&r->plan));
    for (size_t k = 0; r->items && k < r->limit; k++)
        close_item(&r->items[k]);
    free(r->buffers);
    free(r->items);
    free(r->slots);
    free(r->results);
    pthread_cond_destroy(&r->more);
    pthread_cond_destroy(&r->finished);
    pthread_mutex_destroy(&r->lock);
}

/* Runs a pass over weights: workers read, decode and process strips; this thread opens items and retires strips in
 * order. */
organ_status organ_weight_pass_run(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error)
{
    weight_pass_run r = {.pass = pass, .engine = engine};
    if (plan_buffers(&r, error))
        return error->status;
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.more, NULL);
    organ_condition_init(&r.finished);
    allocate_queue(&r, error);
    if (!error->status) {
        organ_workers_start(engine->workers, work_on_strips, &r);
        drive_weight_pass(&r, error);
        pthread_mutex_lock(&r.lock);
        halt_weight_pass(&r);
        pthread_mutex_unlock(&r.lock);
        organ_workers_wait(engine->workers);
    }
    release_queue(&r);
    return error->status;
}
