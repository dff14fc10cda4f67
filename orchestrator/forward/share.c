/* SPDX-License-Identifier: MIT
 * Products of BLAS and other work, dealt out to the workers in pieces that do not depend on how many there are. */
#include "formats/base/arena.h"
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/blas.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"

#include <cblas.h>
#include <errno.h>
#include <stdlib.h>

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
    for (size_t t = 0; t < tokens; t += FORWARD_STRIP)
        for (size_t o = 0; o < linear.out; o += FORWARD_OUTPUTS) {
            if (!organ_grow(&products->items, products->count, &products->room, sizeof *products->items))
                return organ_fail_errno(error, ENOMEM, "cannot allocate a list of more than %zu products", products->count);
            products->items[products->count++] = (forward_product){
                .x = x + t * linear.in,
                .linear = linear,
                .y = y + t * linear.out,
                .tokens = organ_lesser(tokens - t, FORWARD_STRIP),
                .first_output = o,
                .outputs = organ_lesser(linear.out - o, FORWARD_OUTPUTS),
            };
        }
    return ORGAN_OK;
}

static void multiply_product(void *context, size_t index, size_t worker)
{
    (void)worker;
    const forward_product *p = &((const forward_products *)context)->items[index];
    const int m = (int)p->tokens, n = (int)p->outputs, k = (int)p->linear.in, ldy = (int)p->linear.out;
    float *y = p->y + p->first_output;
    organ_blas_begin();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, p->x, k, p->linear.w + p->first_output * p->linear.in, k, 0, y, ldy);
    organ_blas_end();
    if (p->linear.bias)
        for (size_t t = 0; t < p->tokens; t++)
            for (size_t o = 0; o < p->outputs; o++)
                y[t * p->linear.out + o] += p->linear.bias[p->first_output + o];
}

organ_status organ_forward_products_run(forward_products *products, const organ_engine *engine, organ_error *error)
{
    const size_t count = products->count;
    products->count = 0;
    return organ_forward_share(engine, count, multiply_product, products, error);
}
