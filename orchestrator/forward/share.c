/* SPDX-License-Identifier: MIT
 * Products and other work, dealt out to the workers. */
#include "formats/base/arena.h"
#include "orchestrator/forward/job.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

organ_status organ_forward_share(const organ_engine *engine, size_t count, void (*task)(void *context, size_t index, size_t worker),
                                 void *context, organ_error *error)
{
    organ_share(engine, engine->stop, count, task, context);
    return organ_stop_asked(engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

float *organ_forward_floats(size_t count, organ_error *error)
{
    const size_t lines = count / 16 + 1;
    float *values = count < SIZE_MAX / 8 ? aligned_alloc(64, lines * 64) : NULL;
    if (!values)
        organ_fail_errno(error, ENOMEM, "cannot allocate %zu numbers", count);
    return values;
}

organ_status organ_forward_products_add(forward_products *products, const float *x, forward_linear linear, float *y, size_t tokens,
                                        organ_error *error)
{
    if (!organ_grow(&products->items, products->count, &products->room, sizeof *products->items))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of more than %zu products", products->count);
    for (size_t t = 0; linear.bias && t < tokens; t++)
        memcpy(y + t * linear.out, linear.bias, linear.out * sizeof *y);
    products->items[products->count++] = (organ_product){
        .m = tokens,
        .n = linear.out,
        .k = linear.in,
        .a = {.values = x, .type = ORGAN_REAL_F32, .stride = linear.in},
        .b = linear.w,
        .c = y,
        .c_stride = linear.out,
        .into = linear.bias ? ORGAN_PRODUCT_ADD : ORGAN_PRODUCT_SET,
    };
    return ORGAN_OK;
}

organ_status organ_forward_products_run(forward_products *products, const organ_engine *engine, void *scratch, organ_error *error)
{
    organ_products_run(engine, engine->stop, products->items, products->count, scratch);
    products->count = 0;
    return organ_stop_asked(engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}
