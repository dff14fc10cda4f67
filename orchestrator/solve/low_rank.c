/* SPDX-License-Identifier: MIT
 * Chooses the method of organ_low_rank, decomposes matrices that are in memory as a whole, and measures the error of an
 * approximation. */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/ridge_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <organ/machine.h>
#include <string.h>

/* ---- decomposition of the whole matrix ---- */

typedef struct matrix_copy {
    float *matrix; /* row-major, which organ_dense_svd reads as the columns of the transpose */
    size_t cols;
} matrix_copy;

static void copy_strip(void *context, const organ_strip *strip, size_t worker)
{
    const matrix_copy *const w = context;
    (void)worker;
    memcpy(w->matrix + strip->index * ORGAN_STRIP_ROWS * w->cols, strip->values,
           strip->rows * w->cols * sizeof *w->matrix);
}

/* organ_dense_svd gets the transpose W^T = V diag(sigma) U^T, so U and V change places. */
static organ_status exact_svd(organ_strips *strips, size_t rank, organ_svd *svd, organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    ORGAN_OWNED_BUFFERS buffers = {0};
    const matrix_copy w = {organ_take_floats(&buffers, (size_t)matrix->rows, (size_t)matrix->cols),
                           (size_t)matrix->cols};
    const organ_strip_work work = {.context = (void *)&w, .each = copy_strip};
    if (!w.matrix || !organ_svd_make(svd, (size_t)matrix->rows, (size_t)matrix->cols, rank))
        organ_fail_memory(error, matrix->name);
    else if (organ_strips_run(strips, &work, error) == ORGAN_OK &&
             !organ_dense_svd(organ_strips_engine(strips)->kernels, w.matrix, svd->cols, svd->rows, svd->rank, svd->vt,
                              svd->sigma, svd->u))
        organ_fail_errno(error, ENOMEM, "%s: decomposition of %zu x %zu", matrix->name, svd->rows, svd->cols);
    return error->status;
}

/* ---- choice of the method ---- */

/* The way in which organ_low_rank decomposes a matrix. */
typedef struct low_rank_method {
    size_t rank, oversampling; /* vectors of the result; vectors that the iteration seeks in addition */
    bool exact;                /* decompose the whole matrix in memory, without iteration */
} low_rank_method;

/* The decomposition of the whole matrix takes less work if the iteration would need more than half as many vectors
 * as the matrix has rows or columns. */
static low_rank_method choose_method(uint64_t rows, uint64_t cols, const organ_low_rank_options *options)
{
    const size_t smaller_side = (size_t)(rows < cols ? rows : cols), rank = organ_min(options->rank, smaller_side);
    const size_t oversampling = rank / 4 > 16 ? rank / 4 : 16;
    return (low_rank_method){rank, oversampling, options->exact || (rank + oversampling) * 2 > smaller_side};
}

uint64_t organ_low_rank_bytes(uint64_t rows, uint64_t cols, const organ_low_rank_options *options, size_t workers)
{
    const low_rank_method s = choose_method(rows, cols, options);
    const uint64_t svd = organ_svd_bytes((size_t)rows, (size_t)cols, s.rank);
    if (s.exact)
        return svd + sizeof(float) * rows * cols + organ_dense_svd_bytes((size_t)rows, (size_t)cols, s.rank);
    return svd + organ_krylov_bytes(rows, cols, s.rank, s.oversampling, workers);
}

static organ_status check_exact(const organ_strips *strips, organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    const uint64_t bytes = matrix->rows * matrix->cols * sizeof(float),
                   memory = organ_engine_memory(organ_strips_engine(strips));
    char needs[16], has[16];
    if (bytes <= memory)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: an exact decomposition needs the whole matrix in memory, %s; the limit is %s", matrix->name,
                      organ_memory_text(bytes, needs), organ_memory_text(memory, has));
}

/* Sets `energy` and `captured`. A matrix of zeros has no vectors, so its decomposition becomes one of rank 0. */
static void set_energies(organ_svd *svd, const organ_strips *strips)
{
    svd->energy = organ_strips_energy(strips);
    for (size_t k = 0; k < svd->rank; k++)
        svd->captured += (double)svd->sigma[k] * (double)svd->sigma[k];
    if (svd->energy == 0) {
        const size_t rows = svd->rows, cols = svd->cols;
        organ_svd_release(svd);
        *svd = (organ_svd){.rows = rows, .cols = cols};
    }
}

/* The whole matrix is decomposed in memory if it is small or `exact` is set. After an error *svd is empty. */
organ_status organ_low_rank(organ_strips *strips, const organ_low_rank_options *options, organ_svd *svd,
                            organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    const low_rank_method s = choose_method(matrix->rows, matrix->cols, options);
    *svd = (organ_svd){0};
    if (options->exact && check_exact(strips, error))
        return error->status;
    if (s.exact)
        exact_svd(strips, s.rank, svd, error);
    else
        organ_krylov(strips, s.rank, s.oversampling, options->seed, svd, error);
    if (error->status)
        organ_svd_release(svd);
    else
        set_energies(svd, strips);
    return error->status;
}

/* Rounding may make `captured` greater than `energy`: the result is then 0. */
double organ_svd_residual(const organ_svd *svd)
{
    return svd->energy > 0 && svd->captured < svd->energy ? sqrt(1 - svd->captured / svd->energy) : 0;
}

/* ---- error of the approximation ---- */

#define PANEL ((size_t)512) /* columns of B A that a worker computes at a time */

typedef struct residual_sums {
    const float *b, *a;
    size_t rank, cols;
    const organ_kernels *kernels;
    float *product;         /* a panel of B A, [ORGAN_STRIP_ROWS][PANEL] for each worker */
    float *difference;      /* a row of a panel of W - B A, PANEL values for each worker */
    unsigned char *scratch; /* ORGAN_PRODUCT_SCRATCH bytes for each worker */
    double *sums;           /* output: the sum of each strip */
    size_t workers, count;  /* number of workers, and of strips */
} residual_sums;

static void measure_strip(void *context, const organ_strip *strip, size_t worker)
{
    const residual_sums *const r = context;
    float *const product = r->product + worker * ORGAN_STRIP_ROWS * PANEL;
    float *const difference = r->difference + worker * PANEL;
    const float *const b = r->b + strip->index * ORGAN_STRIP_ROWS * r->rank;
    double sum = 0;
    for (size_t from = 0; from < r->cols; from += PANEL) {
        const size_t n = organ_min(PANEL, r->cols - from);
        const organ_product part = {.m = strip->rows,
                                    .n = n,
                                    .k = r->rank,
                                    .a = organ_by_rows(b, r->rank),
                                    .b = organ_by_columns(r->a + from, r->cols),
                                    .c = product,
                                    .c_stride = n};
        r->kernels->product(&part, r->scratch + worker * ORGAN_PRODUCT_SCRATCH);
        for (size_t i = 0; i < strip->rows; i++) {
            for (size_t j = 0; j < n; j++)
                difference[j] = strip->values[i * r->cols + from + j] - product[i * n + j];
            sum += organ_sum_of_squares(difference, n);
        }
    }
    r->sums[strip->index] = sum;
}

static void lay_out(void *context, organ_buffers *b)
{
    residual_sums *const r = context;
    r->product = organ_take_floats(b, r->workers, ORGAN_STRIP_ROWS * PANEL);
    r->difference = organ_take_floats(b, r->workers, PANEL);
    r->scratch = organ_take(b, r->workers, ORGAN_PRODUCT_SCRATCH);
    r->sums = organ_take_zeros(b, r->count, sizeof *r->sums);
}

uint64_t organ_residual_bytes(size_t workers)
{
    return organ_buffers_count(lay_out, &(residual_sums){.workers = workers});
}

/* The sums of strips are added in order, so that the number of threads does not change a bit. */
organ_status organ_residual(organ_strips *strips, const float *b, const float *a, size_t rank, double *rest,
                            organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    const organ_engine *const engine = organ_strips_engine(strips);
    ORGAN_OWNED_BUFFERS buffers = {0};
    residual_sums r = {.b = b,
                       .a = a,
                       .rank = rank,
                       .cols = (size_t)matrix->cols,
                       .kernels = engine->kernels,
                       .workers = organ_workers_count(engine->workers),
                       .count = organ_pieces_of((size_t)matrix->rows, ORGAN_STRIP_ROWS)};
    const organ_strip_work work = {.context = &r, .each = measure_strip};
    *rest = 0;
    if (!organ_buffers_take(&buffers, lay_out, &r))
        organ_fail_memory(error, matrix->name);
    else if (organ_strips_run(strips, &work, error) == ORGAN_OK)
        for (size_t k = 0; k < r.count; k++)
            *rest += r.sums[k];
    return error->status;
}

/* ---- solution of V H = X with the factor R of organ_block_factor, H = R R^T ---- */

/* First Y R^T = X, block columns from the last to the first, then V R = Y, from the first to the last. Both overwrite
 * X. A block column of ORGAN_FACTOR_BLOCK columns first loses the products of the columns that are solved already, then
 * is multiplied by the inverse of its diagonal block. Columns outside of its GROUP of block columns are subtracted for
 * the group together, so that the solved columns are read from memory less often. */

#define BLOCK ORGAN_FACTOR_BLOCK
#define GROUP (4 * BLOCK) /* columns of a group; the bits of the result depend on it, as on BLOCK */

typedef struct row_solution {
    const organ_kernels *kernels;
    const float *r;         /* the factor, [n][n] */
    size_t n, rows;         /* columns and rows of X */
    float *x;               /* X, then Y, then V */
    size_t stride;          /* values from one row of x to the next */
    float *panel;           /* a block column of x: [rows][BLOCK] */
    unsigned char *scratch; /* for a product */
} row_solution;

static void multiply_block(const row_solution *s, size_t from, size_t width, bool transposed)
{
    const float *const inverse = s->r + from * (s->n + 1);
    for (size_t i = 0; i < s->rows; i++)
        memcpy(s->panel + i * BLOCK, s->x + i * s->stride + from, width * sizeof *s->panel);
    const organ_product own = {.m = s->rows,
                               .n = width,
                               .k = width,
                               .a = organ_by_rows(s->panel, BLOCK),
                               .b = transposed ? organ_by_rows(inverse, s->n) : organ_by_columns(inverse, s->n),
                               .c = s->x + from,
                               .c_stride = s->stride};
    s->kernels->product(&own, s->scratch);
}

/* The solved columns are [first, first + count); their products are with R, or with R^T if `transposed`. */
static void subtract_solved(const row_solution *s, size_t from, size_t width, size_t first, size_t count,
                            bool transposed)
{
    const organ_product product = {.m = s->rows,
                                   .n = width,
                                   .k = count,
                                   .a = organ_by_rows(s->x + first, s->stride),
                                   .b = transposed ? organ_by_rows(s->r + from * s->n + first, s->n)
                                                   : organ_by_columns(s->r + first * s->n + from, s->n),
                                   .c = s->x + from,
                                   .c_stride = s->stride,
                                   .into = ORGAN_PRODUCT_SUBTRACT};
    if (count > 0)
        s->kernels->product(&product, s->scratch);
}

/* X becomes Y with Y R^T = X. */
static void solve_transposed(const row_solution *s)
{
    for (size_t group = (s->n + GROUP - 1) / GROUP; group-- > 0;) {
        const size_t first = group * GROUP, end = organ_min(first + GROUP, s->n);
        subtract_solved(s, first, end - first, end, s->n - end, /*transposed=*/true);
        for (size_t block = organ_pieces_of(end - first, BLOCK); block-- > 0;) {
            const size_t from = first + block * BLOCK, right = organ_min(from + BLOCK, end);
            subtract_solved(s, from, right - from, right, end - right, /*transposed=*/true);
            multiply_block(s, from, right - from, /*transposed=*/true);
        }
    }
}

/* Y becomes V with V R = Y. */
static void solve_plain(const row_solution *s)
{
    for (size_t first = 0; first < s->n; first += GROUP) {
        const size_t end = organ_min(first + GROUP, s->n);
        subtract_solved(s, first, end - first, 0, first, /*transposed=*/false);
        for (size_t from = first; from < end; from += BLOCK) {
            const size_t width = organ_min(BLOCK, end - from);
            subtract_solved(s, from, width, first, from - first, /*transposed=*/false);
            multiply_block(s, from, width, /*transposed=*/false);
        }
    }
}

void organ_factor_solve(const organ_kernels *kernels, const float *factor, size_t n, float *rows, size_t count,
                        size_t stride, float *panel, void *scratch)
{
    const row_solution s = {kernels, factor, n, count, rows, stride, panel, scratch};
    solve_transposed(&s);
    solve_plain(&s);
}
