/* SPDX-License-Identifier: MIT
 * Merges moments, and computes the scratch size of a tile: code that all ISAs share, compiled once with the flags of
 * the baseline. */
#include <organ/kernels.h>

/* Each has sums of powers of the deviations from its own mean; the result has the sums for the deviations from the
 * common mean (Pebay 2008, formulas 2.1 and 3.1). In the formulas d = mean_b - mean_a and n = n_a + n_b; the
 * variables a and b are n_a and n_b, the counts of `into` and `other`. */
void organ_moments_merge(organ_moments *into, const organ_moments *other)
{
    into->zero += other->zero;
    into->nan += other->nan;
    into->inf += other->inf;
    into->min = other->min < into->min ? other->min : into->min;
    into->max = other->max > into->max ? other->max : into->max;
    if (other->n == 0)
        return;
    if (into->n == 0) {
        into->n = other->n, into->mean = other->mean;
        into->m2 = other->m2, into->m3 = other->m3, into->m4 = other->m4;
        return;
    }
    const double a = (double)into->n, b = (double)other->n, n = a + b;
    const double d = other->mean - into->mean, dn = d / n, ab = a * b;
    const double m2 = into->m2 + other->m2 + d * dn * ab;
    const double m3 = into->m3 + other->m3 + d * dn * dn * ab * (a - b) + 3 * dn * (a * other->m2 - b * into->m2);
    const double m4 = into->m4 + other->m4 + d * dn * dn * dn * ab * (a * a - ab + b * b) +
                      6 * dn * dn * (a * a * other->m2 + b * b * into->m2) + 4 * dn * (a * other->m3 - b * into->m3);
    into->mean += dn * b;
    into->m2 = m2, into->m3 = m3, into->m4 = m4;
    into->n += other->n;
}

/* Merges `other` into `into`: count, mean and squared deviations of two sets (Chan, Golub and LeVeque 1983). */
void organ_spread_merge(organ_spread *into, const organ_spread *other)
{
    if (other->n == 0)
        return;
    if (into->n == 0) {
        *into = *other;
        return;
    }
    const double a = (double)into->n, b = (double)other->n, n = a + b, d = other->mean - into->mean;
    into->m2 += other->m2 + d * (d / n) * a * b;
    into->mean += d / n * b;
    into->n += other->n;
}

/* The arrays of a physarum_tile are food and tubes, 16 partial sums and a pull for each row, a sum and
 * a pull for each column. Columns, and rows in the last four arrays, are rounded up to whole vectors of 16. */
size_t organ_physarum_scratch(size_t rows, size_t cols)
{
    if (rows > SIZE_MAX - 15 || cols > SIZE_MAX - 15)
        return 0;
    const size_t height = (rows + 15) / 16 * 16, width = (cols + 15) / 16 * 16;
    size_t area, edges, floats, bytes;
    if (__builtin_mul_overflow(rows, width, &area) || __builtin_mul_overflow(area, (size_t)2, &area))
        return 0;
    if (__builtin_mul_overflow(height, (size_t)17, &edges) || __builtin_add_overflow(edges, width, &edges) ||
        __builtin_add_overflow(edges, width, &edges))
        return 0;
    if (__builtin_add_overflow(area, edges, &floats) || __builtin_mul_overflow(floats, sizeof(float), &bytes))
        return 0;
    return bytes;
}
