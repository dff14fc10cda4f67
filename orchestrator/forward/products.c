/* SPDX-License-Identifier: MIT
 * Lists of products of weights with activations. Values in memory are operands of the product; other weights are
 * decoded by panels. Products read copies of their inputs with rounded values: taps, norms and residual sums read the
 * inputs themselves. Products of a list with the same input and rule share a copy. */
#include "orchestrator/forward/forward_parts.h"

#include "formats/base/arena.h"
#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE ((size_t)16)  /* rows that a worker rounds in turn */
#define MOST_ROWS    FORWARD_GROUP /* rows for which there are copies of the widest inputs */

/* linear->bias may be NULL. The list keeps pointers to x, y and the weights and bias of `linear`, so these must stay
 * valid until the run. Fails only if memory runs out. */
organ_status organ_forward_products_add(forward_products *products, const float *x, const forward_linear *linear,
                                        float *y, size_t tokens, organ_error *error)
{
    if (!organ_grow(&products->items, products->count, &products->room, sizeof *products->items) ||
        !organ_grow(&products->panels, products->count, &products->panel_room, sizeof *products->panels) ||
        !organ_grow(&products->inputs, products->count, &products->input_room, sizeof *products->inputs))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of more than %zu products", products->count);
    products->panels[products->count] = linear->panels;
    products->panels[products->count].biases = linear->bias;
    products->inputs[products->count] = linear->inputs;
    products->items[products->count++] = (organ_product){
        .m = tokens,
        .n = linear->out,
        .k = linear->in,
        .a = {.values = x, .type = ORGAN_REAL_F32, .stride = linear->in},
        .b = linear->w,
        .c = y,
        .c_stride = linear->out,
        .into = linear->bias ? ORGAN_PRODUCT_ADD : ORGAN_PRODUCT_SET,
    };
    return ORGAN_OK;
}

static bool is_same_rule(const organ_rounding *a, const organ_rounding *b)
{
    return a->from == b->from && a->group == b->group && a->low == b->low && a->high == b->high && a->peak == b->peak &&
           a->scale == b->scale && a->zero == b->zero && a->factor == b->factor && a->limit == b->limit &&
           a->below == b->below && a->asymmetric == b->asymmetric;
}

bool organ_forward_is_same_rounding(const forward_rounding *a, const forward_rounding *b)
{
    return a->round == b->round && is_same_rule(&a->rule, &b->rule) &&
           organ_forward_is_same_turn(a->rotation, b->rotation);
}

/* ---- memory ---- */

uint64_t organ_forward_rounded_bytes(const organ_forward *f, size_t tokens)
{
    const bool head = f->head.count > 0 && f->head.slots[0].inputs.round;
    const size_t rows = organ_min(head ? organ_max(tokens, ORGAN_HEAD_TOKENS) : tokens, MOST_ROWS);
    const uint64_t lines = f->rounded && f->rounded->turn_count ? organ_forward_line(f->rounded) * sizeof(double) *
                                                                      organ_workers_count(f->engine->workers)
                                                                : 0;
    return f->rounded ? (uint64_t)rows * f->rounded->width * sizeof(float) + lines : 0;
}

/* Grows the memory to that for products of `rows` rows. */
static organ_status reserve(forward_rounded *r, size_t rows, size_t workers, organ_error *error)
{
    const size_t floats = organ_min(rows, MOST_ROWS) * r->width;
    if (r->turn_count && !r->line && !(r->line = calloc(workers, organ_forward_line(r) * sizeof *r->line)))
        return organ_fail_errno(error, ENOMEM, "cannot allocate rows of %zu rotated inputs", r->widest);
    if (floats <= r->room)
        return ORGAN_OK;
    organ_forward_free(r->floats);
    r->room = 0;
    r->floats = organ_forward_floats(floats, error);
    r->room = r->floats ? floats : 0;
    return error->status;
}

/* ---- copies ---- */

static const forward_copy *copy_for(const forward_copies *copies, const organ_product *p,
                                    const forward_rounding *rounding)
{
    for (size_t k = copies->count; k > 0; k--) {
        const forward_copy *const c = &copies->items[k - 1];
        if (c->from == p->a.values && c->stride == p->a.stride && c->rows == p->m && c->width == p->k &&
            organ_forward_is_same_rounding(c->rounding, rounding))
            return c;
    }
    return NULL;
}

/* A product, and those that are joined to it. */
static size_t end_of_unit(const forward_products *products, size_t from)
{
    size_t until = from + 1;
    while (until < products->count && products->panels[until].joined)
        until++;
    return until;
}

/* Gives the products [from, until) copies of their inputs, from products->copies on, `used` floats of which are taken.
 * Returns the floats that are then taken, or SIZE_MAX if they are more than there are; the list is then unchanged. */
static size_t take_copies(forward_products *products, const forward_rounded *r, size_t from, size_t until, size_t used,
                          organ_error *error)
{
    forward_copies *const copies = &products->copies;
    const size_t before = copies->count;
    for (size_t k = from; k < until && !error->status; k++) {
        const organ_product *const p = &products->items[k];
        if (!products->inputs[k] || p->m == 0 || copy_for(copies, p, products->inputs[k]))
            continue;
        if (p->m > (r->room - used) / p->k) {
            copies->count = before;
            return SIZE_MAX;
        }
        if (!organ_grow(&copies->items, copies->count, &copies->room, sizeof *copies->items))
            organ_fail_errno(error, ENOMEM, "cannot allocate a list of more than %zu copies", copies->count);
        else
            copies->items[copies->count++] = (forward_copy){.rounding = products->inputs[k],
                                                            .from = p->a.values,
                                                            .to = r->floats + used,
                                                            .stride = p->a.stride,
                                                            .rows = p->m,
                                                            .width = p->k};
        used += p->m * p->k;
    }
    return used;
}

static void round_rows(void *context, size_t index, size_t worker)
{
    const forward_copies *const copies = context;
    const forward_copy *c = copies->items;
    for (; index >= organ_pieces_of(c->rows, ROWS_AT_ONCE); c++)
        index -= organ_pieces_of(c->rows, ROWS_AT_ONCE);
    const size_t until = organ_min((index + 1) * ROWS_AT_ONCE, c->rows);
    for (size_t row = index * ROWS_AT_ONCE; row < until; row++) {
        const float *const from = c->from + row * c->stride;
        if (c->rounding->rotation)
            organ_forward_round_row(copies->rounded, c->rounding, from, c->to + row * c->width, c->width,
                                    copies->rounded->line + worker * organ_forward_line(copies->rounded));
        else
            c->rounding->round(&c->rounding->rule, from, c->to + row * c->width, c->width);
    }
}

static organ_status make_copies(forward_copies *copies, const organ_forward *f, organ_error *error)
{
    size_t tasks = 0, numbers = 0;
    copies->rounded = f->rounded;
    for (size_t k = 0; k < copies->count; k++) {
        tasks += organ_pieces_of(copies->items[k].rows, ROWS_AT_ONCE);
        numbers += copies->items[k].rows * copies->items[k].width;
    }
    return tasks
               ? organ_forward_share(f->engine, tasks, ORGAN_SHARE_NUMBER * (double)numbers, round_rows, copies, error)
               : ORGAN_OK;
}

static void read_copies(forward_products *products, size_t from, size_t until)
{
    for (size_t k = from; k < until; k++) {
        organ_product *const p = &products->items[k];
        const forward_copy *const c =
            products->inputs[k] && p->m ? copy_for(&products->copies, p, products->inputs[k]) : NULL;
        if (!c)
            continue;
        p->a.values = c->to;
        p->a.stride = c->width;
    }
}

static organ_status products_part(forward_products *products, size_t from, size_t until, const organ_forward *f,
                                  void *scratch, organ_error *error)
{
    const organ_engine *const engine = f->engine;
    organ_panel_products_run(engine, engine->stop, products->items + from, products->panels + from, until - from,
                             scratch, f->worker_bytes, error);
    return organ_stop_is_requested(engine->stop) && !error->status ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted")
                                                                   : error->status;
}

/* Makes the copies of [from, until) that are in the list, and computes these products. */
static organ_status run_part(forward_products *products, size_t from, size_t until, const organ_forward *f,
                             void *scratch, organ_error *error)
{
    if (make_copies(&products->copies, f, error))
        return error->status;
    read_copies(products, from, until);
    products->copies.count = 0;
    return products_part(products, from, until, f, scratch, error);
}

/* Changes products [from, until) to `rows` rows from row `row` on. */
static void cut_rows(forward_products *products, size_t from, size_t until, size_t row, size_t rows)
{
    for (size_t k = from; k < until; k++) {
        organ_product *const p = &products->items[k];
        p->m = rows;
        p->a = organ_factor_from(p->a, row);
        p->c = (float *)p->c + row * p->c_stride;
        products->panels[k].row = row;
    }
}

/* Computes products [from, until), whose copies do not fit, some rows at a time. */
static organ_status run_by_rows(forward_products *products, size_t from, size_t until, const organ_forward *f,
                                void *scratch, organ_error *error)
{
    const size_t count = until - from, total = products->items[from].m, step = f->rounded->room / f->rounded->width;
    ORGAN_OWNED organ_product *const whole = calloc(count, sizeof *whole);
    if (!whole)
        return organ_fail_errno(error, ENOMEM, "cannot allocate %zu products", count);
    memcpy(whole, products->items + from, count * sizeof *whole);
    for (size_t row = 0; row < total && !error->status; row += step) {
        memcpy(products->items + from, whole, count * sizeof *whole);
        cut_rows(products, from, until, row, organ_min(step, total - row));
        take_copies(products, f->rounded, from, until, 0, error);
        if (!error->status)
            run_part(products, from, until, f, scratch, error);
    }
    return error->status;
}

/* Returns the end of the products from `from` on whose copies fit; `from` if those of the first do not. */
static size_t take_part(forward_products *products, const forward_rounded *r, size_t from, organ_error *error)
{
    size_t until = from, used = 0;
    while (until < products->count && !error->status) {
        const size_t end = end_of_unit(products, until);
        used = take_copies(products, r, until, end, used, error);
        if (used == SIZE_MAX)
            break;
        until = end;
    }
    return until;
}

static organ_status products_rounded(forward_products *products, const organ_forward *f, void *scratch,
                                     organ_error *error)
{
    size_t rows = 0;
    for (size_t k = 0; k < products->count; k++)
        rows = organ_max(rows, products->inputs[k] ? products->items[k].m : 0);
    if (reserve(f->rounded, rows, organ_workers_count(f->engine->workers), error))
        return error->status;
    for (size_t from = 0, until; from < products->count && !error->status; from = until) {
        until = take_part(products, f->rounded, from, error);
        if (until > from && !error->status) {
            run_part(products, from, until, f, scratch, error);
        } else if (!error->status) {
            until = end_of_unit(products, from);
            run_by_rows(products, from, until, f, scratch, error);
        }
    }
    products->copies.count = 0;
    return error->status;
}

/* ---- the list ---- */

organ_status organ_forward_products_run(forward_products *products, const organ_forward *f, void *scratch,
                                        organ_error *error)
{
    const organ_phase phase = organ_phase_now();
    ORGAN_IN_PHASE(phase == ORGAN_PHASE_MIXERS ? ORGAN_PHASE_MIXER_PRODUCTS : phase);
    bool rounded = false;
    for (size_t k = 0; k < products->count; k++) {
        products->items[k].compute = f->engine->compute;
        rounded = rounded || products->inputs[k];
    }
    if (rounded)
        products_rounded(products, f, scratch, error);
    else
        products_part(products, 0, products->count, f, scratch, error);
    products->count = 0;
    return error->status;
}

void organ_forward_products_release(forward_products *products)
{
    ORGAN_FREE_ARRAYS(products->items, products->panels, products->inputs, products->copies.items);
    *products = (forward_products){0};
}
