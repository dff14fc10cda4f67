/* SPDX-License-Identifier: MIT
 * Products of matrices by all workers. */
#ifndef ORGAN_PRODUCT_H
#define ORGAN_PRODUCT_H

#include "orchestrator/stream/pass.h"

/* Bytes of scratch that organ_products_run takes: ORGAN_PRODUCT_SCRATCH for each worker. */
size_t organ_products_scratch(const organ_engine *engine);

size_t organ_real_bytes(organ_real type);

/* The operand from a row on: a part of a product begins there. */
organ_factor organ_factor_from(organ_factor operand, size_t row);

/* Computes `count` products (kernels/kernels.h says what each is, and what its member `compute` asks for: the engine's,
 * or exact), none of which reads or writes what another one writes, and returns when all are done. They are cut and
 * dealt out to the workers, which changes no bit. Where `stop` is asked, what no worker has begun is left out; NULL
 * never asks. `scratch`: 64-byte aligned, contents irrelevant before and after. */
void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count,
                        void *scratch);

/* Rows of a factor b that are not there yet: a worker has some of them made, a panel that stays in its cache,
 * multiplies with them and forgets them. So b is decoded or read and never held whole. */
typedef struct organ_panels {
    /* Rows [first, first + count) to `values`, one after the other, 64-byte aligned; any thread. NULL: the product's
     * own b is there. */
    organ_status (*make)(const void *source, size_t first, size_t count, void *values, void *scratch,
                         organ_error *error);
    const void *source;
    size_t first;    /* row of the source that is row 0 of b */
    organ_real type; /* of the values */
} organ_panels;

/* Rows of a panel of rows of k values at most, and the bytes of so many. */
size_t organ_panel_rows(size_t k, organ_real type);
size_t organ_panel_bytes(size_t k, organ_real type);

/* The same with products of which panels[k] may give b. Each worker has `room` bytes of `scratch`, a multiple of 64:
 * ORGAN_PRODUCT_SCRATCH, the bytes of the largest panel, and then what `make` takes. The first fault of `make` that was
 * found; then c is of no use. */
organ_status organ_panel_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products,
                                      const organ_panels *panels, size_t count, void *scratch, size_t room,
                                      organ_error *error);

#endif
