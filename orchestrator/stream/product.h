/* SPDX-License-Identifier: MIT
 * Matrix products on all workers. */
#ifndef ORGAN_PRODUCT_H
#define ORGAN_PRODUCT_H

#include "orchestrator/stream/pass.h"

/* Returns the bytes of scratch for organ_products_run: ORGAN_PRODUCT_SCRATCH for each worker. */
size_t organ_products_scratch(const organ_engine *engine);

/* Returns the bytes of one value. */
size_t organ_real_bytes(organ_real type);

/* Returns the operand from row `row` on, for a part of a product. */
organ_factor organ_factor_from(organ_factor operand, size_t row);

/* Computes `count` products as defined in kernels/kernels.h; the member `compute` of each selects the engine's
 * arithmetic or exact. No product may read or write memory that another one writes. Products are divided among the
 * workers, which does not change a bit. After a request through `stop` (or NULL), parts that have not begun are
 * skipped. `scratch`: 64-byte aligned; contents do not matter. */
void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count,
                        void *scratch);

/* Rows of an operand b that are decoded or read on demand. A worker makes some rows, a panel that fits its cache,
 * multiplies with them and discards them, so b is never in memory as a whole. */
typedef struct organ_panels {
    /* Writes rows [first, first + count) to `values`, contiguous and 64-byte aligned. Called on any thread. NULL: use
     * the product's own b. */
    organ_status (*make)(const void *source, size_t first, size_t count, void *values, void *scratch,
                         organ_error *error);
    const void *source;
    size_t first;    /* row of the source that is row 0 of b */
    organ_real type; /* type of the values */
    /* n numbers that are copied to each row of c before the product, whose `into` is ORGAN_PRODUCT_ADD; NULL: none */
    const float *biases;
} organ_panels;

/* Returns the number of rows of a full panel with rows of k values. organ_panel_bytes returns the bytes of such a
 * panel. */
size_t organ_panel_rows(size_t k, organ_real type);
size_t organ_panel_bytes(size_t k, organ_real type);

/* Computes products like organ_products_run, but b of products[k] may come from panels[k]. Each worker has
 * `worker_bytes` bytes of `scratch`, a multiple of 64: ORGAN_PRODUCT_SCRATCH, then the largest panel, then the scratch
 * of `make`. Returns the first error of `make`; the contents of c are then undefined. */
organ_status organ_panel_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products,
                                      const organ_panels *panels, size_t count, void *scratch, size_t worker_bytes,
                                      organ_error *error);

#endif
