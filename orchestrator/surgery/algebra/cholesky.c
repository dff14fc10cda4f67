/* SPDX-License-Identifier: MIT
 * Inverse of a symmetric matrix by Cholesky factors. Factors H = R R^T with R upper triangular, from the last column to
 * the first, then computes U = R^-1, with which H^-1 = U^T U. Columns are processed in blocks: matrix products apply
 * the blocks that are already factored, and each diagonal block is factored and inverted in FP64. */
#include "orchestrator/surgery/algebra/algebra.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ORGAN_FACTOR_BLOCK /* columns of a block; the bits of the result depend on it */

/* The computation of U in the memory of H. */
typedef struct inversion {
    const organ_engine *engine;
    float *h; /* H, then R, then U: [n][n] */
    size_t n;
    double *square;          /* a diagonal block with rows and columns in reverse order: [BLOCK][BLOCK] */
    double *inverse;         /* the inverse of its Cholesky factor: [BLOCK][BLOCK] */
    float *factor;           /* the inverse of each diagonal block of R: [blocks][BLOCK][BLOCK] */
    float *panel;            /* copy of the block column that is being computed: [n][BLOCK] */
    void *scratch;           /* for products */
    organ_product *products; /* one for each block above the diagonal in a block column */
} inversion;

/* Overwrites the lower triangle of A (n x n) with its Cholesky factor L, A = L L^T, row by row. Returns false if A is
 * not positive definite or has a value that is not finite. */
static bool cholesky_factorise(const organ_kernels *kernels, double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *const row = a + i * n;
        for (size_t j = 0; j < i; j++)
            row[j] = (row[j] - kernels->dot_f64(row, a + j * n, j)) / a[j * n + j];
        const double left = row[i] - kernels->dot_f64(row, row, i);
        if (!(left > 0) || !isfinite(left))
            return false;
        row[i] = sqrt(left);
    }
    return true;
}

/* Computes L^-1 (n x n) of a lower triangular L by forward substitution, row by row, with zeros above the diagonal. */
static void cholesky_invert(const organ_kernels *kernels, const double *l, size_t n, double *inverse)
{
    memset(inverse, 0, n * n * sizeof *inverse);
    for (size_t i = 0; i < n; i++) {
        double *const row = inverse + i * n;
        for (size_t j = 0; j < i; j++)
            kernels->add_scaled_f64(row, -l[i * n + j], inverse + j * n, j + 1);
        row[i] = 1;
        for (size_t j = 0; j <= i; j++)
            row[j] /= l[i * n + i];
    }
}

/* Writes the diagonal of A^-1 = L^-T L^-1 to `diagonal`: the squared lengths of the columns of L^-1, which `scratch` (n
 * x n) gets. Reads the lower triangle of A (n x n), and overwrites it. Returns false if A is not positive definite. */
bool organ_inverse_diagonal(const organ_kernels *kernels, double *a, size_t n, double *scratch, double *diagonal)
{
    if (!cholesky_factorise(kernels, a, n))
        return false;
    cholesky_invert(kernels, a, n, scratch);
    memset(diagonal, 0, n * sizeof *diagonal);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            diagonal[j] += scratch[i * n + j] * scratch[i * n + j];
    return true;
}

/* ---- the factor R ---- */

/* Stores R^-1 of the `width` x `width` diagonal block at (from, from) in x->factor, upper triangular, with block = R
 * R^T. With rows and columns in reverse order, R becomes the Cholesky factor L, so cholesky_factorise and
 * cholesky_invert can be used. Returns false if the block is not positive definite. */
static bool invert_block(const inversion *x, size_t from, size_t width)
{
    const organ_kernels *const kernels = x->engine->kernels;
    float *const block = x->h + from * (x->n + 1), *const factor = x->factor + from * BLOCK;
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j <= i; j++)
            x->square[i * width + j] = (double)block[(width - 1 - i) * x->n + width - 1 - j];
    if (!cholesky_factorise(kernels, x->square, width))
        return false;
    cholesky_invert(kernels, x->square, width, x->inverse);
    for (size_t i = 0; i < width; i++)
        for (size_t j = 0; j < width; j++)
            factor[i * BLOCK + j] = j < i ? 0.0f : (float)x->inverse[(width - 1 - i) * width + width - 1 - j];
    return true;
}

/* Computes products on all workers. */
static void cholesky_multiply(const inversion *x, const organ_product *products, size_t count)
{
    organ_products_run(x->engine, NULL, products, count, x->scratch);
}

/* Computes columns [from, from + width) of R: writes the rows above the diagonal block in place of H, and the inverse
 * of R's diagonal block to x->factor. The columns right of them must be those of R already. Returns false if H is not
 * positive definite. */
static bool factorise_columns(const inversion *x, size_t from, size_t width)
{
    float *const column = x->h + from;
    const size_t right = from + width;
    /* H minus the products of the columns of R on the right */
    const organ_product update = {.m = right,
                                  .n = width,
                                  .k = x->n - right,
                                  .a = organ_by_rows(x->h + right, x->n),
                                  .b = organ_by_rows(x->h + from * x->n + right, x->n),
                                  .c = column,
                                  .c_stride = x->n,
                                  .into = ORGAN_PRODUCT_SUBTRACT};
    cholesky_multiply(x, &update, 1);
    if (!invert_block(x, from, width))
        return false;
    for (size_t i = 0; i < from; i++)
        memcpy(x->panel + i * BLOCK, column + i * x->n, width * sizeof *column);
    /* R_above = H_above R^-T */
    const organ_product above = {.m = from,
                                 .n = width,
                                 .k = width,
                                 .a = organ_by_rows(x->panel, BLOCK),
                                 .b = organ_by_rows(x->factor + from * BLOCK, BLOCK),
                                 .c = column,
                                 .c_stride = x->n};
    cholesky_multiply(x, &above, 1);
    return true;
}

/* ---- the inverse of R ---- */

/* Computes `width` columns of U = R^-1 from column `from` on, in place of R. Above the diagonal block they are -(U of
 * the columns on the left, which are complete) x (R above the block) x (U of the block). */
static void invert_columns(const inversion *x, size_t from, size_t width)
{
    float *const column = x->h + from;
    size_t count = 0;
    for (size_t row = 0; row < from; row += BLOCK) {
        const size_t rows = organ_min(BLOCK, from - row);
        x->products[count++] = (organ_product){.m = rows,
                                               .n = width,
                                               .k = from - row,
                                               .a = organ_by_rows(x->h + row * (x->n + 1), x->n),
                                               .b = organ_by_columns(column + row * x->n, x->n),
                                               .c = x->panel + row * BLOCK,
                                               .c_stride = BLOCK};
    }
    cholesky_multiply(x, x->products, count);
    for (size_t i = 0; i < from; i++)
        memset(column + i * x->n, 0, width * sizeof *column);
    const organ_product rest = {.m = from,
                                .n = width,
                                .k = width,
                                .a = organ_by_rows(x->panel, BLOCK),
                                .b = organ_by_columns(x->factor + from * BLOCK, BLOCK),
                                .c = column,
                                .c_stride = x->n,
                                .into = ORGAN_PRODUCT_SUBTRACT};
    cholesky_multiply(x, &rest, 1);
    for (size_t i = 0; i < width; i++)
        memcpy(column + (from + i) * x->n, x->factor + (from + i) * BLOCK, width * sizeof *column);
}

/* Returns the bytes of the buffers of organ_inverse_factor: two FP64 blocks, the inverses of diagonal blocks, a block
 * column, and the products. */
uint64_t organ_inverse_factor_memory(uint64_t n)
{
    const uint64_t blocks = (n + BLOCK - 1) / BLOCK;
    return 2 * BLOCK * BLOCK * sizeof(double) + (blocks * BLOCK + n) * BLOCK * sizeof(float) +
           (blocks + 1) * sizeof(organ_product);
}

/* Allocates the buffers. Returns false if memory cannot be allocated. The caller calls inversion_close in any case. */
static bool inversion_open(inversion *x)
{
    const size_t blocks = (x->n + BLOCK - 1) / BLOCK;
    x->square = malloc(BLOCK * BLOCK * sizeof *x->square);
    x->inverse = malloc(BLOCK * BLOCK * sizeof *x->inverse);
    x->factor = organ_floats(blocks * BLOCK, BLOCK);
    x->panel = organ_floats(x->n, BLOCK);
    x->scratch = aligned_alloc(64, organ_products_scratch(x->engine));
    x->products = calloc(blocks + 1, sizeof *x->products);
    return x->square && x->inverse && x->factor && x->panel && x->scratch && x->products;
}

/* Frees the buffers. */
static void inversion_close(inversion *x)
{
    ORGAN_FREE_ARRAYS(x->square, x->inverse, x->factor, x->panel, x->scratch, x->products);
}

/* Factors H = R R^T, block columns from the last to the first. Returns false, and stops, if a diagonal block is not
 * positive definite, because then H is not either. */
static bool factorise(const inversion *x)
{
    bool definite = true;
    for (size_t b = (x->n + BLOCK - 1) / BLOCK; b-- > 0 && definite;)
        definite = factorise_columns(x, b * BLOCK, organ_min(BLOCK, x->n - b * BLOCK));
    return definite;
}

/* Replaces H (n x n) by R with H = R R^T above the diagonal blocks, and by R^-1 in them. Returns false if memory cannot
 * be allocated. */
bool organ_block_factor(const organ_engine *engine, float *h, size_t n, bool *definite)
{
    inversion x = {.engine = engine, .h = h, .n = n};
    const bool done = inversion_open(&x);
    *definite = done && factorise(&x);
    for (size_t from = 0; from < n && *definite; from += BLOCK)
        for (size_t i = from; i < organ_min(from + BLOCK, n); i++)
            memcpy(h + i * n + from, x.factor + i * BLOCK, organ_min(BLOCK, n - from) * sizeof *h);
    inversion_close(&x);
    return done;
}

/* Replaces H (n x n) by U with H^-1 = U^T U: factors H = R R^T, then inverts R, block columns from the first to the
 * last. Returns false if memory cannot be allocated. */
bool organ_inverse_factor(const organ_engine *engine, float *h, size_t n, bool *definite)
{
    inversion x = {.engine = engine, .h = h, .n = n};
    const bool done = inversion_open(&x);
    *definite = done && factorise(&x);
    for (size_t from = 0; from < n && *definite; from += BLOCK)
        invert_columns(&x, from, organ_min(BLOCK, n - from));
    inversion_close(&x);
    return done;
}

/* ---- the inverse of H ---- */

/* Context of mirror_rows: a matrix of n x n values. */
typedef struct mirroring {
    float *h;
    size_t n;
} mirroring;

/* Copies entries above the diagonal to below it, for the rows of block `index`, tile by tile so that the columns that
 * it reads stay in the cache. */
static void mirror_rows(void *context, size_t index, size_t worker)
{
    const mirroring *const m = context;
    const size_t first = index * BLOCK, end = organ_min(first + BLOCK, m->n);
    (void)worker;
    for (size_t from = 0; from < end; from += BLOCK)
        for (size_t i = first; i < end; i++)
            for (size_t j = from; j < organ_min(from + BLOCK, i); j++)
                m->h[i * m->n + j] = m->h[j * m->n + i];
}

/* Overwrites U with the upper triangle of U^T U, from the last block of rows to the first. Row i of U^T U needs rows 0
 * .. i of U only, so these are still unchanged. `panel`: [n][BLOCK] values. */
static void square_factor(const organ_engine *engine, float *h, size_t n, float *panel, void *scratch)
{
    for (size_t b = (n + BLOCK - 1) / BLOCK; b-- > 0;) {
        const size_t first = b * BLOCK, rows = organ_min(BLOCK, n - first), right = n - first;
        const organ_product own = {.m = rows,
                                   .n = right,
                                   .k = first + rows,
                                   .a = organ_by_columns(h + first, n),
                                   .b = organ_by_columns(h + first, n),
                                   .c = panel,
                                   .c_stride = right};
        organ_products_run(engine, NULL, &own, 1, scratch);
        for (size_t i = 0; i < rows; i++)
            memcpy(h + (first + i) * n + first, panel + i * right, right * sizeof *h);
    }
}

/* Replaces H (n x n) by H^-1 = U^T U, with U of organ_inverse_factor. Computes it on and above the diagonal and mirrors
 * it. Returns false if memory cannot be allocated. */
bool organ_inverse(const organ_engine *engine, float *h, size_t n, bool *definite)
{
    if (!organ_inverse_factor(engine, h, n, definite))
        return false;
    if (!*definite)
        return true;
    float *const panel = organ_floats(n, BLOCK);
    void *const scratch = aligned_alloc(64, organ_products_scratch(engine));
    const bool done = panel && scratch;
    if (done) {
        square_factor(engine, h, n, panel, scratch);
        organ_share(engine, NULL, (n + BLOCK - 1) / BLOCK, mirror_rows, &(mirroring){h, n});
    }
    free(panel);
    free(scratch);
    return done;
}
