/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/algebra/block_matrix.h"

#include "orchestrator/machine/blas.h"
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"

#include <cblas.h>

#define STRIP ((size_t)512) /* rows and columns of a product's parts: they must not depend on the number of threads */
#define PANEL ((size_t)256)

typedef struct product {
    const organ_block_matrix *h;
    const float *matrix;
    size_t rows, panels;
    float *result;
} product;

static void multiply_part(void *context, size_t index, size_t worker)
{
    const product *const p = context;
    const size_t n = p->h->size, block = p->h->block, per_block = (block + PANEL - 1) / PANEL;
    const size_t row = index / p->panels * STRIP, at = index % p->panels, start = at / per_block * block;
    const size_t width = organ_lesser(block, n - start), col = at % per_block * PANEL;
    (void)worker;
    organ_blas_begin();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)organ_lesser(STRIP, p->rows - row), (int)organ_lesser(PANEL, width - col),
                (int)width, 1, p->matrix + row * n + start, (int)n, p->h->values + start * block + col, (int)width, 0,
                p->result + row * n + start + col, (int)n);
    organ_blas_end();
}

void organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix, size_t rows, float *result)
{
    const size_t whole = h->size / h->block, rest = h->size % h->block;
    product p = {.h = h, .matrix = matrix, .rows = rows, .result = result};
    p.panels = whole * ((h->block + PANEL - 1) / PANEL) + (rest + PANEL - 1) / PANEL;
    organ_share(engine, NULL, (rows + STRIP - 1) / STRIP * p.panels, multiply_part, &p);
}

float organ_block_diagonal(const organ_block_matrix *h, size_t j)
{
    const size_t start = j / h->block * h->block, width = organ_lesser(h->block, h->size - start);
    return h->values[start * h->block + (j - start) * (width + 1)];
}
