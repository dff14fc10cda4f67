/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/product.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/stream_parts.h"

#include <math.h>
#include <string.h>

#define GRAIN 0x1p18 /* units of work below which tasks run on the calling thread */
#define SHARE 0x1p17 /* least units of work for each worker that is woken */

typedef struct sharing {
    const organ_stop *stop;
    size_t count, next; /* number of tasks; first task that no worker has taken, atomic */
    void (*task)(void *context, size_t index, size_t worker);
    void *context;
} sharing;

static void run_share(void *context, size_t worker)
{
    sharing *const s = context;
    for (size_t k;
         !organ_stop_is_requested(s->stop) && (k = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->count;)
        s->task(s->context, k, worker);
}

static bool is_task_left(const void *context)
{
    const sharing *const s = context;
    return __atomic_load_n(&s->next, __ATOMIC_RELAXED) < s->count;
}

void organ_share_work(const organ_engine *engine, const organ_stop *stop, size_t count, double work,
                      void (*task)(void *context, size_t index, size_t worker), void *context)
{
    sharing s = {.stop = stop, .count = count, .task = task, .context = context};
    const size_t workers = organ_min(count, organ_workers_count(engine->workers));
    if (count <= 1 || work < GRAIN)
        run_share(&s, 0);
    else
        organ_workers_run_some(engine->workers, work < SHARE * (double)workers ? (size_t)(work / SHARE) : workers,
                               is_task_left, run_share, &s);
}

void organ_share(const organ_engine *engine, const organ_stop *stop, size_t count,
                 void (*task)(void *context, size_t index, size_t worker), void *context)
{
    organ_share_work(engine, stop, count, INFINITY, task, context);
}

organ_status organ_share_try(const organ_engine *engine, size_t count,
                             organ_status (*task)(void *context, size_t index, size_t worker, organ_error *error),
                             void *context, organ_error *error)
{
    return organ_parts_run(&(organ_parts){.count = count, .context = context, .work = task}, engine, error);
}

/* Sizes of the parts into which a product c = a bᵀ is divided for the workers. A part has PART_ROWS rows of a, as many
 * as the kernel packs at once, and MIN_COLUMNS to MAX_COLUMNS rows of b, which are columns of c, in multiples of
 * COLUMNS_STEP. Packing the rows of a costs a part as much as EXACT_PACKING columns with exact products, and as
 * DOTS_PACKING columns with products of BF16 terms. A decoded panel of b has about PANEL_BYTES, in multiples of
 * MIN_PANEL rows. If there are at least as many panels as workers, a part has all rows of a, so that each panel is
 * decoded once; otherwise each part decodes its panel. */
enum {
    PART_ROWS = 256,
    MIN_COLUMNS = 64,
    MAX_COLUMNS = 2048,
    COLUMNS_STEP = 32,
    EXACT_PACKING = 32,
    DOTS_PACKING = 64,
    MIN_PANEL = 32,
    PANEL_BYTES = 1 << 19
};

typedef struct product_split {
    const organ_engine *engine;
    const organ_product *products;
    const organ_panels *panels; /* NULL if b of all products is in memory */
    size_t count;               /* products */
    unsigned char *scratch;     /* `room` bytes for each worker */
    size_t room;                /* bytes of `scratch` for each worker */
    size_t columns; /* rows of b that a part may have; product_cut_of takes fewer where this makes parts equal */
    organ_first_fault fault; /* of panels->make */
} product_split;

typedef struct product_cut {
    size_t rows, columns; /* of c in a part */
    size_t across, parts; /* parts next to each other in a row of parts; all parts of the product */
} product_cut;

size_t organ_panel_rows(size_t k, organ_real type)
{
    const size_t row = organ_max(k, 1) * organ_real_bytes(type);
    return organ_max(PANEL_BYTES / row / MIN_PANEL, 1) * MIN_PANEL;
}

size_t organ_panel_bytes(size_t k, organ_real type)
{
    return organ_to_line(organ_panel_rows(k, type) * k * organ_real_bytes(type));
}

static bool has_decoded_panels(const product_split *d, size_t product) { return d->panels && d->panels[product].make; }

static bool is_joined(const product_split *d, size_t product) { return d->panels && d->panels[product].joined; }

/* Parts are equal but for a multiple of COLUMNS_STEP. */
static size_t columns_of_part(size_t n, size_t max)
{
    const size_t across = organ_max(organ_pieces_of(n, max), 1);
    return organ_max(organ_pieces_of(organ_pieces_of(n, across), COLUMNS_STEP), 1) * COLUMNS_STEP;
}

static product_cut product_cut_of(const product_split *d, size_t product)
{
    const organ_product *const p = &d->products[product];
    product_cut c = {.rows = PART_ROWS, .columns = columns_of_part(p->n, d->columns)};
    if (has_decoded_panels(d, product))
        c.columns = organ_min(c.columns, organ_panel_rows(p->k, d->panels[product].type));
    c.across = organ_pieces_of(p->n, c.columns);
    if (has_decoded_panels(d, product) && c.across >= organ_workers_count(d->engine->workers))
        c.rows = organ_max(p->m, PART_ROWS);
    c.parts = is_joined(d, product) ? 0 : organ_pieces_of(p->m, c.rows) * c.across;
    return c;
}

size_t organ_real_bytes(organ_real type) { return type == ORGAN_REAL_F32 ? sizeof(float) : sizeof(uint16_t); }

/* A row is `stride` elements after the row before it; in a transposed operand, which is stored by columns, one
 * element after it. */
organ_product_operand organ_factor_from(organ_product_operand operand, size_t row)
{
    const size_t rows = row * (operand.transposed ? 1 : operand.stride);
    operand.values = (const unsigned char *)operand.values + rows * organ_real_bytes(operand.type);
    return operand;
}

/* The panel is in `scratch`, followed by the scratch memory of `make`. Returns false if `make` has failed here or in
 * another part. */
static bool make_panel(product_split *d, size_t product, size_t first, organ_product *part, unsigned char *scratch)
{
    const organ_panels *const panels = &d->panels[product];
    organ_error error = {0};
    if (organ_fault_found(&d->fault))
        return false;
    if (panels->make(panels->source, panels->first + first, part->n, scratch,
                     scratch + organ_panel_bytes(part->k, panels->type), &error)) {
        organ_fault_keep(&d->fault, &error);
        return false;
    }
    part->b = (organ_product_operand){.values = scratch, .type = panels->type, .stride = part->k};
    return true;
}

/* The part begins at column `column` of the result. Only products with FP32 results have biases. */
static void copy_biases(const product_split *d, size_t product, size_t column, const organ_product *part)
{
    const float *const biases = d->panels ? d->panels[product].biases : NULL;
    for (size_t row = 0; biases && row < part->m; row++)
        memcpy((float *)part->c + row * part->c_stride, biases + column, part->n * sizeof *biases);
}

/* Each sum over k is computed within one part, so the division into parts does not change a bit of c. */
static void compute_part(product_split *d, size_t product, size_t row, size_t column, product_cut c,
                         unsigned char *scratch)
{
    const organ_product *const p = &d->products[product];
    organ_product part = *p;
    part.m = organ_min(c.rows, p->m - row);
    part.n = organ_min(c.columns, p->n - column);
    part.a = organ_factor_from(p->a, row);
    part.c = (unsigned char *)p->c + (row * p->c_stride + column) * (p->wide ? sizeof(double) : sizeof(float));
    if (!has_decoded_panels(d, product))
        part.b = organ_factor_from(p->b, column);
    else if (!make_panel(d, product, column, &part, scratch + ORGAN_PRODUCT_SCRATCH))
        return;
    copy_biases(d, product, column, &part);
    organ_product_run(d->engine, &part, scratch);
    if (d->panels && d->panels[product].after)
        d->panels[product].after(d->panels[product].after_context, d->panels[product].row + row, part.m, column,
                                 part.n);
}

/* Parts are counted over all products of the call but the joined ones, which are computed with the product before
 * them. */
static void run_part(void *context, size_t index, size_t worker)
{
    product_split *const d = context;
    size_t product = 0;
    product_cut c = product_cut_of(d, product);
    for (; index >= c.parts; c = product_cut_of(d, product)) {
        index -= c.parts;
        product++;
    }
    do
        compute_part(d, product, index / c.across * c.rows, index % c.across * c.columns, c,
                     d->scratch + worker * d->room);
    while (++product < d->count && is_joined(d, product));
}

size_t organ_products_scratch(const organ_engine *engine)
{
    return organ_workers_count(engine->workers) * ORGAN_PRODUCT_SCRATCH;
}

/* The cost is the number of multiplications, and ORGAN_SHARE_NUMBER for each value of b that is decoded for panels. */
static double work_of(const product_split *d, size_t product)
{
    const organ_product *const p = &d->products[product];
    return (double)p->n * (double)p->k * ((double)p->m + (has_decoded_panels(d, product) ? ORGAN_SHARE_NUMBER : 0));
}

/* The unit of time is one column of a part. There are as many rounds as it takes until all workers together have
 * computed all parts, each with the columns and the packing of its product and of those that are joined to it. An
 * eighth of a round is added for the wait for the last worker, which shorter parts reduce. */
static size_t time_of_parts(const product_split *d, size_t columns)
{
    size_t parts = 0, longest = 0, part = 0;
    for (size_t k = 0; k < d->count; k++) {
        const organ_product *const p = &d->products[k];
        const size_t own = columns_of_part(p->n, columns);
        part = (is_joined(d, k) ? part : 0) + own + (p->compute == ORGAN_COMPUTE_EXACT ? EXACT_PACKING : DOTS_PACKING);
        longest = organ_max(longest, part);
        parts += is_joined(d, k) ? 0 : organ_pieces_of(p->m, PART_ROWS) * organ_pieces_of(p->n, own);
    }
    return (8 * organ_pieces_of(parts, organ_workers_count(d->engine->workers)) + 1) * longest;
}

/* Of equal times, the one with more columns wins. */
static size_t best_columns(const product_split *d)
{
    static const size_t candidates[] = {MAX_COLUMNS, 1536, 1024, 896, 768, 640, 512, 448,        384,
                                        320,         256,  224,  192, 160, 128, 96,  MIN_COLUMNS};
    size_t best = MAX_COLUMNS, least = SIZE_MAX;
    for (size_t k = 0; k < sizeof candidates / sizeof *candidates; k++) {
        const size_t time = time_of_parts(d, candidates[k]);
        best = time < least ? candidates[k] : best;
        least = organ_min(least, time);
    }
    return best;
}

static void run_products(product_split *d, const organ_stop *stop)
{
    size_t parts = 0;
    double work = 0;
    d->columns = best_columns(d);
    for (size_t k = 0; k < d->count; k++) {
        parts += product_cut_of(d, k).parts;
        work += work_of(d, k);
    }
    organ_share_work(d->engine, stop, parts, work, run_part, d);
}

void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count,
                        void *scratch)
{
    product_split d = {
        .engine = engine, .products = products, .count = count, .scratch = scratch, .room = ORGAN_PRODUCT_SCRATCH};
    run_products(&d, stop);
}

organ_status organ_panel_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products,
                                      const organ_panels *panels, size_t count, void *scratch, size_t worker_bytes,
                                      organ_error *error)
{
    product_split d = {.engine = engine,
                       .products = products,
                       .panels = panels,
                       .count = count,
                       .scratch = scratch,
                       .room = worker_bytes,
                       .fault = {error, false}};
    run_products(&d, stop);
    return error->status;
}

/* All kernel tables support the same types, so the scalar table is enough. */
bool organ_can_widen(organ_dtype dtype)
{
    const int type = organ_dtype_describe(dtype)->ggml;
    return type >= 0 && organ_kernels_scalar->dequantize[type];
}

/* NaN and infinite values have all bits of the exponent set. */
bool organ_all_finite(const float *values, size_t n)
{
    uint32_t rejected = 0;
    for (size_t k = 0; k < n; k++) {
        uint32_t bits;
        memcpy(&bits, values + k, sizeof bits);
        rejected |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return !rejected;
}

bool organ_can_narrow(organ_dtype dtype)
{
    const int type = organ_dtype_describe(dtype)->ggml;
    return type >= 0 && organ_kernels_scalar->quantize[type];
}

void organ_widen(const organ_kernels *kernels, organ_dtype dtype, const void *units, float *values, size_t units_count)
{
    kernels->dequantize[organ_dtype_describe(dtype)->ggml](units, values, units_count);
}

void organ_narrow(const organ_kernels *kernels, organ_dtype dtype, const float *values, void *units, size_t units_count)
{
    kernels->quantize[organ_dtype_describe(dtype)->ggml](values, units, units_count);
}

uint64_t organ_infinity_bits(organ_dtype dtype)
{
    if (dtype == ORGAN_F32)
        return 0x7F800000u;
    return dtype == ORGAN_F16 ? 0x7C00u : 0x7F80u;
}

/* Looks for exponent fields of all ones, eight bytes at a time: adding 1 to the lowest bit of such a field carries into
 * the sign bit. */
bool organ_any_not_finite(organ_dtype dtype, const void *values, size_t bytes)
{
    /* `spread` repeats a number for each value of a word; `one`: lowest bit of each exponent field */
    const uint64_t spread = dtype == ORGAN_F32 ? 0x0000000100000001u : 0x0001000100010001u,
                   mask = organ_infinity_bits(dtype) * spread;
    const uint64_t sign = (dtype == ORGAN_F32 ? 0x80000000u : 0x8000u) * spread;
    const uint64_t one = (organ_infinity_bits(dtype) & -organ_infinity_bits(dtype)) * spread;
    uint64_t any = 0, word = 0;
    size_t k = 0;
    for (; k + 8 <= bytes; k += 8) {
        memcpy(&word, (const unsigned char *)values + k, 8);
        any |= (word & mask) + one;
    }
    word = 0; /* the last bytes, filled up with zeros */
    memcpy(&word, (const unsigned char *)values + k, bytes - k);
    return ((any | ((word & mask) + one)) & sign) != 0;
}
