/* SPDX-License-Identifier: MIT
 * Solves A X = B for a normal matrix A. A^-1 = U^T U with U upper triangular, so X = U^T (U B): two matrix products,
 * which use all cores, in place of two triangular solves, which do not. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/algebra/ridge_job.h"

#include <string.h>

/* organ_inverse_factor leaves values below the diagonal undefined; they are set to 0 here, because products read
 * them. */
organ_status organ_ridge_invert(organ_ridge *ridge, float *factor, size_t n, organ_error *error)
{
    if (!organ_inverse_factor(ridge->engine, factor, n, &ridge->found))
        return organ_fail_memory(error, ridge->shape.name);
    for (size_t i = 1; i < n; i++)
        memset(factor + i * n, 0, i * sizeof *factor);
    return ORGAN_OK;
}

/* Zeros of U are skipped: a tile of rows of U is multiplied from the diagonal on, a tile of its columns up to the
 * diagonal. */
void organ_ridge_apply(organ_ridge *ridge, const float *factor, size_t n, const float *rhs, float *solution)
{
    const size_t outputs = ridge->shape.outputs;
    size_t count = 0;
    for (size_t from = 0; from < n; from += ORGAN_RIDGE_TILE)
        ridge->products[count++] = (organ_product){.m = organ_min(ORGAN_RIDGE_TILE, n - from),
                                                   .n = outputs,
                                                   .k = n - from,
                                                   .a = organ_by_rows(factor + from * (n + 1), n),
                                                   .b = organ_by_columns(rhs + from * outputs, outputs),
                                                   .c = ridge->workspace + from * outputs,
                                                   .c_stride = outputs};
    organ_products_run(ridge->engine, ridge->engine->stop, ridge->products, count, ridge->scratch);
    for (size_t k = 0; k < count; k++) {
        const size_t from = k * ORGAN_RIDGE_TILE;
        ridge->products[k].k = from + ridge->products[k].m;
        ridge->products[k].a = organ_by_columns(factor + from, n);
        ridge->products[k].b = organ_by_columns(ridge->workspace, outputs);
        ridge->products[k].c = solution + from * outputs;
    }
    organ_products_run(ridge->engine, ridge->engine->stop, ridge->products, count, ridge->scratch);
}

void organ_ridge_transposed(organ_ridge *ridge, size_t index, float *values)
{
    const size_t width = ridge->shape.width, outputs = ridge->shape.outputs;
    const float *const rows = ridge->solution + index * width * outputs;
    for (size_t o = 0; o < outputs; o++)
        for (size_t c = 0; c < width; c++)
            values[o * width + c] = rows[c * outputs + o];
}
