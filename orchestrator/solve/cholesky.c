/* SPDX-License-Identifier: MIT
 * Inverse of a symmetric matrix by Cholesky factors. Factors H = R R^T with R upper triangular, from the last column to
 * the first, then computes U = R^-1, with which H^-1 = U^T U. Columns are processed in blocks: matrix products apply
 * the blocks that are already factored, and each diagonal block is factored and inverted in FP64. */
#include "orchestrator/solve/algebra.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK     ORGAN_FACTOR_BLOCK /* columns of a block; the bits of the result depend on it */
#define MIN_STRIP ((size_t)64)       /* least and greatest rows of the work of one task */
#define MAX_STRIP ((size_t)256)
#define OWN_STRIP ((size_t)32) /* rows of one task on a diagonal block, in which all other tasks wait for few */

typedef struct inversion {
    const organ_engine *engine;
    float *h; /* H, then R, then U: [n][n] */
    size_t n;
    double *square;         /* a diagonal block with rows and columns in reverse order: [BLOCK][BLOCK] */
    double *inverse;        /* the inverse of its Cholesky factor: [BLOCK][BLOCK] */
    float *factor;          /* the inverse of each diagonal block of R: [blocks][BLOCK][BLOCK] */
    float *panel;           /* copy of the block column that is being computed: [n][BLOCK] */
    unsigned char *scratch; /* for products: ORGAN_PRODUCT_SCRATCH bytes for each worker */
} inversion;

/* The factor L of A = L L^T replaces the lower triangle, row by row. Returns false if A is not positive definite or
 * has a value that is not finite. */
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

/* Forward substitution gives L^-1 row by row, with zeros above the diagonal. */
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

/* A^-1 = L^-T L^-1, so its diagonal has the squared lengths of the columns of L^-1, which `scratch` gets. */
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

/* The block is R R^T, and x->factor gets R^-1, upper triangular. With rows and columns in reverse order, R becomes
 * the Cholesky factor L, so cholesky_factorise and cholesky_invert can be used. Returns false if the block is not
 * positive definite. */
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

typedef struct block_column {
    const inversion *x;
    size_t from, width;
    size_t strip;           /* rows of one task above the diagonal block */
    size_t across, columns; /* tasks next to each other in a strip, and the columns of each, at most */
    size_t left;            /* tasks on the diagonal block that have not finished; atomic */
    bool definite;          /* of the diagonal block of R: it is positive definite */
} block_column;

/* Each worker gets about four strips, of a multiple of 16 rows. A strip has at least MIN_STRIP rows, since each packs
 * the other factor of its product again. The strips do not change a bit of the result. */
static size_t strip_height(const inversion *x, size_t rows)
{
    const size_t wanted = rows / (4 * organ_workers_count(x->engine->workers)) / 16 * 16;
    return organ_max(MIN_STRIP, organ_min(MAX_STRIP, wanted));
}

/* Few strips are divided in two, which packs their rows twice. */
static void divide_strips(block_column *c, size_t strips)
{
    c->across = strips < 2 * organ_workers_count(c->x->engine->workers) && c->width > 32 ? 2 : 1;
    c->columns = (c->width / c->across + 15) / 16 * 16;
}

static void cholesky_multiply(const inversion *x, const organ_product *product, size_t worker)
{
    x->engine->kernels->product(product, x->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

/* Rows [row, row + rows) of columns [column, width) of the block column, at most `columns` of them. */
static void subtract_right(const block_column *c, size_t row, size_t rows, size_t column, size_t columns, size_t worker)
{
    const inversion *const x = c->x;
    const size_t right = c->from + c->width, first = c->from + column;
    const organ_product update = {.m = rows,
                                  .n = organ_min(columns, c->width - column),
                                  .k = x->n - right,
                                  .a = organ_by_rows(x->h + row * x->n + right, x->n),
                                  .b = organ_by_rows(x->h + first * x->n + right, x->n),
                                  .c = x->h + row * x->n + first,
                                  .c_stride = x->n,
                                  .into = ORGAN_PRODUCT_SUBTRACT};
    cholesky_multiply(x, &update, worker);
}

/* The first tasks update the diagonal block, on and above its diagonal, and the last of them to finish inverts its
 * factor. The others update the strips above it. */
static void update_columns(void *context, size_t index, size_t worker)
{
    block_column *const c = context;
    const size_t own = organ_pieces_of(c->width, OWN_STRIP);
    if (index >= own) {
        const size_t row = (index - own) / c->across * c->strip, column = (index - own) % c->across * c->columns;
        subtract_right(c, row, organ_min(c->strip, c->from - row), column, c->columns, worker);
        return;
    }
    const size_t row = index * OWN_STRIP;
    subtract_right(c, c->from + row, organ_min(OWN_STRIP, c->width - row), row, c->width - row, worker);
    if (__atomic_sub_fetch(&c->left, 1, __ATOMIC_ACQ_REL) == 0)
        c->definite = invert_block(c->x, c->from, c->width);
}

/* The strip is multiplied by R^-T of the diagonal block. */
static void divide_columns(void *context, size_t index, size_t worker)
{
    const block_column *const c = context;
    const inversion *const x = c->x;
    const size_t row = index * c->strip, rows = organ_min(c->strip, c->from - row);
    float *const column = x->h + row * x->n + c->from, *const panel = x->panel + row * BLOCK;
    for (size_t i = 0; i < rows; i++)
        memcpy(panel + i * BLOCK, column + i * x->n, c->width * sizeof *column);
    const organ_product above = {.m = rows,
                                 .n = c->width,
                                 .k = c->width,
                                 .a = organ_by_rows(panel, BLOCK),
                                 .b = organ_by_rows(x->factor + c->from * BLOCK, BLOCK),
                                 .c = column,
                                 .c_stride = x->n};
    cholesky_multiply(x, &above, worker);
}

/* Columns [from, from + width) become R: the rows above the diagonal block replace H, and x->factor gets the inverse
 * of R's diagonal block. The columns right of them must be those of R already. Returns false if H is not positive
 * definite. */
static bool factorise_columns(const inversion *x, size_t from, size_t width)
{
    block_column c = {.x = x, .from = from, .width = width, .strip = strip_height(x, from)};
    const size_t strips = organ_pieces_of(from, c.strip);
    c.left = organ_pieces_of(width, OWN_STRIP);
    divide_strips(&c, strips);
    organ_share(x->engine, NULL, c.left + strips * c.across, update_columns, &c);
    if (c.definite)
        organ_share_work(x->engine, NULL, strips, (double)from * BLOCK * BLOCK, divide_columns, &c);
    return c.definite;
}

/* ---- the inverse of R ---- */

/* The panel gets U of the columns on the left times R above the diagonal block. */
static void multiply_left(void *context, size_t index, size_t worker)
{
    const block_column *const c = context;
    const inversion *const x = c->x;
    const size_t row = index / c->across * BLOCK, column = index % c->across * c->columns;
    const organ_product product = {.m = organ_min(BLOCK, c->from - row),
                                   .n = organ_min(c->columns, c->width - column),
                                   .k = c->from - row,
                                   .a = organ_by_rows(x->h + row * (x->n + 1), x->n),
                                   .b = organ_by_columns(x->h + row * x->n + c->from + column, x->n),
                                   .c = x->panel + row * BLOCK + column,
                                   .c_stride = BLOCK};
    cholesky_multiply(x, &product, worker);
}

/* The rows become minus the panel times U of the diagonal block. */
static void multiply_own(void *context, size_t index, size_t worker)
{
    const block_column *const c = context;
    const inversion *const x = c->x;
    const size_t row = index * BLOCK, rows = organ_min(BLOCK, c->from - row);
    float *const column = x->h + row * x->n + c->from;
    for (size_t i = 0; i < rows; i++)
        memset(column + i * x->n, 0, c->width * sizeof *column);
    const organ_product rest = {.m = rows,
                                .n = c->width,
                                .k = c->width,
                                .a = organ_by_rows(x->panel + row * BLOCK, BLOCK),
                                .b = organ_by_columns(x->factor + c->from * BLOCK, BLOCK),
                                .c = column,
                                .c_stride = x->n,
                                .into = ORGAN_PRODUCT_SUBTRACT};
    cholesky_multiply(x, &rest, worker);
}

/* U = R^-1 replaces R. Above the diagonal block it is -(U of the columns on the left, which are complete) x (R above
 * the block) x (U of the block). */
static void invert_columns(const inversion *x, size_t from, size_t width)
{
    block_column c = {.x = x, .from = from, .width = width, .strip = BLOCK};
    const size_t blocks = organ_pieces_of(from, BLOCK);
    divide_strips(&c, blocks);
    organ_share_work(x->engine, NULL, blocks * c.across, (double)from * (double)from * BLOCK / 2, multiply_left, &c);
    organ_share_work(x->engine, NULL, blocks, (double)from * BLOCK * BLOCK, multiply_own, &c);
    for (size_t i = 0; i < width; i++)
        memcpy(x->h + (from + i) * x->n + from, x->factor + (from + i) * BLOCK, width * sizeof *x->h);
}

/* The buffers are two FP64 blocks, the inverses of diagonal blocks, a block column, and the scratch of workers. */
static void lay_out(void *context, organ_buffers *b)
{
    inversion *const x = context;
    x->square = organ_take(b, BLOCK * BLOCK, sizeof *x->square);
    x->inverse = organ_take(b, BLOCK * BLOCK, sizeof *x->inverse);
    x->factor = organ_take_floats(b, organ_pieces_of(x->n, BLOCK) * BLOCK, BLOCK);
    x->panel = organ_take_floats(b, x->n, BLOCK);
    x->scratch = organ_take(b, organ_products_scratch(x->engine), 1);
}

uint64_t organ_inverse_factor_memory(const organ_engine *engine, uint64_t n)
{
    return organ_buffers_count(lay_out, &(inversion){.engine = engine, .n = (size_t)n});
}

/* Block columns are factored from the last to the first. Returns false, and stops, if a diagonal block is not
 * positive definite, because then H is not either. */
static bool factorise(const inversion *x)
{
    bool definite = true;
    for (size_t b = (x->n + BLOCK - 1) / BLOCK; b-- > 0 && definite;)
        definite = factorise_columns(x, b * BLOCK, organ_min(BLOCK, x->n - b * BLOCK));
    return definite;
}

/* Above the diagonal blocks H becomes R with H = R R^T, in them R^-1. */
bool organ_block_factor(const organ_engine *engine, float *h, size_t n, bool *definite)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    inversion x = {.engine = engine, .h = h, .n = n};
    const bool done = organ_buffers_take(&buffers, lay_out, &x);
    *definite = done && factorise(&x);
    for (size_t from = 0; from < n && *definite; from += BLOCK)
        for (size_t i = from; i < organ_min(from + BLOCK, n); i++)
            memcpy(h + i * n + from, x.factor + i * BLOCK, organ_min(BLOCK, n - from) * sizeof *h);
    return done;
}

/* H = R R^T is factored, then R is inverted, block columns from the first to the last. */
bool organ_inverse_factor(const organ_engine *engine, float *h, size_t n, bool *definite)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    inversion x = {.engine = engine, .h = h, .n = n};
    const bool done = organ_buffers_take(&buffers, lay_out, &x);
    *definite = done && factorise(&x);
    for (size_t from = 0; from < n && *definite; from += BLOCK)
        invert_columns(&x, from, organ_min(BLOCK, n - from));
    return done;
}

/* ---- products with a symmetric matrix that is stored as its diagonal blocks ---- */

/* organ_product multiplies by the transpose of its operand b, so b has the columns of the block as rows. */
organ_status organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix,
                                  size_t rows, float *result, organ_error *error)
{
    const size_t n = h->size, blocks = (n + h->block - 1) / h->block;
    ORGAN_OWNED_BUFFERS buffers = {0};
    organ_product *const products = organ_take(&buffers, blocks, sizeof *products);
    void *const scratch = organ_take(&buffers, organ_products_scratch(engine), 1);
    for (size_t b = 0; b < blocks && !buffers.lacking; b++) {
        const size_t start = b * h->block, width = organ_min(h->block, n - start);
        products[b] = (organ_product){.m = rows,
                                      .n = width,
                                      .k = width,
                                      .a = organ_by_rows(matrix + start, n),
                                      .b = organ_by_columns(h->values + start * h->block, width),
                                      .c = result + start,
                                      .c_stride = n};
    }
    if (buffers.lacking)
        return organ_fail_memory(error, "products with second moments");
    organ_products_run(engine, NULL, products, blocks, scratch);
    return error->status;
}

/* Blocks are stored one after another, each row-major; the last one may be narrower. */
float organ_block_diagonal(const organ_block_matrix *h, size_t j)
{
    const size_t start = j / h->block * h->block, width = organ_min(h->block, h->size - start);
    return h->values[start * h->block + (j - start) * (width + 1)];
}
