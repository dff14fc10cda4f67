/* SPDX-License-Identifier: MIT
 * Singular value decomposition of a matrix in memory, from the eigenvectors V of A^T A. The columns of A V are
 * orthogonal except for rounding errors, which orthogonalisation in FP64 removes; the lengths of these columns are the
 * singular values. Errors are about 1e-8 of the largest singular value, less than the rounding errors of an FP32
 * matrix. */
#include "orchestrator/surgery/algebra/algebra.h"

#include "orchestrator/surgery/algebra/vectors64.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* X is A or its transpose, whichever has at least as many rows as columns. Vectors are consecutive. */
typedef struct tall_matrix {
    size_t rows, cols; /* of X */
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

uint64_t organ_dense_svd_bytes(size_t rows, size_t cols, size_t requested)
{
    const uint64_t longer = rows > cols ? rows : cols, shorter = rows > cols ? cols : rows;
    return sizeof(double) * (shorter * (longer + shorter + 1 + requested + ORGAN_EIGEN_ROOM) + requested * longer + 5);
}

/* A wide A is decomposed as its transpose, whose left vectors are the right ones of A. */
bool organ_dense_svd(const organ_kernels *kernels, const float *a, size_t rows, size_t cols, size_t requested, float *u,
                     float *sigma, float *v)
{
    const bool transposed = rows < cols;
    tall_matrix t = {.rows = transposed ? cols : rows, .cols = transposed ? rows : cols};
    t.x = malloc((t.rows * t.cols + 1) * sizeof *t.x);
    t.square = malloc((t.cols * t.cols + 1) * sizeof *t.square);
    t.values = malloc((t.cols + 1) * sizeof *t.values);
    t.right = malloc((requested * t.cols + 1) * sizeof *t.right);
    t.left = malloc((requested * t.rows + 1) * sizeof *t.left);
    t.scratch = malloc((ORGAN_EIGEN_ROOM * t.cols + 1) * sizeof *t.scratch);
    bool done = t.x && t.square && t.values && t.right && t.left && t.scratch;
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
    ORGAN_FREE_ARRAYS(t.x, t.square, t.values, t.right, t.left, t.scratch);
    return done;
}
