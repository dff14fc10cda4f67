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

/* Computes `count` products (kernels/kernels.h says what each is), none of which reads or writes what another one writes, and returns when
 * all are done. They are cut and dealt out to the workers, which changes no bit. Where `stop` is asked, what no worker has begun is left
 * out; NULL never asks. `scratch`: 64-byte aligned, contents irrelevant before and after. */
void organ_products_run(const organ_engine *engine, const organ_stop *stop, const organ_product *products, size_t count, void *scratch);

#endif
