/* SPDX-License-Identifier: MIT
 * Vector operations of matrix decompositions, and the solution of small positive definite systems. */
#include <math.h>
#include <string.h>

/* Loads n < 16 doubles; the other lanes are 0. */
INLINE f64x16 f64_load_part(const double *p, size_t n)
{
    double some[16] = {0};
    memcpy(some, p, n * sizeof *p);
    return f64_load(some);
}

/* Returns the dot product of a and b, with a sum in each lane. */
static double dot_f64(const double *a, const double *b, size_t n)
{
    f64x16 sum = f64_set1(0);
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        sum = f64_fma(f64_load(a + k), f64_load(b + k), sum);
    if (k < n)
        sum = f64_fma(f64_load_part(a + k, n - k), f64_load_part(b + k, n - k), sum);
    return f64_fold(sum);
}

/* Replaces y[k] by fma(factor, x[k], y[k]). */
static void add_scaled_f64(double *y, double factor, const double *x, size_t n)
{
    const f64x16 factors = f64_set1(factor);
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        f64_store(y + k, f64_fma(factors, f64_load(x + k), f64_load(y + k)));
    if (k < n) {
        double some[16];
        f64_store(some, f64_fma(factors, f64_load_part(x + k, n - k), f64_load_part(y + k, n - k)));
        memcpy(y + k, some, (n - k) * sizeof *y);
    }
}

/* Loads min(n, 16) floats; the other lanes are 0. */
INLINE f32x16 f32_load_first(const float *p, size_t n) { return n < 16 ? f32_load_part(p, n) : f32_load(p); }

/* Stores the first min(n, 16) lanes. */
INLINE void f32_store_first(float *p, f32x16 a, size_t n)
{
    if (n < 16)
        f32_store_part(p, a, n);
    else
        f32_store(p, a);
}

/* Replaces the upper triangle of A (n x n, row by row) by U with A = U^T U (Cholesky). Ends at the first pivot that
 * is not above 0, which the caller finds on the diagonal. */
static void cholesky_f32(float *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *const row = a + i * n;
        for (size_t j = i; j < n; j += 16) {
            f32x16 left = f32_load_first(row + j, n - j);
            for (size_t k = 0; k < i; k++)
                left = f32_fma(f32_set1(-a[k * n + i]), f32_load_first(a + k * n + j, n - j), left);
            f32_store_first(row + j, left, n - j);
        }
        if (!(row[i] > 0))
            return;
        const float root = sqrtf(row[i]);
        for (size_t j = i; j < n; j++)
            row[j] = row[j] / root;
    }
}

/* Replaces x by the solution of U^T U y = x, with the factor U of cholesky_f32: forward with U^T, then backward with
 * U. */
static void solve_f32(const float *factor, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) {
        const float *const row = factor + i * n;
        x[i] = x[i] / row[i];
        for (size_t j = i + 1; j < n; j += 16)
            f32_store_first(
                x + j, f32_fma(f32_set1(-x[i]), f32_load_first(row + j, n - j), f32_load_first(x + j, n - j)), n - j);
    }
    for (size_t i = n; i-- > 0;) {
        const float *const row = factor + i * n;
        f32x16 sum = f32_set1(0);
        for (size_t j = i + 1; j < n; j += 16)
            sum = f32_fma(f32_load_first(row + j, n - j), f32_load_first(x + j, n - j), sum);
        x[i] = (x[i] - f32_fold(sum)) / row[i];
    }
}
