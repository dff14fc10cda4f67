/* SPDX-License-Identifier: MIT
 * Block Krylov iteration on W^T W with full reorthogonalisation and a thick restart; W is m x n. The basis V consists
 * of blocks of b orthonormal vectors of n values. The largest eigenvalues of H = V^T W^T W V add up to the part of
 * ||W||^2 that the best vectors in the span of V capture. The shape of the matrix alone decides how products are
 * divided, and partial sums are added in the order of strips, so results are bit-identical for any number of threads.
 */
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/ridge_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- SVD of a product B A ---- */

/* With B = Q1 R1 and A^T = Q2 R2, B A = Q1 (R1 R2^T) Q2^T, so only R1 R2^T needs a dense SVD; it has at most as many
 * rows and columns as B has columns. */

void organ_svd_release(organ_svd *svd)
{
    organ_buffers_release(&svd->buffers);
    *svd = (organ_svd){0};
}

/* `count` vectors of n values have a QR decomposition with k = min(count, n). */
typedef struct qr {
    size_t count, n, k;
    float *q;  /* the vectors; after organ_orthonormal the k vectors of Q: [count][n] */
    float *rt; /* R^T: [count][k] */
} qr;

static qr make_qr(size_t count, size_t n, organ_buffers *b)
{
    const size_t k = organ_min(count, n);
    return (qr){count, n, k, organ_take_floats(b, count, n), organ_take_floats(b, count, k)};
}

/* to = factors x Q, where `factors` is [count][k] and `to` is [count][n]. */
static void combine_vectors_of_q(const organ_kernels *kernels, const qr *f, const float *factors, size_t count,
                                 float *to, void *scratch)
{
    const organ_product product = {.m = count,
                                   .n = f->n,
                                   .k = f->k,
                                   .a = organ_by_rows(factors, f->k),
                                   .b = organ_by_columns(f->q, f->n),
                                   .c = to,
                                   .c_stride = f->n};
    kernels->product(&product, scratch);
}

/* B A = Q1 (R1 R2^T) Q2^T from the QR decompositions of B (`b`) and A^T (`a`): the singular vectors of R1 R2^T are
 * multiplied by Q1 and Q2. Returns false if memory cannot be allocated. */
static bool svd_of_factors(const organ_kernels *kernels, const qr *b, const qr *a, organ_svd *svd)
{
    const size_t k = svd->rank;
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const core = organ_take_floats(&buffers, b->k, a->k); /* R1 R2^T */
    float *const left = organ_take_floats(&buffers, k, b->k), *const right = organ_take_floats(&buffers, k, a->k);
    void *const scratch = organ_take(&buffers, ORGAN_PRODUCT_SCRATCH, 1);
    /* The SVD reads column-major; R2 R1^T in row-major order is R1 R2^T in column-major order. */
    const organ_product product = {.m = a->k,
                                   .n = b->k,
                                   .k = b->count,
                                   .a = organ_by_columns(a->rt, a->k),
                                   .b = organ_by_columns(b->rt, b->k),
                                   .c = core,
                                   .c_stride = b->k};
    bool done = !buffers.lacking;
    if (done) {
        kernels->product(&product, scratch);
        done = organ_dense_svd(kernels, core, b->k, a->k, k, left, svd->sigma, right);
    }
    if (done) {
        combine_vectors_of_q(kernels, b, left, k, svd->u, scratch);
        combine_vectors_of_q(kernels, a, right, k, svd->vt, scratch);
    }
    return done;
}

static void lay_out_svd(void *context, organ_buffers *b)
{
    organ_svd *const svd = context;
    svd->sigma = organ_take_floats(b, svd->rank, 1);
    svd->u = organ_take_floats(b, svd->rows, svd->rank);
    svd->vt = organ_take_floats(b, svd->rank, svd->cols);
}

bool organ_svd_make(organ_svd *svd, size_t rows, size_t cols, size_t rank)
{
    *svd = (organ_svd){.rows = rows, .cols = cols, .rank = rank};
    return organ_buffers_take(&svd->buffers, lay_out_svd, svd);
}

uint64_t organ_svd_bytes(size_t rows, size_t cols, size_t rank)
{
    return organ_buffers_count(lay_out_svd, &(organ_svd){.rows = rows, .cols = cols, .rank = rank});
}

/* The QR decompositions are those of B and of A^T, whose columns are laid out as vectors. */
organ_status organ_factored_svd(const organ_kernels *kernels, const float *b, const float *a, size_t out, size_t inner,
                                size_t in, organ_svd *svd, organ_error *error)
{
    *svd = (organ_svd){0};
    if (out == 0 || inner == 0 || in == 0 || out > INT_MAX || inner > INT_MAX || in > INT_MAX)
        return organ_fail(error, ORGAN_USAGE, "a product of %zu x %zu and %zu x %zu has no decomposition", out, inner,
                          inner, in);
    ORGAN_OWNED_BUFFERS buffers = {0};
    const qr left = make_qr(inner, out, &buffers), right = make_qr(inner, in, &buffers);
    bool done = organ_svd_make(svd, out, in, organ_min(left.k, right.k)) && !buffers.lacking;
    if (done) {
        for (size_t i = 0; i < out; i++)
            for (size_t k = 0; k < inner; k++)
                left.q[k * out + i] = b[i * inner + k];
        memcpy(right.q, a, inner * in * sizeof *a); /* rows of A are columns of A^T */
        done = organ_orthonormal(kernels, left.q, inner, out, out, left.rt) &&
               organ_orthonormal(kernels, right.q, inner, in, in, right.rt) &&
               svd_of_factors(kernels, &left, &right, svd);
    }
    if (!done) {
        organ_svd_release(svd);
        return organ_fail_errno(error, ENOMEM, "decomposition of a product of %zu x %zu and %zu x %zu", out, inner,
                                inner, in);
    }
    return ORGAN_OK;
}

#define ENOUGH 1e-5             /* the iteration ends if a pass captures less than this share of ||W||^2 in addition */
#define PANEL  ORGAN_STRIP_ROWS /* columns of W that a task processes */
/* A limit far above the passes that any known matrix needs. */
#define MAX_PASSES 200

typedef struct krylov {
    organ_strips *strips;  /* W */
    size_t m, n;           /* rows and columns of W */
    size_t rank;           /* vectors of the result */
    size_t l;              /* vectors that a restart keeps: rank + oversampling */
    size_t b;              /* vectors of a block */
    size_t max;            /* vectors of the basis for which there is memory */
    size_t k;              /* vectors of the basis V, for which H is known */
    float *basis;          /* [max + b][n]: V, then the newest block, which is not in H yet */
    float *block;          /* [b][n]: W^T W of the newest block, then (orthonormal) the next block */
    float *image;          /* [l][m]: W times the vectors of `source` */
    float *h;              /* H, symmetric, row i from h[i * max] on: [max][max] */
    float *c;              /* [b][max]: row i has the coefficients of vector i of `block` in the basis */
    float *best;           /* [l][max]: row i: coefficients, in the basis, of the i-th best vector of the span */
    double *square;        /* copy of H, which the eigensolver overwrites: [k][k] */
    double *values;        /* all eigenvalues of H, descending */
    double *vectors;       /* eigenvectors of H: [requested][k] */
    double *eigen_scratch; /* of organ_symmetric_eigen */
    /* W is multiplied by 2^(halves[0] + halves[1]), so that squares neither overflow nor vanish. The factor is applied
     * as two factors, to the vectors before and after a product, because one of them alone may leave the range of FP32.
     */
    int halves[2];
    float *panels;          /* per worker: PANEL x l values for rotate_part */
    unsigned char *scratch; /* for products */
    const float *source;    /* vectors that the current pass multiplies by W: [width][n] */
    size_t width;           /* number of these vectors: b with `back`, else l */
    bool back;              /* the current pass also multiplies by W^T (krylov_multiply) */
    uint64_t seed;          /* of random vectors */
    unsigned passes;        /* passes over W so far */
    float *r, *triangle;    /* R^T of `block`, [b][b], and of `image`, [l][l] */
    float *left, *right;    /* singular vectors of `triangle`: [rank][l] */
    size_t workers;
} krylov;

static size_t panels_of(size_t n) { return (n + PANEL - 1) / PANEL; }

/* ---- products with W ---- */

static void scale_values(float *values, size_t n, int exponent)
{
    for (size_t k = 0; k < n && exponent != 0; k++)
        values[k] = ldexpf(values[k], exponent);
}

/* `image` = W V gets the columns that belong to the rows of the strip, where V are the `width` vectors of `source`,
 * which krylov_multiply has scaled by 2^halves[0]. The columns are scaled by 2^halves[1], and with `back` also by
 * 2^halves[0] for the product with W^T. */
static void map_strip(void *context, const organ_strip *strip, size_t worker)
{
    const krylov *const y = context;
    float *const image = y->image + strip->index * ORGAN_STRIP_ROWS;
    const organ_product product = {.m = y->width,
                                   .n = strip->rows,
                                   .k = y->n,
                                   .a = organ_by_rows(y->source, y->n),
                                   .b = organ_by_rows(strip->values, y->n),
                                   .c = image,
                                   .c_stride = y->m};
    organ_strips_engine(y->strips)->kernels->product(&product, y->scratch + worker * ORGAN_PRODUCT_SCRATCH);
    for (size_t k = 0; k < y->width && y->halves[0] != 0; k++) {
        scale_values(image + k * y->m, strip->rows, y->halves[1]);
        scale_values(image + k * y->m, strip->rows, y->back ? y->halves[0] : 0);
    }
}

/* Panel `task` of `block` = W^T (W V) gets the terms of some strips. Strips are added in their order, so the sums do
 * not depend on the number of threads. */
static void map_back(void *context, size_t task, const organ_strip *strips, size_t count, size_t worker)
{
    const krylov *const y = context;
    const size_t from = task * PANEL;
    for (size_t k = 0; k < count; k++) {
        const organ_product product = {.m = y->b,
                                       .n = organ_min(PANEL, y->n - from),
                                       .k = strips[k].rows,
                                       .a = organ_by_rows(y->image + strips[k].index * ORGAN_STRIP_ROWS, y->m),
                                       .b = organ_by_columns(strips[k].values + from, y->n),
                                       .c = y->block + from,
                                       .c_stride = y->n,
                                       .into = strips[k].index ? ORGAN_PRODUCT_ADD : ORGAN_PRODUCT_SET};
        organ_strips_engine(y->strips)->kernels->product(&product, y->scratch + worker * ORGAN_PRODUCT_SCRATCH);
    }
}

/* One pass over the strips gives, with `back`, block = W^T W V for b vectors, else image = W V for l vectors.
 * `source` is scaled during the pass and scaled back. */
static organ_status krylov_multiply(krylov *y, float *source, bool back, organ_error *error)
{
    const organ_strip_work work = {
        .context = y, .each = map_strip, .after = back ? map_back : NULL, .tasks = panels_of(y->n)};
    y->source = source;
    y->back = back;
    y->width = back ? y->b : y->l;
    y->passes++;
    scale_values(source, y->width * y->n, y->halves[0]);
    organ_strips_run(y->strips, &work, error);
    scale_values(source, y->width * y->n, -y->halves[0]);
    if (back)
        scale_values(y->block, y->b * y->n, y->halves[1]);
    return error->status;
}

/* ---- the basis and H ---- */

/* The projections on the first `count` vectors of the basis are subtracted. y->c becomes the coefficients that were
 * subtracted. */
static void make_orthogonal(krylov *y, size_t count)
{
    const organ_engine *const engine = organ_strips_engine(y->strips);
    const organ_product project = {.m = y->b,
                                   .n = count,
                                   .k = y->n,
                                   .a = organ_by_rows(y->block, y->n),
                                   .b = organ_by_rows(y->basis, y->n),
                                   .c = y->c,
                                   .c_stride = y->max};
    const organ_product subtract = {.m = y->b,
                                    .n = y->n,
                                    .k = count,
                                    .a = organ_by_rows(y->c, y->max),
                                    .b = organ_by_columns(y->basis, y->n),
                                    .c = y->block,
                                    .c_stride = y->n,
                                    .into = ORGAN_PRODUCT_SUBTRACT};
    organ_products_run(engine, NULL, &project, 1, y->scratch);
    organ_products_run(engine, NULL, &subtract, 1, y->scratch);
}

/* The first l basis vectors become the best l combinations (y->best) of the k basis vectors. The panel is computed
 * in a buffer first, because all k vectors are read. */
static void rotate_part(void *context, size_t task, size_t worker)
{
    const krylov *const y = context;
    const size_t from = task * PANEL, width = organ_min(PANEL, y->n - from);
    float *const part = y->panels + worker * PANEL * y->l;
    const organ_product product = {.m = y->l,
                                   .n = width,
                                   .k = y->k,
                                   .a = organ_by_rows(y->best, y->max),
                                   .b = organ_by_columns(y->basis + from, y->n),
                                   .c = part,
                                   .c_stride = width};
    organ_strips_engine(y->strips)->kernels->product(&product, y->scratch + worker * ORGAN_PRODUCT_SCRATCH);
    for (size_t k = 0; k < y->l; k++)
        memcpy(y->basis + k * y->n + from, part + k * width, width * sizeof *part);
}

static bool eigen_of_projection(krylov *y, size_t requested)
{
    for (size_t i = 0; i < y->k; i++)
        for (size_t j = 0; j < y->k; j++)
            y->square[i * y->k + j] = (double)y->h[i * y->max + j];
    return organ_symmetric_eigen(organ_strips_engine(y->strips)->kernels, y->square, y->k, requested, y->values,
                                 y->vectors, y->eigen_scratch);
}

/* The energy is the part of the scaled ||W||^2 that the best `rank` vectors in the span of V capture. */
static double captured_energy(const krylov *y)
{
    double sum = 0;
    for (size_t k = 0; k < organ_min(y->rank, y->k); k++)
        sum += y->values[k];
    return sum;
}

/* A thick restart replaces V by its l best combinations: their coefficients are the eigenvectors of H with the
 * largest eigenvalues. H becomes the diagonal matrix of these eigenvalues. Returns false if the eigensolver fails. */
static bool restart_with_best(krylov *y)
{
    if (!eigen_of_projection(y, y->l))
        return false;
    for (size_t i = 0; i < y->l; i++)
        for (size_t j = 0; j < y->k; j++)
            y->best[i * y->max + j] = (float)y->vectors[i * y->k + j];
    organ_share(organ_strips_engine(y->strips), NULL, panels_of(y->n), rotate_part, y);
    for (size_t i = 0; i < y->l; i++) {
        memset(y->h + i * y->max, 0, y->l * sizeof *y->h);
        y->h[i * y->max + i] = (float)y->values[i];
    }
    y->k = y->l;
    return true;
}

/* The newest block's rows and columns of H are y->c = V^T W^T W of the block. Elements (i, j) and (j, i) within the
 * block differ by rounding; both become their mean, so that H stays symmetric. */
static void extend_projection(krylov *y)
{
    const size_t k = y->k, b = y->b, lead = y->max;
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j < k + b; j++) {
            const float value = j < k ? y->c[i * lead + j] : (y->c[i * lead + j] + y->c[(j - k) * lead + k + i]) / 2;
            y->h[(k + i) * lead + j] = value;
            y->h[j * lead + k + i] = value;
        }
    y->k += b;
}

/* `r`, unless NULL, gets R^T, [b][b]. Returns false if memory cannot be allocated. */
static bool orthonormal_block(krylov *y, float *r)
{
    return organ_orthonormal(organ_strips_engine(y->strips)->kernels, y->block, y->b, y->n, y->n, r);
}

/* A vector is lost if orthogonalisation left only rounding errors of it: its diagonal element in R^T (`r`) is tiny
 * compared with the largest eigenvalue of H, which is the size of W^T W. A random vector replaces it. The energy
 * that this loses is far below the tolerance of the iteration. Returns whether a vector was replaced. */
static bool replace_lost_vectors(krylov *y, const float *r)
{
    const double least = 1e-6 * y->values[0];
    bool any = false;
    for (size_t k = 0; k < y->b; k++)
        if (!(fabs((double)r[k * y->b + k]) > least)) {
            organ_philox_uniform(y->seed, y->passes, k * y->n, y->block + k * y->n, y->n);
            any = true;
        }
    return any;
}

/* `block` becomes orthonormal, then orthogonal to V and orthonormal again, which removes rounding errors: once, or
 * twice if a lost vector was replaced. Returns false if memory cannot be allocated. */
static bool orthogonalise_block(krylov *y)
{
    bool done = orthonormal_block(y, y->r);
    const int times = done && replace_lost_vectors(y, y->r) ? 2 : 1;
    for (int time = 0; done && time < times; time++) {
        make_orthogonal(y, y->k);
        done = orthonormal_block(y, NULL);
    }
    return done;
}

/* ---- the iteration ---- */

static organ_status krylov_no_memory(const krylov *y, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: decomposition of %zu x %zu", organ_strips_matrix(y->strips)->name, y->m,
                            y->n);
}

/* ||W|| is known only after the first pass: if W^T W could leave the range of FP32, W gets a power of two as factor
 * and the pass runs again. */
static organ_status multiply_new_block(krylov *y, organ_error *error)
{
    float *const fresh = y->basis + y->k * y->n;
    if (krylov_multiply(y, fresh, /*back=*/true, error))
        return error->status;
    const double norm = sqrt(organ_strips_energy(y->strips));
    if (y->passes > 1 || norm == 0 || (norm > 0x1p-20 && norm < 0x1p20))
        return ORGAN_OK;
    y->halves[0] = -ilogb(norm) / 2;
    y->halves[1] = -ilogb(norm) - y->halves[0];
    return krylov_multiply(y, fresh, /*back=*/true, error);
}

/* Each pass extends the basis by one block; the first is made of the random vectors in `block`. The iteration ends
 * when the basis has at least l vectors and a pass has added less than ENOUGH of ||W||^2 to the captured part, or
 * after MAX_PASSES passes. `done`: the last step succeeded. */
static organ_status iterate_block(krylov *y, organ_error *error)
{
    double before = 0;
    bool done = orthonormal_block(y, NULL);
    while (done && y->passes < MAX_PASSES) {
        memcpy(y->basis + y->k * y->n, y->block, y->n * y->b * sizeof *y->block);
        if (multiply_new_block(y, error))
            return error->status;
        make_orthogonal(y, y->k + y->b);
        extend_projection(y);
        done = eigen_of_projection(y, 0);
        const double now = captured_energy(y),
                     energy = ldexp(organ_strips_energy(y->strips), 2 * (y->halves[0] + y->halves[1]));
        if (y->k >= y->l && !(now - before >= ENOUGH * energy))
            break;
        before = now;
        done = done && orthogonalise_block(y) && (y->k + y->b <= y->max || restart_with_best(y));
    }
    return done ? ORGAN_OK : krylov_no_memory(y, error);
}

/* to = F V, where F is `factors`, [rank][l], and V is `vectors`, [l][n]. */
static void combine_vectors(const krylov *y, const float *factors, const float *vectors, size_t n, float *to)
{
    const organ_product product = {.m = y->rank,
                                   .n = n,
                                   .k = y->l,
                                   .a = organ_by_rows(factors, y->l),
                                   .b = organ_by_columns(vectors, n),
                                   .c = to,
                                   .c_stride = n};
    organ_products_run(organ_strips_engine(y->strips), NULL, &product, 1, y->scratch);
}

/* X are the best l vectors of the span of the basis. With W X = Q R and R^T = S diag(sigma) P^T, the singular
 * vectors are U = Q P and V = X S; the first `rank` of each are stored. sigma loses the scaling of W. */
static organ_status finish_svd(krylov *y, organ_svd *svd, organ_error *error)
{
    const organ_kernels *const kernels = organ_strips_engine(y->strips)->kernels;
    const size_t l = y->l;
    bool done = organ_svd_make(svd, y->m, y->n, y->rank) && restart_with_best(y);
    if (done && krylov_multiply(y, y->basis, /*back=*/false, error) == ORGAN_OK) {
        done = organ_orthonormal(kernels, y->image, l, y->m, y->m, y->triangle) &&
               organ_dense_svd(kernels, y->triangle, l, l, y->rank, y->left, svd->sigma, y->right);
        if (done) {
            combine_vectors(y, y->left, y->image, y->m, svd->u);
            combine_vectors(y, y->right, y->basis, y->n, svd->vt);
            scale_values(svd->sigma, y->rank, -y->halves[0]);
            scale_values(svd->sigma, y->rank, -y->halves[1]);
        }
    }
    svd->passes = y->passes;
    return done ? error->status : krylov_no_memory(y, error);
}

static void lay_out(void *context, organ_buffers *b)
{
    krylov *const y = context;
    y->basis = organ_take_floats(b, y->n, y->max);
    y->block = organ_take_floats(b, y->n, y->b);
    y->image = organ_take_floats(b, y->m, y->l);
    y->h = organ_take_floats(b, y->max, y->max);
    y->c = organ_take_floats(b, y->b, y->max);
    y->best = organ_take_floats(b, y->l, y->max);
    y->panels = organ_take_floats(b, y->workers, PANEL * y->l);
    y->scratch = organ_take(b, y->workers, ORGAN_PRODUCT_SCRATCH);
    y->square = organ_take_zeros(b, y->max, y->max * sizeof *y->square);
    y->values = organ_take_zeros(b, y->max, sizeof *y->values);
    y->vectors = organ_take_zeros(b, y->l, y->max * sizeof *y->vectors);
    y->eigen_scratch = organ_take_zeros(b, y->max, ORGAN_EIGEN_ROOM * sizeof *y->eigen_scratch);
    y->r = organ_take_floats(b, y->b, y->b);
    y->triangle = organ_take_floats(b, y->l, y->l);
    y->left = organ_take_floats(b, y->rank, y->l);
    y->right = organ_take_floats(b, y->rank, y->l);
    const uint64_t block = organ_orthonormal_bytes(y->b, y->n), image = organ_orthonormal_bytes(y->l, y->m),
                   dense = organ_dense_svd_bytes(y->l, y->l, y->rank);
    organ_take_beside(b, organ_max(organ_max((size_t)block, (size_t)image), (size_t)dense));
}

/* A block has half of l vectors, and the basis up to 3 l. */
static void choose_krylov_sizes(krylov *y, uint64_t rows, uint64_t cols, size_t rank, size_t oversampling)
{
    y->m = (size_t)rows;
    y->n = (size_t)cols;
    y->rank = rank;
    y->l = rank + oversampling;
    y->b = (y->l + 1) / 2;
    y->max = organ_min(3 * y->l, organ_min(y->m, y->n) - y->b); /* the next block must be orthogonal to all of them */
}

uint64_t organ_krylov_bytes(uint64_t rows, uint64_t cols, size_t rank, size_t oversampling, size_t workers)
{
    krylov y = {.workers = workers};
    choose_krylov_sizes(&y, rows, cols, rank, oversampling);
    return organ_buffers_count(lay_out, &y);
}

/* The iteration starts from a block of random vectors under `seed`. `oversampling`: vectors that it seeks in
 * addition. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd,
                          organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    ORGAN_OWNED_BUFFERS buffers = {0};
    krylov y = {.strips = strips, .seed = seed, .workers = organ_workers_count(organ_strips_engine(strips)->workers)};
    choose_krylov_sizes(&y, matrix->rows, matrix->cols, rank, oversampling);
    if (!organ_buffers_take(&buffers, lay_out, &y))
        krylov_no_memory(&y, error);
    else {
        organ_philox_uniform(seed, 0, 0, y.block, y.n * y.b);
        if (iterate_block(&y, error) == ORGAN_OK)
            finish_svd(&y, svd, error);
    }
    return error->status;
}
