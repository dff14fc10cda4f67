/* SPDX-License-Identifier: MIT
 * Passes over weights. Each worker takes the next strip, opens its item if no other worker has done so, reads the strip
 * into its own buffers and processes it. The calling thread retires strips in order. */
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/stream/product.h"

#include "formats/base/activity.h"
#include "formats/base/owned.h"
#include "formats/base/rows.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/stream_parts.h"
#include "orchestrator/stream/weight_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE ((size_t)4096)

typedef struct weight_pass_cut {
    uint64_t rows, matrix_rows; /* rows of all matrices together, and of one matrix */
    size_t cols, strip_rows;    /* columns; rows of a strip, the last strip of a matrix may have fewer */
    size_t part_rows;           /* rows that `work` gets at once: all of the strip, unless pass->part_values is set */
} weight_pass_cut;

typedef enum item_state { ITEM_CLOSED, ITEM_OPENING, ITEM_OPEN, ITEM_FAILED } item_state;

typedef struct open_item {
    item_state state;
    organ_weight_reader *reader[2]; /* of the weight, and of its counterpart or NULL */
    weight_pass_cut cut;
    char note[256];    /* of the weight's reader */
    organ_error error; /* if `state` is ITEM_FAILED */
} open_item;

/* A slot is in use from the time a worker takes the strip until the calling thread retires it. An item without rows
 * has one strip without rows, which opens the item and is neither processed nor passed to `retire`. */
typedef struct weight_pass_slot {
    organ_weight_strip strip; /* rows and values of the strip */
    void *result;             /* pass->result_bytes bytes, within weight_pass_run.results */
    uint64_t read;            /* about how many bytes this strip and all before it have */
} weight_pass_slot;

typedef struct buffer_plan {
    /* bytes in the buffer of one worker, each a multiple of a page: values of a strip, values of its counterpart,
     * scratch of the weight reader, scratch of the callback `work` */
    size_t values, other, reader, scratch;
    size_t active; /* workers with buffers */
    size_t window; /* largest number of strips that are taken and not yet retired */
} buffer_plan;

typedef struct weight_pass_run {
    const organ_weight_pass *pass;
    const organ_engine *engine;
    buffer_plan plan;
    unsigned char **buffers; /* one per active worker */
    open_item *items;        /* a ring: item i is at i % plan.window */
    weight_pass_slot *slots; /* a ring: strip i, counted over all items, is at i % plan.window */
    unsigned char *results;  /* results of all slots */
    organ_read_ahead ahead;  /* announces reads in the order of the items */
    organ_reader_gate gate;  /* limits the workers that read at the same time */
    pthread_mutex_t lock;    /* protects the states of items */
    pthread_cond_t opened;   /* wakes workers: an item is open */
    size_t item;             /* item of the next strip */
    uint64_t row;            /* first row of the next strip */
    uint64_t read;           /* about how many bytes the strips have that were taken */
} weight_pass_run;

static size_t round_up_to_page(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }
static size_t element_bytes(organ_dtype as) { return as == ORGAN_F32 ? sizeof(float) : sizeof(uint16_t); }

static organ_dtype type_of(const organ_weight_pass *pass, const organ_weight *weight)
{
    const bool stored = pass->narrow && weight->scheme == ORGAN_SCHEME_PLAIN && !weight->made;
    const organ_dtype type = stored ? weight->codes->dtype : pass->as;
    return type == ORGAN_BF16 || type == ORGAN_F16 ? type : pass->as;
}

static size_t round_rows(size_t rows, size_t multiple, uint64_t most)
{
    rows = (rows + multiple - 1) / multiple * multiple;
    return most < rows ? (size_t)most : rows;
}

/* A strip has about ORGAN_STRIP_VALUES values, a multiple of pass->row_multiple rows, and whole steps of the reader
 * (rows that share scales) unless a step is much longer than that. */
static weight_pass_cut cut_of(const organ_weight_pass *pass, const organ_weight_reader *reader)
{
    const size_t multiple = pass->row_multiple ? pass->row_multiple : 1;
    weight_pass_cut c = {.rows = organ_weight_reader_rows(reader),
                         .matrix_rows = reader->shape.rows,
                         .cols = (size_t)reader->shape.cols};
    if (c.rows == 0 || c.cols == 0)
        return (weight_pass_cut){0};
    const size_t requested = organ_max(ORGAN_STRIP_VALUES / c.cols, 1), part = organ_max(pass->part_values / c.cols, 1);
    size_t rows =
        pass->part_values ? organ_weight_reader_batch(reader, requested) : organ_weight_reader_step(reader, requested);
    if (rows / 8 > requested) /* a step of very long rows would need too much memory; a part of a step only reads some
                                 scales twice */
        rows = requested;
    c.strip_rows = round_rows(rows, multiple, c.matrix_rows);
    c.part_rows = c.strip_rows;
    if (pass->part_values)
        c.part_rows = round_rows(organ_weight_reader_part(reader, part), multiple, c.strip_rows);
    return c;
}

/* Reads headers alone. Returns ORGAN_BAD_INPUT if they are invalid or the counterpart has another number of rows or
 * columns. */
static organ_status measure_item(const weight_pass_run *r, size_t item, buffer_plan *plan, organ_error *error)
{
    const organ_weight_item *both = &r->pass->items[item];
    organ_weight_reader reader;
    if (organ_weight_reader_prepare(r->pass->model, both->weight, r->engine->kernels, &reader, error))
        return error->status;
    const weight_pass_cut c = cut_of(r->pass, &reader);
    const size_t bytes = round_up_to_page(c.part_rows * c.cols * element_bytes(r->pass->as));
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

static size_t worker_bytes(const buffer_plan *plan)
{
    return plan->values + plan->other + plan->reader + plan->scratch;
}

/* *widest is the index of the largest item. *each is a worker's buffer and the results of 4 strips, because
 * plan_buffers sets the window to 4 strips per worker. */
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
        organ_rows_passed(); /* large arrays of the verb give memory back */
    }
    *each = worker_bytes(plan) + 4 * (uint64_t)r->pass->result_bytes;
    return ORGAN_OK;
}

uint64_t organ_weight_pass_enough(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error)
{
    const weight_pass_run r = {.pass = pass, .engine = engine};
    buffer_plan plan;
    size_t widest;
    uint64_t each;
    return measure_items(&r, &plan, &widest, &each, error) == ORGAN_OK ? each : 0;
}

static organ_status claim(const weight_pass_run *r, buffer_plan *plan, uint64_t *each, organ_error *error)
{
    size_t widest;
    if (measure_items(r, plan, &widest, each, error) != ORGAN_OK)
        return error->status;
    return organ_memory_claim(r->engine, *each, error, "a strip of tensor '%s'",
                              *each ? r->pass->items[widest].weight->name : "");
}

organ_status organ_weight_pass_claim(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error)
{
    const weight_pass_run r = {.pass = pass, .engine = engine};
    buffer_plan plan;
    uint64_t each;
    return claim(&r, &plan, &each, error);
}

static organ_status plan_buffers(weight_pass_run *r, organ_error *error)
{
    buffer_plan plan;
    uint64_t each;
    if (claim(r, &plan, &each, error) != ORGAN_OK)
        return error->status;
    plan.active = organ_memory_workers(r->engine, each, 0);
    plan.window = ORGAN_STRIPS_OPEN / 2 * plan.active;
    r->plan = plan;
    return ORGAN_OK;
}

/* ---- taking strips ---- */

static open_item *entry_of(const weight_pass_run *r, size_t item) { return &r->items[item % r->plan.window]; }

/* Each item has ORGAN_READ_PARTS tensors, then those of its counterpart; some of them do not exist. */
static organ_read_range range_of_item(const void *run, size_t index)
{
    const organ_weight_pass *const pass = ((const weight_pass_run *)run)->pass;
    const organ_weight_item *const item = &pass->items[index / (2 * ORGAN_READ_PARTS)];
    const size_t part = index % ORGAN_READ_PARTS;
    return index / ORGAN_READ_PARTS % 2 == 0 ? organ_read_range_of(pass->model, item->weight, part)
                                             : organ_read_range_of(pass->other_model, item->other, part);
}

static uint64_t stored_bytes(const weight_pass_run *r, const weight_pass_cut *c, const organ_weight_strip *strip)
{
    const organ_weight_item *const item = &r->pass->items[strip->item];
    const uint64_t all = organ_weight_bytes(item->weight) + (item->other ? organ_weight_bytes(item->other) : 0);
    return c->rows ? (uint64_t)((double)all * ((double)strip->rows / (double)c->rows)) : all;
}

/* Reads headers alone, which plan_buffers has read without an error. */
static void begin_item(weight_pass_run *r)
{
    organ_weight_reader reader;
    open_item *const item = entry_of(r, r->item);
    *item = (open_item){0};
    if (organ_weight_reader_prepare(r->pass->model, r->pass->items[r->item].weight, r->engine->kernels, &reader,
                                    &item->error) == ORGAN_OK)
        item->cut = cut_of(r->pass, &reader);
}

static weight_pass_slot *slot_of(const weight_pass_run *r, size_t number) { return &r->slots[number % r->plan.window]; }

/* Fills the slot of strip `number` with the next strip. Returns false after the last one. */
static bool take_strip(void *context, size_t number)
{
    weight_pass_run *const r = context;
    if (r->item == r->pass->item_count)
        return false;
    if (r->row == 0)
        begin_item(r);
    const open_item *const item = entry_of(r, r->item);
    const weight_pass_cut *const c = &item->cut;
    weight_pass_slot *const s = slot_of(r, number);
    s->strip = (organ_weight_strip){.item = r->item,
                                    .part = r->pass->items[r->item].part,
                                    .first = r->row,
                                    .cols = c->cols,
                                    .type = type_of(r->pass, r->pass->items[r->item].weight),
                                    .note = item->note};
    if (c->rows)
        s->strip.rows = organ_min(c->strip_rows, (size_t)(c->matrix_rows - r->row % c->matrix_rows));
    r->row += s->strip.rows;
    s->read = r->read += stored_bytes(r, c, &s->strip);
    if ((s->strip.last = r->row == c->rows)) {
        r->item++;
        r->row = 0;
    }
    return true;
}

/* ---- items ---- */

static organ_status open_readers(weight_pass_run *r, size_t number, open_item *item)
{
    const organ_weight_pass *const pass = r->pass;
    const organ_weight_item *const both = &pass->items[number];
    organ_error *const error = &item->error;
    organ_reader_gate_enter(&r->gate);
    if (organ_weight_reader_open(pass->model, both->weight, r->engine->kernels, item->note, &item->reader[0], error) ==
            ORGAN_OK &&
        both->other)
        organ_weight_reader_open(pass->other_model, both->other, r->engine->kernels, NULL, &item->reader[1], error);
    if (!error->status && pass->begin)
        pass->begin(pass->context, number, item->note, error);
    organ_reader_gate_leave(&r->gate);
    return error->status;
}

static organ_status await_item(weight_pass_run *r, size_t number, organ_error *error)
{
    open_item *const item = entry_of(r, number);
    ORGAN_LOCKED(&r->lock);
    if (item->state == ITEM_CLOSED) {
        item->state = ITEM_OPENING;
        pthread_mutex_unlock(&r->lock);
        const organ_status status = open_readers(r, number, item);
        pthread_mutex_lock(&r->lock);
        item->state = status ? ITEM_FAILED : ITEM_OPEN;
        pthread_cond_broadcast(&r->opened);
    }
    ORGAN_DURING(ORGAN_WAITING);
    while (item->state == ITEM_OPENING)
        pthread_cond_wait(&r->opened, &r->lock);
    if (item->state == ITEM_FAILED)
        *error = item->error;
    return error->status;
}

/* The zeroed entry is free for a later item. */
static void close_item(open_item *item)
{
    organ_weight_reader_close(item->reader[0]);
    organ_weight_reader_close(item->reader[1]);
    *item = (open_item){0};
}

/* ---- strips ---- */

/* Refuses or limits values that are infinite in `values` (type pass->as) although they are finite in the weight.
 * Rows with infinite values are read again, as FP32, with memory of their own, because that of the reader is in use
 * between parts of a strip. */
static organ_status limit_strip(const weight_pass_run *r, const organ_weight_reader *reader, organ_weight_strip *strip,
                                uint16_t *values, organ_error *error)
{
    const organ_weight_pass *const pass = r->pass;
    const char *const tensor = pass->items[strip->item].weight->name;
    const size_t room = weight_round(strip->cols * sizeof(float));
    ORGAN_OWNED float *wide = NULL;
    uint64_t found = 0;
    strip->finite = true;
    for (size_t row = 0; row < strip->rows && !error->status; row++) {
        uint16_t *const stored = values + row * strip->cols;
        if (!organ_any_not_finite(pass->as, stored, strip->cols * sizeof *stored))
            continue;
        strip->finite = false;
        if (!wide && !(wide = aligned_alloc(64, room + organ_weight_reader_scratch(reader, 1))))
            return organ_fail_memory(error, tensor);
        if (organ_weight_read(reader, strip->first + row, 1, ORGAN_F32, wide, (char *)wide + room, error) != ORGAN_OK)
            break;
        const uint64_t count = organ_overflow_count(r->engine->kernels, pass->as, wide, stored, strip->cols);
        found += count;
        if (!count)
            continue;
        organ_overflow_clamp(wide, strip->cols, organ_overflow_limit(pass->as));
        organ_narrow(r->engine->kernels, pass->as, wide, stored, strip->cols);
    }
    return found && !error->status ? organ_overflow_found(pass->overflow, tensor, pass->as, found, error)
                                   : error->status;
}

static organ_status limit_values(const weight_pass_run *r, organ_weight_strip *strip, void *values, organ_error *error)
{
    return r->pass->overflow && r->pass->as != ORGAN_F32
               ? limit_strip(r, entry_of(r, strip->item)->reader[0], strip, values, error)
               : ORGAN_OK;
}

static organ_status read_pass_strip(weight_pass_run *r, organ_weight_strip *strip, unsigned char *buffer,
                                    unsigned char *other, void *scratch, organ_error *error)
{
    const organ_weight_pass *const pass = r->pass;
    const open_item *const item = entry_of(r, strip->item);
    organ_reader_gate_enter(&r->gate);
    if (organ_weight_read(item->reader[0], strip->first, strip->rows, strip->type, buffer, scratch, error) == ORGAN_OK)
        limit_values(r, strip, buffer, error);
    if (!error->status && item->reader[1])
        organ_weight_read(item->reader[1], strip->first, strip->rows, pass->as, other, scratch, error);
    organ_reader_gate_leave(&r->gate);
    return error->status;
}

/* organ_weight_strip_read reads the strip by `run` into the memory that ends at `end`. */
struct weight_strip_source {
    weight_pass_run *run;
    unsigned char *end, *reading; /* of the room; scratch of the reader */
};

organ_status organ_weight_strip_read(const organ_weight_strip *strip, size_t first, size_t rows,
                                     organ_weight_strip *part, organ_error *error)
{
    const struct weight_strip_source *const from = strip->source;
    *part = *strip;
    part->first += first;
    part->rows = rows;
    part->values = from->end - weight_round(rows * strip->cols * element_bytes(strip->type));
    return read_pass_strip(from->run, part, part->values, NULL, from->reading, error);
}

/* A strip whose parts are given to `work`. */
typedef struct strip_in_parts {
    weight_pass_run *run;
    const organ_weight_strip *strip;
    unsigned char *values;
    void *scratch, *result; /* of `work` */
} strip_in_parts;

/* Other workers may read while `work` uses the part. */
static organ_status use_part(void *context, uint64_t first, size_t rows, organ_error *error)
{
    const strip_in_parts *const p = context;
    const organ_weight_pass *const pass = p->run->pass;
    organ_weight_strip part = *p->strip;
    part.first = first;
    part.rows = rows;
    part.room = part.values = p->values;
    part.last = p->strip->last && first + rows == p->strip->first + p->strip->rows;
    organ_reader_gate_leave(&p->run->gate);
    if (limit_values(p->run, &part, p->values, error) == ORGAN_OK)
        pass->work(pass->context, &part, p->scratch, p->result, error);
    organ_reader_gate_enter(&p->run->gate);
    return error->status;
}

static organ_status do_parts(weight_pass_run *r, weight_pass_slot *s, unsigned char *buffer, organ_error *error)
{
    unsigned char *const reading = buffer + r->plan.values;
    const open_item *const item = entry_of(r, s->strip.item);
    strip_in_parts parts = {r, &s->strip, buffer, reading + r->plan.reader, s->result};
    const weight_use use = {item->cut.part_rows, use_part, &parts};
    if (await_item(r, s->strip.item, error) || s->strip.rows == 0)
        return error->status;
    memset(s->result, 0, r->pass->result_bytes);
    organ_reader_gate_enter(&r->gate);
    organ_weight_read_parts(item->reader[0], s->strip.first, s->strip.rows, s->strip.type, buffer, &use, reading,
                            error);
    organ_reader_gate_leave(&r->gate);
    return error->status;
}

static organ_status do_strip(weight_pass_run *r, weight_pass_slot *s, unsigned char *buffer, organ_error *error)
{
    const organ_weight_pass *const pass = r->pass;
    unsigned char *const other = buffer + r->plan.values, *const reading = other + r->plan.other,
                         *const scratch = reading + r->plan.reader;
    const struct weight_strip_source source = {r, other, reading};
    const bool later = s->strip.type != pass->as; /* `work` reads the values */
    if (await_item(r, s->strip.item, error) || s->strip.rows == 0 ||
        (!later && read_pass_strip(r, &s->strip, buffer, other, reading, error)))
        return error->status;
    s->strip.room = buffer;
    s->strip.values = later ? NULL : buffer;
    s->strip.other = entry_of(r, s->strip.item)->reader[1] ? other : NULL;
    s->strip.source = &source;
    memset(s->result, 0, pass->result_bytes);
    return pass->work(pass->context, &s->strip, scratch, s->result, error);
}

static organ_status work_on_strip(void *context, size_t number, size_t worker, organ_error *error)
{
    weight_pass_run *const r = context;
    weight_pass_slot *const s = slot_of(r, number);
    organ_read_ahead_move(&r->ahead, s->read);
    (r->pass->part_values ? do_parts : do_strip)(r, s, r->buffers[worker], error);
    s->strip.values = s->strip.room = NULL;
    s->strip.other = NULL;
    s->strip.source = NULL;
    return error->status;
}

static organ_status retire_strip(void *context, size_t number, organ_error *error)
{
    const weight_pass_run *const r = context;
    const weight_pass_slot *const s = slot_of(r, number);
    if (r->pass->retire && s->strip.rows && r->pass->retire(r->pass->context, &s->strip, s->result, error))
        return error->status;
    if (s->strip.last)
        close_item(entry_of(r, s->strip.item));
    return ORGAN_OK;
}

/* ---- the pass ---- */

/* Each active worker has a buffer on its NUMA node. Each strip that is taken may be of another item, so as many
 * items as strips may be open. */
static organ_status allocate_queue(weight_pass_run *r, organ_error *error)
{
    const size_t bytes = worker_bytes(&r->plan), result = weight_round(r->pass->result_bytes + 1);
    r->buffers = calloc(r->plan.active, sizeof *r->buffers);
    r->items = calloc(r->plan.window, sizeof *r->items);
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

/* Accepts what allocate_queue leaves after it has failed. */
static void release_queue(weight_pass_run *r)
{
    for (size_t k = 0; r->buffers && k < r->plan.active; k++)
        organ_topology_free(r->engine->topology, r->buffers[k], worker_bytes(&r->plan));
    for (size_t k = 0; r->items && k < r->plan.window; k++)
        close_item(&r->items[k]);
    ORGAN_FREE_ARRAYS(r->buffers, r->items, r->slots, r->results);
    organ_read_ahead_close(&r->ahead);
    organ_reader_gate_close(&r->gate);
    pthread_cond_destroy(&r->opened);
    pthread_mutex_destroy(&r->lock);
}

organ_status organ_weight_pass_run(const organ_weight_pass *pass, const organ_engine *engine, organ_error *error)
{
    weight_pass_run r = {.pass = pass, .engine = engine};
    if (plan_buffers(&r, error))
        return error->status;
    r.ahead =
        (organ_read_ahead){.count = 2 * ORGAN_READ_PARTS * pass->item_count, .range = range_of_item, .context = &r};
    organ_read_ahead_open(&r.ahead);
    organ_reader_gate_open(&r.gate, engine);
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.opened, NULL);
    const organ_parts strips = {.count = SIZE_MAX,
                                .workers = r.plan.active,
                                .window = r.plan.window,
                                .context = &r,
                                .take = take_strip,
                                .work = work_on_strip,
                                .retire = retire_strip};
    if (allocate_queue(&r, error) == ORGAN_OK)
        organ_parts_run(&strips, engine, error);
    release_queue(&r);
    return error->status;
}
