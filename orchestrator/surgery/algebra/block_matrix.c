/* SPDX-License-Identifier: MIT
 * Products with a symmetric matrix that is stored as its diagonal blocks. */
#include "orchestrator/surgery/algebra/algebra.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"

#include <stdlib.h>

/* organ_product multiplies by the transpose of its operand b, so b has the columns of the block as rows. */
organ_status organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix,
                                  size_t rows, float *result, organ_error *error)
{
    const size_t n = h->size, blocks = (n + h->block - 1) / h->block;
    organ_product *const products = calloc(blocks + 1, sizeof *products);
    void *const scratch = aligned_alloc(64, organ_products_scratch(engine));
    const bool done = products && scratch;
    for (size_t b = 0; b < blocks && done; b++) {
        const size_t start = b * h->block, width = organ_min(h->block, n - start);
        products[b] = (organ_product){.m = rows,
                                      .n = width,
                                      .k = width,
                                      .a = organ_by_rows(matrix + start, n),
                                      .b = organ_by_columns(h->values + start * h->block, width),
                                      .c = result + start,
                                      .c_stride = n};
    }
    if (done)
        organ_products_run(engine, NULL, products, blocks, scratch);
    else
        organ_fail_memory(error, "products with second moments");
    free(products);
    free(scratch);
    return error->status;
}

/* Blocks are stored one after another, each row-major; the last one may be narrower. */
float organ_block_diagonal(const organ_block_matrix *h, size_t j)
{
    const size_t start = j / h->block * h->block, width = organ_min(h->block, h->size - start);
    return h->values[start * h->block + (j - start) * (width + 1)];
}
