/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/product.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"

/* A part has as many rows of a as the kernel packs at once, and so many of b that packing takes little of its time, fewer where workers
 * would wait for the last part. */
enum { PART_ROWS = 256, LEAST_COLUMNS = 64, MOST_COLUMNS = 2048, PARTS_A_WORKER = 4 };

typedef struct dealing {
    const organ_engine *engine;
    const organ_product *products;
    unsigned char *scratch;
} dealing;

typedef struct cut {
    size_t columns, across, parts; /* columns of c in a part, parts side by side, parts of the product */
} cut;

static cut cut_of(const dealing *d, const organ_product *p)
{
    const size_t down = (p->m + PART_ROWS - 1) / PART_ROWS, shares = PARTS_A_WORKER * organ_workers_count(d->engine->workers);
    const size_t fair = p->n / LEAST_COLUMNS * down / shares * LEAST_COLUMNS;
    const size_t columns = fair < LEAST_COLUMNS ? LEAST_COLUMNS : organ_lesser(fair, MOST_COLUMNS);
    const size_t across = (p->n + columns - 1) / columns;
    return (cut){columns, across, down * across};
}

size_t organ_real_bytes(organ_real type) { return type == ORGAN_REAL_F32 ? sizeof(float) : sizeof(uint16_t); }

organ_factor organ_factor_from(organ_factor operand, size_t row)
{
    const size_t rows = row * (operand.transposed ? 1 : operand.stride);
    operand.values = (const unsigned char *)operand.values + rows * organ_real_bytes(operand.type);
    return operand;
}

static void run_part(void *context, size_t index, size_t worker)
{
    const dealing *const d = context;
    const organ_product *p = d->products;
    cut c = cut_of(d, p);
    for (; index >= c.parts; c = cut_of(d, p)) {
        index -= c.parts;
        p++;
    }
    const size_t row = index / c.across * PART_ROWS, column = index % c.across * c.columns;
    organ_product part = *p;
    part.m = organ_lesser(PART_ROWS, p->m - row);
    part.n = organ_lesser(c.columns, p->n - column);
    part.a = organ_factor_from(p->a, row);
    part.b = organ_factor_from(p->b, column);
    part.c = (unsigned char *)p->c + (row * p->c_stride + column) * (p->wide ? sizeof(double) : sizeof(float));
    d->engine->kernels->product(&part, d->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

size_t organ_products_scratch(const organ_engine *engine) { return organ_workers_count(engine->workers) * ORGAN_PRODUCT_SCRATCH; }

void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count, void *scratch)
{
    dealing d = {engine, products, scratch};
    size_t parts = 0;
    for (size_t k = 0; k < count; k++)
        parts += cut_of(&d, &products[k]).parts;
    organ_share(engine, stop, parts, run_part, &d);
}
