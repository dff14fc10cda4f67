/* SPDX-License-Identifier: MIT
 * Linear algebra over FP32 matrices. This header: sums, random numbers, products,
 * decompositions of matrices in memory, and ridge regression. low_rank.h has decompositions of matrices that need not
 * fit into memory.
 *
 * All results have the same bits on every machine and for any number of threads, because the order of sums depends only
 * on the shape. A function without `engine` does the work on the calling thread. Matrices are row-major; "vectors" are
 * stored one after another. */
#ifndef ORGAN_SOLVE_ALGEBRA_H
#define ORGAN_SOLVE_ALGEBRA_H

#include "orchestrator/solve/ridge.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/buffers.h"

#include <organ/kernels.h>

/* ---- sums ---- */

/* Returns the sum of a[k] b[k] in FP64, in 8 partial sums by k mod 8, which are added pairwise. */
double organ_dot(const float *a, const float *b, size_t n);

/* Returns the sum of the squares in FP64, in 16 partial sums; NaN or infinite if a value is. */
double organ_sum_of_squares(const float *values, size_t n);

/* ---- random numbers: Philox4x32-10 (Salmon et al. 2011). A number depends only on seed, stream and index ---- */

/* Computes the block of four random words for a 128-bit counter under a 64-bit key, both least significant word first.
 */
void organ_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

/* Writes numbers first .. first + n - 1 of stream `stream` under `seed`, uniform in [-1, 1): multiples of 2^-23.
 * Different streams are independent. Any thread may call it. */
void organ_philox_uniform(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n);

/* Writes numbers like organ_philox_uniform, but from the normal distribution with mean 0 and deviation 1 (Box and
 * Muller), each from two random words of 32 bits. Absolute values are at most 6.7. */
void organ_philox_normal(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t n);

/* ---- products ---- */

/* Returns an operand of organ_product whose row i is stored consecutively, from values[i * stride] on. */
static inline organ_product_operand organ_by_rows(const float *values, size_t stride)
{
    return (organ_product_operand){.values = values, .type = ORGAN_REAL_F32, .stride = stride};
}

/* Returns an operand of organ_product whose row i is column i of a stored matrix: values[i], values[stride + i], and so
 * on. */
static inline organ_product_operand organ_by_columns(const float *values, size_t stride)
{
    return (organ_product_operand){.values = values, .type = ORGAN_REAL_F32, .transposed = true, .stride = stride};
}

/* A symmetric block-diagonal matrix of `size` rows, with blocks of `block` rows (the last one may be smaller). Block k
 * is stored whole, row-major, from values[k * block * block] on. */
typedef struct organ_block_matrix {
    size_t size, block;
    const float *values;
} organ_block_matrix;

/* Returns the number of values of the diagonal blocks of a matrix of `size` rows. */
static inline size_t organ_block_entries(size_t size, size_t block)
{
    const size_t rest = size % block;
    return (size - rest) * block + rest * rest;
}

/* Computes product = matrix * H on all workers, [rows][H.size] each. `product` must not overlap `matrix` or H. Returns
 * ORGAN_IO if memory cannot be allocated. */
organ_status organ_block_multiply(const organ_engine *engine, const organ_block_matrix *h, const float *matrix,
                                  size_t rows, float *product, organ_error *error);

/* Returns the diagonal element H(j, j). */
float organ_block_diagonal(const organ_block_matrix *h, size_t j);

/* ---- inverses of positive definite matrices ---- */

/* Replaces H (n x n, symmetric, whole) by the upper triangular U with H^-1 = U^T U, on all workers; values below the
 * diagonal are undefined. Sets *definite to whether H is positive definite; if not, H is undefined. Returns false if
 * memory cannot be allocated. */
bool organ_inverse_factor(const organ_engine *engine, float *h, size_t n, bool *definite);

/* Replaces H by R with H = R R^T, R upper triangular: above the diagonal blocks of ORGAN_FACTOR_BLOCK columns by R, and
 * in each diagonal block by the inverse of that block of R, with zeros below the diagonal. Values below the diagonal
 * blocks are undefined. *definite and the returned value are as in organ_inverse_factor, which takes twice as long. */
bool organ_block_factor(const organ_engine *engine, float *h, size_t n, bool *definite);
#define ORGAN_FACTOR_BLOCK ((size_t)128)

/* Solves V H = X for `count` rows of X, which V replaces; each row has n values and begins `stride` values after the
 * one before. `factor` is R of organ_block_factor, n x n. The bits of a row do not depend on the other rows. `panel`
 * has count x ORGAN_FACTOR_BLOCK values, `scratch` ORGAN_PRODUCT_SCRATCH bytes, 64-byte aligned. */
void organ_factor_solve(const organ_kernels *kernels, const float *factor, size_t n, float *rows, size_t count,
                        size_t stride, float *panel, void *scratch);

/* Returns an upper bound of the bytes that organ_inverse_factor or organ_block_factor allocates for an n x n matrix. */
uint64_t organ_inverse_factor_memory(const organ_engine *engine, uint64_t n);

/* Writes the n diagonal elements of A^-1 to `diagonal`. Reads the lower triangle of A (n x n), and overwrites A.
 * `scratch` has n x n values. Returns false if A is not positive definite. */
bool organ_inverse_diagonal(const organ_kernels *kernels, double *a, size_t n, double *scratch, double *diagonal);

/* ---- decompositions in FP64 ---- */

/* Writes the eigenvalues of the symmetric n x n matrix `a`, descending, to values[0 .. n), and orthonormal eigenvectors
 * of the first `requested` of them to `vectors` (requested x n; may be NULL if `requested` is 0). Reads the lower
 * triangle of `a`, and overwrites it. `scratch`: n x ORGAN_EIGEN_ROOM values. Errors of the eigenvalues are about n
 * 2^-53 times the largest. Returns false if a value is not finite or an iteration does not converge. */
#define ORGAN_EIGEN_ROOM 8
bool organ_symmetric_eigen(const organ_kernels *kernels, double *a, size_t n, size_t requested, double *values,
                           double *vectors, double *scratch);

/* Computes A ~ U diag(sigma) V^T for the `requested` greatest singular values of A, at most min(rows, cols). `a`: the
 * columns of A, one after another. `u` gets `requested` vectors of `rows` values, `v` as many vectors of `cols` values.
 * Vectors are orthonormal, sigma descends. Returns false if memory cannot be allocated, a value is not finite or an
 * iteration does not converge. */
bool organ_dense_svd(const organ_kernels *kernels, const float *a, size_t rows, size_t cols, size_t requested, float *u,
                     float *sigma, float *v);

/* Returns the bytes that organ_dense_svd allocates. */
uint64_t organ_dense_svd_bytes(size_t rows, size_t cols, size_t requested);

/* QR factorisation in FP32 by Householder reflections in blocks (compact WY; Schreiber & Van Loan 1989). The columns of
 * the factorised matrix Q R are `count` vectors of n values, each of which begins `stride` values after the one before.
 * Replaces these vectors by the columns of Q: the first k = min(count, n) are orthonormal, the others are undefined.
 * `r`, unless NULL, gets R^T, [count][k]. If a value is not finite, the results are not finite. Returns false if memory
 * cannot be allocated. */
bool organ_orthonormal(const organ_kernels *kernels, float *vectors, size_t count, size_t n, size_t stride, float *r);
/* Returns the bytes that organ_orthonormal allocates. */
uint64_t organ_orthonormal_bytes(size_t count, size_t n);

/* ---- FP64 vectors, for the dense decompositions ---- */

/* Returns the largest magnitude of n values; 0 if n is 0, not finite if a value is not. */
double organ_max_magnitude(const double *values, size_t n);

/* Fills a vector with n pseudo-random values in [-1, 1), which depend only on the seed. */
void organ_random_vector(uint64_t seed, double *values, size_t n);

/* Makes vector number `at` of `vectors` (n values each) a unit vector orthogonal to the `at` orthonormal vectors before
 * it. Replaces it by a random vector if it is zero or a combination of those vectors. Returns the length that was left
 * after subtracting its projections; 0 if it was replaced. */
double organ_orthonormal_next(const organ_kernels *kernels, double *vectors, size_t at, size_t n);

#endif
