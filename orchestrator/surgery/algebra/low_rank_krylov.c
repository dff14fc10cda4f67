/* SPDX-License-Identifier: MIT
 * Block Krylov iteration on W^T W with full reorthogonalisation and a thick restart. With W = m x n and blocks of l
 * vectors of n values, the largest eigenvalues of H = V^T W^T W V add up to the part of ||W||^2 that the best vectors
 * in the span of the basis V capture. The shape of the matrix alone decides how products are divided, and partial sums
 * are added in the order of strips, so results are bit-identical for any number of threads. */
#include "orchestrator/surgery/algebra/low_rank_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH 1e-5 /* share of ||W||^2: a pass that captures less additional energy is the last */
#define PANEL  ORGAN_STRIP_ROWS
/* A limit far above the passes that any known matrix needs. */
#define MAX_PASSES 200

/* The state of the block Krylov method. */
typedef struct krylov {
    organ_strips *strips;
    size_t m, n, rank, l, b, max; /* W is m x n; vectors that are requested, kept in a restart, in a block, and that the
                                     basis has room for */
    size_t k;                     /* vectors of the basis that H contains */
    float *basis;                 /* max vectors of n values; V in the first k, and a new block in the next b */
    float *block;                 /* b vectors: W^T W of the new block, then the next new block */
    float *image;                 /* l vectors of m values; W of the new block in the first b */
    float *h;                     /* max x max; symmetric */
    float *c;                     /* max x max: row i has the coefficients of vector i of the block in the basis */
    float *best;                  /* l x max: coefficients of the best vectors in the basis, the best first */
    double *square, *values; /* max x max: copy of H, overwritten by the eigensolver; max: eigenvalues, descending */
    double *vectors;         /* l x max */
    double *eigen_scratch;   /* scratch of the eigensolver */
    int halves[2];           /* W is scaled by 2^(halves[0] + halves[1]), so that squares neither overflow nor vanish */
    float *panels;           /* per worker: PANEL x l */
    unsigned char *scratch;  /* for products */
    const float *source;     /* vectors that the matrix is multiplied by, `width` of them */
    size_t width;
    bool back; /* the pass also multiplies by W^T (krylov_multiply) */
    uint64_t seed;
    unsigned passes;
} krylov;

static size_t panels_of(size_t n) { return (n + PANEL - 1) / PANEL; }

/* ---- products with W ---- */

static void scale_values(float *values, size_t n, int exponent)
{
    for (size_t k = 0; k < n && exponent != 0; k++)
        values[k] = ldexpf(values[k], exponent);
}

/* Computes the part of the image W V that the strip's rows of W contribute, for all `width` source vectors V. */
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

/* Adds the strips' terms of W^T (W V) to one panel of the block. Strips are added in their order, so the sums do not
 * depend on the number of threads. */
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

/* Multiplies the source by the matrix in one passage over its strips: block = W^T W V for b vectors if `back`, else
 * image = W V for l vectors. */
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

/* ---- in the space of the basis ---- */

/* Makes the block orthogonal to the first `count` vectors of the basis. Sets c to the coefficients that were
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

/* Overwrites one panel of the first l basis vectors with that of the best l combinations. Reads the panel of all k
 * basis vectors before it writes. */
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

/* Computes all eigenvalues of H and its first `requested` eigenvectors. Returns false if the eigensolver fails. */
static bool eigen_of_projection(krylov *y, size_t requested)
{
    for (size_t i = 0; i < y->k; i++)
        for (size_t j = 0; j < y->k; j++)
            y->square[i * y->k + j] = (double)y->h[i * y->max + j];
    return organ_symmetric_eigen(organ_strips_engine(y->strips)->kernels, y->square, y->k, requested, y->values,
                                 y->vectors, y->eigen_scratch);
}

/* Returns the part of ||W||^2 that the best `rank` vectors in the span of the basis capture. */
static double captured_energy(const krylov *y)
{
    double sum = 0;
    for (size_t k = 0; k < organ_min(y->rank, y->k); k++)
        sum += y->values[k];
    return sum;
}

/* Reduces the basis to the l eigenvectors of H with the largest eigenvalues (a thick restart), so that H becomes
 * diagonal. */
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

/* Appends the rows and columns of the new block to H, from c = V^T W^T W of that block. Averages each pair of elements
 * that are equal but for rounding, so that H stays symmetric. */
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

/* Makes the vectors of the current block orthonormal by a QR factorisation; `r`, b x b, becomes R^T unless it is
 * NULL. */
static bool orthonormal_block(krylov *y, float *r)
{
    return organ_orthonormal(organ_strips_engine(y->strips)->kernels, y->block, y->b, y->n, y->n, r);
}

/* Replaces vectors of the block by random ones if orthogonalisation left only rounding errors of them: their diagonal
 * elements in R are tiny. The energy lost by that is far below the tolerance of the iteration. Returns true if a vector
 * was replaced. */
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

/* Makes the block orthonormal, replaces lost vectors, and makes the block orthogonal to the basis and orthonormal
 * again: once, or twice if a vector was replaced. Returns false if memory cannot be allocated. */
static bool orthogonalise_block(krylov *y)
{
    float *r = organ_floats(y->b, y->b);
    bool done = r && orthonormal_block(y, r);
    const int times = done && replace_lost_vectors(y, r) ? 2 : 1;
    for (int time = 0; done && time < times; time++) {
        make_orthogonal(y, y->k);
        done = orthonormal_block(y, NULL);
    }
    free(r);
    return done;
}

/* ---- the iteration ---- */

static organ_status krylov_no_memory(const krylov *y, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: decomposition of %zu x %zu", organ_strips_matrix(y->strips)->name, y->m,
                            y->n);
}

/* Computes block = W^T W of the new block of the basis. The size of W is known only after the first pass; if W^T W
 * could leave the range of FP32, a power of two scales W and the pass runs again. */
static organ_status multiply_new_block(krylov *y, organ_error *error)
{
    float *const fresh = y->basis + y->k * y->n;
    if (krylov_multiply(y, fresh, true, error))
        return error->status;
    const double norm = sqrt(organ_strips_energy(y->strips));
    if (y->passes > 1 || norm == 0 || (norm > 0x1p-20 && norm < 0x1p20))
        return ORGAN_OK;
    y->halves[0] = -ilogb(norm) / 2;
    y->halves[1] = -ilogb(norm) - y->halves[0];
    return krylov_multiply(y, fresh, true, error);
}

/* Extends the basis, starting with the random block in `block`, until a pass captures less than ENOUGH more of
 * ||W||^2. */
static organ_status low_rank_krylov_iterate(krylov *y, organ_error *error)
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

/* Computes to = F V, where F is the first `rank` rows of factors (l columns) and V the l vectors of n values. */
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

/* Computes the decomposition from the basis. With X the best l vectors of the basis, W X = Q R and R^T = S diag(sigma)
 * P^T, the singular vectors are U = Q P and V = X S; the first `rank` of each are stored. */
static organ_status low_rank_krylov_finish(krylov *y, organ_svd *svd, organ_error *error)
{
    const organ_kernels *const kernels = organ_strips_engine(y->strips)->kernels;
    const size_t l = y->l;
    float *triangle = organ_floats(l, l), *p = organ_floats(y->rank, l), *s = organ_floats(y->rank, l);
    bool done = triangle && p && s && organ_svd_make(svd, y->m, y->n, y->rank) && restart_with_best(y);
    if (done && krylov_multiply(y, y->basis, false, error) == ORGAN_OK) {
        done = organ_orthonormal(kernels, y->image, l, y->m, y->m, triangle) &&
               organ_dense_svd(kernels, triangle, l, l, y->rank, p, svd->sigma, s);
        if (done) {
            combine_vectors(y, p, y->image, y->m, svd->u);
            combine_vectors(y, s, y->basis, y->n, svd->vt);
            scale_values(svd->sigma, y->rank, -y->halves[0]);
            scale_values(svd->sigma, y->rank, -y->halves[1]);
        }
    }
    free(triangle);
    free(p);
    free(s);
    svd->passes = y->passes;
    return done ? error->status : krylov_no_memory(y, error);
}

/* Allocates the basis, the projection H and the scratch of all workers. Returns false if memory cannot be allocated. */
static bool allocate_krylov(krylov *y)
{
    const organ_engine *const engine = organ_strips_engine(y->strips);
    y->basis = organ_floats(y->n, y->max);
    y->block = organ_floats(y->n, y->b);
    y->image = organ_floats(y->m, y->l);
    y->h = organ_floats(y->max, y->max);
    y->c = organ_floats(y->b, y->max);
    y->best = organ_floats(y->l, y->max);
    y->panels = organ_floats(organ_workers_count(engine->workers), PANEL * y->l);
    y->scratch = aligned_alloc(64, organ_products_scratch(engine));
    y->square = calloc(y->max, y->max * sizeof *y->square);
    y->values = calloc(y->max, sizeof *y->values);
    y->vectors = calloc(y->l, y->max * sizeof *y->vectors);
    y->eigen_scratch = calloc(y->max, ORGAN_EIGEN_ROOM * sizeof *y->eigen_scratch);
    return y->basis && y->block && y->image && y->h && y->c && y->best && y->panels && y->scratch && y->square &&
           y->values && y->vectors && y->eigen_scratch;
}

/* Sets block size b and the largest basis: up to 3 (rank + oversampling) vectors. */
static void choose_krylov_sizes(krylov *y, uint64_t rows, uint64_t cols, size_t rank, size_t oversampling)
{
    y->m = (size_t)rows;
    y->n = (size_t)cols;
    y->rank = rank;
    y->l = rank + oversampling;
    y->b = (y->l + 1) / 2;
    y->max = organ_min(3 * y->l, organ_min(y->m, y->n) - y->b); /* one more block must be orthogonal to all of them */
}

/* Returns the sum of the allocations of allocate_krylov. */
uint64_t organ_krylov_bytes(uint64_t rows, uint64_t cols, size_t rank, size_t oversampling, const organ_engine *engine)
{
    krylov y = {0};
    choose_krylov_sizes(&y, rows, cols, rank, oversampling);
    const uint64_t n = y.n, max = y.max, l = y.l, b = y.b, workers = organ_workers_count(engine->workers);
    return sizeof(float) * (n * (max + b) + y.m * l + max * (max + b + l) + workers * PANEL * l) +
           organ_products_scratch(engine) + sizeof(double) * max * (max + 1 + l + ORGAN_EIGEN_ROOM);
}

/* Runs the block Krylov iteration from a random block drawn with `seed`, and writes the `rank` leading triplets to
 * *svd. */
organ_status organ_krylov(organ_strips *strips, size_t rank, size_t oversampling, uint64_t seed, organ_svd *svd,
                          organ_error *error)
{
    const organ_rows *matrix = organ_strips_matrix(strips);
    krylov y = {.strips = strips, .seed = seed};
    choose_krylov_sizes(&y, matrix->rows, matrix->cols, rank, oversampling);
    if (!allocate_krylov(&y))
        krylov_no_memory(&y, error);
    else {
        organ_philox_uniform(seed, 0, 0, y.block, y.n * y.b);
        if (low_rank_krylov_iterate(&y, error) == ORGAN_OK)
            low_rank_krylov_finish(&y, svd, error);
    }
    ORGAN_FREE_ARRAYS(y.basis, y.block, y.image, y.h, y.c, y.best, y.panels, y.scratch, y.square, y.values, y.vectors,
                      y.eigen_scratch);
    return error->status;
}
