/* SPDX-License-Identifier: MIT
 * Linear layers: all products of weights with activations. Values in memory are operands of the product; other
 * weights are decoded by panels. */
#include "formats/base/arena.h"
#include "orchestrator/forward/forward_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* BF16 and F16 matrices keep their type; vectors and all other types are loaded as FP32. */
organ_real organ_forward_type(const organ_weight *weight)
{
    if (weight->scheme != ORGAN_SCHEME_PLAIN || weight->rank < 2)
        return ORGAN_REAL_F32;
    const organ_dtype stored = weight->codes->dtype;
    if (stored == ORGAN_BF16)
        return ORGAN_REAL_BF16;
    return stored == ORGAN_F16 ? ORGAN_REAL_F16 : ORGAN_REAL_F32;
}

organ_dtype organ_forward_dtype(organ_real type)
{
    if (type == ORGAN_REAL_BF16)
        return ORGAN_BF16;
    return type == ORGAN_REAL_F16 ? ORGAN_F16 : ORGAN_F32;
}

/* llama.cpp interleaves both halves of a head: row i of the first half is at 2 i, and row i of the second half is at
 * 2 i + 1. */
uint64_t organ_forward_stored_row(unsigned turned_head_dim, uint64_t row)
{
    const uint64_t dim = turned_head_dim, in_head = dim ? row % dim : 0;
    return dim ? row - in_head + in_head % (dim / 2) * 2 + in_head / (dim / 2) : row;
}

/* If llama.cpp has reordered the rows, reads them one by one in the order of Hugging Face. */
static organ_status decode_panel_rows(const void *source, size_t first, size_t count, void *values, void *scratch,
                                      organ_error *error)
{
    const forward_source *const s = source;
    const organ_dtype as = organ_forward_dtype(s->type);
    const size_t row = (size_t)organ_weight_reader_cols(s->reader) * organ_real_bytes(s->type);
    if (!s->turned_head_dim)
        return organ_weight_read(s->reader, first, count, as, values, scratch, error);
    for (size_t k = 0; k < count && !error->status; k++)
        organ_weight_read(s->reader, organ_forward_stored_row(s->turned_head_dim, first + k), 1, as,
                          (unsigned char *)values + k * row, scratch, error);
    return error->status;
}

organ_panels organ_forward_panels(const forward_source *source, size_t row)
{
    return (organ_panels){.make = decode_panel_rows, .source = source, .first = row, .type = source->type};
}

organ_status organ_forward_panel_size(const organ_forward *f, const organ_weight *weight, size_t *bytes,
                                      organ_error *error)
{
    const organ_real type = organ_forward_type(weight);
    const size_t cols = (size_t)organ_weight_matrices(weight).cols, rows = organ_panel_rows(cols, type);
    if (organ_weight_reader_size(f->model, weight, f->engine->kernels, rows, bytes, error) == ORGAN_OK)
        *bytes += organ_panel_bytes(cols, type);
    return error->status;
}

/* linear->bias may be NULL. The list keeps pointers to x, y and the weights and bias of `linear`, so these must stay
 * valid until the run. Fails only if memory runs out. */
organ_status organ_forward_products_add(forward_products *products, const float *x, const forward_linear *linear,
                                        float *y, size_t tokens, organ_error *error)
{
    if (!organ_grow(&products->items, products->count, &products->room, sizeof *products->items) ||
        !organ_grow(&products->panels, products->count, &products->panel_room, sizeof *products->panels))
        return organ_fail_errno(error, ENOMEM, "cannot allocate a list of more than %zu products", products->count);
    products->panels[products->count] = linear->panels;
    products->panels[products->count].biases = linear->bias;
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

organ_status organ_forward_products_run(forward_products *products, const organ_forward *f, void *scratch,
                                        organ_error *error)
{
    const organ_engine *const engine = f->engine;
    for (size_t k = 0; k < products->count; k++)
        products->items[k].compute = engine->compute;
    organ_panel_products_run(engine, engine->stop, products->items, products->panels, products->count, scratch,
                             f->worker_bytes, error);
    products->count = 0;
    return organ_stop_is_requested(engine->stop) && !error->status ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted")
                                                                   : error->status;
}

uint64_t organ_forward_scratch_bytes(const organ_forward *f)
{
    return organ_workers_count(f->engine->workers) * (uint64_t)f->worker_bytes;
}

/* The scratch is allocated at the first call and stays with the forward pass. */
float *organ_forward_scratch(organ_forward *f, organ_error *error)
{
    if (!f->scratch)
        f->scratch = organ_forward_floats((size_t)organ_forward_scratch_bytes(f) / sizeof(float), error);
    return f->scratch;
}

void organ_forward_products_release(forward_products *products)
{
    free(products->items);
    free(products->panels);
    *products = (forward_products){0};
}
