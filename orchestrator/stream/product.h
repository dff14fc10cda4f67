/* SPDX-License-Identifier: MIT
 * Matrix products on all workers. */
#ifndef ORGAN_PRODUCT_H
#define ORGAN_PRODUCT_H

#include <organ/stream.h>

/* Returns the bytes of scratch for organ_products_run: ORGAN_PRODUCT_SCRATCH for each worker. */
size_t organ_products_scratch(const organ_engine *engine);

/* Returns the bytes of one value of the type. */
size_t organ_real_bytes(organ_real type);

/* Returns the operand without its first `row` rows, for a part of a product. */
organ_product_operand organ_factor_from(organ_product_operand operand, size_t row);

/* Computes `count` products as defined in <organ/kernels.h>. If the member `compute` of a product is
 * ORGAN_COMPUTE_EXACT, the product is exact, else it uses the engine's arithmetic. No product may read or write memory
 * that another one writes. Products are divided among the workers, which does not change a bit. If a stop is requested
 * through `stop` (NULL: never), parts that have not begun are skipped, and the results are incomplete. `scratch`:
 * organ_products_scratch bytes, 64-byte aligned. */
void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count,
                        void *scratch);

/* The operand b of a product, [n][k], whose rows are decoded or read on demand. A panel is some rows of b that fit the
 * cache of a core. A worker makes a panel, multiplies with it and discards it, so b is never in memory as a whole. */
typedef struct organ_panels {
    /* Writes rows [first, first + count) of the source to `values`, contiguous and 64-byte aligned, of type `type`.
     * Called on any worker. NULL: use the product's own b. */
    organ_status (*make)(const void *source, size_t first, size_t count, void *values, void *scratch,
                         organ_error *error);
    const void *source; /* first argument of `make` */
    size_t first;       /* row of the source that is row 0 of b */
    organ_real type;    /* type of the values */
    /* n numbers that are copied to each row of c before the product, whose `into` is ORGAN_PRODUCT_ADD; NULL: none */
    const float *biases;
    /* This product has the m, n, k and type of panels of the product before it in the list, or both have no panels. A
     * worker that computes a part of that product then computes the same part of this one. */
    bool joined;
    /* Called with `after_context` on the worker that has computed rows [row, row + rows) and columns [column, column +
     * columns) of this product's c, and of those that it is joined to. NULL: nothing is called. */
    void (*after)(const void *after_context, size_t row, size_t rows, size_t column, size_t columns);
    const void *after_context;
} organ_panels;

/* Returns the largest number of rows of a panel whose rows have k values. */
size_t organ_panel_rows(size_t k, organ_real type);
/* Returns the bytes of a panel with that number of rows, rounded up to 64. */
size_t organ_panel_bytes(size_t k, organ_real type);

/* Computes products like organ_products_run, but b of products[k] comes from panels[k] if panels[k].make is set. Each
 * worker has `worker_bytes` bytes of `scratch`, a multiple of 64: ORGAN_PRODUCT_SCRATCH, then the largest panel, then
 * the scratch of `make`. If calls of `make` fail, returns the error of the first one; the contents of c are then
 * undefined. */
organ_status organ_panel_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products,
                                      const organ_panels *panels, size_t count, void *scratch, size_t worker_bytes,
                                      organ_error *error);

#endif
