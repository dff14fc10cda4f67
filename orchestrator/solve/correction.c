/* SPDX-License-Identifier: MIT
 * Corrections of low rank by subspace iteration. Vectors are stored one after another, so a block of l vectors of m
 * values is an l x m matrix, and the products have its transpose on neither side. */
#include "orchestrator/solve/correction.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <string.h>

#define ENOUGH 1e-5 /* the iteration ends if the leading eigenvalues grow by less than this share of their sum */
#define MOST   60u  /* iterations at most */
#define MORE   16   /* vectors beyond the rank, at least */
#define BAND   ((size_t)128) /* rows of E of which tr(E H E^T) is computed at a time */
#define STREAM 0x636f7272u   /* Philox stream of the first vectors */

/* Leading eigenvectors of a symmetric operator M = E H E^T, or of H itself. */
typedef struct leading {
    const organ_engine *engine;
    const char *name;
    const float *errors; /* E, [size][h->size]; NULL: the operator is H */
    const organ_block_matrix *h;
    size_t size;          /* of the operator */
    size_t rank, l;       /* vectors of the result, and of the iteration */
    float *vectors;       /* Q, [l][size], orthonormal */
    float *image;         /* Q M, [l][size] */
    float *inner, *moved; /* Q E and Q E H, [l][h->size] each; without E no values */
    double *gram;         /* Q M Q^T, [l][l] */
    double *values;       /* its eigenvalues, descending: [l] */
    double *mix;          /* its eigenvectors, [l][l] */
    double *eigen_scratch;
    void *scratch; /* of products */
    double captured;
    unsigned passes;
} leading;

static size_t vectors_of(size_t rank, size_t size)
{
    const size_t more = rank / 4 > MORE ? rank / 4 : MORE;
    return organ_min(rank + more, size);
}

static void lay_out(void *context, organ_buffers *b)
{
    leading *const x = context;
    const size_t l = x->l, inner = x->errors ? l : 0;
    x->vectors = organ_take_floats(b, l, x->size);
    x->image = organ_take_floats(b, l, x->size);
    x->inner = organ_take_floats(b, inner, x->h->size);
    x->moved = organ_take_floats(b, inner, x->h->size);
    x->gram = organ_take_zeros(b, l * l, sizeof *x->gram);
    x->values = organ_take_zeros(b, l, sizeof *x->values);
    x->mix = organ_take_zeros(b, l * l, sizeof *x->mix);
    x->eigen_scratch = organ_take_zeros(b, l * ORGAN_EIGEN_ROOM, sizeof *x->eigen_scratch);
    x->scratch = organ_take(b, organ_products_scratch(x->engine), 1);
}

/* c = a b^T, with l rows of k values in `a`, exact. */
static void multiply(const leading *x, const float *a, size_t k, organ_product_operand b, size_t n, float *c)
{
    const organ_product product = {.m = x->l, .n = n, .k = k, .a = organ_by_rows(a, k), .b = b, .c = c, .c_stride = n};
    organ_products_run(x->engine, NULL, &product, 1, x->scratch);
}

/* Sets x->image to Q M, and with E x->inner to Q E. */
static organ_status apply(leading *x, organ_error *error)
{
    const size_t n = x->h->size;
    x->passes++;
    if (!x->errors)
        return organ_block_multiply(x->engine, x->h, x->vectors, x->l, x->image, error);
    multiply(x, x->vectors, x->size, organ_by_columns(x->errors, n), n, x->inner);
    if (organ_block_multiply(x->engine, x->h, x->inner, x->l, x->moved, error) == ORGAN_OK)
        multiply(x, x->moved, n, organ_by_rows(x->errors, n), x->size, x->image);
    return error->status;
}

/* Sets values and mix to the eigenpairs of Q M Q^T. */
static organ_status find_eigenpairs(leading *x, organ_error *error)
{
    const size_t l = x->l;
    for (size_t i = 0; i < l; i++)
        for (size_t j = 0; j <= i; j++)
            x->gram[i * l + j] = organ_dot(x->vectors + i * x->size, x->image + j * x->size, x->size);
    if (!organ_symmetric_eigen(x->engine->kernels, x->gram, l, l, x->values, x->mix, x->eigen_scratch))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the changes of the outputs are not finite", x->name);
    return ORGAN_OK;
}

/* to = mix from: the `count` leading eigenvectors as combinations of l vectors of n values. Sums are FP64 in order. */
static void combine(const leading *x, size_t count, const float *from, size_t n, float *to)
{
    for (size_t k = 0; k < count; k++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t i = 0; i < x->l; i++)
                sum += x->mix[k * x->l + i] * (double)from[i * n + j];
            to[k * n + j] = (float)sum;
        }
}

/* The iteration. Afterwards `vectors`, `inner` and the eigenpairs belong to the same block Q. */
static organ_status iterate(leading *x, uint64_t seed, organ_error *error)
{
    const organ_kernels *const kernels = x->engine->kernels;
    organ_philox_uniform(seed, STREAM, 0, x->vectors, x->l * x->size);
    if (!organ_orthonormal(kernels, x->vectors, x->l, x->size, x->size, NULL))
        return organ_fail_memory(error, x->name);
    for (;;) {
        double captured = 0;
        if (apply(x, error) != ORGAN_OK || find_eigenpairs(x, error) != ORGAN_OK)
            return error->status;
        for (size_t k = 0; k < x->rank; k++)
            captured += x->values[k];
        const bool enough = captured - x->captured <= ENOUGH * captured;
        x->captured = captured;
        if (organ_stop_is_requested(x->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (enough || x->passes >= MOST)
            return ORGAN_OK;
        memcpy(x->vectors, x->image, x->l * x->size * sizeof *x->vectors);
        if (!organ_orthonormal(kernels, x->vectors, x->l, x->size, x->size, NULL))
            return organ_fail_memory(error, x->name);
    }
}

/* ---- corrections ---- */

organ_status organ_outputs_energy(const organ_engine *engine, const char *name, const float *errors, size_t rows,
                                  const organ_block_matrix *h, double *sum, organ_error *error)
{
    const size_t n = h->size;
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const product = organ_take_floats(&buffers, BAND, n);
    *sum = 0;
    for (size_t first = 0; first < rows && product && !error->status; first += BAND) {
        const size_t count = organ_min(BAND, rows - first);
        if (organ_block_multiply(engine, h, errors + first * n, count, product, error) == ORGAN_OK)
            for (size_t i = 0; i < count; i++)
                *sum += organ_dot(product + i * n, errors + (first + i) * n, n);
    }
    if (!product)
        organ_fail_memory(error, name);
    return error->status;
}

/* B = U and A = U^T E, then both scaled to equal norms by a power of 2, which is exact. */
static void make_factors(const leading *x, organ_correction *c)
{
    const size_t n = c->cols, m = c->rows;
    combine(x, c->rank, x->inner, n, c->a);
    combine(x, c->rank, x->vectors, m, x->image);
    for (size_t k = 0; k < c->rank; k++) {
        const double norm = sqrt(organ_sum_of_squares(c->a + k * n, n));
        const int half = norm > 0 ? (int)lrint(log2(norm) / 2) : 0;
        for (size_t j = 0; j < n; j++)
            c->a[k * n + j] = ldexpf(c->a[k * n + j], -half);
        for (size_t i = 0; i < m; i++)
            c->b[i * c->rank + k] = ldexpf(x->image[k * m + i], half);
    }
}

static void lay_out_factors(void *context, organ_buffers *b)
{
    organ_correction *const c = context;
    c->b = organ_take_floats(b, c->rows, c->rank);
    c->a = organ_take_floats(b, c->rank, c->cols);
}

organ_status organ_correct(const organ_engine *engine, const char *name, const float *errors, size_t rows,
                           const organ_block_matrix *h, size_t rank, uint64_t seed, organ_correction *c,
                           organ_error *error)
{
    const size_t most = organ_min(organ_min(rank, rows), h->size);
    ORGAN_OWNED_BUFFERS buffers = {0};
    leading x = {.engine = engine, .name = name, .errors = errors, .h = h, .size = rows, .rank = most};
    x.l = vectors_of(most, rows);
    *c = (organ_correction){.rows = rows, .cols = h->size};
    if (organ_outputs_energy(engine, name, errors, rows, h, &c->before, error) != ORGAN_OK)
        return error->status;
    c->after = c->before;
    if (!isfinite(c->before))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the changes of the outputs are not finite", name);
    if (!(c->before > 0) || most == 0)
        return ORGAN_OK;
    c->rank = most;
    if (!organ_buffers_take(&c->buffers, lay_out_factors, c) || !organ_buffers_take(&buffers, lay_out, &x))
        organ_fail_memory(error, name);
    else if (iterate(&x, seed, error) == ORGAN_OK) {
        c->passes = x.passes;
        c->after = c->before > x.captured ? c->before - x.captured : 0;
        make_factors(&x, c);
    }
    if (error->status)
        organ_correction_release(c);
    return error->status;
}

void organ_correction_release(organ_correction *c)
{
    organ_buffers_release(&c->buffers);
    *c = (organ_correction){0};
}

uint64_t organ_correction_memory(const organ_engine *engine, uint64_t rows, uint64_t cols, uint64_t rank)
{
    const organ_block_matrix h = {(size_t)cols, (size_t)cols, NULL};
    organ_correction c = {.rows = (size_t)rows, .cols = (size_t)cols};
    leading x = {.engine = engine, .errors = (const float[1]){0}, .h = &h, .size = c.rows};
    c.rank = organ_min(organ_min((size_t)rank, c.rows), c.cols);
    x.l = vectors_of(c.rank, c.rows);
    return organ_buffers_count(lay_out_factors, &c) + organ_buffers_count(lay_out, &x) + sizeof(float) * BAND * cols +
           organ_products_scratch(engine); /* of the products with H */
}

/* ---- flattened moments ---- */

/* Replaces the leading eigenvalues of H by `mean`, the mean of the others: H -= u u^T (lambda - mean) for each leading
 * eigenvector u with its eigenvalue lambda. Both operands of the product have u times the root of the difference, so
 * that H stays symmetric to the bit. */
static void flatten_eigenvalues(leading *x, float *h, double mean)
{
    const size_t n = x->size;
    combine(x, x->rank, x->vectors, n, x->image);
    for (size_t k = 0; k < x->rank; k++)
        for (size_t j = 0; j < n; j++)
            x->image[k * n + j] = (float)((double)x->image[k * n + j] * sqrt(fmax(x->values[k] - mean, 0)));
    const organ_product product = {.m = n,
                                   .n = n,
                                   .k = x->rank,
                                   .a = organ_by_columns(x->image, n),
                                   .b = organ_by_columns(x->image, n),
                                   .c = h,
                                   .c_stride = n,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    organ_products_run(x->engine, NULL, &product, 1, x->scratch);
}

/* The eigenvalues of a matrix add up to its trace: the others have what the leading ones leave of it. */
static organ_status flatten_block(const organ_engine *engine, const char *name, float *h, size_t n, size_t rank,
                                  uint64_t seed, organ_error *error)
{
    const organ_block_matrix block = {n, n, h};
    ORGAN_OWNED_BUFFERS buffers = {0};
    leading x = {.engine = engine, .name = name, .h = &block, .size = n, .rank = organ_min(rank, n / 2)};
    double trace = 0;
    x.l = vectors_of(x.rank, n);
    if (x.rank == 0)
        return ORGAN_OK;
    for (size_t j = 0; j < n; j++)
        trace += (double)h[j * (n + 1)];
    if (!organ_buffers_take(&buffers, lay_out, &x))
        organ_fail_memory(error, name);
    else if (iterate(&x, seed, error) == ORGAN_OK)
        flatten_eigenvalues(&x, h, fmax(trace - x.captured, 0) / (double)(n - x.rank));
    return error->status;
}

organ_status organ_flatten_moments(const organ_engine *engine, const char *name, float *h, size_t size, size_t block,
                                   size_t rank, uint64_t seed, organ_error *error)
{
    for (size_t start = 0; start < size && !error->status; start += block)
        flatten_block(engine, name, h + start * block, organ_min(block, size - start), rank, seed, error);
    return error->status;
}
