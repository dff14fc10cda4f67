/* SPDX-License-Identifier: MIT
 * Eigenvalues and eigenvectors of a symmetric matrix A: Householder's reduction to a tridiagonal matrix T, the implicit
 * QL method for the eigenvalues of T (Martin & Wilkinson 1968), and inverse iteration for its eigenvectors, each of
 * which is made orthogonal to those with near eigenvalues. */
#include "orchestrator/solve/algebra.h"

#include "orchestrator/machine/quantity.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAX_STEPS 60 /* QL steps for one eigenvalue: a few are usual */
/* Solves of inverse iteration: the first finds the eigenvector, the others remove components of neighbouring
 * eigenvectors that rounding left. */
#define SOLVES 3
#define STARTS 8 /* greatest number of random vectors from which inverse iteration for one eigenvector starts */
/* Vectors whose eigenvalues of the scaled T differ by at most this are made orthogonal: inverse iteration alone does
 * not make them so. */
#define NEAR 1e-3

/* The decomposition of one symmetric n x n matrix A. */
typedef struct eigen {
    const organ_kernels *kernels;
    size_t n;
    double *a;      /* A; after step i of the reduction row i has a Householder vector v of i values */
    double *scale;  /* scale[i]: half of v^T v of row i; 0: no reflection */
    double *d, *e;  /* diagonal and subdiagonal of T, e[i] = T[i][i - 1]; scale_diagonals scales them to at most 1 */
    double *work;   /* 5 n values */
    double unit;    /* the number by which d and e were divided */
    double *values; /* eigenvalues of the scaled T, descending; at the end those of A */
} eigen;

/* ---- reduction to tridiagonal form ---- */

/* The first i elements of row i become the vector v of the Householder reflection that turns them into (0, .., 0,
 * e[i]); e[i] and scale[i] are set. If no reflection is needed or a value is not finite, scale[i] becomes 0. */
static void eigen_make_reflector(eigen *x, size_t i)
{
    double *const row = x->a + i * x->n, max = organ_max_magnitude(row, i);
    x->scale[i] = 0;
    x->e[i] = isfinite(max) ? row[i - 1] : max;
    if (i == 1 || max == 0 || !isfinite(max))
        return;
    for (size_t k = 0; k < i; k++)
        row[k] /= max;
    const double square = x->kernels->dot_f64(row, row, i), before = row[i - 1],
                 length = before > 0 ? -sqrt(square) : sqrt(square);
    x->e[i] = max * length;
    row[i - 1] = before - length;
    x->scale[i] = square - before * length;
}

/* The last step subtracts v w^T + w v^T from the rows above row i (v NULL: there is nothing to apply). Then product
 * = A next, where `next` is the Householder vector in row i. Both are done for a row at a time, so that A is read
 * from memory once. */
static void update_and_multiply(const eigen *x, size_t i, const double *v, const double *w, double *product)
{
    const double *const next = x->a + i * x->n;
    memset(product, 0, i * sizeof *product);
    for (size_t r = 0; r < i; r++) {
        double *const row = x->a + r * x->n;
        if (v) {
            x->kernels->add_scaled_f64(row, -v[r], w, r + 1);
            x->kernels->add_scaled_f64(row, -w[r], v, r + 1);
        }
        if (x->scale[i] != 0) {
            x->kernels->add_scaled_f64(product, next[r], row, r);
            product[r] += x->kernels->dot_f64(row, next, r + 1);
        }
    }
}

/* Householder reflections reduce A to T from the last row up (Golub and Van Loan, Matrix Computations, 8.3.1): A
 * becomes A - v w^T - w v^T with w = A v / s - (v^T A v / 2 s^2) v, where s is half of v^T v. The update of a step
 * is done together with the product A v of the next one (update_and_multiply). */
static void reduce_to_tridiagonal(eigen *x)
{
    double *w = x->work, *product = x->work + x->n;
    const double *v = NULL;
    for (size_t i = x->n; i-- > 0;) {
        double *const row = x->a + i * x->n;
        if (v) {
            x->kernels->add_scaled_f64(row, -v[i], w, i + 1);
            x->kernels->add_scaled_f64(row, -w[i], v, i + 1);
        }
        x->d[i] = row[i];
        if (i == 0)
            break;
        eigen_make_reflector(x, i);
        update_and_multiply(x, i, v, w, product);
        v = NULL;
        if (x->scale[i] == 0)
            continue;
        for (size_t k = 0; k < i; k++)
            product[k] /= x->scale[i];
        const double projection = x->kernels->dot_f64(row, product, i) / (2 * x->scale[i]);
        x->kernels->add_scaled_f64(product, -projection, row, i);
        double *const spare = w;
        w = product;
        product = spare;
        v = row;
    }
    x->e[0] = 0;
}

/* ---- eigenvalues ---- */

/* d and e are divided by a power of two above all their magnitudes, x->unit, so that no square overflows. Returns
 * false if an element is not finite. */
static bool scale_diagonals(eigen *x)
{
    int exponent = 0;
    const double max_d = organ_max_magnitude(x->d, x->n), max_e = organ_max_magnitude(x->e, x->n);
    if (!isfinite(max_d) || !isfinite(max_e))
        return false;
    (void)frexp(fmax(max_d, max_e), &exponent);
    x->unit = ldexp(1, exponent);
    for (size_t k = 0; k < x->n; k++) {
        x->d[k] = ldexp(x->d[k], -exponent);
        x->e[k] = ldexp(x->e[k], -exponent);
    }
    return true;
}

/* Returns the first row m, from row `from` on, whose subdiagonal[m] = T[m + 1][m] is negligible. The element is
 * negligible if its magnitude is at most s times half an epsilon. s is the sum of the magnitudes of the two diagonal
 * elements next to it, but at least 2^-10, because T is scaled to 1. */
static size_t end_of_block(const double *d, const double *subdiagonal, size_t n, size_t from)
{
    size_t m = from;
    while (m + 1 < n && !(fabs(subdiagonal[m]) <= DBL_EPSILON / 2 * fmax(fabs(d[m]) + fabs(d[m + 1]), 0x1p-10)))
        m++;
    return m;
}

/* The step is implicit QL with Wilkinson's shift on the unreduced block of rows `from` to m (tql1 of EISPACK): plane
 * rotations from the last row up move the element outside of the three diagonals, `f`, out of the block. `d`: diagonal
 * of T; subdiagonal[i] = T[i + 1][i]. */
static void eigen_step(double *d, double *subdiagonal, size_t from, size_t m)
{
    double g = (d[from + 1] - d[from]) / (2 * subdiagonal[from]);
    const double root = sqrt(g * g + 1);
    double sine = 1, cosine = 1, shift = 0;
    g = d[m] - d[from] + subdiagonal[from] / (g + (g < 0 ? -root : root));
    for (size_t i = m; i-- > from;) {
        const double f = sine * subdiagonal[i], b = cosine * subdiagonal[i], r = sqrt(f * f + g * g);
        subdiagonal[i + 1] = r;
        if (r == 0) {
            d[i + 1] -= shift;
            subdiagonal[m] = 0;
            return;
        }
        sine = f / r;
        cosine = g / r;
        g = d[i + 1] - shift;
        const double t = (d[i] - g) * sine + 2 * cosine * b;
        shift = sine * t;
        d[i + 1] = g + shift;
        g = cosine * t - b;
    }
    d[from] -= shift;
    subdiagonal[from] = g;
    subdiagonal[m] = 0;
}

/* The eigenvalues of T are in descending order. Returns false if one does not converge in MAX_STEPS. */
static bool find_values(eigen *x)
{
    double *const subdiagonal = x->work, *const d = x->values;
    memcpy(d, x->d, x->n * sizeof *d);
    memcpy(subdiagonal, x->e + 1, (x->n - 1) * sizeof *subdiagonal);
    subdiagonal[x->n - 1] = 0;
    for (size_t from = 0; from < x->n; from++) {
        size_t m;
        for (int steps = 0; (m = end_of_block(d, subdiagonal, x->n, from)) != from; steps++) {
            if (steps == MAX_STEPS)
                return false;
            eigen_step(d, subdiagonal, from, m);
        }
    }
    for (size_t k = 1; k < x->n; k++) { /* sorts by insertion: QL leaves them nearly in order */
        const double value = d[k];
        size_t at = k;
        for (; at > 0 && d[at - 1] < value; at--)
            d[at] = d[at - 1];
        d[at] = value;
    }
    return true;
}

/* ---- eigenvectors ---- */

/* L and U are those of T - shift I; a row is exchanged with the next one if that has the larger pivot. */
typedef struct eigen_factors {
    double *upper[3], *lower; /* upper[d][i] = U(i, i + d); lower[i] x row i was subtracted from row i + 1 */
    double *exchanged;        /* exchanged[i]: 1 if row i was exchanged with row i + 1, else 0 */
} eigen_factors;

/* T - shift I = P L U with partial pivoting. A pivot below half an epsilon, the rounding error of T, becomes half an
 * epsilon, so that U can be inverted. `here` and `right`: elements (k, k) and (k, k + 1) of the present row. */
static void eigen_factorise(const eigen *x, double shift, const eigen_factors *f)
{
    const size_t n = x->n;
    double here = x->d[0] - shift, right = n > 1 ? x->e[1] : 0;
    for (size_t k = 0; k < n; k++) {
        const double below = k + 1 < n ? x->e[k + 1] : 0, next = k + 1 < n ? x->d[k + 1] - shift : 0,
                     after = k + 2 < n ? x->e[k + 2] : 0;
        const bool exchange = fabs(below) > fabs(here);
        if (!exchange && fabs(here) < DBL_EPSILON / 2)
            here = DBL_EPSILON / 2;
        const double factor = exchange ? here / below : below / here;
        f->upper[0][k] = exchange ? below : here;
        f->upper[1][k] = exchange ? next : right;
        f->upper[2][k] = exchange ? after : 0;
        f->lower[k] = factor;
        f->exchanged[k] = exchange;
        here = exchange ? right - factor * next : next - factor * right;
        right = exchange ? -factor * after : after;
    }
}

/* z becomes (T - shift I)^-1 z: forward with the row exchanges and L, then back through the three diagonals of U. */
static void eigen_solve(const eigen_factors *f, size_t n, double *z)
{
    for (size_t k = 0; k + 1 < n; k++) {
        const double first = f->exchanged[k] != 0 ? z[k + 1] : z[k], second = f->exchanged[k] != 0 ? z[k] : z[k + 1];
        z[k] = first;
        z[k + 1] = second - f->lower[k] * first;
    }
    for (size_t k = n; k-- > 0;) {
        const double upper_term = k + 1 < n ? f->upper[1][k] * z[k + 1] : 0,
                     second_term = k + 2 < n ? f->upper[2][k] * z[k + 2] : 0;
        z[k] = (z[k] - upper_term - second_term) / f->upper[0][k];
    }
}

/* Inverse iteration starts from a random vector, orthogonal to vectors first .. at - 1. Returns the greatest
 * magnitude that the last solve gave for a vector of length 1; its reciprocal is about the residual of the
 * eigenvector. Returns 0 if a solve overflows. */
static double eigen_iterate(const eigen *x, const eigen_factors *f, double *vectors, size_t first, size_t at,
                            uint64_t seed)
{
    double *const z = vectors + at * x->n;
    double length = 0;
    organ_random_vector(seed, z, x->n);
    organ_orthonormal_next(x->kernels, vectors + first * x->n, at - first, x->n);
    for (int k = 0; k < SOLVES; k++) {
        eigen_solve(f, x->n, z);
        length = organ_max_magnitude(z, x->n);
        if (!isfinite(length))
            return 0;
        organ_orthonormal_next(x->kernels, vectors + first * x->n, at - first, x->n);
    }
    return length;
}

/* Inverse iteration makes eigenvectors orthogonal to those with near eigenvalues. A start whose residual is not
 * small enough is replaced by another one; each start of each vector has a seed of its own. Returns false if STARTS
 * starts do not suffice. */
static bool find_vectors(eigen *x, size_t requested, double *vectors)
{
    const size_t n = x->n;
    /* the residual, 1 / growth, may be at most 1000 eps n^(3/2) */
    const double enough = 1e-3 / (DBL_EPSILON * (double)n * sqrt((double)n));
    const eigen_factors f = {{x->work, x->work + n, x->work + 2 * n}, x->work + 3 * n, x->work + 4 * n};
    double shift = x->values[0] + 1;
    size_t first = 0; /* the first vector whose eigenvalue differs from that of vector k by at most NEAR */
    bool done = true;
    for (size_t k = 0; k < requested && done; k++) {
        shift = fmin(x->values[k], shift - 4 * DBL_EPSILON); /* equal shifts would give equal vectors */
        while (x->values[first] - x->values[k] > NEAR)
            first++;
        eigen_factorise(x, shift, &f);
        done = false;
        for (uint64_t start = 0; start < STARTS && !done; start++)
            done = eigen_iterate(x, &f, vectors, first, k, start * n + k + 1) >= enough;
    }
    return done;
}

/* The reflections turn eigenvectors of T into those of A. TOGETHER vectors are processed for each reflection, while
 * its vector is in the cache. */
static void apply_reflectors(const eigen *x, size_t requested, double *vectors)
{
    enum { TOGETHER = 8 };
    for (size_t from = 0; from < requested; from += TOGETHER)
        for (size_t i = 1; i < x->n; i++)
            for (size_t k = from; k < from + TOGETHER && k < requested && x->scale[i] != 0; k++) {
                double *const z = vectors + k * x->n;
                const double projection = x->kernels->dot_f64(x->a + i * x->n, z, i) / x->scale[i];
                x->kernels->add_scaled_f64(z, -projection, x->a + i * x->n, i);
            }
}

/* Reduces A to T, decomposes T, then applies the reflections and undoes the scaling. `scratch` has the arrays `scale`,
 * `d`, `e` (n values each) and `work` (5 n) of struct eigen one after the other: ORGAN_EIGEN_ROOM n values. */
bool organ_symmetric_eigen(const organ_kernels *kernels, double *a, size_t n, size_t requested, double *values,
                           double *vectors, double *scratch)
{
    if (n == 0)
        return true;
    eigen x = {.kernels = kernels, .n = n, .a = a, .values = values};
    x.scale = scratch;
    x.d = scratch + n;
    x.e = scratch + 2 * n;
    x.work = scratch + 3 * n;
    x.scale[0] = 0;
    reduce_to_tridiagonal(&x);
    bool done = scale_diagonals(&x) && find_values(&x) && (requested == 0 || find_vectors(&x, requested, vectors));
    if (done && requested > 0)
        apply_reflectors(&x, requested, vectors);
    for (size_t k = 0; k < n && done; k++)
        values[k] *= x.unit;
    return done;
}

/* ---- singular values of a matrix in memory, from the eigenvectors V of A^T A ---- */

/* The columns of A V are orthogonal except for rounding errors, which orthogonalisation in FP64 removes; the lengths of
 * these columns are the singular values. Errors are about 1e-8 of the largest singular value, less than the rounding
 * errors of an FP32 matrix. */

/* X is A or its transpose, whichever has at least as many rows as columns. Vectors are consecutive. */
typedef struct tall_matrix {
    size_t rows, cols; /* of X */
    size_t requested;  /* vectors */
    double *x;         /* columns of X: [cols][rows] */
    double *square;    /* X^T X, on and below the diagonal: [cols][cols] */
    double *values;    /* eigenvalues of X^T X, then singular values */
    double *right;     /* right singular vectors: [requested][cols] */
    double *left;      /* left singular vectors: [requested][rows] */
    double *scratch;   /* of organ_symmetric_eigen */
} tall_matrix;

static void copy_in(const tall_matrix *t, const float *a, bool transposed)
{
    for (size_t c = 0; c < t->cols; c++)
        for (size_t r = 0; r < t->rows; r++)
            t->x[c * t->rows + r] = (double)(transposed ? a[r * t->cols + c] : a[c * t->rows + r]);
}

/* X^T X is computed on and below the diagonal. A strip of columns of X stays in the cache while its products with
 * all earlier columns are computed. */
static void gram_matrix(const organ_kernels *kernels, const tall_matrix *t)
{
    enum { STRIP = 8 };
    for (size_t from = 0; from < t->cols; from += STRIP)
        for (size_t c = 0; c < from + STRIP && c < t->cols; c++)
            for (size_t r = from > c ? from : c; r < from + STRIP && r < t->cols; r++)
                t->square[r * t->cols + c] = kernels->dot_f64(t->x + r * t->rows, t->x + c * t->rows, t->rows);
}

/* t->left becomes X V with orthonormal vectors. Their lengths before that are the singular values; fmin keeps them
 * in descending order, which rounding could break. */
static void dense_svd_multiply(const organ_kernels *kernels, const tall_matrix *t, size_t requested)
{
    memset(t->left, 0, requested * t->rows * sizeof *t->left);
    for (size_t c = 0; c < t->cols; c++)
        for (size_t k = 0; k < requested; k++)
            kernels->add_scaled_f64(t->left + k * t->rows, t->right[k * t->cols + c], t->x + c * t->rows, t->rows);
    for (size_t k = 0; k < requested; k++) {
        const double length = organ_orthonormal_next(kernels, t->left, k, t->rows);
        t->values[k] = k > 0 ? fmin(length, t->values[k - 1]) : length;
    }
}

static void copy_out(const double *from, size_t n, float *to)
{
    for (size_t k = 0; k < n; k++)
        to[k] = (float)from[k];
}

static void lay_out_tall(void *context, organ_buffers *b)
{
    tall_matrix *const t = context;
    t->x = organ_take(b, t->rows * t->cols, sizeof *t->x);
    t->square = organ_take(b, t->cols * t->cols, sizeof *t->square);
    t->values = organ_take(b, t->cols, sizeof *t->values);
    t->right = organ_take(b, t->requested * t->cols, sizeof *t->right);
    t->left = organ_take(b, t->requested * t->rows, sizeof *t->left);
    t->scratch = organ_take(b, ORGAN_EIGEN_ROOM * t->cols, sizeof *t->scratch);
}

/* A wide A is decomposed as its transpose, whose left vectors are the right ones of A. */
static tall_matrix tall_of(size_t rows, size_t cols, size_t requested)
{
    return (tall_matrix){.rows = organ_max(rows, cols), .cols = organ_min(rows, cols), .requested = requested};
}

uint64_t organ_dense_svd_bytes(size_t rows, size_t cols, size_t requested)
{
    tall_matrix t = tall_of(rows, cols, requested);
    return organ_buffers_count(lay_out_tall, &t);
}

bool organ_dense_svd(const organ_kernels *kernels, const float *a, size_t rows, size_t cols, size_t requested, float *u,
                     float *sigma, float *v)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    const bool transposed = rows < cols;
    tall_matrix t = tall_of(rows, cols, requested);
    bool done = organ_buffers_take(&buffers, lay_out_tall, &t);
    if (done) {
        copy_in(&t, a, transposed);
        gram_matrix(kernels, &t);
        done = organ_symmetric_eigen(kernels, t.square, t.cols, requested, t.values, t.right, t.scratch);
    }
    if (done) {
        dense_svd_multiply(kernels, &t, requested);
        copy_out(t.values, requested, sigma);
        copy_out(t.left, requested * t.rows, transposed ? v : u);
        copy_out(t.right, requested * t.cols, transposed ? u : v);
    }
    return done;
}

/* ---- QR factorisation by Householder reflections in blocks ---- */

/* A block of vectors is reduced in FP64. The product of its reflections is I - V T V^T, with V rounded to FP32, so that
 * two matrix products apply it to all other vectors. */

#define BLOCK ((size_t)16) /* vectors that are reduced together */

typedef struct reduction {
    const organ_kernels *kernels;
    float *vectors;
    size_t count, n, stride, k; /* as in organ_orthonormal; k = min(count, n) */
    double *panel;              /* vectors of the current block in FP64: [BLOCK][n] */
    float *reflectors;          /* V^T, [k][n]: row c has the vector v of reflection c, 0 before element c */
    double (*t)[BLOCK];         /* [k][BLOCK]: rows i to i + BLOCK - 1 have T of the block that begins at vector i */
    float *across;              /* X V: products of the other vectors X with the block's V, [count][BLOCK] */
    float *turned;              /* `across` times T or T^T, [count][BLOCK] */
    void *scratch;              /* for products */
} reduction;

/* v becomes the vector of the Householder reflection that turns it into (length, 0, .., 0); `rounded` gets it too.
 * Its first element is 1, and it is rounded to FP32. Returns the factor of the reflection, 2 / v^T v; 0 if v is
 * zero. T and the products must use the same rounded vector. */
static double orthonormal_make_reflector(const reduction *q, double *v, size_t n, float *rounded)
{
    const double square = q->kernels->dot_f64(v, v, n), length = v[0] > 0 ? -sqrt(square) : sqrt(square);
    const double first = v[0] - length;
    if (square == 0) {
        memset(v, 0, n * sizeof *v);
        memset(rounded, 0, n * sizeof *rounded);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        rounded[i] = i == 0 ? 1.0f : (float)(v[i] / first);
        v[i] = (double)rounded[i];
    }
    return 2 / q->kernels->dot_f64(v, v, n);
}

/* The vectors of the reflections and T are stored; the factorised vectors become their part of R. */
static void reduce_panel(const reduction *q, size_t from, size_t width)
{
    const size_t n = q->n - from;
    double(*const t)[BLOCK] = q->t + from;
    for (size_t c = 0; c < width; c++)
        for (size_t i = 0; i < n; i++)
            q->panel[c * n + i] = (double)q->vectors[(from + c) * q->stride + from + i];
    for (size_t c = 0; c < width; c++) {
        double *const v = q->panel + c * n, products[BLOCK];
        float *const rounded = q->reflectors + (from + c) * q->n + from;
        /* applies the earlier reflections of the block to vector c */
        for (size_t b = 0; b < c; b++) {
            const double *const other = q->panel + b * n;
            q->kernels->add_scaled_f64(v + b, -t[b][b] * q->kernels->dot_f64(other + b, v + b, n - b), other + b,
                                       n - b);
        }
        /* stores column c of R: elements above the diagonal, then the diagonal element */
        for (size_t i = 0; i < c; i++)
            q->vectors[(from + c) * q->stride + from + i] = (float)v[i];
        const double before = v[c], length = sqrt(q->kernels->dot_f64(v + c, v + c, n - c));
        q->vectors[(from + c) * q->stride + from + c] = (float)(before > 0 ? -length : length);
        memset(v, 0, c * sizeof *v);
        memset(q->reflectors + (from + c) * q->n, 0, (from + c) * sizeof *rounded);
        /* column c of T extends I - V T V^T by reflection c */
        t[c][c] = orthonormal_make_reflector(q, v + c, n - c, rounded + c);
        for (size_t b = 0; b < c; b++)
            products[b] = q->kernels->dot_f64(q->panel + b * n + c, v + c, n - c);
        for (size_t b = 0; b < c; b++) {
            double sum = 0;
            for (size_t e = b; e < c; e++)
                sum += t[b][e] * products[e];
            t[b][c] = -t[c][c] * sum;
        }
    }
}

/* x -= V T V^T x for elements `from` and later of `count` vectors. If `transposed`, T^T replaces T, which applies
 * the reflections in the other order. */
static void apply_block_reflector(const reduction *q, size_t from, size_t width, bool transposed, float *vectors,
                                  size_t count)
{
    const float *const v = q->reflectors + from * q->n + from;
    const size_t n = q->n - from;
    double(*const t)[BLOCK] = q->t + from;
    const organ_product across = {.m = count,
                                  .n = width,
                                  .k = n,
                                  .a = organ_by_rows(vectors + from, q->stride),
                                  .b = organ_by_rows(v, q->n),
                                  .c = q->across,
                                  .c_stride = BLOCK};
    const organ_product back = {.m = count,
                                .n = n,
                                .k = width,
                                .a = organ_by_rows(q->turned, BLOCK),
                                .b = organ_by_columns(v, q->n),
                                .c = vectors + from,
                                .c_stride = q->stride,
                                .into = ORGAN_PRODUCT_SUBTRACT};
    q->kernels->product(&across, q->scratch);
    for (size_t x = 0; x < count; x++)
        for (size_t b = 0; b < width; b++) {
            double sum = 0;
            for (size_t e = transposed ? 0 : b; e < (transposed ? b + 1 : width); e++)
                sum += (transposed ? t[e][b] : t[b][e]) * (double)q->across[x * BLOCK + e];
            q->turned[x * BLOCK + b] = (float)sum;
        }
    q->kernels->product(&back, q->scratch);
}

static void copy_triangle(const reduction *q, float *r)
{
    for (size_t c = 0; c < q->count; c++)
        for (size_t i = 0; i < q->k; i++)
            r[c * q->k + i] = i <= c ? q->vectors[c * q->stride + i] : 0.0f;
}

/* The vectors of Q are the reflections in reverse order, applied to unit vectors. */
static void orthonormal_run(reduction *q, float *r)
{
    size_t from = 0;
    for (; from < q->k; from += BLOCK) {
        const size_t width = organ_min(BLOCK, q->k - from), rest = from + width;
        reduce_panel(q, from, width);
        apply_block_reflector(q, from, width, /*transposed=*/true, q->vectors + rest * q->stride, q->count - rest);
    }
    if (r)
        copy_triangle(q, r);
    for (size_t c = 0; c < q->k; c++) {
        memset(q->vectors + c * q->stride, 0, q->n * sizeof *q->vectors);
        q->vectors[c * q->stride + c] = 1;
    }
    while (from > 0) {
        from -= BLOCK;
        apply_block_reflector(q, from, organ_min(BLOCK, q->k - from), /*transposed=*/false,
                              q->vectors + from * q->stride, q->k - from);
    }
}

static void lay_out(void *context, organ_buffers *b)
{
    reduction *const q = context;
    q->panel = organ_take(b, BLOCK * q->n, sizeof *q->panel);
    q->reflectors = organ_take_floats(b, q->k, q->n);
    q->t = organ_take_zeros(b, q->k, sizeof *q->t);
    q->across = organ_take_floats(b, BLOCK, q->count);
    q->turned = organ_take_floats(b, BLOCK, q->count);
    q->scratch = organ_take(b, ORGAN_PRODUCT_SCRATCH, 1);
}

uint64_t organ_orthonormal_bytes(size_t count, size_t n)
{
    return organ_buffers_count(lay_out, &(reduction){.count = count, .n = n, .k = organ_min(count, n)});
}

bool organ_orthonormal(const organ_kernels *kernels, float *vectors, size_t count, size_t n, size_t stride, float *r)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    reduction q = {
        .kernels = kernels, .vectors = vectors, .count = count, .n = n, .stride = stride, .k = organ_min(count, n)};
    const bool done = organ_buffers_take(&buffers, lay_out, &q);
    if (done)
        orthonormal_run(&q, r);
    return done;
}
